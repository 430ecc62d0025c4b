//! What only a person has appended to a log: seals, skipped offsets, files that are given up.

use std::collections::BTreeMap;

use super::{Committer, Standing, append, driver, sealed};
use crate::{
    commit::{
        manifest::{File, Handover, InputRange, Kind, Manifest},
        names,
        protocol::{Append, Done},
    },
    fault::Fault,
    store::{Created, Published, Store},
};

impl Committer {
    /// Seals the newest epoch of a pipeline's log and begins the next one: where that stands.
    ///
    /// # Errors
    /// When the store can't be read, or the log can't be continued (`LOG_FORK`, `STAGE_LOST`).
    pub async fn begin_epoch(
        store: &Store,
        pipeline: &str,
        name: &str,
        handover: Handover,
    ) -> Result<Standing, Fault> {
        let sealed = Self::open(store.clone(), pipeline, name).await?;
        sealed.seal(handover).await?;
        drop(sealed);
        Ok(Self::open(store.clone(), pipeline, name).await?.standing())
    }

    /// Moves positions forward over offsets that nobody can read any more.
    ///
    /// # Errors
    /// When the log can't be continued, or somebody else moved one of the lanes.
    pub async fn skip(&self, inputs: Vec<InputRange>) -> Result<u64, Fault> {
        match self.append(Append { inputs, ..append(Kind::Skip) }).await? {
            Done::Committed(seq) => Ok(seq),
            Done::Fenced(lane) => Err(Fault::outside(format!("a host moved {lane} right now"))
                .help("look again: it may need no repair any more")),
            Done::Sealed => Err(sealed().help("look again")),
            done => Err(Fault::bug(format!("skip offsets: {done:?}"))),
        }
    }

    /// The manifests of a log with files that nobody can make visible any more, and those files. Publishes the others.
    ///
    /// # Errors
    /// The store does not answer, or the log can't be continued (`LOG_FORK`).
    pub async fn lost(store: &Store, pipeline: &str) -> Result<BTreeMap<u64, Vec<File>>, Fault> {
        let epoch = driver::newest_epoch(store, pipeline).await?;
        let log = driver::read_through(store, pipeline, epoch).await?;
        let mut lost = BTreeMap::<u64, Vec<File>>::new();
        for (seq, files) in log.unpublished() {
            for file in files {
                match store.publish(file).await {
                    Published::Done | Published::Already => {}
                    Published::Lost(_) => lost.entry(*seq).or_default().push(file.clone()),
                    Published::Unknown(fault) => return Err(fault),
                }
            }
        }
        Ok(lost)
    }

    /// Appends that the lost files of a manifest are known to be lost, so that the pipeline goes on without them.
    ///
    /// # Errors
    /// The store does not answer, or the log can't be continued (`LOG_FORK`).
    pub async fn void(store: &Store, pipeline: &str, name: &str, seq: u64) -> Result<u64, Fault> {
        let epoch = driver::newest_epoch(store, pipeline).await?;
        let draft = append(Kind::Void);
        // A writer would look for the files first, and halt.
        loop {
            let log = driver::read_through(store, pipeline, epoch).await?;
            let manifest = Manifest {
                v: 1,
                pipeline: pipeline.to_owned(),
                epoch,
                seq: log.next(),
                nonce: draft.nonce.clone(),
                prev: log.prev().to_owned(),
                kind: draft.kind,
                inputs: vec![],
                transforms: vec![],
                files: vec![],
                counts: vec![],
                handover: None,
                voids: vec![seq],
                published: log.published(),
                writer: name.to_owned(),
                ts: draft.ts.clone(),
            };
            log.check(&manifest)?;
            let key = names::manifest_key(pipeline, epoch, manifest.seq);
            let Created::Other(fault) = store.create(&key, manifest.encode().into()).await else {
                return Ok(manifest.seq);
            };
            // Rule 1: it may be there all the same.
            let found = store.get(&key).await?.map(|bytes| Manifest::decode(&key, &bytes));
            match found.transpose()? {
                Some(found) if found.nonce == draft.nonce => return Ok(manifest.seq),
                Some(_) => {}
                // It may still land; whoever repeats the repair finds it void already.
                None => return Err(fault),
            }
        }
    }

    /// Seals the epoch: nobody can append to it any more, and whoever opens the log goes on in the next one.
    ///
    /// # Errors
    /// When the log can't be continued.
    pub(super) async fn seal(&self, handover: Handover) -> Result<(), Fault> {
        let seal = Append { handover: Some(handover), ..append(Kind::Seal) };
        match self.append(seal).await? {
            Done::Committed(_) => Ok(()),
            Done::Sealed => {
                Err(sealed().help("somebody else began a new epoch right now: look again"))
            }
            done => Err(Fault::bug(format!("seal an epoch: {done:?}"))),
        }
    }
}

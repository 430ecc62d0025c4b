//! The driver of the commit protocol: carries the core's commands out against the store. One a pipeline in a process, so
//! that its workers take turns at the log.

mod driver;
mod repairs;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock},
    time::Duration,
};

use chrono::{SecondsFormat, Utc};
use tokio::sync::{mpsc, oneshot};

use self::driver::{Driver, Halted};
use crate::{
    commit::{
        log::Log,
        manifest::{Counts, File, InputRange, Kind, Stage, TransformId},
        names,
        protocol::{Append, Done, Writer},
    },
    fault::Fault,
    record::Lane,
    store::Store,
};

/// Requests that wait at most: one a worker, and some for rebalances.
const QUEUE: usize = 64;

/// When things happen by themselves.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// A foreign manifest that nobody claims for this long is published by whoever sees it.
    help_after: Duration,
    /// How often an idle writer reads what others appended.
    follow_every: Duration,
    /// A checkpoint after this many manifests.
    checkpoint_every: u64,
}

const PACE: Pace = Pace {
    help_after: Duration::from_secs(30),
    follow_every: Duration::from_secs(15),
    checkpoint_every: 64,
};

/// The writer of a pipeline's log in this process.
pub struct Committer {
    store: Store,
    epoch: u16,
    writer: Arc<Mutex<Writer>>,
    requests: mpsc::Sender<Request>,
    halted: Arc<OnceLock<Halted>>,
}

/// A flush whose files are staged.
#[derive(Clone, Debug)]
pub struct Flush {
    /// Unique to the attempt; in the names of its files.
    pub nonce: String,
    /// Which worker it is from: a fenced flush takes the later ones of its worker with it.
    pub worker: usize,
    /// The offsets that it covers.
    pub inputs: Vec<InputRange>,
    /// The transforms that made the rows.
    pub transforms: Vec<TransformId>,
    /// Its files.
    pub files: Vec<File>,
    /// What became of the records, in the order of `inputs`.
    pub counts: Vec<Counts>,
}

/// Where a pipeline's log stands.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The epoch that goes on.
    pub epoch: u16,
    /// The number of its next manifest.
    pub next: u64,
    /// All lanes that it names, with their positions.
    pub lanes: Vec<(Lane, i64)>,
    /// Topics among them that this epoch does not read.
    pub given_up: BTreeSet<String>,
}

/// How a commit ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The flush is manifest `seq`; its files are visible.
    Committed {
        /// The manifest's number.
        seq: u64,
    },
    /// Another writer moved a lane: nothing of the flush is committed, its files are discarded.
    Fenced {
        /// The lane.
        lane: Lane,
        /// Where the log says it is.
        position: i64,
    },
}

enum Request {
    Append(Box<Append>, oneshot::Sender<Done>),
    Follow(oneshot::Sender<()>),
    Help(oneshot::Sender<()>),
}

impl fmt::Debug for Committer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Committer").field("store", &self.store).finish_non_exhaustive()
    }
}

impl Committer {
    /// Recovers a pipeline's log: folds it, publishes every manifest that nobody claims, and begins it where it is empty, or
    /// its next epoch where the newest one is sealed.
    ///
    /// # Errors
    /// When the store can't be read, or the log can't be continued (`LOG_FORK`, `STAGE_LOST`).
    pub async fn open(store: Store, pipeline: &str, name: &str) -> Result<Arc<Self>, Fault> {
        Self::paced(store, pipeline, name, PACE).await
    }

    async fn paced(
        store: Store,
        pipeline: &str,
        name: &str,
        pace: Pace,
    ) -> Result<Arc<Self>, Fault> {
        let mut epoch = driver::newest_epoch(&store, pipeline).await?;
        let mut genesis = append(Kind::Genesis);
        loop {
            let committer = Self::recover(store.clone(), pipeline, epoch, name, pace).await?;
            if committer.next_seq() == 0 {
                match committer.append(genesis).await? {
                    Done::Committed(_) | Done::Needless => {}
                    done => return Err(Fault::bug(format!("begin a log: {done:?}"))),
                }
            }
            let Some((inputs, handover)) = committer.writer().log().next_epoch() else {
                return Ok(Arc::new(committer));
            };
            // Nobody adds to a sealed epoch, and nobody looks for it once the next one is there. All that it names is visible
            // before, also what came between the recovery and the seal.
            while !committer.writer().log().unpublished().is_empty() {
                committer.help().await?;
            }
            genesis = Append { inputs, handover: Some(handover), ..append(Kind::Genesis) };
            epoch += 1;
        }
    }

    /// The writer of an epoch, which all that was appended before is visible of.
    async fn recover(
        store: Store,
        pipeline: &str,
        epoch: u16,
        name: &str,
        pace: Pace,
    ) -> Result<Self, Fault> {
        let log = driver::newest_checkpoint(&store, pipeline, epoch).await?;
        let writer = Arc::new(Mutex::new(Writer::new(pipeline, epoch, name, log)));
        let (requests, queued) = mpsc::channel(QUEUE);
        let halted = Arc::new(OnceLock::new());
        let committer = Self {
            store: store.clone(),
            epoch,
            writer: Arc::clone(&writer),
            requests,
            halted: Arc::clone(&halted),
        };
        let (recovered, recovery) = oneshot::channel();
        let driver = Driver::new(store, pipeline, epoch, writer, halted, pace);
        tokio::spawn(driver.run(queued, recovered));
        recovery.await.map_err(|_| committer.gone())?;
        Ok(committer)
    }

    /// Where a pipeline's log stands. Reads all of its epoch and writes nothing.
    ///
    /// # Errors
    /// When the store can't be read, or the log can't be continued (`LOG_FORK`).
    pub async fn inspect(store: &Store, pipeline: &str) -> Result<Standing, Fault> {
        let epoch = driver::newest_epoch(store, pipeline).await?;
        let log = driver::read_through(store, pipeline, epoch).await?;
        let Some((inputs, handover)) = log.next_epoch() else { return Ok(standing(epoch, &log)) };
        // Sealed, and nobody has begun the next one yet.
        let lanes = inputs.into_iter().map(|input| (input.lane, input.start)).collect();
        Ok(Standing { epoch: epoch + 1, next: 0, lanes, given_up: handover.given_up })
    }

    /// Where the log stands, as far as it was read.
    pub fn standing(&self) -> Standing {
        standing(self.epoch, self.writer().log())
    }

    /// Reads what others appended before this call.
    ///
    /// # Errors
    /// When the log can't be continued. A store that fails is asked again, for as long as it takes.
    pub async fn follow(&self) -> Result<(), Fault> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(Request::Follow(answer)).await.map_err(|_| self.gone())?;
        answered.await.map_err(|_| self.gone())
    }

    /// The next offset of a lane, as far as the log was read.
    pub fn position(&self, lane: &Lane) -> Option<i64> {
        self.writer().log().position(lane)
    }

    /// The number of the next manifest, if nobody is faster.
    pub fn next_seq(&self) -> u64 {
        self.writer().log().next()
    }

    /// Fixes the first offsets of lanes. Answers the truth: where another replica was faster, its offsets.
    ///
    /// # Errors
    /// When the log can't be continued.
    pub async fn start(&self, starts: Vec<(Lane, i64)>) -> Result<Vec<(Lane, i64)>, Fault> {
        let lanes: Vec<Lane> = starts.iter().map(|(lane, _)| lane.clone()).collect();
        let inputs = starts
            .into_iter()
            .map(|(lane, start)| InputRange { lane, start, end: start })
            .collect();
        self.append(Append { inputs, ..append(Kind::Start) }).await?;
        let position = |lane: Lane| {
            let position =
                self.position(&lane).ok_or_else(|| Fault::bug(format!("{lane} has no start")))?;
            Ok((lane, position))
        };
        self.health()?;
        lanes.into_iter().map(position).collect()
    }

    /// Commits a flush and publishes its files. Waits for as long as the store fails.
    ///
    /// # Errors
    /// When the log can't be continued (`LOG_FORK`), or a staged file is gone (`STAGE_LOST`).
    pub async fn commit(&self, flush: Flush) -> Result<Outcome, Fault> {
        let Flush { nonce, worker, inputs, transforms, files, counts } = flush;
        let data = append(Kind::Data);
        let append = Append { nonce, worker, inputs, transforms, files, counts, ..data };
        match self.append(append).await? {
            Done::Committed(seq) => Ok(Outcome::Committed { seq }),
            Done::Fenced(lane) => {
                let position = self.position(&lane).unwrap_or_default();
                Ok(Outcome::Fenced { lane, position })
            }
            Done::Sealed => Err(sealed()),
            Done::Refused(why) => Err(Fault::bug(format!("commit a flush: {why}"))),
            Done::Needless => Err(Fault::bug("commit a flush: it was taken for a claim")),
        }
    }

    /// Ends a drain: publishes what other writers left behind, since nobody may come after this one, and appends what is
    /// known to be published. Files that a user deletes afterwards are then not missed at the next start.
    ///
    /// # Errors
    /// When the log can't be continued.
    pub async fn claim(&self) -> Result<(), Fault> {
        self.follow().await?;
        self.help().await?;
        self.append(append(Kind::Claim)).await.map(drop)
    }

    /// Publishes all that nobody is known to have published.
    async fn help(&self) -> Result<(), Fault> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(Request::Help(answer)).await.map_err(|_| self.gone())?;
        answered.await.map_err(|_| self.gone())
    }

    /// Deletes staged files that no manifest names and that were last written longer ago: of processes that were killed.
    /// How many they were.
    ///
    /// # Errors
    /// The store refuses or does not answer.
    pub async fn sweep(&self, pipeline: &str, older_than: Duration) -> Result<u64, Fault> {
        let unpublished = self.writer().log().unpublished().clone();
        let stages = unpublished.into_values().flatten().map(|file| file.stage);
        let rename = |stage| match stage {
            Stage::Rename { id } => Some(id),
            Stage::Multipart { .. } => None,
        };
        self.store.sweep(pipeline, &stages.filter_map(rename).collect(), older_than).await
    }

    /// Throws away files that were staged for a flush that no manifest names.
    pub async fn discard(&self, files: &[File]) {
        driver::discard(&self.store, files).await;
    }

    /// Whether the log can be continued: nobody need commit to learn of a halt.
    ///
    /// # Errors
    /// `LOG_FORK` or `STAGE_LOST`, once the writer came to a halt; `SEALED`, once the epoch is.
    pub fn health(&self) -> Result<(), Fault> {
        match self.halted.get() {
            Some(halted) => Err(halted.fault()),
            None if self.writer().log().is_sealed() => Err(sealed()),
            None => Ok(()),
        }
    }

    async fn append(&self, append: Append) -> Result<Done, Fault> {
        let (answer, answered) = oneshot::channel();
        self.requests
            .send(Request::Append(Box::new(append), answer))
            .await
            .map_err(|_| self.gone())?;
        answered.await.map_err(|_| self.gone())
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().expect("nothing panics while it holds this lock")
    }

    fn gone(&self) -> Fault {
        self.health().err().unwrap_or_else(|| Fault::bug("the writer of the log is gone"))
    }
}

fn append(kind: Kind) -> Append {
    let ts = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
    let nonce = names::nonce(rand::random());
    let (inputs, transforms, files, counts) = (vec![], vec![], vec![], vec![]);
    Append { nonce, worker: 0, kind, inputs, transforms, files, counts, handover: None, ts }
}

fn standing(epoch: u16, log: &Log) -> Standing {
    let lanes = log.positions().iter().map(|(lane, position)| (lane.clone(), *position)).collect();
    Standing { epoch, next: log.next(), lanes, given_up: log.given_up().clone() }
}

fn sealed() -> Fault {
    Fault::outside("the epoch of the log was sealed: the pipeline goes on in the next one")
        .code("SEALED")
}

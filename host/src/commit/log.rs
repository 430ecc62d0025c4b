//! The fold over a pipeline's log: positions, and what is published. The log is the truth, nothing else.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::manifest::{File, Kind, Manifest, Published};
use crate::{fault::Fault, record::Lane};

/// What all manifests below `next` together say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Log {
    next: u64,
    prev: String,
    positions: BTreeMap<Lane, i64>,
    /// Every manifest below this is published.
    through: u64,
    /// And these.
    also: BTreeSet<u64>,
    /// Files of the manifests that nobody is known to have published.
    unpublished: BTreeMap<u64, Vec<File>>,
    /// The first manifest with files that no manifest claims as published.
    unclaimed: Option<u64>,
}

/// The fold up to a manifest, so that a start need not read the whole log. The same bytes from everybody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// The version of this format: 1.
    pub v: u32,
    /// The first manifest that it does not cover; every one below is published (rule 4).
    pub seq: u64,
    /// Digest of manifest `seq - 1`.
    pub prev: String,
    /// Positions, by lane.
    pub positions: Vec<(Lane, i64)>,
}

impl Log {
    /// The log from a checkpoint on.
    pub fn resume(checkpoint: Checkpoint) -> Self {
        let Checkpoint { seq, prev, positions, .. } = checkpoint;
        Self {
            next: seq,
            prev,
            positions: positions.into_iter().collect(),
            through: seq,
            ..Self::default()
        }
    }

    /// The number of the next manifest.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The digest that the next manifest names.
    pub fn prev(&self) -> &str {
        &self.prev
    }

    /// The next offset of a lane; `None` where no manifest names it.
    pub fn position(&self, lane: &Lane) -> Option<i64> {
        self.positions.get(lane).copied()
    }

    /// All positions.
    pub fn positions(&self) -> &BTreeMap<Lane, i64> {
        &self.positions
    }

    /// What is known to be published, as a claim (rule 5: only what this writer did or read as claimed).
    pub fn published(&self) -> Published {
        Published { through: self.through, also: self.also.iter().copied().collect() }
    }

    /// Manifests that nobody is known to have published, with their files.
    pub fn unpublished(&self) -> &BTreeMap<u64, Vec<File>> {
        &self.unpublished
    }

    /// Whether files are visible, or will be, that no manifest claims as published.
    pub fn has_unclaimed(&self) -> bool {
        self.unclaimed.is_some()
    }

    /// A checkpoint, where everything below the next manifest is published.
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        (self.through == self.next).then(|| Checkpoint {
            v: 1,
            seq: self.next,
            prev: self.prev.clone(),
            positions: self
                .positions
                .iter()
                .map(|(lane, position)| (lane.clone(), *position))
                .collect(),
        })
    }

    /// Adds the next manifest.
    ///
    /// # Errors
    /// `LOG_FORK` when it does not continue the log: it was edited, or another pipeline writes here.
    pub fn fold(&mut self, manifest: &Manifest) -> Result<(), Fault> {
        if manifest.seq != self.next || manifest.prev != self.prev {
            return Err(self.fork(manifest, "does not continue the one before it"));
        }
        for input in &manifest.inputs {
            let known = self.positions.get(&input.lane).copied();
            let continues = match manifest.kind {
                Kind::Start => known.is_none() && input.start == input.end,
                Kind::Skip => known == Some(input.start) && input.start <= input.end,
                _ => known == Some(input.start) && input.start < input.end,
            };
            if !continues {
                let text = format!(
                    "covers {} from {} to {}, its position is {known:?}",
                    input.lane, input.start, input.end
                );
                return Err(self.fork(manifest, &text));
            }
        }
        for input in &manifest.inputs {
            self.positions.insert(input.lane.clone(), input.end);
        }
        self.prev = manifest.digest();
        self.next += 1;
        self.unclaimed = self.unclaimed.filter(|&seq| seq >= manifest.published.through);
        if !manifest.files.is_empty() {
            self.unclaimed.get_or_insert(manifest.seq);
        }
        if manifest.files.is_empty() {
            self.also.insert(manifest.seq);
        } else {
            self.unpublished.insert(manifest.seq, manifest.files.clone());
        }
        self.claim(&manifest.published);
        Ok(())
    }

    /// Takes note that all files of a manifest are visible.
    pub fn mark_published(&mut self, seq: u64) {
        self.claim(&Published { through: 0, also: vec![seq] });
    }

    fn claim(&mut self, claim: &Published) {
        self.through = self.through.max(claim.through.min(self.next));
        self.also.extend(claim.also.iter().filter(|&&seq| seq < self.next));
        while self.also.remove(&self.through) {
            self.through += 1;
        }
        let through = self.through;
        self.also.retain(|&seq| seq > through);
        let also = &self.also;
        self.unpublished.retain(|seq, _| *seq >= through && !also.contains(seq));
    }

    fn fork(&self, manifest: &Manifest, what: &str) -> Fault {
        Fault::outside(format!("manifest {} of pipeline {} {what}", manifest.seq, manifest.pipeline))
            .permanent()
            .code("LOG_FORK")
            .help("a manifest was edited or deleted by hand, or two pipelines share a log: `tidemill verify` says where it breaks")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commit::manifest::{InputRange, Stage};

    fn manifest(log: &Log, kind: Kind, start: i64, end: i64) -> Manifest {
        let file = File {
            output: "clean".into(),
            key: format!("data/{end}"),
            rows: 1,
            bytes: 1,
            sha256: String::new(),
            stage: Stage::Rename { id: "s".into() },
        };
        Manifest {
            v: 1,
            pipeline: "p".into(),
            epoch: 1,
            seq: log.next(),
            nonce: format!("{end}"),
            prev: log.prev().to_owned(),
            kind,
            inputs: vec![InputRange { lane: Lane::new("t", 0), start, end }],
            transforms: vec![],
            files: if kind == Kind::Data { vec![file] } else { vec![] },
            counts: vec![],
            published: Published::default(),
            writer: String::new(),
            ts: String::new(),
        }
    }

    #[test]
    fn positions_move_only_forward_and_without_a_gap() {
        let mut log = Log::default();
        log.fold(&manifest(&log, Kind::Start, 5, 5)).unwrap();
        assert_eq!(
            log.fold(&manifest(&log, Kind::Start, 9, 9)).unwrap_err().code,
            Some("LOG_FORK")
        );
        log.fold(&manifest(&log, Kind::Data, 5, 8)).unwrap();
        for (start, end) in [(5, 8), (7, 9), (9, 10), (8, 8), (8, 7)] {
            assert_eq!(
                log.fold(&manifest(&log, Kind::Data, start, end)).unwrap_err().code,
                Some("LOG_FORK")
            );
        }
        let mut edited = manifest(&log, Kind::Data, 8, 9);
        edited.prev = "x".into();
        assert_eq!(log.fold(&edited).unwrap_err().code, Some("LOG_FORK"));
        assert_eq!(log.position(&Lane::new("t", 0)), Some(8));
    }

    #[test]
    fn a_checkpoint_waits_for_the_first_unpublished_manifest() {
        let mut log = Log::default();
        log.fold(&manifest(&log, Kind::Start, 0, 0)).unwrap();
        log.fold(&manifest(&log, Kind::Data, 0, 1)).unwrap();
        log.fold(&manifest(&log, Kind::Data, 1, 2)).unwrap();
        log.mark_published(2);
        assert_eq!(
            (log.checkpoint(), log.published()),
            (None, Published { through: 1, also: vec![2] })
        );
        log.mark_published(1);
        let checkpoint = log.checkpoint().unwrap();
        assert_eq!(checkpoint.seq, 3);
        // A checkpoint claims as well: whoever resumes from it has nothing left to claim.
        assert!(log.has_unclaimed());
        assert_eq!(Log::resume(checkpoint), Log { unclaimed: None, ..log });
    }
}

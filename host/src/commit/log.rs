//! The fold over a pipeline's log: positions, and what is published. The log is the truth, nothing else.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::manifest::{File, Handover, InputRange, Kind, Manifest, Published};
use crate::{fault::Fault, record::Lane};

/// What all manifests below `next` together say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Log {
    next: u64,
    prev: String,
    positions: BTreeMap<Lane, i64>,
    /// Topics that this epoch does not read, though it has their positions.
    given_up: BTreeSet<String>,
    /// Once the epoch is sealed: what the next one does with its topics.
    sealed: Option<Handover>,
    /// Every manifest below this is published.
    through: u64,
    /// And these.
    also: BTreeSet<u64>,
    /// Files of the manifests that nobody is known to have published.
    unpublished: BTreeMap<u64, Vec<File>>,
    /// Manifests with files that no manifest and no checkpoint claims as published.
    unclaimed: BTreeSet<u64>,
    /// The fold below `through`: where a checkpoint may reach.
    settled: Settled,
    /// The manifests from `through` to `next`: what each adds to `settled`.
    tail: VecDeque<Step>,
}

/// The fold of a log up to its first unpublished manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Settled {
    prev: String,
    positions: BTreeMap<Lane, i64>,
}

/// What one manifest adds to the fold.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Step {
    digest: String,
    ends: Vec<(Lane, i64)>,
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
    /// Topics that the epoch does not read.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub given_up: BTreeSet<String>,
}

impl Log {
    /// The log from a checkpoint on.
    pub fn resume(checkpoint: Checkpoint) -> Self {
        let Checkpoint { v: _, seq, prev, positions, given_up } = checkpoint;
        let positions: BTreeMap<_, _> = positions.into_iter().collect();
        Self {
            next: seq,
            prev: prev.clone(),
            positions: positions.clone(),
            given_up,
            through: seq,
            settled: Settled { prev, positions },
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

    /// Topics that this epoch does not read, though it has their positions.
    pub fn given_up(&self) -> &BTreeSet<String> {
        &self.given_up
    }

    /// Whether nothing can be appended any more: the pipeline goes on in the next epoch.
    pub fn is_sealed(&self) -> bool {
        self.sealed.is_some()
    }

    /// What the first manifest of the next epoch says, once this one is sealed.
    pub fn next_epoch(&self) -> Option<(Vec<InputRange>, Handover)> {
        let handover = self.sealed.clone()?;
        let kept =
            self.positions.iter().filter(|(lane, _)| !handover.renewed.contains(&*lane.topic));
        let input = |(lane, position): (&Lane, &i64)| InputRange {
            lane: lane.clone(),
            start: *position,
            end: *position,
        };
        Some((kept.map(input).collect(), handover))
    }

    /// What is known to be published, as a claim (rule 5: only what this writer did or read as claimed).
    pub fn published(&self) -> Published {
        Published { through: self.through, also: self.also.iter().copied().collect() }
    }

    /// Manifests that nobody is known to have published, with their files.
    pub fn unpublished(&self) -> &BTreeMap<u64, Vec<File>> {
        &self.unpublished
    }

    /// Whether files are visible, or will be, that nobody claims as published.
    pub fn has_unclaimed(&self) -> bool {
        !self.unclaimed.is_empty()
    }

    /// The first manifest that is not known to be published, or the next: where a checkpoint reaches (rule 4).
    pub fn settled(&self) -> u64 {
        self.through
    }

    /// A checkpoint of all that is settled.
    pub fn checkpoint(&self) -> Checkpoint {
        let Settled { prev, positions } = self.settled.clone();
        let positions = positions.into_iter().collect();
        Checkpoint { v: 1, seq: self.through, prev, positions, given_up: self.given_up.clone() }
    }

    /// Whether a manifest continues the log. What does not must never be created: nobody could read past it.
    ///
    /// # Errors
    /// `LOG_FORK` when it does not: it was edited, or another pipeline writes here.
    pub fn check(&self, manifest: &Manifest) -> Result<(), Fault> {
        if manifest.seq != self.next || manifest.prev != self.prev {
            return Err(fork(manifest, "does not continue the one before it"));
        }
        if self.is_sealed() {
            return Err(fork(manifest, "comes after the seal of its epoch"));
        }
        let mut lanes = BTreeSet::new();
        for InputRange { lane, start, end } in &manifest.inputs {
            let known = self.position(lane);
            let continues = match manifest.kind {
                Kind::Start => known.is_none() && start == end,
                Kind::Genesis => self.next == 0 && start == end,
                Kind::Skip => known == Some(*start) && start <= end,
                _ => known == Some(*start) && start < end,
            };
            if !continues || !lanes.insert(lane) {
                let text =
                    format!("covers {lane} from {start} to {end}, its position is {known:?}");
                return Err(fork(manifest, &text));
            }
        }
        Ok(())
    }

    /// Adds the next manifest.
    ///
    /// # Errors
    /// `LOG_FORK` when it does not continue the log; the log stays as it was.
    pub fn fold(&mut self, manifest: &Manifest) -> Result<(), Fault> {
        self.check(manifest)?;
        let ends: Vec<_> =
            manifest.inputs.iter().map(|input| (input.lane.clone(), input.end)).collect();
        self.positions.extend(ends.iter().cloned());
        self.prev = manifest.digest();
        self.tail.push_back(Step { digest: self.prev.clone(), ends });
        self.next += 1;
        let Published { through, also } = &manifest.published;
        self.unclaimed.retain(|seq| seq >= through && !also.contains(seq));
        match manifest.kind {
            Kind::Genesis => {
                self.given_up = manifest.handover.clone().unwrap_or_default().given_up;
            }
            Kind::Seal => self.sealed = Some(manifest.handover.clone().unwrap_or_default()),
            _ => {}
        }
        if manifest.kind == Kind::Seal {
            // No checkpoint reaches past it: whoever starts from one must see it.
        } else if manifest.files.is_empty() {
            self.also.insert(manifest.seq);
        } else {
            self.unclaimed.insert(manifest.seq);
            self.unpublished.insert(manifest.seq, manifest.files.clone());
        }
        self.claim(&manifest.published);
        // What is lost is not waited for, nor looked for.
        self.unclaimed.retain(|seq| !manifest.voids.contains(seq));
        self.claim(&Published { through: 0, also: manifest.voids.clone() });
        Ok(())
    }

    /// Takes note that all files of a manifest are visible.
    pub fn mark_published(&mut self, seq: u64) {
        self.claim(&Published { through: 0, also: vec![seq] });
    }

    fn claim(&mut self, claim: &Published) {
        let mut through = self.through.max(claim.through.min(self.next));
        self.also.extend(claim.also.iter().filter(|&&seq| seq < self.next));
        while self.also.remove(&through) {
            through += 1;
        }
        for _ in self.through..through {
            let step = self.tail.pop_front().expect("the tail reaches to `next`");
            self.settled.prev = step.digest;
            self.settled.positions.extend(step.ends);
        }
        self.through = through;
        self.also.retain(|&seq| seq > through);
        let also = &self.also;
        self.unpublished.retain(|seq, _| *seq >= through && !also.contains(seq));
    }
}

fn fork(manifest: &Manifest, what: &str) -> Fault {
    Fault::outside(format!("manifest {} of pipeline {} {what}", manifest.seq, manifest.pipeline))
        .permanent()
        .code("LOG_FORK")
        .help("a manifest was edited or deleted by hand, or two pipelines share a log: `tidemill verify` says where it breaks")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commit::manifest::Stage;

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
            handover: None,
            voids: vec![],
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
    fn a_lane_stands_in_a_manifest_once() {
        let mut log = Log::default();
        log.fold(&manifest(&log, Kind::Start, 0, 0)).unwrap();
        let mut twice = manifest(&log, Kind::Data, 0, 1);
        twice.inputs.push(InputRange { lane: Lane::new("t", 0), start: 0, end: 2 });
        assert_eq!(log.fold(&twice).unwrap_err().code, Some("LOG_FORK"));
        assert_eq!(log.next(), 1);
    }

    #[test]
    fn a_checkpoint_reaches_to_the_first_unpublished_manifest() {
        let mut log = Log::default();
        log.fold(&manifest(&log, Kind::Start, 0, 0)).unwrap();
        let started = log.clone();
        log.fold(&manifest(&log, Kind::Data, 0, 1)).unwrap();
        log.fold(&manifest(&log, Kind::Data, 1, 2)).unwrap();
        log.mark_published(2);
        assert_eq!(log.published(), Published { through: 1, also: vec![2] });
        assert_eq!(Log::resume(log.checkpoint()), started);
        log.mark_published(1);
        assert_eq!(log.checkpoint().seq, 3);
        // A checkpoint claims as well: whoever resumes from it has nothing left to claim.
        assert!(log.has_unclaimed());
        assert_eq!(Log::resume(log.checkpoint()), Log { unclaimed: BTreeSet::new(), ..log });
    }

    #[test]
    fn nothing_follows_a_seal_and_the_next_epoch_goes_on_where_it_stood() {
        let mut log = Log::default();
        log.fold(&manifest(&log, Kind::Start, 5, 5)).unwrap();
        log.fold(&manifest(&log, Kind::Data, 5, 8)).unwrap();
        log.mark_published(1);
        assert_eq!(log.next_epoch(), None);
        let given_up = BTreeSet::from(["t".to_owned()]);
        let handover = Handover { given_up: given_up.clone(), ..Handover::default() };
        let sealing = Manifest {
            inputs: vec![],
            handover: Some(handover.clone()),
            ..manifest(&log, Kind::Seal, 0, 0)
        };
        log.fold(&sealing).unwrap();
        for kind in [Kind::Data, Kind::Seal] {
            let after = manifest(&log, kind, 8, 9);
            assert_eq!(log.fold(&after).unwrap_err().code, Some("LOG_FORK"));
        }
        // Whoever starts from a checkpoint reads the seal.
        assert_eq!(log.checkpoint().seq, 2);
        let (inputs, repeated) = log.next_epoch().unwrap();
        assert_eq!(repeated, handover);

        let mut next = Log::default();
        let genesis =
            Manifest { inputs, handover: Some(handover), ..manifest(&next, Kind::Genesis, 0, 0) };
        next.fold(&genesis).unwrap();
        assert_eq!((next.position(&Lane::new("t", 0)), next.given_up()), (Some(8), &given_up));
        assert_eq!(Log::resume(next.checkpoint()), next);
    }

    #[test]
    fn a_topic_that_was_created_anew_begins_again() {
        let mut log = Log::default();
        log.fold(&manifest(&log, Kind::Start, 5, 5)).unwrap();
        let renewed = BTreeSet::from(["t".to_owned()]);
        let handover = Some(Handover { renewed, ..Handover::default() });
        let sealing = Manifest { inputs: vec![], handover, ..manifest(&log, Kind::Seal, 0, 0) };
        log.fold(&sealing).unwrap();
        assert_eq!(log.next_epoch().unwrap().0, []);
    }

    #[test]
    fn what_is_void_is_not_looked_for() {
        let mut log = Log::default();
        log.fold(&manifest(&log, Kind::Start, 0, 0)).unwrap();
        log.fold(&manifest(&log, Kind::Data, 0, 1)).unwrap();
        let void = Manifest { inputs: vec![], voids: vec![1], ..manifest(&log, Kind::Void, 0, 0) };
        log.fold(&void).unwrap();
        assert!(log.unpublished().is_empty() && !log.has_unclaimed());
        assert_eq!((log.settled(), log.position(&Lane::new("t", 0))), (3, Some(1)));
    }

    #[test]
    fn a_claim_covers_what_it_names_and_no_more() {
        let mut log = Log::default();
        log.fold(&manifest(&log, Kind::Start, 0, 0)).unwrap();
        for end in 1..4 {
            log.fold(&manifest(&log, Kind::Data, end - 1, end)).unwrap();
        }
        let claims = |log: &Log, through, also| Manifest {
            inputs: vec![],
            published: Published { through, also },
            ..manifest(log, Kind::Claim, 0, 0)
        };
        log.fold(&claims(&log, 2, vec![3])).unwrap();
        assert!(log.has_unclaimed(), "manifest 2 is claimed by nobody");
        assert_eq!(log.unpublished().keys().copied().collect::<Vec<_>>(), [2]);
        log.fold(&claims(&log, 3, vec![])).unwrap();
        assert!(!log.has_unclaimed() && log.settled() == log.next());
    }
}

//! Which worker owns which lane: the pipeline's side of a rebalance.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crossbeam_channel::{Sender, bounded};
use tokio::runtime::Handle;

use super::{
    committer::Committer,
    control::{self, Control},
    shared::Shared,
};
use crate::{
    config::Start,
    fault::Fault,
    kafka::{Assignments, Offsets, Placed},
    record::{Lane, OffsetRange},
};

/// How long a revoke waits for the flush of what was read. Later it commits as well, if no other replica was faster.
const REVOKE_FLUSH_TIMEOUT: Duration = Duration::from_secs(10);

/// The lanes of a pipeline in this process, by worker.
#[derive(Debug)]
pub(super) struct Lanes {
    pub pipeline: String,
    pub start: Start,
    pub committer: Arc<Committer>,
    pub workers: Vec<Sender<Control>>,
    pub shared: Arc<Shared>,
    pub runtime: Handle,
    owners: Mutex<BTreeMap<Lane, usize>>,
    assignments: AtomicU64,
}

impl Lanes {
    pub(super) fn new(
        pipeline: &str,
        start: Start,
        committer: Arc<Committer>,
        workers: Vec<Sender<Control>>,
        shared: Arc<Shared>,
        runtime: Handle,
    ) -> Self {
        Self {
            pipeline: pipeline.to_owned(),
            start,
            committer,
            workers,
            shared,
            runtime,
            owners: Mutex::default(),
            assignments: AtomicU64::new(1),
        }
    }

    /// The number of a new assignment: batches that an older one fetched are told by theirs.
    pub(super) fn next_assignment(&self) -> u64 {
        self.assignments.fetch_add(1, Ordering::Relaxed)
    }

    /// Positions of lanes: what the log says, or the configured start, which is then written to the log at once.
    fn positions(
        &self,
        offsets: Offsets<'_>,
        lanes: &[Lane],
    ) -> Result<BTreeMap<Lane, i64>, Fault> {
        self.runtime.block_on(self.committer.follow())?;
        let mut positions = BTreeMap::new();
        let mut unknown = Vec::new();
        for lane in lanes {
            match self.committer.position(lane) {
                Some(position) => drop(positions.insert(lane.clone(), position)),
                None => unknown.push(lane.clone()),
            }
        }
        if !unknown.is_empty() {
            let starts = self.starts(offsets, &unknown)?;
            positions.extend(self.runtime.block_on(self.committer.start(starts))?);
        }
        Ok(positions)
    }

    /// The starts of lanes that the log does not know. Whoever comes first to a topic fixes the configured start for all
    /// of its partitions, other replicas' too: so a partition that the log does not know, of a topic that it does, was
    /// added later. That one starts at its low watermark, whatever is configured: else `latest` would lose its first
    /// records.
    fn starts(&self, offsets: Offsets<'_>, lanes: &[Lane]) -> Result<Vec<(Lane, i64)>, Fault> {
        let known: BTreeSet<Arc<str>> =
            self.committer.standing().lanes.into_iter().map(|(lane, _)| lane.topic).collect();
        let mut starts = Vec::with_capacity(lanes.len());
        for lane in lanes.iter().filter(|lane| known.contains(&lane.topic)) {
            starts.push((lane.clone(), offsets.watermarks(lane)?.start));
        }
        let mut fresh: BTreeSet<_> =
            lanes.iter().filter(|lane| !known.contains(&lane.topic)).cloned().collect();
        let topics: BTreeSet<_> = fresh.iter().map(|lane| Arc::clone(&lane.topic)).collect();
        for topic in topics {
            fresh.extend(offsets.lanes(&topic)?);
        }
        let fresh: Vec<_> = fresh.into_iter().collect();
        match &self.start {
            Start::Timestamp(millis) if !fresh.is_empty() => {
                starts.extend(offsets.at(&fresh, *millis)?)
            }
            start => {
                for lane in fresh {
                    let offset = start_of(start, &lane, offsets)?;
                    starts.push((lane, offset));
                }
            }
        }
        Ok(starts)
    }

    /// Tells the workers that own lanes, and answers how many were told.
    fn tell(&self, lanes: &[Lane], answer: &Sender<()>) -> usize {
        let mut by_worker: BTreeMap<usize, Vec<Lane>> = BTreeMap::new();
        {
            let mut owners = self.owners.lock().expect("nothing panics while it holds this lock");
            for lane in lanes {
                if let Some(worker) = owners.remove(lane) {
                    by_worker.entry(worker).or_default().push(lane.clone());
                }
            }
        }
        let tell = |(worker, lanes): (usize, Vec<Lane>)| {
            self.workers[worker].send(Control::Revoke(lanes, answer.clone())).is_ok()
        };
        by_worker.into_iter().map(tell).filter(|told| *told).count()
    }
}

fn start_of(start: &Start, lane: &Lane, offsets: Offsets<'_>) -> Result<i64, Fault> {
    start_within(start, lane, offsets.watermarks(lane)?)
}

/// A start that the lane does not have is refused before it is in the log, which never goes back.
fn start_within(start: &Start, lane: &Lane, watermarks: OffsetRange) -> Result<i64, Fault> {
    let OffsetRange { start: low, end: high } = watermarks;
    let named = match start {
        Start::Latest => return Ok(high),
        Start::Offsets(topics) => topics.get(&*lane.topic).and_then(|of| of.get(&lane.partition)),
        Start::Earliest | Start::Timestamp(_) => None,
    };
    match named {
        None => Ok(low),
        Some(offset) if (low..=high).contains(offset) => Ok(*offset),
        Some(offset) => {
            let text = format!(
                "`source.kafka.start` names offset {offset} of {lane}, which has {low} to {high}"
            );
            Err(Fault::config(text).help(format!(
                "name one from {low} to {high}, or leave the partition out to start at {low}"
            )))
        }
    }
}

impl Assignments for Lanes {
    fn assign(&self, offsets: Offsets<'_>, lanes: &[Lane]) -> Result<Vec<Placed>, Fault> {
        let mut positions = self.positions(offsets, lanes)?;
        let assignment = self.next_assignment();
        let mut placed: Vec<Vec<Placed>> = vec![Vec::new(); self.workers.len()];
        {
            let mut owners = self.owners.lock().expect("nothing panics while it holds this lock");
            let mut load = vec![0; self.workers.len()];
            owners.values().for_each(|&worker| load[worker] += 1);
            for lane in lanes {
                let worker = (0..load.len())
                    .min_by_key(|&worker| load[worker])
                    .expect("a pipeline has a worker");
                load[worker] += 1;
                owners.insert(lane.clone(), worker);
                let start = positions.remove(lane).expect("`positions` answers every lane");
                placed[worker].push(Placed { lane: lane.clone(), worker, start, assignment });
            }
        }
        self.shared.trouble_is_over();
        tracing::info!(pipeline = self.pipeline, lanes = lanes.len(), assignment, "lanes assigned");
        for (worker, placed) in placed.iter().enumerate().filter(|(_, placed)| !placed.is_empty()) {
            // A worker that is gone has failed the pipeline; its lanes are not read.
            self.workers[worker].send(Control::Assign(placed.clone())).ok();
        }
        Ok(placed.into_iter().flatten().collect())
    }

    fn joined(&self) {
        self.shared.joined();
    }

    fn revoke(&self, lanes: &[Lane]) {
        let (answer, answers) = bounded(self.workers.len());
        let told = self.tell(lanes, &answer);
        drop(answer);
        let deadline = Instant::now() + REVOKE_FLUSH_TIMEOUT;
        let committed = control::answered(&answers, told, deadline, &self.shared);
        tracing::info!(
            pipeline = self.pipeline,
            lanes = lanes.len(),
            in_time = committed == told,
            "lanes revoked"
        );
    }

    fn lost(&self, lanes: &[Lane]) {
        let (answer, _) = bounded(self.workers.len());
        self.tell(lanes, &answer);
        tracing::warn!(
            pipeline = self.pipeline,
            lanes = lanes.len(),
            "lanes lost to another member of the group"
        );
    }

    fn failed(&self, lane: Option<&Lane>, fault: Fault) {
        match lane {
            _ if fault.retry => {
                let help = fault.help.as_deref();
                tracing::warn!(
                    pipeline = self.pipeline,
                    help,
                    "kafka is in trouble, trying on: {fault}"
                );
                self.shared.trouble(lane, &fault);
            }
            Some(lane) => {
                self.shared.halt(lane, &fault);
                // What was read of it is kept: the brokers may not have it any more. Nobody waits for that.
                let (answer, _) = bounded(1);
                self.tell(std::slice::from_ref(lane), &answer);
            }
            None => self.shared.fail(fault),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_start_that_the_lane_does_not_have_is_refused() {
        let range = OffsetRange { start: 10, end: 20 };
        let start = |start: &Start, partition| {
            start_within(start, &Lane::new("t", partition), range)
                .map_err(|fault| fault.to_string())
        };
        let at = |offset| Start::Offsets([("t".to_owned(), [(0, offset)].into())].into());
        assert_eq!(start(&at(15), 0), Ok(15));
        assert_eq!((start(&at(10), 0), start(&at(20), 0)), (Ok(10), Ok(20)));
        assert_eq!(start(&at(15), 1), Ok(10), "one that is not named starts at its beginning");
        for offset in [9, 21] {
            let text = start(&at(offset), 0).unwrap_err();
            assert!(text.contains(&format!("offset {offset} of t/0")) && text.contains("10 to 20"));
        }
        assert_eq!((start(&Start::Earliest, 0), start(&Start::Latest, 0)), (Ok(10), Ok(20)));
        assert_eq!(start(&Start::Offsets(BTreeMap::new()), 0), Ok(10));
    }
}

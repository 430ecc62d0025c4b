//! A small pipeline to test the source with: it keeps positions, and checks each record against them.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Condvar, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{
    config::{self, Format, Kafka, Security, Start},
    fault::Fault,
    kafka::{Ack, Assignments, Load, Offsets, Placed, Rewind, Source, WorkerQueue, create_topic},
    record::{Batch, Lane},
};

pub(super) const DEADLINE: Duration = Duration::from_secs(50);

/// The real Kafka that the tests share.
pub(super) fn cluster() -> Kafka {
    let brokers = std::env::var("TIDEMILL_TEST_BROKERS")
        .expect("no Kafka to test with: run `cargo xtask test`, which starts one");
    let options = [("session.timeout.ms", "6000"), ("heartbeat.interval.ms", "500")];
    Kafka {
        brokers: brokers.split(',').map(str::to_owned).collect(),
        security: Security::Plaintext,
        ca_file: None,
        client_cert: None,
        sasl: None,
        options: options.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
    }
}

/// A topic of the test's own.
pub(super) fn topic(kafka: &Kafka, partitions: usize) -> String {
    let topic = format!("kafka-test-{:016x}", rand::random::<u64>());
    assert_eq!(create_topic(kafka, &topic, partitions).unwrap(), partitions);
    topic
}

pub(super) fn source(topic: &str) -> config::Source {
    let topics = vec![topic.to_owned()];
    config::Source {
        topics,
        group_id: format!("{topic}-group"),
        start: Start::Earliest,
        format: Format::Raw,
    }
}

/// Where a lane stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Position {
    pub(super) assignment: u64,
    pub(super) worker: usize,
    pub(super) next: i64,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// Who reads a lane; it keeps its place when it is revoked.
    pub(super) lanes: HashMap<Lane, Position>,
    /// The values of each partition, by offset.
    pub(super) values: HashMap<i32, Vec<u64>>,
    /// Records that an older assignment fetched.
    pub(super) stale: usize,
    pub(super) revoked: Vec<Lane>,
    pub(super) failed: Vec<(Option<Lane>, Fault)>,
    /// How often placing lanes fails.
    pub(super) stumbles: usize,
    last_assignment: u64,
    broken: Option<String>,
    done: bool,
}

impl State {
    pub(super) fn records(&self) -> usize {
        self.values.values().map(Vec::len).sum()
    }

    /// Moves a lane back and gives it a new assignment.
    pub(super) fn rewind(&mut self, lane: &Lane, start: i64) -> Rewind {
        self.last_assignment += 1;
        let position = self.lanes.get_mut(lane).unwrap();
        let replaces = position.assignment;
        (position.assignment, position.next) = (self.last_assignment, start);
        self.values.entry(lane.partition).or_default().truncate(usize::try_from(start).unwrap());
        let (worker, assignment) = (position.worker, position.assignment);
        Rewind { replaces, placed: Placed { lane: lane.clone(), worker, start, assignment } }
    }

    /// Takes a batch as a pipeline does. The topics of these tests have no holes.
    fn accept(&mut self, batch: &Batch) -> Result<(), String> {
        let position = self
            .lanes
            .get_mut(&batch.lane)
            .ok_or_else(|| format!("{} was never assigned", batch.lane))?;
        if batch.assignment != position.assignment {
            self.stale += batch.len();
            return Ok(());
        }
        for (index, &offset) in batch.offsets.iter().enumerate() {
            if offset < position.next {
                continue;
            }
            if offset > position.next {
                return Err(format!(
                    "{}: offset {offset} came instead of {}",
                    batch.lane, position.next
                ));
            }
            position.next += 1;
            let value = batch.values.get(index).ok_or("a value is null")?;
            let value = value.try_into().map_err(|_| "a value is not 8 bytes")?;
            self.values.entry(batch.lane.partition).or_default().push(u64::from_le_bytes(value));
        }
        Ok(())
    }
}

/// Places lanes on workers by their partition, where it last saw them.
#[derive(Debug)]
pub(super) struct Desk {
    workers: usize,
    state: Mutex<State>,
    changed: Condvar,
}

impl Desk {
    pub(super) fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self { workers, state: Mutex::default(), changed: Condvar::new() })
    }

    /// Changes the state, and tells those who wait for it.
    pub(super) fn update<R>(&self, update: impl FnOnce(&mut State) -> R) -> R {
        let result = update(&mut self.state.lock().unwrap());
        self.changed.notify_all();
        result
    }

    /// Where a lane is to start when it is assigned first.
    pub(super) fn start_at(&self, lane: Lane, next: i64) {
        self.update(|state| state.lanes.insert(lane, Position { assignment: 0, worker: 0, next }));
    }

    /// Waits for a state of things.
    pub(super) fn wait(&self, what: &str, holds: impl Fn(&State) -> bool) {
        assert!(
            self.comes_within(DEADLINE, holds),
            "waited in vain for {what}: {:?}",
            self.update(|state| state.lanes.clone())
        );
    }

    /// Whether a state of things comes within a time.
    pub(super) fn comes_within(&self, wait: Duration, holds: impl Fn(&State) -> bool) -> bool {
        let deadline = Instant::now() + wait;
        let mut state = self.state.lock().unwrap();
        loop {
            if let Some(text) = state.broken.clone() {
                drop(state);
                panic!("{text}");
            }
            if holds(&state) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.changed.wait_timeout(state, left).unwrap().0;
        }
    }

    /// Joins the group, with a thread a worker that takes up to `max_records` at once.
    pub(super) fn join(
        self: &Arc<Self>,
        kafka: &Kafka,
        topic: &str,
        max_records: usize,
    ) -> (Source, Vec<JoinHandle<()>>) {
        let (source, queues) = self.join_idle(kafka, topic);
        let threads = queues.into_iter().map(|queue| self.read(queue, max_records)).collect();
        (source, threads)
    }

    /// Joins the group without reading.
    pub(super) fn join_idle(
        self: &Arc<Self>,
        kafka: &Kafka,
        topic: &str,
    ) -> (Source, Vec<WorkerQueue>) {
        let assignments: Arc<dyn Assignments> = Arc::clone(self) as _;
        Source::start(kafka, &source(topic), self.workers, assignments, 8 << 20).unwrap()
    }

    pub(super) fn read(
        self: &Arc<Self>,
        mut queue: WorkerQueue,
        max_records: usize,
    ) -> JoinHandle<()> {
        let desk = Arc::clone(self);
        thread::spawn(move || {
            while desk.update(|state| !state.done && state.broken.is_none()) {
                for batch in queue.fetch(Duration::from_millis(100), max_records, 1 << 20).unwrap()
                {
                    desk.update(|state| {
                        if let Err(text) = state.accept(&batch) {
                            state.broken = Some(text);
                        }
                    });
                }
            }
        })
    }

    /// Ends the readers.
    pub(super) fn end(&self, threads: Vec<JoinHandle<()>>) {
        self.update(|state| state.done = true);
        for thread in threads {
            thread.join().unwrap();
        }
    }
}

impl Assignments for Desk {
    fn assign(&self, offsets: Offsets<'_>, lanes: &[Lane]) -> Result<Vec<Placed>, Fault> {
        let stumbles = self.update(|state| {
            let left = state.stumbles.saturating_sub(1);
            mem::replace(&mut state.stumbles, left)
        });
        if stumbles > 0 {
            return Err(Fault::outside("stumbled"));
        }
        let mut all = Vec::new();
        for lane in lanes {
            let low = offsets.watermarks(lane)?.start;
            let worker = usize::try_from(lane.partition).unwrap() % self.workers;
            all.push(self.update(|state| {
                state.last_assignment += 1;
                let assignment = state.last_assignment;
                let start = state.lanes.get(lane).map_or(low, |position| position.next);
                state.lanes.insert(lane.clone(), Position { assignment, worker, next: start });
                Placed { lane: lane.clone(), worker, start, assignment }
            }));
        }
        Ok(all)
    }

    fn joined(&self) {}

    fn revoke(&self, lanes: &[Lane]) {
        self.update(|state| {
            for lane in lanes {
                // What is still under way is not this lane's any more.
                if let Some(position) = state.lanes.get_mut(lane) {
                    position.assignment = 0;
                }
                state.revoked.push(lane.clone());
            }
        });
    }

    fn lost(&self, lanes: &[Lane]) {
        self.revoke(lanes);
    }

    fn failed(&self, lane: Option<&Lane>, fault: Fault) {
        self.update(|state| state.failed.push((lane.cloned(), fault)));
    }
}

/// Records whose values are their numbers.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// The values that were stored, by partition and offset.
    pub(super) stored: HashMap<i32, Vec<(i64, u64)>>,
}

impl Numbers {
    /// The values of each partition by offset, from 0 and without holes.
    pub(super) fn values(&self) -> HashMap<i32, Vec<u64>> {
        let values = |acks: &Vec<(i64, u64)>| {
            let mut acks = acks.clone();
            acks.sort_unstable();
            assert!(
                acks.iter()
                    .enumerate()
                    .all(|(place, &(offset, _))| i64::try_from(place).unwrap() == offset)
            );
            acks.into_iter().map(|(_, value)| value).collect()
        };
        self.stored.iter().map(|(&partition, acks)| (partition, values(acks))).collect()
    }
}

impl Load for Numbers {
    fn make(&mut self, index: u64, key: &mut Vec<u8>, value: &mut Vec<u8>) {
        key.extend_from_slice(&(index % 997).to_le_bytes());
        value.extend_from_slice(&index.to_le_bytes());
    }

    fn acked(&mut self, ack: Ack) {
        self.stored.entry(ack.partition).or_default().push((ack.offset, ack.index));
    }
}

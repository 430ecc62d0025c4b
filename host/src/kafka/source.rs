//! The source: a member of a consumer group whose lanes start where the pipeline says.

use std::{
    fmt,
    sync::Arc,
    thread::{self, JoinHandle},
};

use rdkafka::{
    Offset, TopicPartitionList,
    config::FromClientConfigAndContext as _,
    consumer::{BaseConsumer, CommitMode, Consumer as _},
};

use super::{
    client::{self, fault, unmade},
    events::{Context, run},
    offsets::{Lag, Offsets, lags},
    queue::{Consumer, Queue},
    reader::WorkerQueue,
    shared::Shared,
    token::Tokens,
};
use crate::{config, fault::Fault, record::Lane};

/// Who decides where lanes start and who reads them. Called by the event thread, one call at a time.
pub trait Assignments: Send + Sync + 'static {
    /// Lanes are now ours. The answer says who reads each, from where; a lane that it leaves out is ours but is not read.
    ///
    /// # Errors
    /// The lanes cannot be placed: none of them is read, and [`Self::failed`] is called with the fault. If it may pass (`retry`),
    /// this is called again after a second, until they are placed or revoked.
    fn assign(&self, offsets: Offsets<'_>, lanes: &[Lane]) -> Result<Vec<Placed>, Fault>;

    /// The group has given out its lanes, none to this member perhaps.
    fn joined(&self);

    /// Lanes, placed or not, are about to go to another member, which waits until this returns: so it ends after some seconds in any case.
    /// Nothing more is fetched of any lane while it runs.
    fn revoke(&self, lanes: &[Lane]);

    /// Lanes, placed or not, have gone to another member already.
    fn lost(&self, lanes: &[Lane]);

    /// A lane cannot be read any more, or nothing can. With `retry` the client goes on trying (a lane that is named with
    /// `OFFSET_GAP`, `TOPIC_RECREATED`, `OFFSET_LOST` or `UNREADABLE` does not: it delivers nothing more until it is rewound).
    fn failed(&self, lane: Option<&Lane>, fault: Fault);
}

/// Where a lane is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The lane.
    pub lane: Lane,
    /// Which worker reads it: an index of the queues.
    pub worker: usize,
    /// The first offset to read.
    pub start: i64,
    /// The number of this assignment; it rises from one assignment of the lane to the next.
    pub assignment: u64,
}

/// A lane that is to be read again, or on, from another position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewind {
    /// The assignment that whoever asks knows. If the lane has another one by then, it stays as it is: it changed hands.
    pub replaces: u64,
    /// Where it is read from then on.
    pub placed: Placed,
}

/// A member of a consumer group.
pub struct Source {
    consumer: Arc<Consumer>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Source {
    /// Joins the group, and gives one queue a worker. `queue_bytes` bounds what waits in all queues together, but for one fetch a lane.
    ///
    /// # Errors
    /// Settings that librdkafka refuses. Brokers that cannot be reached are no error: see [`Assignments::failed`].
    ///
    /// # Panics
    /// When `workers` is 0.
    pub fn start(
        kafka: &config::Kafka,
        source: &config::Source,
        workers: usize,
        assignments: Arc<dyn Assignments>,
        queue_bytes: u64,
    ) -> Result<(Self, Vec<WorkerQueue>), Fault> {
        let mut config = client::config(kafka)?;
        config
            .set("group.id", &source.group_id)
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("isolation.level", "read_committed")
            .set("auto.offset.reset", "error");
        // librdkafka measures a lane's queue where it is forwarded to: a worker's queue has all its lanes in it.
        let queue_kbytes = (queue_bytes / workers as u64 / 1024).clamp(1024, 2_097_151);
        config.set("queued.max.messages.kbytes", queue_kbytes.to_string());
        client::default(&mut config, &["fetch.queue.backoff.ms"], "5");
        // A lane that starts waits for the fetch under way, which waits for records of the others.
        client::default(&mut config, &["fetch.wait.max.ms"], "100");
        let fetch_bytes = (queue_kbytes * 1024 / 4).min(1 << 20).to_string();
        let names = ["fetch.message.max.bytes", "max.partition.fetch.bytes"];
        client::default(&mut config, &names, &fetch_bytes);
        // An answer is held whole while one of its records waits, on top of the queues.
        let answer_bytes = (queue_bytes / 4).clamp(1 << 20, 50 << 20).to_string();
        client::default(&mut config, &["fetch.max.bytes"], &answer_bytes);

        let shared = Arc::new(Shared::default());
        let tokens = Tokens::of(kafka);
        let context = Context::new(tokens.clone(), assignments, Arc::clone(&shared));
        let consumer =
            Arc::new(BaseConsumer::from_config_and_context(&config, context).map_err(unmade)?);
        tokens.give(consumer.client())?;
        let queues: Vec<_> = (0..workers).map(|_| Arc::new(Queue::new(&consumer))).collect();
        let readers = queues
            .iter()
            .map(|queue| WorkerQueue::new(Arc::clone(queue), Arc::clone(&shared)))
            .collect();
        shared.set_queues(queues);
        let topics: Vec<_> = source.topics.iter().map(String::as_str).collect();
        let subscribed = consumer.subscribe(&topics);
        let thread = thread::Builder::new().name("kafka events".into()).spawn({
            let (consumer, shared) = (Arc::clone(&consumer), Arc::clone(&shared));
            move || run(&consumer, &shared)
        });
        let thread = thread.map_err(|error| {
            Fault::outside("start a thread for the events of Kafka").caused_by(error)
        });
        let source = Self { consumer, shared, thread: Some(thread?) };
        subscribed
            .map_err(|error| Fault::config(format!("subscribe to {topics:?}")).caused_by(error))?;
        Ok((source, readers))
    }

    /// Reads lanes again, or on, from other positions: soon, on the event thread, in new assignments. A lane that is revoked
    /// or assigned anew meanwhile is left alone. A lane that is stuck delivers again.
    pub fn rewind(&self, lanes: Vec<Rewind>) {
        self.shared.rewind(lanes);
    }

    /// Writes the group's offsets, for tools that show lag; soon, and maybe never.
    ///
    /// # Errors
    /// An offset below 0.
    pub fn commit_offsets(&self, offsets: &[(Lane, i64)], metadata: &str) -> Result<(), Fault> {
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        for (lane, offset) in offsets {
            let mut place = list.add_partition(&lane.topic, lane.partition);
            place.set_offset(Offset::Offset(*offset)).map_err(|error| {
                Fault::bug(format!("commit offset {offset} of {lane}")).caused_by(error)
            })?;
            place.set_metadata(metadata);
        }
        if offsets.is_empty() {
            return Ok(());
        }
        self.consumer
            .commit(&list, CommitMode::Async)
            .map_err(|error| fault("write the group's offsets", error))
    }

    /// Asks the brokers about offsets.
    pub fn offsets(&self) -> Offsets<'_> {
        Offsets::new(&self.consumer)
    }

    /// The lag of every lane that is read, as of the last fetches. Asks nobody.
    pub fn lags(&self) -> Vec<Lag> {
        lags(&self.consumer, &self.shared.lanes())
    }

    /// Leaves the group soon: [`Assignments::revoke`] is called once more.
    pub fn leave(&self) {
        self.shared.stop();
    }

    /// Leaves the group, and waits until that is done.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.shared.stop();
        let Some(thread) = self.thread.take() else { return };
        // The event thread itself may hold the last reference.
        if thread.thread().id() != thread::current().id() && thread.join().is_err() {
            tracing::error!("the thread for the events of Kafka panicked");
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("shared", &self.shared).finish_non_exhaustive()
    }
}

//! The event thread: rebalances, rewinds, errors.

use std::{
    error::Error,
    fmt, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, Offset, TopicPartitionList,
    client::OAuthToken,
    config::RDKafkaLogLevel,
    consumer::{Consumer as _, ConsumerContext},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    types::RDKafkaRespErr,
};

use super::{
    client::{advice, fault, log, sentence},
    lanes::Lanes,
    offsets::Offsets,
    queue::{Consumer, Queue, forward},
    shared::Shared,
    source::{Assignments, Placed},
    token::Tokens,
    trouble::Answer,
};
use crate::{fault::Fault, record::Lane};

/// How long the event thread waits for an event before it looks at what the workers ask of it.
const TICK: Duration = Duration::from_millis(50);
/// How long it waits before it tries again to place lanes.
const RETRY: Duration = Duration::from_secs(1);

/// Answers librdkafka's callbacks, on the event thread.
pub(super) struct Context {
    tokens: Tokens,
    assignments: Arc<dyn Assignments>,
    shared: Arc<Shared>,
    /// Lanes that are ours and have no place yet, and since when.
    unplaced: Mutex<(Vec<Lane>, Instant)>,
    /// The last error that was told, so that it is told once.
    told: Mutex<Option<RDKafkaErrorCode>>,
}

impl Context {
    pub(super) fn new(
        tokens: Tokens,
        assignments: Arc<dyn Assignments>,
        shared: Arc<Shared>,
    ) -> Self {
        let unplaced = Mutex::new((Vec::new(), Instant::now()));
        Self { tokens, assignments, shared, unplaced, told: Mutex::default() }
    }

    /// Takes over the lanes that are ours and have no place. librdkafka waits for an answer also if there are none.
    fn place(&self, consumer: &Consumer) {
        let lanes = mem::take(&mut self.unplaced().0);
        let offsets = Offsets::new(consumer);
        let placed = if lanes.is_empty() {
            Ok(Vec::new())
        } else {
            self.assignments.assign(offsets, &lanes)
        };
        let placed = placed.unwrap_or_else(|fault| {
            if fault.retry {
                *self.unplaced() = (lanes, Instant::now());
            }
            self.assignments.failed(None, fault);
            Vec::new()
        });
        let assigned = self.shared.change(|table, queues| {
            for placed in &placed {
                forward(consumer, &placed.lane, None)?;
            }
            let starts = list(placed.iter().map(|placed| (&placed.lane, Some(placed.start))))?;
            consumer
                .incremental_assign(&starts)
                .map_err(|error| refused("take lanes over", error))?;
            attach(consumer, table, queues, &placed)
        });
        if let Err(fault) = assigned {
            self.assignments.failed(None, fault);
        }
    }

    /// Tries again to place lanes, if it is time.
    fn place_again(&self, consumer: &Consumer) {
        let due = {
            let unplaced = self.unplaced();
            !unplaced.0.is_empty() && unplaced.1.elapsed() >= RETRY
        };
        if due {
            self.place(consumer);
        }
    }

    fn revoke(&self, consumer: &Consumer, lanes: &[Lane]) {
        self.unplaced().0.retain(|lane| !lanes.contains(lane));
        match lanes {
            [] => {}
            lanes if consumer.assignment_lost() => self.assignments.lost(lanes),
            lanes => self.assignments.revoke(lanes),
        }
        let revoked = self.shared.change(|table, _| {
            let read = lanes.iter().filter(|lane| table.contains(lane));
            let read = list(read.map(|lane| (lane, None)))?;
            for lane in lanes {
                table.remove(lane);
            }
            consumer.incremental_unassign(&read).map_err(|error| refused("give lanes back", error))
        });
        if let Err(fault) = revoked {
            self.assignments.failed(None, fault);
        }
    }

    /// Reads lanes again from other positions. Those that were revoked since, or assigned anew, stay as they are.
    fn rewind(&self, consumer: &Consumer) {
        let rewinds = self.shared.take_rewinds();
        if rewinds.is_empty() {
            return;
        }
        let rewound = self.shared.change(|table, queues| {
            let current = rewinds
                .into_iter()
                .filter(|rewind| table.is_current(&rewind.placed.lane, rewind.replaces));
            let placed: Vec<_> = current.map(|rewind| rewind.placed).collect();
            if placed.is_empty() {
                return Ok(());
            }
            let starts = list(placed.iter().map(|placed| (&placed.lane, Some(placed.start))))?;
            consumer
                .incremental_unassign(&starts)
                .and_then(|()| consumer.incremental_assign(&starts))
                .map_err(|error| refused("rewind lanes", error))?;
            attach(consumer, table, queues, &placed)
        });
        if let Err(fault) = rewound {
            self.assignments.failed(None, fault);
        }
    }

    fn unplaced(&self) -> MutexGuard<'_, (Vec<Lane>, Instant)> {
        self.unplaced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn told(&self) -> MutexGuard<'_, Option<RDKafkaErrorCode>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells why lanes cannot be read.
    fn explain(&self, consumer: &Consumer) {
        for trouble in self.shared.take_troubles() {
            let lane = &trouble.lane.lane;
            let current = self.shared.lanes().get(&lane.topic, lane.partition).map(Arc::clone);
            if !current.is_some_and(|current| Arc::ptr_eq(&current, &trouble.lane)) {
                continue;
            }
            match trouble.fault(Offsets::new(consumer)) {
                Answer::Fault(fault) => self.assignments.failed(Some(lane), fault),
                Answer::Later => self.shared.report(trouble),
                Answer::Passes => {}
            }
        }
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").finish_non_exhaustive()
    }
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        Ok(self.tokens.next()?)
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        log(level, facility, text);
    }

    /// Errors of the client as a whole: brokers that are down come back, other errors need a person.
    fn error(&self, error: KafkaError, reason: &str) {
        let reason = sentence(reason);
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            // Told every ten seconds for as long as it lasts.
            return self
                .assignments
                .failed(None, Fault::outside(format!("read from Kafka: {reason}")));
        }
        tracing::warn!("Kafka: {reason}");
        let Some(code) = error.rdkafka_error_code().filter(|code| advice(*code).is_some()) else {
            return;
        };
        let before = self.told().replace(code);
        if before != Some(code) {
            self.assignments.failed(None, fault(format!("read from Kafka: {reason}"), error));
        }
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &Consumer, error: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let lanes: Vec<_> =
            list.elements().iter().map(|lane| Lane::new(lane.topic(), lane.partition())).collect();
        if error == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            *self.told() = None;
            self.unplaced().0.extend(lanes);
            self.place(consumer);
            self.assignments.joined();
        } else {
            self.revoke(consumer, &lanes);
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::debug!(%error, "the group's offsets were not written; lag tools are behind until the next commit");
        }
    }
}

/// Polls the client until the source stops, and leaves the group.
pub(super) fn run(consumer: &Consumer, shared: &Shared) {
    let context = consumer.context();
    while !shared.is_stopping() {
        poll(consumer, TICK);
        context.place_again(consumer);
        context.rewind(consumer);
        context.explain(consumer);
    }
    // After a fatal error there is no group to leave.
    if consumer.close_queue().is_ok() {
        while !consumer.closed() {
            poll(consumer, TICK);
        }
    }
    shared.set_queues(Vec::new());
}

fn poll(consumer: &Consumer, wait: Duration) {
    let failed = |fault| consumer.context().assignments.failed(None, fault);
    match consumer.poll(wait) {
        None => {}
        Some(Ok(_)) => {
            failed(Fault::bug("a record came to the event thread, so its worker never got it"))
        }
        Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
            let text =
                consumer.client().fatal_error().map_or_else(|| code.to_string(), |(_, text)| text);
            failed(
                fault(
                    format!("stay in the consumer group: {}", sentence(&text)),
                    KafkaError::Global(code),
                )
                .permanent(),
            );
        }
        // The callback for errors had it.
        Some(Err(_)) => {}
    }
}

/// Forwards lanes, after they were assigned, into their workers' queues.
fn attach(
    consumer: &Consumer,
    table: &mut Lanes,
    queues: &[Arc<Queue>],
    placed: &[Placed],
) -> Result<(), Fault> {
    for placed in placed {
        let queue = queues.get(placed.worker).ok_or_else(|| {
            Fault::bug(format!(
                "lane {} was given to worker {} of {}",
                placed.lane,
                placed.worker,
                queues.len()
            ))
        })?;
        table.insert(placed);
        forward(consumer, &placed.lane, Some(queue))?;
    }
    Ok(())
}

fn list<'a>(
    lanes: impl Iterator<Item = (&'a Lane, Option<i64>)>,
) -> Result<TopicPartitionList, Fault> {
    let mut list = TopicPartitionList::new();
    for (lane, start) in lanes {
        let start = start.map_or(Offset::Invalid, Offset::Offset);
        list.add_partition_offset(&lane.topic, lane.partition, start).map_err(|error| {
            Fault::bug(format!("lane {lane} cannot start at {start:?}")).caused_by(error)
        })?;
    }
    Ok(list)
}

fn refused(what: &str, error: KafkaError) -> Fault {
    Fault::bug(format!("{what} in the consumer group")).caused_by(error)
}

//! The event thread: rebalances, rewinds, errors.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rdkafka::{
    ClientContext, Offset, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{Consumer as _, ConsumerContext, RebalanceProtocol},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    types::RDKafkaRespErr,
};

use super::{
    client::{advice, fault, log, sentence},
    lanes::Lanes,
    offsets::Offsets,
    queue::{Consumer, Queue, forward},
    source::{Assignments, Placed},
    trouble::{Answer, Trouble},
};
use crate::{fault::Fault, record::Lane};

/// How long the event thread waits for an event before it looks at what the workers ask of it.
const TICK: Duration = Duration::from_millis(50);

/// What the event thread shares with the source and its workers.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Written by the event thread alone.
    lanes: RwLock<Arc<Lanes>>,
    /// The workers' queues. They keep the client alive, which keeps this alive: the event thread empties it in the end.
    queues: Mutex<Vec<Arc<Queue>>>,
    rewinds: Mutex<HashMap<Lane, Placed>>,
    troubles: Mutex<HashMap<Lane, Trouble>>,
    stop: AtomicBool,
}

impl Shared {
    pub(super) fn set_queues(&self, queues: Vec<Arc<Queue>>) {
        *self.queues() = queues;
    }

    /// The lanes as they stand; they do not change before the guard is dropped.
    pub(super) fn lanes(&self) -> RwLockReadGuard<'_, Arc<Lanes>> {
        self.lanes.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn rewind(&self, lanes: Vec<Placed>) {
        let mut rewinds = self.rewinds.lock().unwrap_or_else(PoisonError::into_inner);
        rewinds.extend(lanes.into_iter().map(|placed| (placed.lane.clone(), placed)));
    }

    pub(super) fn report(&self, trouble: Trouble) {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        troubles.insert(trouble.lane.lane.clone(), trouble);
    }

    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    fn queues(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Queue>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the assignment while no worker takes records.
    fn change<R>(&self, change: impl FnOnce(&mut Lanes, &[Arc<Queue>]) -> R) -> R {
        let queues = self.queues();
        for queue in &*queues {
            queue.wake();
        }
        let mut current = self.lanes.write().unwrap_or_else(PoisonError::into_inner);
        let mut lanes = Lanes::clone(&current);
        let result = change(&mut lanes, &queues);
        *current = Arc::new(lanes);
        result
    }
}

/// Answers librdkafka's callbacks, on the event thread.
pub(super) struct Context {
    assignments: Arc<dyn Assignments>,
    shared: Arc<Shared>,
    /// The last error that was told, so that it is told once.
    told: Mutex<Option<RDKafkaErrorCode>>,
}

impl Context {
    pub(super) fn new(assignments: Arc<dyn Assignments>, shared: Arc<Shared>) -> Self {
        Self { assignments, shared, told: Mutex::default() }
    }

    fn assign(&self, consumer: &Consumer, lanes: &[Lane]) {
        let placed = if lanes.is_empty() {
            Ok(Vec::new())
        } else {
            self.assignments.assign(Offsets::new(consumer), lanes)
        };
        let placed = placed.unwrap_or_else(|fault| {
            self.assignments.failed(None, fault);
            Vec::new()
        });
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let eager = is_eager(consumer);
        let assigned = self.shared.change(|table, queues| {
            for placed in &placed {
                forward(consumer, &placed.lane, None)?;
            }
            let list = list(placed.iter().map(|placed| (&placed.lane, Some(placed.start))))?;
            if eager {
                table.clear();
                consumer.assign(&list)
            } else {
                consumer.incremental_assign(&list)
            }
            .map_err(|error| refused("take lanes over", error))?;
            attach(consumer, table, queues, &placed)
        });
        if let Err(fault) = assigned {
            self.assignments.failed(None, fault);
        }
    }

    fn revoke(&self, consumer: &Consumer, lanes: &[Lane]) {
        let (lost, eager) = (consumer.assignment_lost(), is_eager(consumer));
        match lanes {
            [] => {}
            lanes if lost => self.assignments.lost(lanes),
            lanes => self.assignments.revoke(lanes),
        }
        let revoked = self.shared.change(|table, _| {
            let held =
                list(lanes.iter().filter(|lane| table.contains(lane)).map(|lane| (lane, None)))?;
            if eager {
                table.clear();
                consumer.unassign()
            } else {
                for lane in lanes {
                    table.remove(lane);
                }
                consumer.incremental_unassign(&held)
            }
            .map_err(|error| refused("give lanes back", error))
        });
        if let Err(fault) = revoked {
            self.assignments.failed(None, fault);
        }
    }

    /// Reads lanes again from other positions. Those that were revoked since, or assigned anew, stay as they are.
    fn rewind(&self, consumer: &Consumer) {
        let rewinds = std::mem::take(
            &mut *self.shared.rewinds.lock().unwrap_or_else(PoisonError::into_inner),
        );
        if rewinds.is_empty() {
            return;
        }
        let rewound = self.shared.change(|table, queues| {
            let placed: Vec<_> =
                rewinds.into_values().filter(|placed| table.is_newer(placed)).collect();
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

    /// Tells why lanes cannot be read.
    fn explain(&self, consumer: &Consumer) {
        let troubles = std::mem::take(
            &mut *self.shared.troubles.lock().unwrap_or_else(PoisonError::into_inner),
        );
        for (lane, trouble) in troubles {
            let current = self.shared.lanes().get(&lane.topic, lane.partition).map(Arc::clone);
            if !current.is_some_and(|current| Arc::ptr_eq(&current, &trouble.lane)) {
                continue;
            }
            match trouble.fault(Offsets::new(consumer)) {
                Answer::Fault(fault) => self.assignments.failed(Some(&lane), fault),
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
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        log(level, facility, text);
    }

    /// Errors of the client as a whole: a broker that is down comes back, other errors need a person.
    fn error(&self, error: KafkaError, reason: &str) {
        let reason = sentence(reason);
        tracing::warn!("Kafka: {reason}");
        let Some(code) = error.rdkafka_error_code().filter(|code| advice(*code).is_some()) else {
            return;
        };
        let before = self.told.lock().unwrap_or_else(PoisonError::into_inner).replace(code);
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
            self.assign(consumer, &lanes);
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
    while !shared.stop.load(Ordering::Acquire) {
        poll(consumer, TICK);
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

fn is_eager(consumer: &Consumer) -> bool {
    matches!(consumer.rebalance_protocol(), RebalanceProtocol::Eager)
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

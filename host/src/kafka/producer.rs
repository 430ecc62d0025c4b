//! Produces a load of records, each stored once.

use std::{
    error::Error,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, Message as _,
    client::OAuthToken,
    config::{FromClientConfigAndContext as _, RDKafkaLogLevel},
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext},
};

use super::{
    client::{self, fault, unmade},
    token::Tokens,
};
use crate::{config::Kafka, fault::Fault};

/// Records that are sent and not acknowledged.
const IN_FLIGHT: u64 = 100_000;
/// Records between two looks at what was acknowledged.
const BURST: u64 = 1_000;
/// How long it waits, after it was stopped, for what is in flight.
const PATIENCE: Duration = Duration::from_secs(10);

/// Makes the records, and hears of those that are stored.
pub trait Load {
    /// Writes record `index` (from 0) into two empty buffers. An empty key is no key.
    fn make(&mut self, index: u64, key: &mut Vec<u8>, value: &mut Vec<u8>);

    /// Whether record `index` may be sent now; asked again soon if not.
    fn may_send(&mut self, _index: u64) -> bool {
        true
    }

    /// A record is stored, on all replicas in sync. Acks of one partition come in order.
    fn acked(&mut self, ack: Ack);
}

/// Where a record is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Which record.
    pub index: u64,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
}

/// How many records, how fast.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    /// Records a second; as fast as possible if not given.
    pub rate: Option<u64>,
    /// Records in all; until it is stopped if not given.
    pub total: Option<u64>,
}

/// What was produced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Produced {
    /// Records that were sent.
    pub sent: u64,
    /// Records that are stored.
    pub acked: u64,
}

/// Produces records to a topic until they are all stored, or until `stop`. Retries never store a record twice. Blocks.
///
/// # Errors
/// The settings are wrong, or a record was not stored within `message.timeout.ms`. After `stop`, records that are not
/// acknowledged within 10 s are no error.
pub fn produce(
    kafka: &Kafka,
    topic: &str,
    pace: Pace,
    stop: &AtomicBool,
    load: &mut impl Load,
) -> Result<Produced, Fault> {
    let mut config = client::config(kafka)?;
    config.set("acks", "all").set("enable.idempotence", "true");
    // As Kafka's own clients choose partitions; and batches worth their overhead.
    client::default(&mut config, &["partitioner"], "murmur2_random");
    client::default(&mut config, &["linger.ms", "queue.buffering.max.ms"], "10");
    client::default(&mut config, &["queue.buffering.max.messages"], "200000");
    let deliveries = Deliveries { tokens: Tokens::of(kafka), done: Mutex::default() };
    let producer =
        BaseProducer::<Deliveries>::from_config_and_context(&config, deliveries).map_err(unmade)?;
    producer.context().tokens.give(producer.client())?;

    let started = Instant::now();
    let mut stopped = None;
    let mut done = Produced { sent: 0, acked: 0 };
    let (mut key, mut value, mut made) = (Vec::new(), Vec::new(), false);
    loop {
        if stop.load(Ordering::Acquire) && stopped.is_none() {
            stopped = Some(Instant::now());
        }
        let due = match (stopped, pace.rate) {
            (Some(_), _) => done.sent,
            (None, None) => u64::MAX,
            (None, Some(rate)) => due(rate, started.elapsed()),
        };
        let end = due
            .min(pace.total.unwrap_or(u64::MAX))
            .min(done.acked + IN_FLIGHT)
            .min(done.sent + BURST);
        let before = done.sent;
        while done.sent < end && load.may_send(done.sent) {
            if !made {
                key.clear();
                value.clear();
                load.make(done.sent, &mut key, &mut value);
                made = true;
            }
            let index = usize::try_from(done.sent).expect("usize has 64 bits");
            let mut record = BaseRecord::with_opaque_to(topic, index).payload(&value);
            if !key.is_empty() {
                record = record.key(&key);
            }
            match producer.send::<Vec<u8>, Vec<u8>>(record) {
                Ok(()) => (),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => break,
                Err((error, _)) => {
                    return Err(fault(format!("send a record to topic {topic}"), error));
                }
            }
            made = false;
            done.sent += 1;
        }
        producer.poll(if done.sent > before { Duration::ZERO } else { Duration::from_millis(2) });
        for delivery in producer.context().take() {
            load.acked(
                delivery
                    .map_err(|error| fault(format!("store a record in topic {topic}"), error))?,
            );
            done.acked += 1;
        }
        let all_sent = stopped.is_some() || pace.total.is_some_and(|total| done.sent >= total);
        let patient = stopped.is_none_or(|since| since.elapsed() < PATIENCE);
        if all_sent && (done.acked == done.sent || !patient) {
            return Ok(done);
        }
    }
}

/// How many records a rate has sent after a while.
fn due(rate: u64, elapsed: Duration) -> u64 {
    u64::try_from(u128::from(rate) * elapsed.as_micros() / 1_000_000).unwrap_or(u64::MAX)
}

/// What the producer's client is told and asked.
struct Deliveries {
    tokens: Tokens,
    /// What became of the records since the last look.
    done: Mutex<Vec<Result<Ack, KafkaError>>>,
}

impl Deliveries {
    fn take(&self) -> Vec<Result<Ack, KafkaError>> {
        std::mem::take(&mut *self.done.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ClientContext for Deliveries {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        Ok(self.tokens.next()?)
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        client::log(level, facility, text);
    }

    fn error(&self, _: KafkaError, reason: &str) {
        client::warn(reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, index: usize) {
        let ack = match result {
            Ok(record) => Ok(Ack {
                index: index as u64,
                partition: record.partition(),
                offset: record.offset(),
            }),
            Err((error, _)) => Err(error.clone()),
        };
        self.done.lock().unwrap_or_else(PoisonError::into_inner).push(ack);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_kept_over_time() {
        assert_eq!(due(1_000, Duration::ZERO), 0);
        assert_eq!(due(1_000, Duration::from_millis(1_500)), 1_500);
        assert_eq!(due(u64::MAX, Duration::from_secs(3)), u64::MAX);
    }
}

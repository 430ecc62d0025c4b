//! Topics.

use std::{sync::Mutex, time::Duration};

use futures::executor::block_on;
use rdkafka::{
    ClientContext,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    config::{FromClientConfigAndContext as _, RDKafkaLogLevel},
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
    error::{KafkaError, RDKafkaErrorCode},
};

use super::{
    client::{self, fault, log, sentence, unmade},
    offsets::ANSWER,
    token::Tokens,
};
use crate::{
    config::Kafka,
    fault::Fault,
    record::{Lane, OffsetRange},
};

/// What to check when no broker could be talked to.
const UNREACHABLE: &str = "check that `kafka.brokers` is right and can be reached from here, and that `kafka.security`, `kafka.ca_file`, `kafka.cert_file` and `kafka.sasl` are what the listener needs";

/// How many of the latest events may say why no broker answered.
const EVENTS: usize = 20;

/// How many partitions a topic has; `None` if there is no such topic.
///
/// # Errors
/// The settings are wrong, the brokers do not answer within 10 s, or do not allow it.
pub fn partitions(kafka: &Kafka, topic: &str) -> Result<Option<usize>, Fault> {
    // A consumer, since an admin client never hears why a connection failed.
    let client: BaseConsumer<Heard> =
        BaseConsumer::from_config_and_context(&client::config(kafka)?, Heard::default())
            .map_err(unmade)?;
    Tokens::of(kafka).give(client.client())?;
    let failed = || format!("ask {} for the partitions of topic {topic}", kafka.brokers.join(", "));
    let metadata = client.fetch_metadata(Some(topic), ANSWER).map_err(|error| {
        // Each hands over something that happened meanwhile; there are no records.
        for _ in 0..EVENTS {
            drop(client.poll(Duration::from_millis(10)));
        }
        let fault = match client.context().failure() {
            Some(reason) => Fault::outside(failed()).caused_by(reason),
            None => fault(failed(), error),
        };
        if fault.help.is_some() { fault } else { fault.help(UNREACHABLE) }
    })?;
    let Some(found) = metadata.topics().first() else { return Ok(None) };
    match found.error().map(RDKafkaErrorCode::from) {
        None => Ok(Some(found.partitions().len())),
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
            Ok(None)
        }
        Some(code) => Err(fault(failed(), KafkaError::MetadataFetch(code))),
    }
}

/// The offsets that lanes hold: from the low to the high watermark; `None` for a lane that is not there. Blocks.
///
/// # Errors
/// The settings are wrong, the brokers do not answer within 10 s, or do not allow it.
pub fn watermarks(kafka: &Kafka, lanes: &[Lane]) -> Result<Vec<Option<OffsetRange>>, Fault> {
    let client: BaseConsumer<Heard> =
        BaseConsumer::from_config_and_context(&client::config(kafka)?, Heard::default())
            .map_err(unmade)?;
    Tokens::of(kafka).give(client.client())?;
    let of = |lane: &Lane| match client.fetch_watermarks(&lane.topic, lane.partition, ANSWER) {
        Ok((start, end)) => Ok(Some(OffsetRange { start, end })),
        Err(error) if is_unknown(error.rdkafka_error_code()) => Ok(None),
        Err(error) => {
            Err(fault(format!("ask for the watermarks of {lane}"), error).help(UNREACHABLE))
        }
    };
    lanes.iter().map(of).collect()
}

/// How many members a group has.
///
/// # Errors
/// The settings are wrong, the brokers do not answer within 10 s, or do not allow it.
pub fn members(kafka: &Kafka, group: &str) -> Result<usize, Fault> {
    let client: BaseConsumer<Heard> =
        BaseConsumer::from_config_and_context(&client::config(kafka)?, Heard::default())
            .map_err(unmade)?;
    Tokens::of(kafka).give(client.client())?;
    let groups = client.fetch_group_list(Some(group), ANSWER).map_err(|error| {
        fault(format!("ask for the members of group {group}"), error).help(UNREACHABLE)
    })?;
    Ok(groups.groups().iter().map(|group| group.members().len()).sum())
}

fn is_unknown(code: Option<RDKafkaErrorCode>) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition)
    )
}

/// Creates a topic with the cluster's usual replication, unless it exists. Gives the number of its partitions.
///
/// # Errors
/// The settings are wrong, the brokers do not answer within 10 s, or refuse.
pub fn create_topic(kafka: &Kafka, topic: &str, partitions: usize) -> Result<usize, Fault> {
    if let Some(partitions) = self::partitions(kafka, topic)? {
        return Ok(partitions);
    }
    let admin: AdminClient<Logged> =
        AdminClient::from_config_and_context(&client::config(kafka)?, Logged).map_err(unmade)?;
    Tokens::of(kafka).give(admin.inner())?;
    let wanted = i32::try_from(partitions)
        .map_err(|_| Fault::config(format!("{partitions} partitions are too many")))?;
    // -1: what the cluster is set to.
    let new = NewTopic::new(topic, wanted, TopicReplication::Fixed(-1));
    let created =
        block_on(admin.create_topics([&new], &AdminOptions::new().operation_timeout(Some(ANSWER))));
    let failed = || format!("create topic {topic}");
    match created.map_err(|error| fault(failed(), error))?.pop() {
        Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => {
            Ok(self::partitions(kafka, topic)?.unwrap_or(partitions))
        }
        Some(Err((_, code))) => Err(fault(failed(), KafkaError::AdminOp(code))),
        _ => Ok(partitions),
    }
}

/// A client's log in ours.
#[derive(Clone, Copy, Debug)]
struct Logged;

impl ClientContext for Logged {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        log(level, facility, text);
    }
}

/// Keeps why a connection failed: the error of a question says only that it did.
#[derive(Debug, Default)]
struct Heard(Mutex<Option<String>>);

impl Heard {
    fn failure(&self) -> Option<String> {
        self.0.lock().expect("nothing panics while it holds this lock").clone()
    }

    fn keep(&self, reason: &str) {
        *self.0.lock().expect("nothing panics while it holds this lock") = Some(sentence(reason));
    }
}

impl ClientContext for Heard {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        match (facility, text.split_once("]: ")) {
            // Behind the thread's name stand the broker and the reason.
            ("FAIL", Some((_, reason))) => self.keep(reason),
            _ => log(level, facility, text),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // That all brokers are down follows from what was heard before.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            self.keep(reason);
        }
    }
}

impl ConsumerContext for Heard {}

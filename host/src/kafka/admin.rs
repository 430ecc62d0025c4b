//! Topics.

use futures::executor::block_on;
use rdkafka::{
    ClientConfig, ClientContext,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::Client,
    config::{FromClientConfigAndContext as _, RDKafkaLogLevel},
    error::{KafkaError, RDKafkaErrorCode},
};

use super::{
    client::{self, fault, log, sentence, unmade},
    offsets::ANSWER,
};
use crate::{config::Kafka, fault::Fault};

/// How many partitions a topic has; `None` if there is no such topic.
///
/// # Errors
/// The settings are wrong, the brokers do not answer within 10 s, or do not allow it.
pub fn partitions(kafka: &Kafka, topic: &str) -> Result<Option<usize>, Fault> {
    count(admin(kafka)?.inner(), topic)
}

/// Creates a topic with the cluster's usual replication, unless it exists. Gives the number of its partitions.
///
/// # Errors
/// The settings are wrong, the brokers do not answer within 10 s, or refuse.
pub fn create_topic(kafka: &Kafka, topic: &str, partitions: usize) -> Result<usize, Fault> {
    let admin = admin(kafka)?;
    if let Some(partitions) = count(admin.inner(), topic)? {
        return Ok(partitions);
    }
    let wanted = i32::try_from(partitions)
        .map_err(|_| Fault::config(format!("{partitions} partitions are too many")))?;
    // -1: what the cluster is set to.
    let new = NewTopic::new(topic, wanted, TopicReplication::Fixed(-1));
    let created =
        block_on(admin.create_topics([&new], &AdminOptions::new().operation_timeout(Some(ANSWER))));
    let failed = || format!("create topic {topic}");
    match created.map_err(|error| fault(failed(), error))?.pop() {
        Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => {
            Ok(count(admin.inner(), topic)?.unwrap_or(partitions))
        }
        Some(Err((_, code))) => Err(fault(failed(), KafkaError::AdminOp(code))),
        _ => Ok(partitions),
    }
}

/// A client's log and errors in ours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Logged;

impl ClientContext for Logged {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        log(level, facility, text);
    }

    fn error(&self, _: KafkaError, reason: &str) {
        tracing::warn!("Kafka: {}", sentence(reason));
    }
}

fn admin(kafka: &Kafka) -> Result<AdminClient<Logged>, Fault> {
    let config: ClientConfig = client::config(kafka)?;
    AdminClient::from_config_and_context(&config, Logged).map_err(unmade)
}

fn count(client: &Client<Logged>, topic: &str) -> Result<Option<usize>, Fault> {
    let failed = || format!("ask for the partitions of topic {topic}");
    let metadata =
        client.fetch_metadata(Some(topic), ANSWER).map_err(|error| fault(failed(), error))?;
    let Some(found) = metadata.topics().first() else { return Ok(None) };
    match found.error().map(RDKafkaErrorCode::from) {
        None => Ok(Some(found.partitions().len())),
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
            Ok(None)
        }
        Some(code) => Err(fault(failed(), KafkaError::MetadataFetch(code))),
    }
}

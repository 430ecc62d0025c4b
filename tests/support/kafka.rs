//! Topics and records on the shared broker.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer},
};

use crate::{eventually, setting};

/// `host:port` of the shared broker.
pub fn brokers() -> String {
    setting("TIDEMILL_TEST_BROKERS")
}

/// The settings of a host that reads the shared broker by TLS.
pub fn by_tls(ca_file: &str) -> String {
    let brokers = setting("TIDEMILL_TEST_TLS_BROKERS");
    format!("brokers = [\"{brokers}\"]\nsecurity = \"tls\"\nca_file = \"{ca_file}\"\n")
}

/// The authority that signed the certificate of the shared broker.
pub fn ca_file() -> String {
    setting("TIDEMILL_TEST_CA_FILE")
}

/// A listener of the shared broker that wants to know who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// By TLS, with a certificate of the client.
    Mutual,
    /// By TLS, with a password.
    Sasl,
    /// Without TLS, with a token that nobody signed.
    Token,
    /// By TLS, as to MSK.
    Iam,
}

impl Listener {
    /// Its `host:port`.
    ///
    /// # Panics
    /// When the setting names fewer listeners.
    pub fn brokers(self) -> String {
        let ports = setting("TIDEMILL_TEST_KNOWN_PORTS");
        let port = ports.split(',').nth(self as usize).expect("each listener has a port");
        format!("127.0.0.1:{port}")
    }
}

/// A file in the folder of the shared broker: keys, certificates, notes.
pub fn file(name: &str) -> PathBuf {
    PathBuf::from(setting("TIDEMILL_TEST_KAFKA_FOLDER")).join(name)
}

/// A record to produce.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// The partition.
    pub partition: i32,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Headers.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Record {
    /// A record without key and headers.
    pub fn of(partition: i32, value: impl Into<Vec<u8>>) -> Self {
        Self { partition, value: Some(value.into()), ..Self::default() }
    }
}

/// Creates a topic.
///
/// # Panics
/// When the broker refuses.
pub fn create_topic(topic: &str, partitions: i32, options: &[(&str, &str)]) {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", brokers())
        .create()
        .expect("an admin client needs a broker's address alone");
    let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    let new = options.iter().fold(new, |new, (name, value)| new.set(name, value));
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime needs no more than a thread");
    let created =
        runtime.block_on(admin.create_topics([&new], &options)).expect("the broker answers");
    created[0].as_ref().unwrap_or_else(|error| panic!("create {topic}: {error:?}"));
}

/// Produces records and waits until the broker has them all.
///
/// # Panics
/// When the broker does not take them within a minute.
pub fn produce(topic: &str, records: impl IntoIterator<Item = Record>, options: &[(&str, &str)]) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers()).set("acks", "all").set("linger.ms", "20");
    config.set("queue.buffering.max.messages", "1000000").set("message.max.bytes", "20000000");
    for (name, value) in options {
        config.set(*name, *value);
    }
    let producer: BaseProducer = config.create().expect("the options are librdkafka's");
    for record in records {
        let headers = record.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: value.as_ref() })
        });
        let mut message = BaseRecord::<[u8], [u8]>::to(topic).partition(record.partition);
        if let Some(key) = &record.key {
            message = message.key(key);
        }
        if let Some(value) = &record.value {
            message = message.payload(value);
        }
        if !record.headers.is_empty() {
            message = message.headers(headers);
        }
        producer.send(message).unwrap_or_else(|(error, _)| panic!("produce to {topic}: {error}"));
        producer.poll(Duration::ZERO);
    }
    producer.flush(Duration::from_secs(60)).expect("the broker takes the records within a minute");
}

/// The offsets that a group has committed, by partition; 0 where there is none.
///
/// # Panics
/// When the broker does not answer.
pub fn committed(group: &str, topic: &str, partitions: i32) -> Vec<i64> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers())
        .set("group.id", group)
        .create()
        .expect("the options are librdkafka's");
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition(topic, partition);
    }
    let list =
        consumer.committed_offsets(list, Duration::from_secs(20)).expect("the broker answers");
    let offset =
        |partition| list.find_partition(topic, partition).and_then(|found| found.offset().to_raw());
    (0..partitions).map(|partition| offset(partition).unwrap_or_default().max(0)).collect()
}

/// Another member of a group, of somebody else's making: it owns partitions and reads nothing.
#[derive(Debug)]
pub struct Member {
    leave: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Member {
    /// Joins, and waits until it owns partitions.
    ///
    /// # Panics
    /// When it gets none within half a minute.
    pub fn join(group: &str, topic: &str) -> Self {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", brokers())
            .set("group.id", group)
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("enable.auto.commit", "false")
            .create()
            .expect("the options are librdkafka's");
        consumer.subscribe(&[topic]).expect("the topic has a valid name");
        let (leave, owns) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let thread = thread::spawn({
            let (leave, owns) = (Arc::clone(&leave), Arc::clone(&owns));
            move || {
                while !leave.load(Ordering::Relaxed) {
                    // What it reads is the host's to write.
                    drop(consumer.poll(Duration::from_millis(50)));
                    if consumer.assignment().is_ok_and(|assignment| assignment.count() > 0) {
                        owns.store(true, Ordering::Relaxed);
                    }
                }
            }
        });
        eventually("the member owns partitions", 30, || owns.load(Ordering::Relaxed).then_some(()));
        Self { leave, thread: Some(thread) }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.leave.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("a member only polls");
        }
    }
}

/// How many members a group has.
///
/// # Panics
/// When the broker does not answer.
pub fn members(group: &str) -> usize {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers())
        .create()
        .expect("a consumer needs a broker's address alone");
    let groups = consumer.fetch_group_list(Some(group), Duration::from_secs(20));
    let groups = groups.expect("the broker answers");
    groups.groups().iter().map(|group| group.members().len()).sum()
}

/// Deletes the records of a partition below an offset, as retention does.
///
/// # Panics
/// When the broker refuses.
pub fn delete_records(topic: &str, partition: i32, before: i64) {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", brokers())
        .create()
        .expect("an admin client needs a broker's address alone");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(before))
        .expect("an offset is not negative");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime needs no more than a thread");
    runtime
        .block_on(admin.delete_records(&list, &AdminOptions::new()))
        .expect("the broker deletes records");
}

/// Deletes a topic, and waits until it is gone.
///
/// # Panics
/// When the broker refuses, or takes too long.
pub fn delete_topic(topic: &str) {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", brokers())
        .create()
        .expect("an admin client needs a broker's address alone");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime needs no more than a thread");
    let deleted = runtime.block_on(admin.delete_topics(&[topic], &AdminOptions::new()));
    assert!(deleted.expect("the broker answers").iter().all(Result::is_ok), "it deletes {topic}");
    eventually("the topic is gone", 20, || {
        let metadata = admin.inner().fetch_metadata(Some(topic), Duration::from_secs(5)).ok()?;
        metadata.topics().iter().all(|found| found.error().is_some()).then_some(())
    });
}

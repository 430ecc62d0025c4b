//! What a record holds, as it was written.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig,
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer as _},
};

use super::desk::{DEADLINE, Desk, cluster, source, topic};
use crate::{
    config::Kafka,
    kafka::{Assignments, Source},
    record::{Batch, Lane},
};

fn producer(kafka: &Kafka, options: &[(&str, &str)]) -> BaseProducer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka.brokers.join(","));
    for (key, value) in options {
        config.set(*key, *value);
    }
    config.create().unwrap()
}

/// Reads the records of one lane from its start.
fn read_all(kafka: &Kafka, topic: &str, records: usize, max_bytes: usize) -> Vec<Batch> {
    let desk = Desk::new(1);
    let assignments: Arc<dyn Assignments> = Arc::clone(&desk) as _;
    let (source, mut queues) =
        Source::start(kafka, &source(topic), 1, assignments, 8 << 20).unwrap();
    let mut batches = Vec::new();
    let deadline = Instant::now() + DEADLINE;
    while batches.iter().map(Batch::len).sum::<usize>() < records {
        assert!(Instant::now() < deadline, "only {batches:?} came");
        batches.extend(queues[0].fetch(Duration::from_millis(100), 1_000, max_bytes).unwrap());
    }
    source.stop();
    batches
}

#[test]
fn headers_nulls_and_times_are_kept_and_batches_stay_small() {
    let kafka = cluster();
    let topic = topic(&kafka, 1);
    let writer = producer(&kafka, &[]);
    let big = vec![7; 5_000];
    let headers = OwnedHeaders::new()
        .insert(Header { key: "a", value: Some("1") })
        .insert(Header { key: "b", value: None::<&str> });
    let record = || BaseRecord::<[u8], [u8]>::to(&topic).partition(0);
    writer.send(record().payload(b"plain").timestamp(1_700_000_000_123)).unwrap();
    writer.send(record().key(b"k").payload(b"").headers(headers)).unwrap();
    writer.send(record().key(b"")).unwrap();
    writer.send(record().payload(&big)).unwrap();
    writer.send(record().payload(&big)).unwrap();
    writer.flush(Duration::from_secs(10)).unwrap();

    let batches = read_all(&kafka, &topic, 5, 6_000);
    let offsets: Vec<_> = batches.iter().flat_map(|batch| batch.offsets.clone()).collect();
    assert_eq!(offsets, [0, 1, 2, 3, 4]);
    assert!(batches.iter().all(|batch| batch.values.data().len() <= 6_000));
    let find = |offset: i64| {
        let batch = batches.iter().find(|batch| batch.offsets.contains(&offset)).unwrap();
        let index = batch.offsets.iter().position(|&other| other == offset).unwrap();
        (batch, index)
    };
    let (batch, index) = find(0);
    assert_eq!((batch.keys.get(index), batch.values.get(index)), (None, Some(&b"plain"[..])));
    assert_eq!(batch.timestamps[index], 1_700_000_000_123);
    assert_eq!(batch.headers.ends.get(index).copied().unwrap_or(0), 0);
    let (batch, index) = find(1);
    assert_eq!((batch.keys.get(index), batch.values.get(index)), (Some(&b"k"[..]), Some(&b""[..])));
    assert_eq!(batch.headers.ends[index], 2);
    assert_eq!(
        (batch.headers.names.get(0), batch.headers.values.get(0)),
        (Some(&b"a"[..]), Some(&b"1"[..]))
    );
    assert_eq!((batch.headers.names.get(1), batch.headers.values.get(1)), (Some(&b"b"[..]), None));
    let (batch, index) = find(2);
    assert_eq!((batch.keys.get(index), batch.values.get(index)), (Some(&b""[..]), None));
    assert_eq!(batch.headers.ends.len(), batch.len());
}

#[test]
fn every_compression_is_read_and_transactions_leave_holes() {
    let kafka = cluster();
    let topic = topic(&kafka, 1);
    let record = || BaseRecord::<[u8], [u8]>::to(&topic).partition(0);
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let writer = producer(&kafka, &[("compression.type", codec), ("linger.ms", "100")]);
        for _ in 0..100 {
            writer.send(record().payload(codec.repeat(100).as_bytes())).unwrap();
        }
        writer.flush(Duration::from_secs(10)).unwrap();
    }
    let writer = producer(&kafka, &[("transactional.id", topic.as_str())]);
    writer.init_transactions(Duration::from_secs(20)).unwrap();
    for abort in [true, false] {
        writer.begin_transaction().unwrap();
        for _ in 0..3 {
            writer.send(record().payload(if abort { b"aborted" } else { b"written" })).unwrap();
        }
        writer.flush(Duration::from_secs(10)).unwrap();
        if abort {
            writer.abort_transaction(Duration::from_secs(10)).unwrap();
        } else {
            writer.commit_transaction(Duration::from_secs(10)).unwrap();
        }
    }

    let batches = read_all(&kafka, &topic, 503, 1 << 20);
    let mut records = batches.iter().flat_map(|batch| {
        batch
            .offsets
            .iter()
            .enumerate()
            .map(|(index, &offset)| (offset, batch.values.get(index).unwrap()))
    });
    for (number, (offset, value)) in (0..).zip(records.by_ref().take(500)) {
        assert_eq!(offset, number);
        let codec =
            ["none", "gzip", "snappy", "lz4", "zstd"][usize::try_from(number / 100).unwrap()];
        assert_eq!(value, codec.repeat(100).as_bytes());
    }
    // 500 to 502 were aborted, 503 is the marker of that.
    let rest: Vec<_> = records.collect();
    assert_eq!(rest, [(504, &b"written"[..]), (505, b"written"), (506, b"written")]);
}

#[test]
fn offsets_are_found_by_time() {
    let kafka = cluster();
    let topic = topic(&kafka, 1);
    let writer = producer(&kafka, &[]);
    for time in [1_000, 2_000, 3_000] {
        writer
            .send(
                BaseRecord::<[u8], [u8]>::to(&topic)
                    .partition(0)
                    .payload(b"12345678")
                    .timestamp(1_700_000_000_000 + time),
            )
            .unwrap();
    }
    writer.flush(Duration::from_secs(10)).unwrap();
    let desk = Desk::new(1);
    let (source, _queues) = desk.join_idle(&kafka, &topic);
    let lane = Lane::new(topic.as_str(), 0);
    let at = |time: i64| {
        source.offsets().at(std::slice::from_ref(&lane), 1_700_000_000_000 + time).unwrap()[0].1
    };
    assert_eq!([at(0), at(2_000), at(2_001), at(9_000)], [0, 1, 2, 3]);
    source.stop();
}

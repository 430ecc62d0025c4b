//! The main job: 200,000 clicks with rejects, nulls and broken JSON from a real Kafka through `clean-clicks` into Parquet.

use serde_json::json;
use tidemill_tests::{
    eventually,
    host::{Site, StoreKind},
    kafka::{self, Record},
    reader, unique,
};

use crate::log;

const RECORDS: u64 = 200_000;
const COUNTRIES: [&str; 5] = ["DE", "FR", "US", "BR", "JP"];

/// What must become of a record.
#[derive(Debug, Default)]
struct Expected {
    emitted: u64,
    cents: i64,
    dropped: u64,
    rejected: u64,
    broken: u64,
}

/// Record `n` of the topic; every kind of record turns up, at a place that arithmetic tells.
fn record(n: u64, partitions: u64, expected: &mut Expected) -> Record {
    let partition = i32::try_from(n % partitions).expect("few partitions");
    let cents = i64::try_from(n % 9_973).expect("small") + 1;
    let email = match n % 50 {
        7 => json!(null),
        8 => json!("no-at-sign"),
        _ => json!(format!("User{}@Example{}.COM", n % 1000, n % 3)),
    };
    #[expect(clippy::cast_precision_loss, reason = "cents are small")]
    let amount = if n.is_multiple_of(10) { -1.5 } else { cents as f64 / 100.0 };
    let value = match n % 1000 {
        1 => b"this is {not json".to_vec(),
        2 => br#"{"ts":"2026-11-01T00:00:00Z","user":7,"email":null,"country":"DE","url":"u","amount":1,"items":1}"#.to_vec(),
        3 => b"\xff\xfe".to_vec(),
        _ => json!({
            "ts": format!("2026-11-01T{:02}:{:02}:00.{:03}Z", n % 6, n % 60, n % 1000),
            "user": format!("u{}", n % 5000),
            "email": email,
            "country": COUNTRIES[usize::try_from(n % 7 % 5).expect("small")],
            "url": format!("https://shop.example/p/{n}?q=\"ü\"\n"),
            "amount": amount,
            "items": n % 9,
            "ua": "Mozilla/5.0",
        })
        .to_string()
        .into_bytes(),
    };
    match (n % 1000, n % 10, n % 50) {
        (1..=3, _, _) => expected.broken += 1,
        (_, 0, _) => expected.dropped += 1,
        (_, _, 7 | 8) => expected.rejected += 1,
        _ => {
            expected.emitted += 1;
            expected.cents += cents;
        }
    }
    Record { key: Some(format!("u{}", n % 5000).into()), ..Record::of(partition, value) }
}

fn main_job(kind: StoreKind, partitions: u16) {
    let topic = unique("clicks");
    kafka::create_topic(&topic, i32::from(partitions), &[]);
    let mut expected = Expected::default();
    kafka::produce(
        &topic,
        (0..RECORDS).map(|n| record(n, u64::from(partitions), &mut expected)),
        &[("compression.type", "lz4")],
    );
    let site = Site::new(kind);
    site.write(
        "pipelines/clicks.yaml",
        format!(
            "name: clicks\nsource:\n  kafka:\n    topics: [{topic}]\n    group_id: {topic}\n    start: earliest\n    format: json\n\
             transforms:\n  - component: clean-clicks\n\
             outputs:\n  clean:\n    parquet:\n      kafka_columns: true\n      partition_by:\n        - dt = date(ts)\n        - country\n\
             dead_letters: {{ parquet: {{}} }}\nflush: {{ every: 3s, idle: 1s }}\n"
        ),
    );
    let host = site.run().ready();
    eventually("all records are committed", 45, || {
        (log::records(&site.store, "clicks") >= RECORDS).then_some(())
    });
    host.drain();

    let sql = "SELECT count(*), count(DISTINCT (_kafka_partition, _kafka_offset)), sum(amount_cents)::BIGINT, \
               count(*) FILTER (WHERE domain NOT IN ('example0.com', 'example1.com', 'example2.com')), \
               count(*) FILTER (WHERE amount_cents <= 0 OR \"user\" IS NULL OR dt::VARCHAR <> '2026-11-01'), \
               count(*) FILTER (WHERE url NOT LIKE 'https://shop.example/p/%?q=\"ü\"' || chr(10)), \
               count(DISTINCT country) FROM rows";
    let clean = &reader::query(&site.place, "data/clicks/clean", sql)[0];
    let clean: Vec<_> = clean.iter().map(|value| value.as_i64().expect("a number")).collect();
    let emitted = i64::try_from(expected.emitted).expect("small");
    assert_eq!(clean, [emitted, emitted, expected.cents, 0, 0, 0, 5], "{expected:?}");

    let sql = "SELECT stage, count(*), count(DISTINCT (\"partition\", \"offset\")) FROM rows GROUP BY stage ORDER BY stage";
    let letters = reader::query(&site.place, "data/clicks/dead_letters", sql);
    let (broken, rejected) = (expected.broken, expected.rejected);
    assert_eq!(
        json!(letters),
        json!([["decode", broken, broken], ["transform", rejected, rejected]])
    );

    let counts = |name: &str| -> u64 {
        let manifests = log::manifests(&site.store, "clicks");
        let lanes = manifests
            .iter()
            .flat_map(|manifest| manifest["counts"].as_array().cloned().unwrap_or_default());
        lanes.map(|counts| counts[name].as_u64().expect("a count")).sum()
    };
    assert_eq!(
        ["records", "emitted", "dropped", "rejected", "broken"].map(counts),
        [RECORDS, expected.emitted, expected.dropped, expected.rejected, expected.broken]
    );
    site.verify();
}

#[test]
fn folder_4_partitions() {
    main_job(StoreKind::Folder, 4);
}

#[test]
fn folder_64_partitions() {
    main_job(StoreKind::Folder, 64);
}

#[test]
fn s3_4_partitions() {
    main_job(StoreKind::S3, 4);
}

#[test]
fn s3_64_partitions() {
    main_job(StoreKind::S3, 64);
}

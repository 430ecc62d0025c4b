//! The main job: 200,000 clicks with rejects, nulls and broken JSON from a real Kafka through `clean-clicks` into Parquet.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
};

use serde_json::{Value, json};
use tidemill_tests::{
    eventually,
    host::{Site, StoreKind},
    kafka::{self, Record},
    reader, unique,
};

use crate::log;

const RECORDS: u64 = 200_000;
const COUNTRIES: [&str; 5] = ["DE", "FR", "US", "BR", "JP"];

/// What must become of the records, worked out without the host: a row of each file is a row that DuckDB must find.
struct Expected {
    clean: BufWriter<File>,
    letters: BufWriter<File>,
    emitted: u64,
    dropped: u64,
    rejected: u64,
    broken: u64,
}

impl Expected {
    /// Keeps the rows below a folder, one JSON object a line.
    fn new(folder: &Path) -> Self {
        let file = |name: &str| {
            BufWriter::new(File::create(folder.join(name)).expect("a file can be made"))
        };
        let (clean, letters) = (file("clean.json"), file("letters.json"));
        Self { clean, letters, emitted: 0, dropped: 0, rejected: 0, broken: 0 }
    }

    fn letter(&mut self, place: (u64, u64), value: &[u8], stage: &str, class: &str, error: &str) {
        let payload: String = value.iter().map(|byte| format!("{byte:02X}")).collect();
        let (partition, offset) = place;
        let row = json!({ "partition": partition, "offset": offset, "payload": payload, "stage": stage, "class": class, "error": error });
        writeln!(self.letters, "{row}").expect("a file can be written");
    }
}

/// Record `n` of the topic; every kind of record turns up, at a place that arithmetic tells.
fn record(n: u64, partitions: u64, expected: &mut Expected) -> Record {
    let place @ (partition, offset) = (n % partitions, n / partitions);
    let cents = i64::try_from(n % 9_973).expect("small") + 1;
    let email = match n % 50 {
        7 => json!(null),
        8 => json!("no-at-sign"),
        _ => json!(format!("User{}@Example{}.COM", n % 1000, n % 3)),
    };
    let dropped = n.is_multiple_of(10);
    #[expect(clippy::cast_precision_loss, reason = "cents are small")]
    let amount = if dropped { -1.5 } else { cents as f64 / 100.0 };
    let time = format!("2026-11-{:02}T{:02}:{:02}:00.{:03}", 1 + n % 2, n % 6, n % 60, n % 1000);
    let (user, country) =
        (format!("u{}", n % 5000), COUNTRIES[usize::try_from(n % 7 % 5).expect("small")]);
    let url = format!("https://shop.example/p/{n}?q=\"ü\"\n");
    let value = match n % 1000 {
        1 => b"this is {not json".to_vec(),
        2 => br#"{"ts":"2026-11-01T00:00:00Z","user":7,"email":null,"country":"DE","url":"u","amount":1,"items":1}"#.to_vec(),
        3 => b"{\"user\":\"\xff\xfe\"}".to_vec(),
        _ => json!({
            "ts": format!("{time}Z"), "user": user, "email": email, "country": country, "url": url,
            "amount": amount, "items": n % 9, "ua": "Mozilla/5.0",
        })
        .to_string()
        .into_bytes(),
    };
    match (n % 1000, n % 50) {
        (broken @ 1..=3, _) => {
            expected.broken += 1;
            let class =
                ["NOT_JSON", "WRONG_TYPE", "UTF8"][usize::try_from(broken).expect("small") - 1];
            expected.letter(place, &value, "decode", class, "");
        }
        _ if dropped => expected.dropped += 1,
        (_, mail @ (7 | 8)) => {
            expected.rejected += 1;
            let error = if mail == 7 { "no e-mail address" } else { "malformed e-mail address" };
            expected.letter(place, &value, "transform", "REJECTED", error);
        }
        _ => {
            expected.emitted += 1;
            let row = json!({
                "partition": partition, "offset": offset, "ts": time, "user": user,
                "domain": format!("example{}.com", n % 3), "country": country, "url": url,
                "amount_cents": cents, "items": n % 9,
            });
            writeln!(expected.clean, "{row}").expect("a file can be written");
        }
    }
    let partition = i32::try_from(partition).expect("few partitions");
    Record { key: Some(user.into()), ..Record::of(partition, value) }
}

/// How many rows one of the two has and the other has not, as multisets: those that are missing, those that are too many.
fn differences(site: &Site, output: &str, found: &str, expected: &str) -> Vec<Vec<Value>> {
    let file = site.path().join(expected).display().to_string();
    let expected = match output {
        "clean" => format!(
            "SELECT * FROM read_json('{file}', columns = {{partition: 'INTEGER', \"offset\": 'BIGINT', ts: 'TIMESTAMP', \"user\": 'VARCHAR', \
             domain: 'VARCHAR', country: 'VARCHAR', url: 'VARCHAR', amount_cents: 'BIGINT', items: 'BIGINT'}})"
        ),
        _ => format!(
            "SELECT * FROM read_json('{file}', columns = {{partition: 'INTEGER', \"offset\": 'BIGINT', payload: 'VARCHAR', stage: 'VARCHAR', \
             class: 'VARCHAR', error: 'VARCHAR'}})"
        ),
    };
    let sql = format!(
        "WITH found AS ({found}), expected AS ({expected}) SELECT \
         (SELECT count(*) FROM (SELECT * FROM expected EXCEPT ALL SELECT * FROM found)), \
         (SELECT count(*) FROM (SELECT * FROM found EXCEPT ALL SELECT * FROM expected)), \
         (SELECT count(*) FROM expected)"
    );
    reader::query(&site.place, &format!("data/clicks/{output}"), &sql)
}

fn main_job(kind: StoreKind, partitions: u16) {
    let site = Site::new(kind);
    let topic = unique("clicks");
    kafka::create_topic(&topic, i32::from(partitions), &[]);
    let mut expected = Expected::new(site.path());
    let records = (0..RECORDS).map(|n| record(n, u64::from(partitions), &mut expected));
    // Idempotent: a record's offset is its place, also where the producer has to try again.
    kafka::produce(&topic, records, &[("compression.type", "lz4"), ("enable.idempotence", "true")]);
    let Expected { mut clean, mut letters, emitted, dropped, rejected, broken } = expected;
    clean.flush().and_then(|()| letters.flush()).expect("a file can be written");
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

    // The day of the folder is the day of the row.
    let clean = "SELECT _kafka_partition, _kafka_offset, ts::TIMESTAMP, \"user\", domain, country, url, amount_cents, items FROM rows \
                 WHERE dt::VARCHAR = strftime(ts, '%Y-%m-%d')";
    assert_eq!(
        json!(differences(&site, "clean", clean, "clean.json")),
        json!([[0, 0, emitted]]),
        "rows of clean that are missing, too many, expected"
    );
    // The text of what can't be decoded is the host's own.
    let letters = "SELECT \"partition\", \"offset\", hex(payload), stage, class, CASE WHEN stage = 'decode' THEN '' ELSE error END FROM rows";
    assert_eq!(
        json!(differences(&site, "dead_letters", letters, "letters.json")),
        json!([[0, 0, rejected + broken]]),
        "dead letters that are missing, too many, expected"
    );
    assert_eq!(reader::pyarrow_rows(&site.place, "data/clicks/clean"), emitted);

    let counts = |name: &str| -> u64 {
        let manifests = log::manifests(&site.store, "clicks");
        let lanes = manifests
            .iter()
            .flat_map(|manifest| manifest["counts"].as_array().cloned().unwrap_or_default());
        lanes.map(|counts| counts[name].as_u64().expect("a count")).sum()
    };
    assert_eq!(
        ["records", "emitted", "dropped", "rejected", "broken"].map(counts),
        [RECORDS, emitted, dropped, rejected, broken]
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

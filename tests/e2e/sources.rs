//! What Kafka has in store: compression, headers, tombstones, transactions, compaction, starts.

use rdkafka::{
    ClientConfig,
    producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer},
};
use rustix::process::Signal;
use serde_json::json;
use std::{fs, time::Duration};
use tidemill_tests::{
    eventually,
    host::{Host, Site, StoreKind},
    kafka::{self, Record},
    reader, unique,
};

use crate::log;

fn copy(topic: &str, start: &str) -> Site {
    let (site, group) = (Site::new(StoreKind::Folder), unique("group"));
    let pipeline = format!(
        "name: copy\nsource:\n  kafka: {{ topics: [{topic}], group_id: {group}, start: {start}, format: raw }}\n\
         transforms: [{{ component: passthrough-raw }}]\noutputs: {{ records: {{ parquet: {{}} }} }}\nflush: {{ every: 500ms, idle: 300ms }}\n"
    );
    site.write("pipelines/copy.yaml", pipeline);
    site
}

fn committed(site: &Site, records: u64) {
    eventually("all is committed", 30, || {
        (log::records(&site.store, "copy") >= records).then_some(())
    });
}

fn done(site: &Site, host: Host, records: u64) {
    committed(site, records);
    host.drain();
    site.verify();
}

#[test]
fn every_compression_is_read() {
    let topic = unique("compression");
    kafka::create_topic(&topic, 1, &[]);
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let records = (0..100).map(|n| Record::of(0, format!("{codec}-{n}-{}", "x".repeat(200))));
        kafka::produce(&topic, records, &[("compression.type", codec)]);
    }
    let site = copy(&topic, "earliest");
    done(&site, site.run().ready(), 500);
    let sql = "SELECT split_part(decode(value), '-', 1) AS codec, count(*) FROM rows GROUP BY codec ORDER BY codec";
    let found = reader::query(&site.place, "data/copy/records", sql);
    assert_eq!(
        json!(found),
        json!([["gzip", 100], ["lz4", 100], ["none", 100], ["snappy", 100], ["zstd", 100]])
    );
}

#[test]
fn keys_headers_tombstones_and_large_records_come_through() {
    let topic = unique("shapes");
    kafka::create_topic(&topic, 1, &[("max.message.bytes", "20000000")]);
    let header = |name: &str, value: Option<&str>| {
        (name.to_owned(), value.map(|value| value.as_bytes().to_vec()))
    };
    let records = [
        Record {
            key: Some(b"k".to_vec()),
            headers: vec![header("a", Some("1")), header("a", None)],
            ..Record::of(0, "v")
        },
        Record { key: Some(b"k".to_vec()), value: None, ..Record::default() },
        Record::of(0, ""),
        Record::of(0, vec![b'x'; 10 << 20]),
    ];
    kafka::produce(&topic, records, &[]);
    let site = copy(&topic, "earliest");
    done(&site, site.run().ready(), 4);
    let sql = "SELECT \"offset\", decode(key), octet_length(value), len(headers) FROM rows ORDER BY \"offset\"";
    let found = reader::query(&site.place, "data/copy/records", sql);
    assert_eq!(
        json!(found),
        json!([[0, "k", 1, 2], [1, "k", null, 0], [2, null, 0, 0], [3, null, 10 << 20, 0]])
    );
}

#[test]
fn aborted_transactions_never_appear_and_their_markers_are_no_gaps() {
    let topic = unique("transactions");
    kafka::create_topic(&topic, 1, &[]);
    let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", kafka::brokers())
        .set("transactional.id", &topic)
        .create()
        .expect("the options are librdkafka's");
    let wait = Duration::from_secs(30);
    producer.init_transactions(wait).expect("the broker has transactions");
    for round in 0..10 {
        producer.begin_transaction().expect("a transaction begins");
        for n in 0..20 {
            let value = format!("{round}-{n}");
            producer
                .send(BaseRecord::<(), str>::to(&topic).payload(&value))
                .expect("there is room");
        }
        if round % 2 == 0 {
            producer.commit_transaction(wait)
        } else {
            producer.abort_transaction(wait)
        }
        .expect("it ends");
    }
    let site = copy(&topic, "earliest");
    done(&site, site.run().ready(), 100);
    let sql = "SELECT count(*), count(DISTINCT decode(value)), count(*) FILTER (WHERE split_part(decode(value), '-', 1)::INT % 2 = 1) FROM rows";
    assert_eq!(json!(reader::query(&site.place, "data/copy/records", sql)), json!([[100, 100, 0]]));
}

#[test]
fn a_pipeline_starts_where_it_is_told() {
    let topic = unique("starts");
    kafka::create_topic(&topic, 1, &[]);
    kafka::produce(&topic, (0..10).map(|n| Record::of(0, n.to_string())), &[]);
    let from_offset = copy(&topic, &format!("{{ {topic}: {{ 0: 7 }} }}"));
    let latest = copy(&topic, "latest");
    let late = copy(&topic, "2020-01-01T00:00:00Z");
    let hosts = [from_offset.run().ready(), latest.run().ready(), late.run().ready()];
    // `latest` is fixed by a manifest once the lane is assigned: only then a record is later.
    eventually("the start is in the log", 30, || {
        log::manifests(&latest.store, "copy")
            .iter()
            .any(|manifest| manifest["kind"] == "start")
            .then_some(())
    });
    kafka::produce(&topic, [Record::of(0, "10")], &[]);
    for ((site, host), (first, records)) in
        [&from_offset, &latest, &late].into_iter().zip(hosts).zip([(7, 4), (10, 1), (0, 11)])
    {
        done(site, host, records);
        let sql = "SELECT min(\"offset\"), count(*) FROM rows";
        assert_eq!(
            json!(reader::query(&site.place, "data/copy/records", sql)),
            json!([[first, records]])
        );
    }
}

#[test]
fn the_first_host_fixes_the_start_of_partitions_that_another_member_has() {
    let topic = unique("shared");
    kafka::create_topic(&topic, 4, &[]);
    kafka::produce(&topic, (0..100).map(|n| Record::of(n % 4, "old")), &[]);
    let site = copy(&topic, "latest");
    let pipeline = fs::read_to_string(site.path().join("pipelines/copy.yaml"))
        .expect("the pipeline was just written");
    let group = pipeline.split("group_id: ").nth(1).and_then(|rest| rest.split(',').next());
    let member = kafka::Member::join(group.expect("the pipeline names its group"), &topic);
    let host = site.run().ready();
    let started = || -> usize {
        let starts = |manifest: &serde_json::Value| {
            let inputs = manifest["inputs"].as_array().map_or(0, Vec::len);
            if manifest["kind"] == "start" { inputs } else { 0 }
        };
        log::manifests(&site.store, "copy").iter().map(starts).sum()
    };
    eventually("the starts are in the log", 30, || (started() > 0).then_some(()));
    assert_eq!(started(), 4, "also of the partitions that the host does not own");
    kafka::produce(&topic, (0..40).map(|n| Record::of(n % 4, "new")), &[]);
    drop(member);
    done(&site, host, 40);
    let sql = "SELECT decode(value), count(*) FROM rows GROUP BY ALL";
    let found = reader::query(&site.place, "data/copy/records", sql);
    assert_eq!(json!(found), json!([["new", 40]]));
}

#[test]
fn offsets_that_retention_deleted_halt_the_lane() {
    let topic = unique("retention");
    kafka::create_topic(&topic, 1, &[]);
    kafka::produce(&topic, (0..10).map(|n| Record::of(0, n.to_string())), &[]);
    let site = copy(&topic, "earliest");
    done(&site, site.run().ready(), 10);
    kafka::produce(&topic, (10..30).map(|n| Record::of(0, n.to_string())), &[]);
    kafka::delete_records(&topic, 0, 20);
    let host = site.run();
    eventually("the gap is stated", 30, || host.log().contains("OFFSET_GAP").then_some(()));
    let (status, body) = eventually("the host answers", 30, || host.get("/readyz"));
    assert!(body.contains("copy"), "{status} {body}");
    assert_eq!(log::records(&site.store, "copy"), 10, "nothing is skipped in silence");
    assert!(host.log().contains("--skip-gap"), "the way out is told");

    let shown = repair(&site, &["--skip-gap"]);
    assert!(shown.contains(&format!("{topic}/0 would be moved from offset 10 to 20")), "{shown}");
    assert_eq!(log::records(&site.store, "copy"), 10, "it was only shown");
    // What a host may have read and not committed is not given up with it.
    let output = site.tidemill(&["repair", "copy", "--skip-gap", "--yes"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(3) && error.contains("copy/stop"), "{error}");
    wish(&host, "stop", "STOPPED");
    repair(&site, &["--skip-gap", "--yes"]);
    assert!(repair(&site, &["--skip-gap", "--yes"]).contains("nothing needs this repair"));
    wish(&host, "start", "RUNNING");
    done(&site, host, 20);
    let output = site.tidemill(&["verify", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    assert_eq!(report["pipelines"]["copy"]["report"]["skipped_offsets"], 10, "{report}");
    let sql = "SELECT count(*), min(decode(value)::INT), max(decode(value)::INT) FROM rows WHERE \"offset\" >= 10";
    let found = reader::query(&site.place, "data/copy/records", sql);
    assert_eq!(json!(found), json!([[10, 20, 29]]));
}

fn wish(host: &Host, wish: &str, state: &str) {
    let answer = host.request("POST", &format!("/v1/pipelines/copy/{wish}"), &[], b"");
    assert_eq!(answer.map(|(status, _)| status), Some(202));
    eventually(&format!("it is {state}"), 40, || {
        let (_, body) = host.get("/v1/pipelines/copy/status")?;
        body.contains(&format!("\"state\":\"{state}\"")).then_some(())
    });
}

/// What was read before a gap is committed when the lane halts, however long a flush may stay open: the topic has it no more.
#[test]
fn a_lane_that_halts_keeps_what_was_read_of_it() {
    let topic = unique("kept");
    kafka::create_topic(&topic, 1, &[]);
    let site = copy(&topic, "earliest");
    let file = site.path().join("pipelines/copy.yaml");
    let text = fs::read_to_string(&file).expect("it is there");
    fs::write(&file, text.replace("every: 500ms, idle: 300ms", "every: 1h, idle: 1h"))
        .expect("it can be written");
    let host = site.run().ready();
    kafka::produce(&topic, (0..10).map(|n| Record::of(0, n.to_string())), &[]);
    eventually("all are read", 30, || {
        (host.metric("tidemill_records_received_total") >= 10.0).then_some(())
    });
    host.signal(Signal::STOP);
    kafka::produce(&topic, (10..30).map(|n| Record::of(0, n.to_string())), &[]);
    kafka::delete_records(&topic, 0, 20);
    host.signal(Signal::CONT);
    eventually("the gap is stated", 40, || host.log().contains("OFFSET_GAP").then_some(()));
    committed(&site, 10);
    host.drain();
    site.verify();
    let sql = "SELECT count(*), max(\"offset\") FROM rows";
    let found = reader::query(&site.place, "data/copy/records", sql);
    assert_eq!(json!(found), json!([[10, 9]]));
}

/// Shows a repair of the pipeline, or does it.
fn repair(site: &Site, what: &[&str]) -> String {
    let output = site.tidemill(&[&["repair", "copy"], what].concat());
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

#[test]
fn a_topic_that_was_created_anew_is_read_once_somebody_says_so() {
    let topic = unique("anew");
    kafka::create_topic(&topic, 1, &[]);
    kafka::produce(&topic, (0..10).map(|n| Record::of(0, format!("old {n}"))), &[]);
    let site = copy(&topic, "earliest");
    done(&site, site.run().ready(), 10);
    let same = repair(&site, &["--adopt-topic", &topic, "--yes"]);
    assert!(same.contains("nothing needs this repair"), "its rows would be doubled: {same}");
    kafka::delete_topic(&topic);
    kafka::create_topic(&topic, 1, &[]);
    kafka::produce(&topic, (0..3).map(|n| Record::of(0, format!("new {n}"))), &[]);
    let host = site.run();
    eventually("it is stated", 40, || host.log().contains("TOPIC_RECREATED").then_some(()));
    assert!(host.log().contains("--adopt-topic"), "the way out is told");
    let shown = repair(&site, &["--adopt-topic", &topic]);
    assert!(shown.contains("forgets that it was read up to offset 10"), "{shown}");
    assert!(shown.contains("careful") && shown.contains("only lost records"), "{shown}");
    assert_eq!(log::records(&site.store, "copy"), 10, "it was only shown");
    repair(&site, &["--adopt-topic", &topic, "--yes"]);
    committed(&site, 13);
    let again = repair(&site, &["--adopt-topic", &topic, "--yes"]);
    assert!(again.contains("nothing needs this repair"), "{again}");
    let other = site.tidemill(&["repair", "copy", "--adopt-topic", "another"]);
    assert!(String::from_utf8_lossy(&other.stderr).contains("does not read topic another"));
    done(&site, host, 13);
    let sql = "SELECT count(*), count(DISTINCT decode(value)) FROM rows";
    let found = reader::query(&site.place, "data/copy/records", sql);
    assert_eq!(json!(found), json!([[13, 13]]));
}

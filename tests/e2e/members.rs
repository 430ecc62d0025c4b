//! Members of a group: a second host joins and leaves; a drain in the middle of a flush.

use std::fs;

use rustix::process::Signal;
use tidemill_tests::{
    eventually,
    host::{Host, Site, StoreKind},
};

use crate::{identity::Identity, log};

fn a_second_host_joins_and_leaves(kind: StoreKind) {
    let site = Site::new(kind);
    let mut identity = Identity::new(8);
    identity.pipeline(&site, "300ms", "[]");
    identity.produce(1_000);
    let first = site.run().ready();
    eventually("the first host commits", 30, || {
        (log::records(&site.store, "copy") > 0).then_some(())
    });
    let second = site.run().ready();
    // Both names turn up as writers of manifests with records only if both own lanes.
    eventually("both hosts commit records", 40, || {
        identity.produce(100);
        let manifests = log::manifests(&site.store, "copy");
        let data = manifests.iter().filter(|manifest| manifest["kind"] == "data");
        let writers: std::collections::BTreeSet<_> =
            data.map(|manifest| manifest["writer"].to_string()).collect();
        (writers.len() == 2).then_some(())
    });
    second.drain();
    identity.produce(500);
    identity.committed(&site, 40);
    first.drain();
    identity.judge(&site);
}

#[test]
fn a_killed_member_is_replaced() {
    let site = Site::new(StoreKind::S3);
    let mut identity = Identity::new(8);
    identity.pipeline(&site, "300ms", "[]");
    identity.produce(1_000);
    let first = site.run().ready();
    let second = site.run().ready();
    eventually("something is committed", 30, || {
        (log::records(&site.store, "copy") > 0).then_some(())
    });
    first.kill();
    identity.produce(1_000);
    identity.committed(&site, 50);
    second.drain();
    identity.judge(&site);
}

fn a_drain_commits_what_was_read(kind: StoreKind) {
    let site = Site::new(kind);
    let mut identity = Identity::new(4);
    // No flush is due by itself for an hour: only the drain commits.
    identity.pipeline(&site, "1h", r#"["shard = bucket(8, _kafka_offset)"]"#);
    identity.produce(5_000);
    let mut host = site.run().ready();
    all_read(&host, 20_000.0);
    assert_eq!(log::records(&site.store, "copy"), 0, "nothing was committed before");
    host.signal(Signal::TERM);
    let status = host.ended(30);
    assert!(status.success(), "{status}: {}", host.log());
    assert_eq!(log::records(&site.store, "copy"), identity.total());
    identity.judge(&site);
    let kafka = tidemill_tests::kafka::committed(&identity.topic, &identity.topic, 4);
    assert_eq!(kafka, [5_000; 4], "Kafka's own offsets are a hint for lag tools");
}

fn all_read(host: &Host, records: f64) {
    eventually("all records were read", 30, || {
        (host.metric("tidemill_records_received_total") >= records).then_some(())
    });
}

#[test]
fn folder_a_second_host_joins_and_leaves() {
    a_second_host_joins_and_leaves(StoreKind::Folder);
}

#[test]
fn s3_a_second_host_joins_and_leaves() {
    a_second_host_joins_and_leaves(StoreKind::S3);
}

#[test]
fn folder_a_drain_commits_what_was_read() {
    a_drain_commits_what_was_read(StoreKind::Folder);
}

#[test]
fn s3_a_drain_commits_what_was_read() {
    a_drain_commits_what_was_read(StoreKind::S3);
}

#[test]
fn a_signal_ends_a_host_that_cannot_start() {
    let (site, proxy) = Site::behind_a_proxy();
    let identity = Identity::new(1);
    identity.pipeline(&site, "1h", "[]");
    proxy.close();
    let mut host = site.run_with(&["--drain-timeout", "2s"]);
    eventually("the host begins to start", 20, || host.get("/livez"));
    host.signal(Signal::TERM);
    assert_eq!(host.ended(15).code(), Some(3), "the surroundings are at fault: {}", host.log());
    assert!(host.log().contains("has not started yet"), "{}", host.log());
    proxy.open();
}

#[test]
fn a_second_signal_ends_at_once_and_loses_nothing() {
    let (site, proxy) = Site::behind_a_proxy();
    let mut identity = Identity::new(4);
    identity.pipeline(&site, "1h", "[]");
    identity.produce(5_000);
    let mut host = site.run().ready();
    all_read(&host, 20_000.0);
    // The drain has something to commit and no way to do so, for the whole of its minute.
    proxy.close();
    host.signal(Signal::TERM);
    eventually("the drain has begun", 10, || host.log().contains("draining").then_some(()));
    host.signal(Signal::TERM);
    let status = host.ended(10);
    assert_eq!(status.code(), Some(128 + 15), "{}", host.log());
    assert_eq!(log::records(&site.store, "copy"), 0, "nothing was committed");
    proxy.open();
    let host = site.run().ready();
    all_read(&host, 20_000.0);
    host.drain();
    identity.judge(&site);
}

/// A drain that takes its time is the end all the same: nothing is started any more, and nobody is told that it was.
#[test]
fn a_host_that_drains_takes_nothing_in() {
    let (site, proxy) = Site::behind_a_proxy();
    let mut identity = Identity::new(2);
    identity.pipeline(&site, "1h", "[]");
    identity.produce(500);
    let mut host = site.run().ready();
    all_read(&host, 1_000.0);
    proxy.close();
    let ask = |method: &str, path: &str, body: &[u8]| {
        host.request(method, path, &["Content-Type: application/json"], body).expect("it answers")
    };
    assert_eq!(ask("POST", "/v1/host/drain", b"").0, 202);
    eventually("the drain has begun", 10, || host.log().contains("draining").then_some(()));
    let definition = fs::read(site.path().join("pipelines/copy.yaml")).expect("it is there");
    let definition = String::from_utf8_lossy(&definition).replace("copy", "other");
    for (method, path, body) in [
        ("PUT", "/v1/pipelines/other", definition.as_bytes()),
        ("POST", "/v1/pipelines/copy/start", b""),
        ("PUT", "/v1/components/other", b"no component"),
    ] {
        let (status, body) = ask(method, path, body);
        assert!(status == 503 && body.contains("DRAINING"), "{method} {path}: {status} {body}");
    }
    proxy.open();
    assert!(host.ended(60).success(), "{}", host.log());
    assert_eq!(host.events("the pipeline runs").len(), 1, "{}", host.log());
    identity.judge(&site);
}

/// A member that is gone without a word keeps its partitions until its session has ended: whoever waits for them says so.
#[test]
fn who_waits_for_partitions_does_not_run() {
    let site = Site::new(StoreKind::Folder);
    let mut identity = Identity::new(1);
    identity.pipeline(&site, "300ms", "[]");
    let host = site.run().ready();
    identity.produce(100);
    identity.committed(&site, 30);
    host.kill();
    identity.produce(100);
    let host = site.run();
    let status = || -> Option<serde_json::Value> {
        serde_json::from_str(&host.get("/v1/pipelines/copy/status")?.1).ok()
    };
    let waits = |status: &serde_json::Value| {
        status["reason"].as_str().is_some_and(|why| why.contains("waits for its partitions"))
    };
    let waiting = eventually("it waits", 20, || status().filter(waits));
    assert_eq!(
        (&waiting["state"], &waiting["lag"]),
        (&"DEGRADED".into(), &serde_json::Value::Null)
    );
    identity.committed(&site, 30);
    eventually("it runs", 20, || status().filter(|status| status["state"] == "RUNNING"));
    host.drain();
    identity.judge(&site);
}

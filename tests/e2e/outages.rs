//! What a host does while something outside is away, or a pipeline beside it fails.

use std::fs;

use rustix::process::Signal;
use serde_json::json;
use tidemill_tests::{
    eventually, guest,
    host::{Host, Site, StoreKind},
    kafka::{self, Record},
    reader, unique,
};

use crate::{identity::Identity, log};

/// Waits until `/readyz` has all of these in its body.
fn says(host: &Host, texts: &[&str]) {
    let mut last = String::new();
    eventually(&format!("the host says {texts:?}"), 40, || {
        last = host.get("/readyz")?.1;
        texts.iter().all(|text| last.contains(text)).then_some(())
    });
}

/// The store's folder goes away, as a disk does that is not mounted any more, and comes back.
fn away(site: &Site) -> impl FnOnce() {
    let (here, away) = (site.store.clone(), site.store.with_extension("away"));
    fs::rename(&here, &away).expect("the store's folder is there");
    move || fs::rename(away, here).expect("nothing took the store's place")
}

#[test]
fn a_store_that_is_away_for_a_while_loses_nothing() {
    let site = Site::new(StoreKind::Folder);
    let mut identity = Identity::new(4);
    identity.pipeline(&site, "300ms", "[]");
    identity.produce(500);
    let host = site.run().ready();
    identity.committed(&site, 30);
    let back = away(&site);
    identity.produce(500);
    says(&host, &["DEGRADED", "the folder is gone"]);
    back();
    identity.committed(&site, 50);
    says(&host, &["RUNNING"]);
    host.drain();
    identity.judge(&site);
}

#[test]
fn a_drain_ends_in_time_while_the_store_is_away() {
    let site = Site::new(StoreKind::Folder);
    let mut identity = Identity::new(4);
    identity.pipeline(&site, "300ms", "[]");
    identity.produce(500);
    let mut host = site.run_with(&["--drain-timeout", "3s"]).ready();
    identity.committed(&site, 30);
    let back = away(&site);
    host.signal(Signal::TERM);
    host.ended(15);
    back();
    let host = site.run().ready();
    identity.produce(100);
    identity.committed(&site, 30);
    host.drain();
    identity.judge(&site);
}

#[test]
fn a_pipeline_that_failed_leaves_its_group_and_its_neighbours_alone() {
    let site = Site::new(StoreKind::Folder);
    let mut identity = Identity::new(2);
    identity.pipeline(&site, "300ms", "[]");
    site.write("transforms/misbehaves.wasm", guest("misbehaves.wasm"));
    let topic = unique("panics");
    kafka::create_topic(&topic, 1, &[]);
    let pipeline = format!(
        "name: bad\nsource:\n  kafka: {{ topics: [{topic}], group_id: {topic}, format: json }}\n\
         transforms: [{{ component: misbehaves, on_error: fail }}]\noutputs: {{ done: {{ parquet: {{}} }} }}\n"
    );
    site.write("pipelines/bad.yaml", pipeline);
    let host = site.run().ready();
    eventually("the pipeline is in its group", 30, || (kafka::members(&topic) == 1).then_some(()));
    kafka::produce(&topic, [Record::of(0, r#"{"act":"panic"}"#)], &[]);
    says(&host, &["FAILED", "told to panic", "RUNNING"]);
    eventually("the pipeline left its group", 30, || (kafka::members(&topic) == 0).then_some(()));
    identity.produce(1_000);
    identity.committed(&site, 30);
    drop(host);
    let host = {
        fs::remove_file(site.path().join("pipelines/bad.yaml")).expect("it was written");
        site.run().ready()
    };
    host.drain();
    identity.judge(&site);
}

#[test]
fn rows_of_too_many_hive_partitions_become_dead_letters() {
    let site = Site::new(StoreKind::Folder);
    let topic = unique("partitions");
    kafka::create_topic(&topic, 1, &[]);
    kafka::produce(&topic, (0..100).map(|n| Record::of(0, n.to_string())), &[]);
    let pipeline = format!(
        "name: copy\nsource:\n  kafka: {{ topics: [{topic}], group_id: {topic}, format: raw }}\n\
         transforms: [{{ component: passthrough-raw }}]\n\
         outputs: {{ records: {{ parquet: {{ partition_by: [offset], max_partitions: 7 }} }} }}\nmax_failure_ratio: 1\nflush: {{ every: 1h, idle: 1h }}\n"
    );
    site.write("pipelines/copy.yaml", pipeline);
    let host = site.run().ready();
    eventually("all is read", 30, || {
        let (_, metrics) = host.get("/metrics")?;
        let received =
            metrics.lines().find(|line| line.starts_with("tidemill_records_received_total{"))?;
        received.ends_with(" 100").then_some(())
    });
    host.drain();
    site.verify();
    assert_eq!(log::file_count(&site.store, "copy"), 8);
    let rows = reader::query(&site.place, "data/copy/records", "SELECT count(*) FROM rows");
    let letters = "SELECT count(*), count(DISTINCT \"offset\"), min(class), bool_and(error LIKE '%max_partitions%') FROM rows";
    let letters = reader::query(&site.place, "data/copy/dead_letters", letters);
    assert_eq!((json!(rows), json!(letters)), (json!([[7]]), json!([[93, 93, "REFUSED", true]])));
}

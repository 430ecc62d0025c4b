//! Members of a group: a second host joins and leaves; a drain in the middle of a flush.

use rustix::process::Signal;
use tidemill_tests::{
    eventually,
    host::{Site, StoreKind},
};

use crate::{identity::Identity, log};

#[test]
fn a_second_host_joins_and_leaves() {
    let site = Site::new(StoreKind::Folder);
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

#[test]
fn a_drain_commits_what_was_read() {
    let site = Site::new(StoreKind::Folder);
    let mut identity = Identity::new(4);
    // No flush is due by itself for an hour: only the drain commits.
    identity.pipeline(&site, "1h", r#"["shard = bucket(8, _kafka_offset)"]"#);
    identity.produce(5_000);
    let mut host = site.run().ready();
    eventually("all records were read", 30, || {
        let (_, metrics) = host.get("/metrics")?;
        let received =
            metrics.lines().filter(|line| line.starts_with("tidemill_records_received_total{"));
        let received: f64 =
            received.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum();
        (received >= 20_000.0).then_some(())
    });
    assert_eq!(log::records(&site.store, "copy"), 0, "nothing was committed before");
    host.signal(Signal::TERM);
    let status = host.ended(30);
    assert!(status.success(), "{status}: {}", host.log());
    assert_eq!(log::records(&site.store, "copy"), identity.total());
    identity.judge(&site);
    let kafka = tidemill_tests::kafka::committed(&identity.topic, &identity.topic, 4);
    assert_eq!(kafka, [5_000; 4], "Kafka's own offsets are a hint for lag tools");
}

#[test]
fn a_second_signal_ends_at_once_and_loses_nothing() {
    let site = Site::new(StoreKind::Folder);
    let mut identity = Identity::new(4);
    identity.pipeline(&site, "1h", "[]");
    identity.produce(20_000);
    let mut host = site.run().ready();
    host.signal(Signal::TERM);
    host.signal(Signal::TERM);
    host.ended(10);
    let host = site.run().ready();
    eventually("all records were read or committed before", 30, || {
        let (_, metrics) = host.get("/metrics")?;
        let received =
            metrics.lines().filter(|line| line.starts_with("tidemill_records_received_total{"));
        let received: u64 =
            received.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum();
        (received + log::records(&site.store, "copy") >= identity.total()).then_some(())
    });
    host.drain();
    identity.judge(&site);
}

//! Kafka by TLS: the whole way, and what a host says when it does not trust the broker.

use std::fs;

use tidemill_tests::{
    eventually,
    host::{Site, StoreKind},
    kafka::{self, Record},
    reader, unique,
};

use crate::log;

/// A site with a copying pipeline whose host has these settings of Kafka.
pub(crate) fn copy(topic: &str, kafka: &str) -> Site {
    let site = Site::new(StoreKind::Folder);
    let toml = fs::read_to_string(site.path().join("tidemill.toml")).expect("a site has settings");
    let (others, _) = toml.split_once("[kafka]").expect("Kafka comes last");
    site.write("tidemill.toml", format!("{others}[kafka]\n{kafka}"));
    let pipeline = format!(
        "name: copy\nsource:\n  kafka: {{ topics: [{topic}], group_id: {topic}, format: raw }}\n\
         transforms: [{{ component: passthrough-raw }}]\noutputs: {{ records: {{ parquet: {{}} }} }}\nflush: {{ every: 500ms, idle: 300ms }}\n"
    );
    site.write("pipelines/copy.yaml", pipeline);
    site
}

#[test]
fn records_come_by_tls() {
    let topic = unique("tls");
    kafka::create_topic(&topic, 2, &[]);
    kafka::produce(&topic, (0..1000).map(|n| Record::of(n % 2, n.to_string())), &[]);
    let site = copy(&topic, &kafka::by_tls(&kafka::ca_file()));
    let host = site.run().ready();
    eventually("all is committed", 30, || {
        (log::records(&site.store, "copy") == 1000).then_some(())
    });
    host.drain();
    site.verify();
    let sql = "SELECT count(DISTINCT decode(value)) FROM rows";
    let found = reader::query(&site.place, "data/copy/records", sql);
    assert_eq!(serde_json::json!(found), serde_json::json!([[1000]]));
    assert_eq!(kafka::committed(&topic, &topic, 2), [500, 500]);
}

#[test]
fn a_broker_that_is_not_trusted_is_refused_with_what_to_check() {
    let topic = unique("distrust");
    kafka::create_topic(&topic, 1, &[]);
    let by_tls = kafka::by_tls(&kafka::ca_file());
    let without_authority: String = by_tls
        .lines()
        .filter(|line| !line.starts_with("ca_file"))
        .map(|l| format!("{l}\n"))
        .collect();
    let without_tls: String = by_tls
        .lines()
        .filter(|line| line.starts_with("brokers"))
        .map(|l| format!("{l}\n"))
        .collect();
    for (settings, says) in [(without_authority, "kafka.ca_file"), (without_tls, "kafka.security")]
    {
        let site = copy(&topic, &settings);
        let output = site.tidemill(&["validate", "--config", "tidemill.toml"]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{error}");
        assert!(error.contains(says), "it does not say {says:?}: {error}");
    }
}

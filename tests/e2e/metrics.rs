//! What a host says of itself in numbers.

use tidemill_tests::{
    eventually, guest,
    host::{Host, Site, StoreKind},
    kafka::{self, Record},
    unique,
};

use crate::{identity::Identity, log};

/// Every metric that a pipeline has once it has committed something, with its labels.
const METRICS: [(&str, &[&str]); 24] = [
    ("tidemill_records_received_total", &["pipeline", "component", "digest"]),
    ("tidemill_records_emitted_total", &["pipeline", "component", "digest"]),
    ("tidemill_records_dropped_total", &["pipeline", "component", "digest"]),
    ("tidemill_records_rejected_total", &["pipeline", "component", "digest"]),
    ("tidemill_records_broken_total", &["pipeline", "component", "digest"]),
    ("tidemill_rows_total", &["pipeline", "output"]),
    ("tidemill_bytes_received_total", &["pipeline"]),
    ("tidemill_bytes_published_total", &["pipeline"]),
    ("tidemill_consumer_lag_records", &["pipeline", "topic", "partition"]),
    ("tidemill_consumer_lag_seconds", &["pipeline"]),
    ("tidemill_stage_seconds_bucket", &["pipeline", "stage", "le"]),
    ("tidemill_transform_memory_bytes", &["pipeline", "transform", "component", "worker"]),
    ("tidemill_transform_limit_memory_bytes", &["pipeline", "transform", "component"]),
    ("tidemill_transform_limit_call_seconds", &["pipeline", "transform", "component"]),
    ("tidemill_transform_limit_output_bytes", &["pipeline", "transform", "component"]),
    ("tidemill_transform_limit_log_lines", &["pipeline", "transform", "component"]),
    ("tidemill_compile_seconds_bucket", &["component", "le"]),
    ("tidemill_files_published_total", &["pipeline"]),
    ("tidemill_closes_total", &["pipeline", "reason"]),
    ("tidemill_flushes_total", &["pipeline", "reason"]),
    ("tidemill_last_commit_age_seconds", &["pipeline"]),
    ("tidemill_open_files", &["pipeline", "worker"]),
    ("tidemill_buffered_bytes", &["pipeline", "worker"]),
    ("tidemill_transform_traps_total", &["pipeline", "component", "digest"]),
];

/// The labels of a metric's first line.
fn labels(text: &str, name: &str) -> Vec<String> {
    let line = text.lines().find(|line| line.starts_with(&format!("{name}{{")));
    let line = line.unwrap_or_else(|| panic!("{name} is not among\n{text}"));
    let inside = line.split(['{', '}']).nth(1).expect("labels stand in braces");
    let labels = inside.split(',').filter_map(|label| label.split_once('='));
    labels.map(|(label, _)| label.to_owned()).collect()
}

#[test]
fn every_metric_is_there_with_its_labels() {
    let topic = unique("metrics");
    kafka::create_topic(&topic, 1, &[]);
    let site = Site::new(StoreKind::Folder);
    site.write("transforms/misbehaves.wasm", guest("misbehaves.wasm"));
    let pipeline = format!(
        "name: p\nsource:\n  kafka: {{ topics: [{topic}], group_id: {topic}, format: json }}\n\
         transforms: [{{ component: misbehaves }}]\n\
         outputs: {{ done: {{ parquet: {{}} }} }}\nflush: {{ every: 500ms, idle: 500ms }}\n"
    );
    site.write("pipelines/p.yaml", pipeline);
    let host = site.run().ready();
    let acts = [r#"{"act":"fine"}"#, r#"{"act":"reject"}"#, r#"{"act":"panic"}"#, "{"];
    kafka::produce(&topic, acts.map(|act| Record::of(0, act)), &[]);
    eventually("all is committed", 30, || (log::records(&site.store, "p") == 4).then_some(()));
    eventually("all is told", 10, || {
        let told = |name: &str, value: f64| (host.metric(name) - value).abs() < 0.5;
        (told("tidemill_rows_total", 4.0)
            && told("tidemill_records_rejected_total", 2.0)
            && told("tidemill_records_broken_total", 1.0)
            // The whole batch, then the halves that have the record.
            && host.metric("tidemill_transform_traps_total") >= 1.0
            && told("tidemill_consumer_lag_records", 0.0))
        .then_some(())
    });
    // Some are told every second only.
    let text = eventually("every metric is there", 20, || {
        let (_, text) = host.get("/metrics")?;
        METRICS.iter().all(|(name, _)| text.contains(&format!("\n{name}{{"))).then_some(text)
    });
    for (name, expected) in METRICS {
        assert_eq!(labels(&text, name), expected, "{name}");
    }
    host.drain();
}

#[test]
fn the_lag_grows_while_the_store_is_away() {
    let (site, proxy) = Site::behind_a_proxy();
    let mut identity = Identity::new(1);
    identity.pipeline(&site, "200ms", "[]");
    let host = site.run().ready();
    identity.produce(10);
    identity.committed(&site, 30);
    proxy.close();
    let lag = |host: &Host| host.metric("tidemill_consumer_lag_seconds");
    // A flush is being committed, one waits, one is filled; then nothing is read any more.
    let grown = eventually("the lag grows", 40, || {
        identity.produce(1);
        Some(lag(&host)).filter(|lag| *lag > 2.0)
    });
    eventually("the lag grows on", 20, || (lag(&host) > grown + 1.0).then_some(()));
    proxy.open();
    identity.committed(&site, 50);
    eventually("the lag is gone", 20, || (lag(&host) < 0.1).then_some(()));
    host.drain();
    identity.judge(&site);
}

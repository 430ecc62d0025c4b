//! A transform that takes its time: it costs its own partitions time, and nobody else.

use serde_json::json;
use tidemill_tests::{
    eventually, guest,
    host::{Site, StoreKind},
    kafka::{self, Record},
    unique,
};

use crate::log;

#[test]
fn a_worker_whose_transform_is_slow_stops_neither_the_others_nor_the_poll() {
    let topic = unique("slow");
    kafka::create_topic(&topic, 2, &[]);
    let site = Site::new(StoreKind::Folder);
    site.write("transforms/misbehaves.wasm", guest("misbehaves.wasm"));
    // One call may take longer than a group waits for a member that does not poll.
    let pipeline = format!(
        "name: p\nsource:\n  kafka: {{ topics: [{topic}], group_id: {topic}, format: json }}\n\
         transforms: [{{ component: misbehaves, limits: {{ call_timeout: 25s }} }}]\n\
         outputs: {{ done: {{ parquet: {{}} }} }}\nflush: {{ every: 500ms, idle: 500ms }}\n"
    );
    site.write("pipelines/p.yaml", pipeline);
    let options = "session.timeout.ms=6000,max.poll.interval.ms=6000";
    let host = site.run_with(&["--kafka-option", options]).ready();
    let act = |act: &str| json!({ "act": act }).to_string();
    kafka::produce(&topic, [Record::of(0, act("sleep"))], &[]);
    for round in 1..=3 {
        kafka::produce(&topic, (0..10).map(|n| Record::of(1, act(&format!("fine {n}")))), &[]);
        eventually("the other worker goes on", 12, || {
            (log::records(&site.store, "p") >= round * 10).then_some(())
        });
    }
    assert_eq!(log::records(&site.store, "p"), 30, "the slow one is still at work");
    eventually("the slow record is a dead letter", 60, || {
        (log::records(&site.store, "p") == 31).then_some(())
    });
    assert_eq!(kafka::members(&topic), 1, "it was not evicted");
    assert!(host.metric("tidemill_fenced_total") < 0.5, "and nobody fenced it");
    host.drain();
    site.verify();
}

//! Topics whose records mostly fail. What a single record can do is in `tests/guests/`.

use rustix::process::Signal;
use serde_json::json;
use tidemill_tests::{
    eventually, guest,
    host::{Host, Site, StoreKind},
    kafka::{self, Record},
    reader, unique,
};

use crate::log;

/// A site whose one pipeline does what its records say.
fn site(topic: &str, ratio: &str) -> Site {
    let site = Site::new(StoreKind::Folder);
    site.write("transforms/misbehaves.wasm", guest("misbehaves.wasm"));
    let pipeline = format!(
        "name: p\nsource:\n  kafka: {{ topics: [{topic}], group_id: {topic}, format: json }}\n\
         transforms: [{{ component: misbehaves }}]\n\
         outputs: {{ done: {{ parquet: {{}} }} }}\nflush: {{ every: 1s, idle: 500ms }}\nmax_failure_ratio: {ratio}\n"
    );
    site.write("pipelines/p.yaml", pipeline);
    site
}

/// Waits until the pipeline failed for its component, for which the host waits, and ends the host.
fn failed(mut host: Host) {
    eventually("the pipeline failed", 40, || {
        let (status, body) = host.get("/readyz")?;
        (status == 503 && body.contains("FAILED")).then_some(())
    });
    host.signal(Signal::TERM);
    assert_eq!(host.ended(40).code(), Some(2), "it is the user's to mend: {}", host.log());
}

/// A topic of which most can't be decoded, or is rejected; whether its pipeline stops, for a ratio.
fn stops(acts: impl Fn(usize) -> String, ratio: &str) -> (bool, Site) {
    let topic = unique("failures");
    kafka::create_topic(&topic, 1, &[]);
    kafka::produce(&topic, (0..400).map(|n| Record::of(0, acts(n))), &[]);
    let site = site(&topic, ratio);
    let host = site.run();
    let stopped = eventually("it stops, or all is committed", 50, || {
        if host.log().contains("TOO_MANY_FAILURES") {
            return Some(true);
        }
        (log::records(&site.store, "p") == 400).then_some(false)
    });
    if stopped {
        failed(host);
    } else {
        host.drain();
    }
    (stopped, site)
}

#[test]
fn a_topic_of_broken_or_rejected_records_stops_its_pipeline_at_the_ratio() {
    let acts = |bad: &'static str| {
        move |n: usize| if n.is_multiple_of(4) { r#"{"act":"fine"}"# } else { bad }.to_owned()
    };
    for bad in ["not JSON", r#"{"act":"reject"}"#] {
        let (stopped, site) = stops(acts(bad), "0.7");
        assert!(stopped && !site.store.join("data").exists(), "nothing of it was written");
    }
    let (stopped, site) = stops(acts("not JSON"), "0.8");
    assert!(!stopped);
    let letters = reader::query(&site.place, "data/p/dead_letters", "SELECT count(*) FROM rows");
    assert_eq!(json!(letters), json!([[300]]));
    site.verify();
}

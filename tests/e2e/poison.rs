//! Records that make a transform fail: each costs itself and nothing else.

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
fn site(topic: &str, on_error: &str) -> Site {
    let site = Site::new(StoreKind::Folder);
    site.write("transforms/misbehaves.wasm", guest("misbehaves.wasm"));
    let pipeline = format!(
        "name: p\nsource:\n  kafka: {{ topics: [{topic}], group_id: {topic}, format: json }}\n\
         transforms: [{{ component: misbehaves, on_error: {on_error}, limits: {{ memory: 16MiB, call_timeout: 500ms }} }}]\n\
         outputs: {{ done: {{ parquet: {{}} }} }}\nflush: {{ every: 1s, idle: 500ms }}\n"
    );
    site.write("pipelines/p.yaml", pipeline);
    site
}

/// A topic of one partition whose records tell the transform what to do.
fn topic(acts: impl IntoIterator<Item = String>) -> String {
    let topic = unique("poison");
    kafka::create_topic(&topic, 1, &[]);
    let record = |act: String| Record::of(0, json!({ "act": act }).to_string());
    kafka::produce(&topic, acts.into_iter().map(record), &[]);
    topic
}

/// Waits until the pipeline failed for its component, for which the host waits, and ends the host; its log.
fn failed(mut host: Host) -> String {
    eventually("the pipeline failed", 40, || {
        let (status, body) = host.get("/readyz")?;
        (status == 503 && body.contains("FAILED")).then_some(())
    });
    host.signal(Signal::TERM);
    assert_eq!(host.ended(40).code(), Some(2), "it is the user's to mend: {}", host.log());
    host.log()
}

/// Forty records, with these in the place of some of them.
fn forty_but(acts: &[(usize, &str)]) -> Vec<String> {
    let mut all: Vec<_> = (0..40).map(|n| format!("fine {n}")).collect();
    acts.iter().for_each(|(n, act)| all[*n] = (*act).to_owned());
    all
}

#[test]
fn a_poison_record_becomes_a_dead_letter_and_its_neighbours_go_through() {
    let acts = [
        (0, "panic", "TRAP", "told to panic"),
        (7, "spin", "DEADLINE", "deadline"),
        (8, "eat", "OUT_OF_MEMORY", "memory"),
        (21, "exit", "TRAP", "exited with status 1"),
        (22, "reject", "REJECTED", "told to reject"),
        (30, "sleep", "DEADLINE", "deadline"),
        (39, "panic", "TRAP", "misbehaves/src/lib.rs"),
    ];
    let topic = topic(forty_but(&acts.map(|(n, act, ..)| (n, act))));
    let site = site(&topic, "dead_letter");
    let host = site.run().ready();
    eventually("all is committed", 50, || (log::records(&site.store, "p") == 40).then_some(()));
    host.drain();
    site.verify();
    let sql = "SELECT count(*), count(DISTINCT act), bool_and(act LIKE 'fine %') FROM rows";
    let rows = reader::query(&site.place, "data/p/done", sql);
    assert_eq!(json!(rows), json!([[33, 33, true]]));
    let sql = "SELECT \"offset\", decode(payload), stage, class, error, component, length(digest) FROM rows ORDER BY 1";
    let letters = reader::query(&site.place, "data/p/dead_letters", sql);
    assert_eq!(letters.len(), acts.len());
    for (letter, (offset, act, class, error)) in letters.iter().zip(acts) {
        let payload = json!({ "act": act }).to_string();
        let expected = json!([offset, payload, "transform", class]);
        assert_eq!(json!(letter[..4]), expected);
        let text = letter[4].as_str().expect("a text");
        assert!(text.contains(error), "{text} does not say {error}");
        assert_eq!(json!(letter[5..]), json!(["misbehaves", 64]));
    }
}

#[test]
fn with_on_error_fail_the_first_poison_record_stops_the_pipeline() {
    let topic = topic(forty_but(&[(17, "panic")]));
    let site = site(&topic, "fail");
    let log = failed(site.run());
    for text in ["told to panic", &format!("{topic}/0 offset 17"), "on_error"] {
        assert!(log.contains(text), "the log does not say {text:?}: {log}");
    }
    assert!(!site.store.join("data").exists(), "no row of the batch is visible");
}

#[test]
fn with_on_error_skip_nothing_remains_of_a_poison_record() {
    let topic = topic(forty_but(&[(17, "panic"), (18, "reject")]));
    let site = site(&topic, "skip");
    let host = site.run().ready();
    eventually("all is committed", 50, || (log::records(&site.store, "p") == 40).then_some(()));
    host.drain();
    site.verify();
    let rows = reader::query(&site.place, "data/p/done", "SELECT count(*) FROM rows");
    assert_eq!(json!(rows), json!([[38]]));
    assert!(!site.store.join("data/p/dead_letters").exists());
}

#[test]
fn a_transform_that_fails_for_most_records_stops_its_pipeline() {
    let topic = topic((0..40).map(|n| if n % 4 == 0 { "fine" } else { "panic" }.to_owned()));
    let site = site(&topic, "dead_letter");
    let log = failed(site.run());
    assert!(log.contains("TOO_MANY_FAILURES: more than 0.5 of the records fail"), "{log}");
    assert!(!site.store.join("data").exists(), "the topic is not emptied into the dead letters");
}

/// A topic of which most can't be decoded, or is rejected; whether its pipeline stops, for a ratio.
fn stops(acts: impl Fn(usize) -> String, ratio: &str) -> (bool, Site) {
    let topic = unique("failures");
    kafka::create_topic(&topic, 1, &[]);
    kafka::produce(&topic, (0..400).map(|n| Record::of(0, acts(n))), &[]);
    let site = site(&topic, "dead_letter");
    let file = site.path().join("pipelines/p.yaml");
    let text = std::fs::read_to_string(&file).expect("it was written");
    site.write("pipelines/p.yaml", format!("{text}max_failure_ratio: {ratio}\n"));
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

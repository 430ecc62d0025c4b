//! Pipelines beside each other, some of which fail, and what changes while they run.

use std::fs;

use rustix::process::Signal;
use serde_json::{Value, json};
use tidemill_tests::{
    eventually, guest,
    host::{Host, Site, StoreKind},
    kafka::{self, Record},
    reader, unique,
};

use crate::{
    log,
    pipelines::{ask, becomes, committed, copy, file, judge, produce, status, topic, wish},
};

/// Limits hold from the swap on, without a new run.
#[test]
fn limits_are_changed_while_it_runs() {
    let topic = topic(1);
    let site = Site::new(StoreKind::Folder);
    site.write("transforms/misbehaves.wasm", guest("misbehaves.wasm"));
    let host = site.run().ready();
    let put = |limits: Value| {
        let mut definition = copy("p", &topic);
        definition["source"]["kafka"]["format"] = json!("json");
        definition["transforms"] = json!([{ "component": "misbehaves", "limits": limits }]);
        definition["outputs"] = json!({ "done": {} });
        ask(&host, "PUT", "/v1/pipelines/p", &definition).0
    };
    let orders =
        ["spin", "eat", "overflow"].map(|act| Record::of(0, json!({ "act": act }).to_string()));
    let letters = |from: i64| -> Vec<String> {
        let sql = format!("SELECT error FROM rows WHERE \"offset\" >= {from} ORDER BY \"offset\"");
        let found = reader::query(&site.place, "data/p/dead_letters", &sql);
        found.iter().map(|row| row[0].as_str().expect("a reason is a text").to_owned()).collect()
    };
    assert_eq!(put(json!({ "call_timeout": "400ms", "memory": "32MiB" })), 201);
    kafka::produce(&topic, orders.clone(), &[]);
    committed(&site, "p", 3);
    let first = letters(0);
    assert!(first[0].contains("deadline of 400ms") && first[1].contains("of 32 MiB"), "{first:?}");
    assert_eq!(put(json!({ "call_timeout": "200ms", "memory": "16MiB" })), 200);
    eventually("it went over", 40, || {
        host.events("component swapped").pop().or_else(|| {
            let (_, metrics) = host.get("/metrics")?;
            let line = metrics
                .lines()
                .find(|line| line.starts_with("tidemill_transform_limit_memory_bytes"))?;
            line.ends_with(" 16777216").then_some(Value::Null)
        })
    });
    kafka::produce(&topic, orders, &[]);
    committed(&site, "p", 6);
    let then = letters(3);
    assert!(then[0].contains("deadline of 200ms") && then[1].contains("of 16 MiB"), "{then:?}");
    assert_eq!(host.events("the pipeline runs").len(), 1, "no run was ended for it");
    host.drain();
    site.verify();
}

/// A person who starts a failed pipeline again does so on all hosts that have it.
#[test]
fn what_failed_everywhere_starts_everywhere() {
    let topic = topic(2);
    let site = Site::new(StoreKind::Folder);
    site.write("transforms/misbehaves.wasm", guest("misbehaves.wasm"));
    let (one, two) = (site.run().ready(), site.run().ready());
    let mut definition = copy("p", &topic);
    definition["source"]["kafka"]["format"] = json!("json");
    definition["transforms"] = json!([{ "component": "misbehaves", "on_error": "fail" }]);
    definition["outputs"] = json!({ "done": {} });
    assert_eq!(ask(&one, "PUT", "/v1/pipelines/p", &definition).0, 201);
    let runs = |host: &Host| host.events("the pipeline runs").len();
    for host in [&one, &two] {
        becomes(host, "p", "RUNNING");
    }
    let poison = |partition| Record::of(partition, r#"{"act":"reject"}"#);
    kafka::produce(&topic, [poison(0), poison(1)], &[]);
    for host in [&one, &two] {
        becomes(host, "p", "FAILED");
    }
    let before = (runs(&one), runs(&two));
    wish(&one, "p", "start");
    for (host, before) in [(&one, before.0), (&two, before.1)] {
        eventually("it starts again", 40, || (runs(host) > before).then_some(()));
        becomes(host, "p", "FAILED");
    }
    assert_eq!(log::records(&site.store, "p"), 0);
}

#[test]
fn twenty_pipelines_run_and_one_that_fails_for_ever_disturbs_none() {
    let topic = topic(2);
    let site = Site::new(StoreKind::Folder);
    site.write("transforms/misbehaves.wasm", guest("misbehaves.wasm"));
    let names: Vec<String> = (0..19).map(|n| format!("p{n:02}")).collect();
    for name in &names {
        site.write(&file(name), copy(name, &topic).to_string());
    }
    let bad = self::topic(1);
    let mut failing = copy("failing", &bad);
    failing["source"]["kafka"]["format"] = json!("json");
    failing["transforms"] = json!([{ "component": "misbehaves", "on_error": "fail" }]);
    failing["outputs"] = json!({ "done": {} });
    site.write(&file("failing"), failing.to_string());
    // One whose topic is not there yet, and one whose file is wrong.
    let later = unique("later");
    site.write(&file("waiting"), copy("waiting", &later).to_string());
    site.write(&file("wrong"), "name: wrong\nsorce: {}\n");
    // And one that tries for ever to reach brokers that are not there.
    let mut lost = copy("lost", &topic);
    lost["kafka"] = json!({ "brokers": ["127.0.0.1:1"] });
    site.write(&file("lost"), lost.to_string());
    kafka::produce(&bad, [Record::of(0, r#"{"act":"panic"}"#)], &[]);
    produce(&topic, 50);
    let host = site.run();
    eventually("the host answers", 40, || host.get("/readyz"));
    for name in &names {
        committed(&site, name, 50);
    }
    let failed = becomes(&host, "failing", "FAILED");
    assert!(failed["reason"].to_string().contains("told to panic"), "{failed}");
    let waiting = becomes(&host, "waiting", "FAILED");
    assert!(waiting["reason"].to_string().contains("there is no topic"), "{waiting}");
    let (_, all) = ask(&host, "GET", "/v1/pipelines", &Value::Null);
    let stray = &all["refused"][0];
    assert_eq!(stray["origin"], json!({ "file": "pipelines/wrong.yaml" }), "{all}");
    assert!(stray["reason"].to_string().contains("unknown key `sorce`"), "{stray}");
    let (code, body) = host.get("/readyz").expect("the host answers");
    assert!(code == 503 && body.contains("failing") && body.contains("waiting"), "{body}");
    kafka::create_topic(&later, 1, &[]);
    produce(&later, 10);
    produce(&topic, 50);
    for name in &names {
        committed(&site, name, 100);
        assert_eq!(status(&host, name)["state"], "RUNNING");
    }
    committed(&site, "waiting", 10);
    fs::remove_file(site.path().join(file("wrong"))).expect("it is there");
    eventually("what is gone is not shown", 40, || {
        (ask(&host, "GET", "/v1/pipelines", &Value::Null).1["refused"] == json!([])).then_some(())
    });
    // A person may start it again: it fails again, and again alone.
    wish(&host, "failing", "start");
    eventually("it failed again", 40, || {
        (host.events("the pipeline runs").iter().filter(|e| e["pipeline"] == "failing").count()
            == 2)
            .then_some(())
    });
    becomes(&host, "failing", "FAILED");
    let tries =
        || host.log().lines().filter(|line| line.contains("cannot start: ask 127.0.0.1:1")).count();
    eventually("the lost one has tried twice, and tries on", 60, || (tries() >= 2).then_some(()));
    assert_eq!(status(&host, "lost")["state"], "DEGRADED");
    let mut host = host;
    host.signal(Signal::TERM);
    host.ended(60);
    for name in &names {
        judge(&site, name, 100);
    }
}

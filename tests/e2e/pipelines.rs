//! Many pipelines: by files and over REST, changed, paused, stopped and removed while the host runs.

use std::fs;

use serde_json::{Value, json};
use tidemill_tests::{
    eventually,
    host::{Host, Site, StoreKind},
    kafka::{self, Record},
    reader, unique,
};

use crate::log;

/// The definition of a pipeline that copies a topic.
pub(crate) fn copy(name: &str, topic: &str) -> Value {
    json!({
        "name": name,
        "source": { "kafka": { "topics": [topic], "group_id": format!("{topic}-{name}"), "format": "raw" } },
        "transforms": [{ "component": "passthrough-raw" }],
        "outputs": { "records": { "parquet": { "kafka_columns": true } } },
        "flush": { "every": "300ms", "idle": "300ms" },
    })
}

pub(crate) fn file(name: &str) -> String {
    format!("pipelines/{name}.yaml")
}

pub(crate) fn topic(partitions: i32) -> String {
    let topic = unique("pipelines");
    kafka::create_topic(&topic, partitions, &[]);
    topic
}

pub(crate) fn produce(topic: &str, records: usize) {
    kafka::produce(topic, (0..records).map(|n| Record::of(0, format!("{n}"))), &[]);
}

pub(crate) fn committed(site: &Site, name: &str, records: u64) {
    let what = format!("{records} records of {name} are committed");
    eventually(&what, 40, || (log::records(&site.store, name) >= records).then_some(()));
}

/// Every record of the topic's one partition is there once.
pub(crate) fn judge(site: &Site, name: &str, records: u64) {
    let sql = "SELECT count(*), count(DISTINCT _kafka_offset) FROM rows";
    let found = reader::query(&site.place, &format!("data/{name}/records"), sql);
    assert_eq!(json!(found), json!([[records, records]]), "{name}");
}

pub(crate) fn ask(host: &Host, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let headers = ["Content-Type: application/json"];
    let (status, body) =
        host.request(method, path, &headers, body.as_bytes()).expect("the host answers");
    (status, serde_json::from_str(&body).unwrap_or(Value::Null))
}

pub(crate) fn status(host: &Host, name: &str) -> Value {
    ask(host, "GET", &format!("/v1/pipelines/{name}"), &Value::Null).1
}

pub(crate) fn becomes(host: &Host, name: &str, state: &str) -> Value {
    eventually(&format!("{name} is {state}"), 40, || {
        Some(status(host, name)).filter(|status| status["state"] == state)
    })
}

pub(crate) fn wish(host: &Host, name: &str, wish: &str) {
    let (status, body) = ask(host, "POST", &format!("/v1/pipelines/{name}/{wish}"), &Value::Null);
    assert_eq!(status, 202, "{body}");
}

#[test]
fn a_file_that_comes_changes_or_goes_does_so_to_its_pipeline_alone() {
    let (first, second) = (topic(1), topic(1));
    let site = Site::new(StoreKind::Folder);
    site.write(&file("one"), copy("one", &first).to_string());
    let host = site.run().ready();
    produce(&first, 10);
    committed(&site, "one", 10);

    let mut two = copy("two", &second);
    site.write(&file("two"), two.to_string());
    let shown = becomes(&host, "two", "RUNNING");
    assert_eq!(shown["origin"], json!({ "file": "pipelines/two.yaml" }), "{shown}");
    produce(&second, 10);
    committed(&site, "two", 10);

    // What needs no new run is taken without one; the limits are shown as metrics.
    two["transforms"][0]["limits"] = json!({ "memory": "32MiB", "call_timeout": "2s" });
    two["outputs"]["records"]["parquet"]["partition_by"] = json!(["shard = bucket(4, value)"]);
    site.write(&file("two"), two.to_string());
    let limit = || {
        let (_, metrics) = host.get("/metrics")?;
        let line = metrics.lines().find(|line| {
            line.starts_with("tidemill_transform_limit_memory_bytes") && line.contains("\"two\"")
        })?;
        line.ends_with(" 33554432").then_some(())
    };
    eventually("the new limit holds", 40, limit);
    produce(&second, 10);
    committed(&site, "two", 20);
    let runs = host.events("the pipeline runs");
    assert_eq!(runs.len(), 2, "no run was ended for it: {runs:?}");
    let shards = eventually("the new files lie in folders", 20, || {
        let folder = fs::read_dir(site.store.join("data/two/records")).ok()?;
        let names = folder.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        Some(names.filter(|name| name.starts_with("shard=")).count()).filter(|count| *count > 0)
    });
    assert!(shards <= 4);

    // A topic more begins a new run; a topic less would leave its positions behind.
    two["source"]["kafka"]["topics"] = json!([second, first]);
    site.write(&file("two"), two.to_string());
    committed(&site, "two", 30);
    for (change, text) in [(json!([first]), "OTHER_LOG"), (json!([]), "no topic is named")] {
        let mut bad = two.clone();
        bad["source"]["kafka"]["topics"] = change;
        site.write(&file("two"), bad.to_string());
        let refused = eventually("the definition is refused", 40, || {
            status(&host, "two")["refused"]
                .as_str()
                .filter(|why| why.contains(text))
                .map(str::to_owned)
        });
        assert!(refused.contains("pipelines/two.yaml:1:"), "{refused}");
        assert_eq!(status(&host, "two")["state"], "RUNNING", "what ran before runs on");
    }
    produce(&first, 5);
    committed(&site, "two", 35);
    site.write(&file("two"), two.to_string());
    eventually("it is no longer refused", 40, || {
        status(&host, "two").get("refused").is_none().then_some(())
    });

    // Another file may not have the name.
    site.write("pipelines/three.yaml", copy("one", &second).to_string());
    eventually("the second file is refused", 40, || {
        host.log().contains("stands in pipelines/one.yaml already").then_some(())
    });

    fs::remove_file(site.path().join(file("two"))).expect("it is there");
    eventually("its pipeline is gone", 40, || {
        (ask(&host, "GET", "/v1/pipelines/two", &Value::Null).0 == 404).then_some(())
    });
    produce(&first, 10);
    committed(&site, "one", 25);
    assert_eq!(log::records(&site.store, "two"), 35, "it reads nothing any more");
    host.drain();
    fs::remove_file(site.path().join("pipelines/three.yaml")).expect("it is there");
    site.verify();
    judge(&site, "one", 25);
}

#[test]
fn a_pipeline_is_registered_changed_paused_stopped_and_forgotten_over_rest() {
    let topic = topic(1);
    let site = Site::new(StoreKind::S3);
    let host = site.run().ready();
    let put = |host: &Host, query: &str, body: &Value| {
        ask(host, "PUT", &format!("/v1/pipelines/p{query}"), body)
    };
    let mut definition = copy("p", &topic);
    produce(&topic, 10);
    let (code, answer) = put(&host, "?dry_run=true", &definition);
    assert_eq!((code, &answer["created"]), (200, &json!(true)), "{answer}");
    assert_eq!(ask(&host, "GET", "/v1/pipelines/p", &Value::Null).0, 404, "it was only a try");
    let (code, answer) = put(&host, "", &definition);
    assert_eq!(code, 201, "{answer}");
    committed(&site, "p", 10);
    let shown = becomes(&host, "p", "RUNNING");
    assert_eq!((&shown["origin"], &shown["definition"]), (&json!("api"), &definition));
    let (code, answer) = put(&host, "", &definition);
    assert_eq!((code, &answer["changes"]), (200, &json!([])), "the same changes nothing");

    definition["flush"]["every"] = json!("400ms");
    let change = json!([{ "key": "flush.every", "from": "300ms", "to": "400ms" }]);
    let (code, answer) = put(&host, "?dry_run=true", &definition);
    assert_eq!((code, &answer["changes"]), (200, &change), "{answer}");
    assert_eq!(status(&host, "p")["definition"]["flush"]["every"], "300ms");
    let (code, answer) = put(&host, "", &definition);
    assert_eq!((code, &answer["changes"]), (200, &change), "{answer}");
    assert_eq!(status(&host, "p")["definition"], definition);

    // What can't be is refused whole, with the places.
    let bad = |key: &str, value: Value| {
        let mut bad = definition.clone();
        bad[key] = value;
        bad
    };
    let another = self::topic(1);
    let kafka = |topic: &str| json!({ "kafka": { "topics": [topic], "format": "raw" } });
    let component = |name: &str| json!([{ "component": name }]);
    for (body, expected, code, text) in [
        (bad("outputs", json!({})), 422, "INVALID", "no output is named"),
        (bad("sorce", json!(1)), 422, "INVALID", "unknown key `sorce`"),
        (bad("name", json!("q")), 422, "OTHER_NAME", "the body is of pipeline q"),
        (bad("transforms", component("nobody")), 422, "REFUSED", "nobody.wasm"),
        (bad("transforms", component("clean-clicks")), 422, "REFUSED", "reads decoded fields"),
        (bad("source", kafka(&another)), 422, "OTHER_LOG", &format!("positions of topic {topic}")),
    ] {
        let (status, problem) = put(&host, "", &body);
        assert_eq!((status, &problem["code"]), (expected, &json!(code)), "{problem}");
        assert!(problem["detail"].to_string().contains(text), "{text}: {problem}");
    }
    let (_, problem) = put(&host, "", &bad("flush", json!({ "every": "1ms" })));
    assert_eq!(problem["errors"][0]["pointer"], "/flush/every", "{problem}");
    assert_eq!(put(&host, "?dry=1", &definition).1["code"], "BAD_QUERY");
    assert_eq!(status(&host, "p")["definition"], definition, "what ran before runs on");

    wish(&host, "p", "pause");
    becomes(&host, "p", "PAUSED");
    produce(&topic, 10);
    eventually("what was paused is behind", 40, || {
        (status(&host, "p")["lag"]["records"] == 10).then_some(())
    });
    assert_eq!(log::records(&site.store, "p"), 10);
    let group = format!("{topic}-p");
    assert_eq!(kafka::members(&group), 1, "it keeps its partitions");
    wish(&host, "p", "resume");
    committed(&site, "p", 20);
    becomes(&host, "p", "RUNNING");

    wish(&host, "p", "stop");
    becomes(&host, "p", "STOPPED");
    assert_eq!(kafka::members(&group), 0, "it has left its group");
    produce(&topic, 10);
    host.drain();
    // A restart changes nothing of it.
    let host = site.run().ready();
    let shown = becomes(&host, "p", "STOPPED");
    assert_eq!((&shown["definition"], log::records(&site.store, "p")), (&definition, 20));
    wish(&host, "p", "start");
    committed(&site, "p", 30);
    site.verify();

    // A file of the same name does not take its place; nor does a request that of a file.
    site.write(&file("p"), copy("p", &topic).to_string());
    eventually("the file is refused", 40, || {
        host.log().contains("was registered over the API").then_some(())
    });
    let other = self::topic(1);
    site.write(&file("q"), copy("q", &other).to_string());
    becomes(&host, "q", "RUNNING");
    for method in ["PUT", "DELETE"] {
        let (status, problem) = ask(&host, method, "/v1/pipelines/q", &copy("q", &other));
        assert_eq!((status, &problem["code"]), (409, &json!("IN_FILE")), "{problem}");
        assert!(problem["detail"].to_string().contains("pipelines/q.yaml"), "{problem}");
    }
    fs::remove_file(site.path().join(file("p"))).expect("it is there");
    assert_eq!(ask(&host, "DELETE", "/v1/pipelines/p", &Value::Null).0, 204);
    assert_eq!(ask(&host, "GET", "/v1/pipelines/p", &Value::Null).0, 404);
    judge(&site, "p", 30);
    let (status, body) = ask(&host, "POST", "/v1/host/drain", &Value::Null);
    assert_eq!((status, body), (202, json!({ "draining": true })));
    let mut host = host;
    assert!(host.ended(30).success(), "{}", host.log());
    let host = site.run().ready();
    assert_eq!(ask(&host, "GET", "/v1/pipelines/p", &Value::Null).0, 404, "it stays forgotten");
    host.drain();
}

#[test]
fn what_kept_a_pipeline_from_running_can_be_mended_while_the_host_runs() {
    let (good, other) = (topic(1), topic(1));
    let site = Site::new(StoreKind::Folder);
    site.write(&file("good"), copy("good", &good).to_string());
    let host = site.run().ready();
    produce(&good, 10);
    produce(&other, 10);
    // A topic that was mistyped was never read: naming the right one takes nothing away.
    site.write(&file("p"), copy("p", &unique("typo")).to_string());
    let failed = becomes(&host, "p", "FAILED");
    assert!(failed["reason"].to_string().contains("there is no topic"), "{failed}");
    site.write(&file("p"), copy("p", &other).to_string());
    committed(&site, "p", 10);
    becomes(&host, "p", "RUNNING");
    // A file may have another name.
    fs::rename(site.path().join(file("p")), site.path().join("pipelines/renamed.yaml"))
        .expect("it is there");
    eventually("the other file defines it", 40, || {
        (status(&host, "p")["origin"]["file"] == "pipelines/renamed.yaml").then_some(())
    });
    becomes(&host, "p", "RUNNING");
    produce(&other, 10);
    committed(&site, "p", 20);
    // One that waits for a name gets it when the name is free.
    site.write("pipelines/second.yaml", copy("p", &other).to_string());
    eventually("the second file is refused", 40, || {
        host.log().contains("stands in pipelines/renamed.yaml already").then_some(())
    });
    fs::remove_file(site.path().join("pipelines/renamed.yaml")).expect("it is there");
    eventually("the second file defines it", 40, || {
        (status(&host, "p")["origin"]["file"] == "pipelines/second.yaml").then_some(())
    });
    produce(&other, 10);
    committed(&site, "p", 30);
    host.drain();
    site.verify();
    judge(&site, "p", 30);
}

#[test]
fn a_log_stays_with_its_topics_and_a_registered_pipeline_with_its_definition() {
    let (first, second) = (topic(1), topic(1));
    let site = Site::new(StoreKind::Folder);
    let host = site.run().ready();
    produce(&first, 10);
    let put = |host: &Host, topic: &str| ask(host, "PUT", "/v1/pipelines/p", &copy("p", topic));
    assert_eq!(put(&host, &first).0, 201);
    committed(&site, "p", 10);
    assert_eq!(ask(&host, "DELETE", "/v1/pipelines/p", &Value::Null).0, 204);
    let (status, problem) = put(&host, &second);
    assert_eq!((status, &problem["code"]), (422, &json!("OTHER_LOG")), "{problem}");
    assert_eq!(put(&host, &first).0, 201, "it goes on where it was");
    // A file that comes while no host runs does not take the place of what is registered.
    host.drain();
    let mut other = copy("p", &first);
    other["flush"]["every"] = json!("777ms");
    site.write(&file("p"), other.to_string());
    let host = site.run().ready();
    assert_eq!(self::status(&host, "p")["definition"], copy("p", &first));
    assert_eq!(ask(&host, "DELETE", "/v1/pipelines/p", &Value::Null).0, 204);
    eventually("the file has its turn", 40, || {
        (self::status(&host, "p")["definition"] == other).then_some(())
    });
    becomes(&host, "p", "RUNNING");
    produce(&first, 10);
    committed(&site, "p", 20);
    host.drain();
    site.verify();
    judge(&site, "p", 20);
}

#[test]
fn what_is_registered_on_one_replica_runs_on_all() {
    let topic = topic(4);
    let site = Site::new(StoreKind::S3);
    let (one, two) = (site.run().ready(), site.run().ready());
    let definition = copy("p", &topic);
    assert_eq!(ask(&one, "PUT", "/v1/pipelines/p", &definition).0, 201);
    becomes(&two, "p", "RUNNING");
    let group = format!("{topic}-p");
    eventually("both are members", 40, || (kafka::members(&group) == 2).then_some(()));
    let produce = |count: usize| {
        let records =
            (0..4 * count).map(|n| Record::of(i32::try_from(n % 4).expect("four"), format!("{n}")));
        kafka::produce(&topic, records, &[]);
    };
    produce(25);
    committed(&site, "p", 100);
    wish(&two, "p", "pause");
    becomes(&one, "p", "PAUSED");
    becomes(&two, "p", "PAUSED");
    produce(25);
    wish(&one, "p", "resume");
    committed(&site, "p", 200);
    let mut changed = definition.clone();
    changed["flush"]["every"] = json!("200ms");
    assert_eq!(ask(&two, "PUT", "/v1/pipelines/p", &changed).0, 200);
    eventually("the other has it", 40, || {
        (status(&one, "p")["definition"] == changed).then_some(())
    });
    // A host that comes later has it too.
    let three = site.run().ready();
    becomes(&three, "p", "RUNNING");
    assert_eq!(ask(&one, "DELETE", "/v1/pipelines/p", &Value::Null).0, 204);
    for host in [&two, &three] {
        eventually("it is gone everywhere", 40, || {
            (ask(host, "GET", "/v1/pipelines/p", &Value::Null).0 == 404).then_some(())
        });
    }
    for host in [one, two, three] {
        host.drain();
    }
    let sql = "SELECT count(*), count(DISTINCT (_kafka_partition, _kafka_offset)) FROM rows";
    let found = reader::query(&site.place, "data/p/records", sql);
    assert_eq!(json!(found), json!([[200, 200]]));
}

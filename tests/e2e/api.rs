//! Components over REST: upload, refusal, rollback, deletion; events as they happen; who gets in.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    time::Duration,
};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tidemill_tests::{
    eventually, guest,
    host::{Host, StoreKind},
};

use crate::{
    identity::Identity,
    swaps::{build, digest, judged, runs, site},
};

const STAMPED: &str = "/v1/components/stamped";

/// Status and body of an answer.
fn ask(host: &Host, method: &str, path: &str, body: &[u8]) -> (u16, Value) {
    let headers = ["Content-Type: application/json"];
    let (status, body) = host.request(method, path, &headers, body).expect("the host answers");
    (status, serde_json::from_str(&body).unwrap_or(Value::Null))
}

fn current(host: &Host) -> String {
    let (_, component) = ask(host, "GET", STAMPED, b"");
    component["current"]["digest"].as_str().expect("a current version").to_owned()
}

#[test]
fn a_component_is_uploaded_refused_rolled_back_and_forgotten() {
    let mut identity = Identity::new(2);
    let site = site(StoreKind::S3, &identity);
    identity.produce(100);
    let host = site.run().ready();
    let (first, second) = (build(0), build(1));
    let (status, component) = ask(&host, "PUT", STAMPED, &second);
    assert_eq!(
        (status, &component["current"]["digest"]),
        (200, &json!(digest(&second))),
        "{component}"
    );
    assert_eq!(
        (&component["current"]["road"], &component["used_by"]),
        (&json!("upload"), &json!(["copy"]))
    );
    assert_eq!(component["current"]["generation"], 2);
    runs(&host, &second);
    identity.produce(100);
    identity.committed(&site, 30);

    let (status, problem) = ask(&host, "PUT", STAMPED, b"garbage");
    assert_eq!((status, &problem["code"]), (422, &json!("COMPONENT_REFUSED")), "{problem}");
    assert!(problem["detail"].to_string().contains("no WebAssembly component"), "{problem}");
    let (_, component) = ask(&host, "GET", STAMPED, b"");
    assert_eq!(component["refused"][0]["digest"], digest(b"garbage"), "{component}");
    assert_eq!(current(&host), digest(&second), "what ran before runs on");
    let (status, same) = ask(&host, "PUT", STAMPED, &second);
    assert_eq!((status, &same), (200, &component), "the same changes nothing");

    let back = json!({ "digest": format!("sha256:{}", digest(&first)) }).to_string();
    let (status, component) = ask(&host, "POST", &format!("{STAMPED}/rollback"), back.as_bytes());
    assert_eq!((status, &component["current"]["digest"]), (200, &json!(digest(&first))));
    runs(&host, &first);
    let (_, pipeline) = ask(&host, "GET", "/v1/pipelines/copy", b"");
    eventually("the pipeline shows what it runs", 20, || {
        let (_, pipeline) = ask(&host, "GET", "/v1/pipelines/copy", b"");
        (pipeline["transforms"][0]["digest"] == digest(&first)).then_some(())
    });
    assert_eq!(pipeline["state"], "RUNNING");
    let (_, versions) = ask(&host, "GET", &format!("{STAMPED}/versions"), b"");
    let digests: Vec<_> =
        versions["versions"].as_array().expect("a list").iter().map(|v| &v["digest"]).collect();
    assert_eq!(digests, [&json!(digest(&second)), &json!(digest(&first))]);
    identity.produce(100);
    identity.committed(&site, 30);

    let unknown = json!({ "digest": digest(b"never seen") }).to_string();
    for (method, path, body, expected, code) in [
        ("POST", "/v1/components/stamped/rollback", unknown.as_bytes(), 404, "UNKNOWN_VERSION"),
        ("POST", "/v1/components/nobody/rollback", unknown.as_bytes(), 404, "NO_COMPONENT"),
        ("POST", "/v1/components/stamped/rollback", b"{}", 422, "BAD_BODY"),
        ("GET", "/v1/components/nobody", b"", 404, "NO_COMPONENT"),
        ("PUT", "/v1/components/No_Name", b"", 422, "BAD_NAME"),
        ("PUT", "/v1/components/..%2Fevil", b"", 422, "BAD_NAME"),
        ("DELETE", STAMPED, b"", 409, "IN_USE"),
        ("PATCH", STAMPED, b"", 405, "METHOD_NOT_ALLOWED"),
        ("GET", "/v1/nothing", b"", 404, "NOT_FOUND"),
        ("GET", "/v1/pipelines/nobody", b"", 404, "NO_PIPELINE"),
    ] {
        let (status, problem) = ask(&host, method, path, body);
        assert_eq!(
            (status, &problem["code"]),
            (expected, &json!(code)),
            "{method} {path}: {problem}"
        );
        assert_eq!(problem["status"], expected);
    }

    // Bytes that somebody deleted come back with an upload, as the error says.
    let lost = format!("_registry/components/{}.wasm", digest(&second));
    fs::remove_file(site.store.join(lost)).expect("they are kept");
    let to_second = json!({ "digest": digest(&second) }).to_string();
    let roll_back =
        |body: &str| ask(&host, "POST", &format!("{STAMPED}/rollback"), body.as_bytes());
    let (status, problem) = roll_back(&to_second);
    let suggestion = problem["suggestion"].to_string();
    assert!(status == 503 && suggestion.contains("upload the component again"), "{problem}");
    assert_eq!(ask(&host, "PUT", STAMPED, &second).0, 200);
    assert_eq!(current(&host), digest(&second));
    assert_eq!(roll_back(&back).0, 200);

    // One that nobody uses is kept until it is forgotten.
    let spare = "/v1/components/spare";
    assert_eq!(ask(&host, "PUT", spare, &guest("stamped_wide.wasm")).0, 200);
    assert_eq!(ask(&host, "DELETE", spare, b"").0, 204);
    assert_eq!(ask(&host, "GET", spare, b"").0, 404);
    let (_, all) = ask(&host, "GET", "/v1/components", b"");
    let names: Vec<_> =
        all["components"].as_array().expect("a list").iter().map(|c| &c["name"]).collect();
    assert!(names.contains(&&json!("stamped")) && !names.contains(&&json!("spare")), "{names:?}");
    host.drain();

    // A restart never undoes a rollback.
    let host = site.run().ready();
    assert_eq!(current(&host), digest(&first));
    identity.produce(100);
    identity.committed(&site, 30);
    host.drain();
    identity.judge(&site);
    judged(&site, [0, 1]);
}

#[test]
fn events_are_followed_as_they_happen_and_from_where_one_left() {
    let mut identity = Identity::new(1);
    let site = site(StoreKind::Folder, &identity);
    identity.produce(10);
    let host = site.run().ready();
    identity.committed(&site, 30);
    let follow = |headers: &[&str]| {
        let stream = host.send("GET", "/v1/events", headers, b"").expect("the host answers");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a socket");
        let lines = BufReader::new(stream).lines().map(|line| line.expect("the stream goes on"));
        lines.filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok())
    };
    let mut events = follow(&[]).filter(|event| event["component"] == "stamped");
    let mut next = |kind: &str| events.find(|event| event["kind"] == kind).expect("an event");
    let loaded = next("loaded");
    assert_eq!((&loaded["digest"], &loaded["road"]), (&json!(digest(&build(0))), &json!("folder")));
    site.rename_into("transforms/stamped.wasm", build(1));
    let swapped = next("swapped");
    assert_eq!(
        (&swapped["old"], &swapped["new"]),
        (&json!(digest(&build(0))), &json!(digest(&build(1))))
    );
    assert_eq!((&swapped["pipeline"], &swapped["cut"][0]["offset"]), (&json!("copy"), &json!(10)));
    site.rename_into("transforms/stamped.wasm", "garbage");
    let refused = next("refused");
    assert!(refused["id"].as_u64() > swapped["id"].as_u64(), "{refused} {swapped}");
    // Whoever comes back gets what was missed, and nothing twice.
    let id = format!("Last-Event-ID: {}", swapped["id"]);
    assert_eq!(follow(&[&id]).find(|event| event["component"] == "stamped"), Some(refused));
    host.drain();
}

#[test]
fn only_who_may_gets_in() {
    let identity = Identity::new(1);
    let site = site(StoreKind::Folder, &identity);
    let host = site.run().ready();
    let status = |host: &Host, headers: &[&str]| {
        host.request("GET", "/v1/components", headers, b"").map(|(status, _)| status)
    };
    assert_eq!(status(&host, &[]), Some(200));
    assert_eq!(status(&host, &["Host: evil.example"]), Some(403), "a page of another site");
    assert_eq!(host.get("/livez").map(|(status, _)| status), Some(200));
    host.drain();
    let token = Sha256::digest("a long random token")
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect::<String>();
    let host = site.run_with(&["--http-token-sha256", &token]).ready();
    assert_eq!(status(&host, &[]), Some(401));
    assert_eq!(status(&host, &["Authorization: Bearer another"]), Some(401));
    assert_eq!(status(&host, &["Authorization: Bearer a long random token"]), Some(200));
    assert_eq!(host.get("/readyz").map(|(status, _)| status), Some(200), "probes have no token");
    assert!(!host.log().contains(&token), "the log is no place for it");
    host.drain();
}

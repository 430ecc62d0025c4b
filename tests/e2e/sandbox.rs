//! What a component has of the machine that it runs on: a voice in the log, and nothing else.

use std::{env, fs, io::ErrorKind, net::TcpListener, process::Command};

use serde_json::{Value, json};
use tidemill_tests::{
    eventually, guest,
    host::{Site, StoreKind},
    kafka::{self, Record},
    reader, unique,
};

use crate::log;

/// Everything that the guest `nosy` tries.
const ATTEMPTS: [&str; 14] = [
    "variables",
    "arguments",
    "read a file",
    "read the current folder",
    "read the root folder",
    "read a folder of the host's",
    "write a file",
    "write a file where it is",
    "make a folder",
    "connect to a listener",
    "connect to the broker",
    "listen",
    "bind a UDP socket",
    "look a name up",
];

/// A site whose one pipeline has read one record by this guest, and has ended; with what its host logged.
fn ran(
    component: &str,
    output: &str,
    record: &Value,
    config: impl FnOnce(&Site) -> Value,
) -> (Site, String) {
    let topic = unique("sandbox");
    kafka::create_topic(&topic, 1, &[]);
    kafka::produce(&topic, [Record::of(0, record.to_string())], &[]);
    let site = Site::new(StoreKind::Folder);
    site.write(&format!("transforms/{component}.wasm"), guest(&format!("{component}.wasm")));
    let config = config(&site);
    // YAML reads JSON.
    let pipeline = json!({
        "name": "p",
        "source": { "kafka": { "topics": [topic], "group_id": topic, "format": "json" } },
        "transforms": [{ "component": component, "config": config }],
        "outputs": { output: { "parquet": {} } },
        "flush": { "every": "1s", "idle": "500ms" },
    });
    site.write("pipelines/p.yaml", pipeline.to_string());
    let host = site.run_with(&["--log-format", "json"]).ready();
    eventually("all is committed", 30, || (log::records(&site.store, "p") == 1).then_some(()));
    let said = host.log();
    host.drain();
    (site, said)
}

#[test]
fn nothing_of_the_host_is_granted() {
    // What there is to be had: this key, which the host inherits, two servers that listen, and a folder.
    assert!(env::var_os("AWS_SECRET_ACCESS_KEY").is_some(), "the host has a variable to be seen");
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.set_nonblocking(true).expect("a listener can be asked without waiting");
    let (site, _) = ran("nosy", "attempts", &json!({ "act": "try" }), |site| {
        let listener = listener.local_addr().expect("it is bound").to_string();
        json!({ "folder": site.path(), "listener": listener, "broker": kafka::brokers() })
    });
    let sql = "SELECT attempt, granted, outcome FROM rows";
    let rows = reader::query(&site.place, "data/p/attempts", sql);
    for row in &rows {
        assert_eq!(row[1], json!(false), "granted: {row:?}");
        let outcome = row[2].as_str().expect("a text");
        assert!(!outcome.contains("not supported"), "it was not even tried: {row:?}");
    }
    assert_eq!(rows.iter().map(|row| &row[0]).collect::<Vec<_>>(), ATTEMPTS);
    let connected = listener.accept().expect_err("nobody connects");
    assert_eq!(connected.kind(), ErrorKind::WouldBlock);
    let names = fs::read_dir(site.path()).expect("the site is there");
    let mut names = names.map(|entry| entry.expect("the site is there").file_name());
    assert!(names.all(|name| !name.to_string_lossy().starts_with("taken")), "nothing is left");
}

#[test]
fn each_line_of_a_component_is_in_the_hosts_log_with_its_origin() {
    // A quote must not end the text that it stands in.
    let word = unique("a \"word\"");
    let (site, said) = ran("chatty", "said", &json!({ "word": word }), |_| json!({}));
    let digest = sha256(&site, "transforms/chatty.wasm");
    let lines: Vec<Value> =
        said.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
    let expected = [
        ("on standard output", "INFO"),
        ("on standard error", "WARN"),
        ("for information", "INFO"),
        ("as a warning", "WARN"),
    ];
    for (end, level) in expected {
        let text = format!("{word} {end}");
        let found: Vec<_> = lines.iter().filter(|line| line["message"] == json!(text)).collect();
        let [line] = found[..] else { panic!("{} lines say {text:?}: {said}", found.len()) };
        let origin = ["level", "target", "pipeline", "component", "digest"].map(|key| &line[key]);
        assert_eq!(json!(origin), json!([level, "guest", "p", "chatty", digest]));
    }
}

/// The digest of a site's file, by a program that knows nothing of the host.
fn sha256(site: &Site, name: &str) -> String {
    let output = Command::new("sha256sum").arg(site.path().join(name)).output();
    let output = String::from_utf8(output.expect("sha256sum runs").stdout).expect("it is hex");
    output.split(' ').next().expect("the digest comes first").to_owned()
}

//! What must be refused before the first record, with a text that says what to do.

use std::{fs, net::TcpListener};

use tidemill_tests::{
    eventually, guest,
    host::{Site, StoreKind},
    kafka::{self, Record},
    unique,
};

use crate::log;

/// What a site of each kind is refused for.
fn each(pipeline: impl Fn(&str) -> String, prepare: impl Fn(&Site), name: &str) {
    for kind in [StoreKind::Folder, StoreKind::S3] {
        let topic = unique("refusals");
        kafka::create_topic(&topic, 1, &[]);
        let site = Site::new(kind);
        site.write("pipelines/p.yaml", pipeline(&topic));
        prepare(&site);
        refused(&site, &topic, name);
        assert!(!site.store.join("data").exists(), "no data was written");
        assert!(log::manifests(&site.store, "p").is_empty(), "no log was begun");
    }
}

fn pipeline(topic: &str, format: &str, component: &str, outputs: &str) -> String {
    format!(
        "name: p\nsource:\n  kafka:\n    topics: [{topic}]\n    group_id: {topic}\n    format: {format}\n\
         transforms: [{{ component: {component} }}]\noutputs: {outputs}\n"
    )
}

/// `run` and `validate` refuse alike, with exit code 2 and the text of the snapshot.
fn refused(site: &Site, topic: &str, name: &str) {
    for command in ["validate", "run"] {
        let arguments =
            [command, "--config", "tidemill.toml", "--listen", "127.0.0.1:0", "--log", "off"];
        let output = site.tidemill(&arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{command}: {error}");
        assert!(
            error.contains("pipelines/p.yaml:") && error.contains("help: "),
            "{command}: {error}"
        );
        insta::assert_snapshot!(name, shown(&error, site, topic));
    }
}

/// A text with words in the place of what differs from run to run.
fn shown(text: &str, site: &Site, topic: &str) -> String {
    let folder = site.path().display().to_string();
    let text = text.replace(&folder, "SITE").replace(topic, "TOPIC");
    let text = text.replace(&kafka::brokers(), "BROKERS");
    let is_digest =
        |word: &str| [12, 64].contains(&word.len()) && word.bytes().all(|b| b.is_ascii_hexdigit());
    let words = text.split_inclusive(|c: char| !c.is_ascii_alphanumeric());
    let word = |word: &str| {
        let bare = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        if is_digest(bare) { word.replace(bare, "DIGEST") } else { word.to_owned() }
    };
    // The underline is as long as the name was.
    let text: String = words.map(word).collect();
    text.lines()
        .map(|line| {
            if line.contains("| ") && line.ends_with('^') {
                line.trim_end_matches('^').to_owned() + "^"
            } else {
                line.to_owned()
            }
        })
        .collect::<Vec<_>>()
        .join("\n")
}

const CLEAN: &str = "{ clean: { parquet: {} } }";

#[test]
fn a_component_of_another_world() {
    let other = |site: &Site| site.write("transforms/other.wasm", guest("wrong-world.wasm"));
    each(|topic| pipeline(topic, "json", "other", CLEAN), other, "another_world");
}

#[test]
fn a_component_that_imports_what_no_host_offers() {
    let foreign = |site: &Site| site.write("transforms/foreign.wasm", guest("foreign.wasm"));
    let outputs = "{ balances: { parquet: {} } }";
    each(|topic| pipeline(topic, "json", "foreign", outputs), foreign, "foreign_import");
}

#[test]
fn a_file_that_is_no_component() {
    let other = |site: &Site| site.write("transforms/other.wasm", "hello");
    each(|topic| pipeline(topic, "json", "other", CLEAN), other, "no_component");
}

#[test]
fn a_component_that_is_not_there() {
    each(|topic| pipeline(topic, "json", "cleen-clicks", CLEAN), |_| {}, "missing_component");
}

#[test]
fn a_component_that_is_not_the_pinned_one() {
    let pinned = format!("clean-clicks@sha256:{}", "0".repeat(64));
    each(|topic| pipeline(topic, "json", &pinned, CLEAN), |_| {}, "another_pin");
}

#[test]
fn a_configuration_that_the_component_refuses() {
    let config = "enrich, config: { contries: {} }";
    let outputs = "{ enriched: { parquet: {} } }";
    each(|topic| pipeline(topic, "json", config, outputs), |_| {}, "refused_config");
}

#[test]
fn an_output_that_the_component_does_not_have() {
    let outputs = "{ cleen: { parquet: {} } }";
    each(|topic| pipeline(topic, "json", "clean-clicks", outputs), |_| {}, "unknown_output");
}

#[test]
fn an_output_that_the_pipeline_forgets() {
    let outputs = "{ orders: { parquet: {} } }";
    each(|topic| pipeline(topic, "json", "fan-out", outputs), |_| {}, "missing_output");
}

#[test]
fn a_format_that_the_component_does_not_read() {
    each(|topic| pipeline(topic, "raw", "clean-clicks", CLEAN), |_| {}, "not_raw");
    let outputs = "{ records: { parquet: {} } }";
    each(|topic| pipeline(topic, "json", "passthrough-raw", outputs), |_| {}, "not_json");
}

#[test]
fn a_hive_partition_that_the_output_can_not_have() {
    let by = |by: &str| format!("{{ clean: {{ parquet: {{ partition_by: [country, {by}] }} }} }}");
    let outputs = by("contry");
    each(|topic| pipeline(topic, "json", "clean-clicks", &outputs), |_| {}, "partition_by_name");
    let outputs = by("day = date(user)");
    each(|topic| pipeline(topic, "json", "clean-clicks", &outputs), |_| {}, "partition_by_type");
}

#[test]
fn a_topic_that_does_not_exist() {
    each(|_| pipeline("no-such-topic-anywhere", "json", "clean-clicks", CLEAN), |_| {}, "no_topic");
}

#[test]
fn a_log_that_somebody_edited() {
    let topic = unique("edited");
    kafka::create_topic(&topic, 1, &[]);
    kafka::produce(&topic, [Record::of(0, "one")], &[]);
    let site = Site::new(StoreKind::Folder);
    let records = "{ records: { parquet: {} } }\nflush: { every: 200ms, idle: 200ms }";
    site.write("pipelines/p.yaml", pipeline(&topic, "raw", "passthrough-raw", records));
    let host = site.run().ready();
    eventually("it is committed", 30, || (log::records(&site.store, "p") == 1).then_some(()));
    host.drain();
    let edited = site.store.join("_log/p/e0001/00000000000000000001.json");
    let text = fs::read_to_string(&edited).expect("the second manifest is there");
    fs::write(&edited, text.replacen("\"seq\":1", "\"seq\":7", 1)).expect("it can be written");
    for command in ["validate", "run"] {
        let arguments = [command, "--config", "tidemill.toml", "--listen", "127.0.0.1:0"];
        let output = site.tidemill(&arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains("LOG_FORK"), "{command}: {error}");
    }
}

#[test]
fn an_address_that_is_taken_or_of_another_machine() {
    let topic = unique("addresses");
    kafka::create_topic(&topic, 1, &[]);
    let site = Site::new(StoreKind::Folder);
    site.write("pipelines/p.yaml", pipeline(&topic, "json", "clean-clicks", CLEAN));
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = taken.local_addr().expect("it is bound").to_string();
    let started = |command: &str, address: &str| {
        let output = site.tidemill(&[command, "--config", "tidemill.toml", "--listen", address]);
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    };
    // Most likely it is the host whose next settings are being checked.
    let (code, text) = started("validate", &taken);
    assert!(code == Some(0) && text.contains(&taken), "{text}");
    let (code, text) = started("run", &taken);
    assert!(code == Some(3) && text.contains("--listen"), "{text}");
    // RFC 5737: an address of documentation, nobody's.
    let (code, text) = started("validate", "192.0.2.1:80");
    assert!(code == Some(3) && text.contains("192.0.2.1:80"), "{text}");
}

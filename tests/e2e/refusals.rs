//! What must be refused before the first record, with a text that says what to do.

use std::{fs, path::PathBuf};

use tidemill_tests::{
    host::{Site, StoreKind},
    kafka, setting, unique,
};

fn guest(file: &str) -> Vec<u8> {
    fs::read(PathBuf::from(setting("TIDEMILL_TEST_GUESTS")).join(file))
        .expect("the test guests are built")
}

/// A site with one pipeline over a topic of its own.
fn site(pipeline: impl FnOnce(&str) -> String) -> Site {
    let topic = unique("refusals");
    kafka::create_topic(&topic, 1, &[]);
    let site = Site::new(StoreKind::Folder);
    site.write("pipelines/p.yaml", pipeline(&topic));
    site
}

fn pipeline(topic: &str, format: &str, component: &str, outputs: &str) -> String {
    format!(
        "name: p\nsource:\n  kafka: {{ topics: [{topic}], group_id: {topic}, format: {format} }}\n\
         transforms: [{{ component: {component} }}]\noutputs: {outputs}\n"
    )
}

/// `run` and `validate` refuse alike: exit code 2, and a text with all of these in it.
fn refused(site: &Site, texts: &[&str]) {
    for command in ["validate", "run"] {
        let output =
            site.tidemill(&[command, "--config", "tidemill.toml", "--listen", "127.0.0.1:0"]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{command}: {error}");
        for text in texts {
            assert!(error.contains(text), "{command} does not say {text:?}: {error}");
        }
    }
    assert!(!site.store.join("data").exists(), "nothing was written");
}

#[test]
fn a_component_of_another_world() {
    let site = site(|topic| pipeline(topic, "json", "other", "{ clean: { parquet: {} } }"));
    site.write("transforms/other.wasm", guest("wrong-world.wasm"));
    refused(&site, &["other", "wasi:cli/run", "tidemill:transform/transform"]);
}

#[test]
fn a_file_that_is_no_component() {
    let site = site(|topic| pipeline(topic, "json", "other", "{ clean: { parquet: {} } }"));
    site.write("transforms/other.wasm", "hello");
    refused(&site, &["other", "component"]);
}

#[test]
fn a_component_that_is_not_there() {
    let site = site(|topic| pipeline(topic, "json", "cleen-clicks", "{ clean: { parquet: {} } }"));
    refused(&site, &["cleen-clicks.wasm", "clean-clicks.wasm"]);
}

#[test]
fn an_output_that_the_component_does_not_have() {
    let site = site(|topic| pipeline(topic, "json", "clean-clicks", "{ cleen: { parquet: {} } }"));
    refused(&site, &["outputs.cleen", "clean"]);
}

#[test]
fn an_output_that_the_pipeline_forgets() {
    let site = site(|topic| pipeline(topic, "json", "fan-out", "{ orders: { parquet: {} } }"));
    refused(&site, &["says nothing about"]);
}

#[test]
fn a_format_that_the_component_does_not_read() {
    let site = site(|topic| pipeline(topic, "raw", "clean-clicks", "{ clean: { parquet: {} } }"));
    refused(&site, &["source.kafka.format", "format: json"]);
}

#[test]
fn a_hive_partition_by_a_field_that_is_not_there() {
    let site = site(|topic| {
        pipeline(
            topic,
            "json",
            "clean-clicks",
            "{ clean: { parquet: { partition_by: [contry] } } }",
        )
    });
    refused(&site, &["contry", "country"]);
}

#[test]
fn a_topic_that_does_not_exist() {
    let site = site(|_| {
        pipeline("no-such-topic-anywhere", "json", "clean-clicks", "{ clean: { parquet: {} } }")
    });
    refused(&site, &["no-such-topic-anywhere"]);
}

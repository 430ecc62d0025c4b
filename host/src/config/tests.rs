//! Every kind of mistake, with the text that a person sees: one file of snapshots for each kind of file.

use std::{collections::BTreeMap, fmt::Write, path::Path, time::Duration};

use proptest::prelude::*;
use url::Url;

use super::*;

const HERE: &str = "/here";

const SETTINGS_FILE: &str = r#"transforms = "parts"
workers = 3
[http]
listen = "0.0.0.0:80"
[store]
url = "s3://bucket/prefix"
endpoint = "http://127.0.0.1:9100"
path_style = true
region = "eu-central-1"
[kafka]
brokers = ["a:9092", "b:9093"]
security = "tls"
ca_file = "ca.pem"
options = { "fetch.min.bytes" = 1 }
[memory]
budget = "1GiB"
"#;

const PIPELINE_FILE: &str = "name: clicks
source:
  kafka:
    topics: [clicks, more]
    group_id: readers
    start: { clicks: { 0: 42 } }
    format: json
transforms:
  - component: clean-clicks
    config: { min_amount: 0, template: \"${kept}\" }
    on_error: skip
    limits: { memory: 32MiB, call_timeout: 1s }
outputs:
  clean:
    parquet:
      partition_by:
        - dt = date(ts)
        - country
      compression: zstd(3)
      max_file_bytes: 64MiB
dead_letters: { parquet: {} }
flush: { every: 2m, idle: 5s }
";

fn read_host(text: &str, given: &[Given]) -> Result<Host, Problems> {
    let file = File { name: "tidemill.toml", text, folder: Path::new("/etc/tidemill") };
    host(Some(file), given, Path::new(HERE), 2)
}

fn read_pipeline(text: &str) -> Result<Pipeline, Problems> {
    let host = host(None, &[], Path::new(HERE), 2).unwrap();
    let file = PipelineFile { name: "pipelines/clicks.yaml".into(), text: text.into() };
    pipelines(&[file], Path::new("/etc/tidemill/pipelines"), &host).map(|mut read| read.remove(0))
}

fn given(key: &str, text: &str) -> Given {
    let setting = SETTINGS.iter().find(|setting| setting.key == key).unwrap();
    Given { key: setting.key, origin: format!("--{}", setting.flag), text: text.into() }
}

#[test]
fn defaults_are_the_documented_ones() {
    let host = host(None, &[], Path::new(HERE), 2).unwrap();
    assert_eq!(host.workers, 2);
    assert_eq!(host.transforms, Path::new("/here/transforms"));
    assert_eq!(host.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(host.store.url.as_str(), "file:///here/store/");
    assert_eq!(host.kafka.brokers, ["127.0.0.1:9092"]);
    assert_eq!(host.memory_budget, 256 << 20);
}

#[test]
fn a_token_is_given_by_its_digest_and_never_repeated() {
    let digest = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
    let read = |text: &str| {
        let given = Given {
            key: "http.token_sha256",
            origin: "--http-token-sha256".into(),
            text: text.to_owned(),
        };
        host(None, &[given], Path::new("/here"), 2)
    };
    let token = read(digest).unwrap().token_sha256.unwrap();
    assert_eq!((token[0], token[31]), (0x2b, 0x5b));
    let text = read("secret").unwrap_err().to_string();
    assert!(
        text.contains("--http-token-sha256: it is no SHA-256") && !text.contains("secret"),
        "{text}"
    );
}

/// The keys of all values that are no tables, but for librdkafka's own.
fn flatten(before: &str, table: &toml::Table, keys: &mut Vec<String>) {
    for (key, value) in table {
        match value {
            toml::Value::Table(inner) if key != "options" => {
                flatten(&format!("{before}{key}."), inner, keys);
            }
            _ => keys.push(format!("{before}{key}")),
        }
    }
}

#[test]
fn every_default_is_a_flag_and_a_variable() {
    // The settings without a default stand in the file as comments.
    let line = |line: &str| match line.strip_prefix("# ") {
        Some(setting) if setting.contains(" = ") => format!("{setting}\n"),
        _ => format!("{line}\n"),
    };
    let table: toml::Table = DEFAULTS.lines().map(line).collect::<String>().parse().unwrap();
    let mut keys = Vec::new();
    flatten("", &table, &mut keys);
    let mut settings: Vec<_> = SETTINGS.iter().map(|setting| setting.key.to_owned()).collect();
    keys.sort();
    settings.sort();
    assert_eq!(keys, settings);
    for setting in SETTINGS {
        assert!(
            DEFAULTS.contains(&format!("--{}", setting.flag)),
            "{} lacks its flag",
            setting.key
        );
        assert!(DEFAULTS.contains(setting.variable), "{} lacks its variable", setting.key);
    }
}

#[test]
fn a_file_wins_over_the_defaults() {
    let host = read_host(SETTINGS_FILE, &[]).unwrap();
    assert_eq!(host.transforms, Path::new("/etc/tidemill/parts"));
    assert_eq!(host.pipelines, Path::new("/etc/tidemill/pipelines"));
    assert_eq!((host.workers, host.memory_budget), (3, 1 << 30));
    assert_eq!(host.store.endpoint, Some(Url::parse("http://127.0.0.1:9100").unwrap()));
    assert_eq!(host.kafka.ca_file.as_deref(), Some(Path::new("/etc/tidemill/ca.pem")));
    assert_eq!(host.kafka.options, BTreeMap::from([("fetch.min.bytes".into(), "1".into())]));
}

#[test]
fn what_is_given_wins_over_the_file() {
    let all = [
        given("workers", "9"),
        given("kafka.brokers", "x:1, y:2"),
        given("kafka.options", "linger.ms=5,fetch.min.bytes=7"),
        given("store.url", "out"),
        given("store.path_style", "false"),
        given("workers", "5"),
    ];
    let host = read_host(SETTINGS_FILE, &all).unwrap();
    assert_eq!(host.workers, 5);
    assert_eq!(host.kafka.brokers, ["x:1", "y:2"]);
    let options =
        [("fetch.min.bytes".to_owned(), "7".to_owned()), ("linger.ms".into(), "5".into())];
    assert_eq!(host.kafka.options, BTreeMap::from(options));
    assert_eq!(host.store.url.as_str(), "file:///here/out/");
    assert_eq!((host.store.endpoint, host.store.path_style), (None, false));
}

#[test]
fn a_pipeline_is_read() {
    let pipeline = read_pipeline(PIPELINE_FILE).unwrap();
    assert_eq!(
        pipeline.source.start,
        Start::Offsets(BTreeMap::from([("clicks".into(), BTreeMap::from([(0, 42)]))]))
    );
    assert_eq!(
        pipeline.transforms[0].config,
        serde_json::json!({ "min_amount": 0, "template": "${kept}" })
    );
    assert_eq!(pipeline.transforms[0].on_error, OnError::Skip);
    assert_eq!(pipeline.transforms[0].limits.memory, 32 << 20);
    let clean = &pipeline.outputs["clean"];
    assert_eq!(clean.partition_by[0].expression, Expression::Date("ts".into()));
    assert_eq!((clean.compression, clean.max_file_bytes), (Compression::Zstd(3), 64 << 20));
    assert_eq!(
        pipeline.flush,
        Flush { every: Duration::from_secs(120), idle: Duration::from_secs(5) }
    );
}

#[test]
fn the_shortest_pipeline_gets_the_defaults() {
    let json = r#"{"name": "a", "source": {"kafka": {"topics": ["t"], "format": "raw"}},
        "transforms": [{"component": "c"}], "outputs": {"o": {}}}"#;
    let pipeline = read_pipeline(json).unwrap();
    assert_eq!(pipeline.source.group_id, "tidemill-a");
    assert_eq!(pipeline.source.start, Start::Earliest);
    assert_eq!(pipeline.transforms[0].config, serde_json::json!({}));
    assert_eq!(pipeline.outputs["o"].compression, Compression::Zstd(1));
    assert_eq!(pipeline.flush.every, Duration::from_secs(60));
}

#[test]
fn a_pipeline_may_have_its_own_cluster_and_store() {
    let text =
        format!("{PIPELINE_FILE}kafka: {{ brokers: ['k:1'] }}\nstore: {{ url: 's3://own' }}\n");
    let pipeline = read_pipeline(&text).unwrap();
    assert_eq!(
        (pipeline.kafka.brokers[0].as_str(), pipeline.store.url.as_str()),
        ("k:1", "s3://own")
    );
}

#[test]
fn the_shipped_files_are_read() {
    let host = read_host(include_str!("../../../deploy/tidemill.toml"), &[]).unwrap();
    let file = PipelineFile {
        name: "clicks.yaml".into(),
        text: include_str!("../../../deploy/pipelines/clicks.yaml").into(),
    };
    let read = pipelines(&[file], Path::new("/p"), &host).unwrap();
    assert!(read[0].outputs.contains_key("clean"));
}

/// The texts of mistakes: in a good text, `from` is replaced by `to`.
fn texts(good: &str, mistakes: &[(&str, &str)], read: impl Fn(&str) -> Option<Problems>) -> String {
    let mut all = String::new();
    for (from, to) in mistakes {
        assert!(good.contains(from), "`{from}` is not in the good text");
        let problems =
            read(&good.replacen(from, to, 1)).unwrap_or_else(|| panic!("`{to}` was accepted"));
        writeln!(all, "{problems}\n").unwrap();
    }
    all
}

#[test]
fn mistakes_in_pipeline_files() {
    let pin = format!("component: clean-clicks@sha256:{}", "g".repeat(64));
    let mistakes = [
        // the shape
        ("name: clicks\n", "name: clicks\nname: again\n"),
        ("  kafka:\n", "  kafka: [\n"),
        (PIPELINE_FILE, "- a\n"),
        (PIPELINE_FILE, ""),
        ("name: clicks\n", ""),
        ("    topics: [clicks, more]\n", ""),
        ("    format: json\n", ""),
        ("topics: [clicks, more]", "topics: clicks"),
        ("topics: [clicks, more]", "topics: [1, 2]"),
        ("group_id: readers", "group_id: 7"),
        ("source:", "sources:"),
        ("topics:", "topic:"),
        ("format: json", "format: jsno"),
        ("compression:", "kompression:"),
        ("flush: { every", "flush: { zzz: 1, every"),
        ("on_error: skip", "on_error: ignore"),
        ("on_error: skip", "on_error: [skip]"),
        // names
        ("name: clicks", "name: My Clicks"),
        ("name: clicks", "name: \"\""),
        ("[clicks, more]", "[]"),
        ("[clicks, more]", "[clicks, clicks]"),
        ("[clicks, more]", "[\"clicks all\", clicks]"),
        ("clean:\n", "dead_letters:\n"),
        ("clean:\n", "a/b:\n"),
        ("component: clean-clicks", "component: clean-clicks.wasm"),
        ("component: clean-clicks", "component: CleanClicks"),
        ("component: clean-clicks", &pin),
        // units and ranges
        ("memory: 32MiB", "memory: 32 MX"),
        ("memory: 32MiB", "memory: 1KiB"),
        ("memory: 32MiB", "memory: [1]"),
        ("call_timeout: 1s", "call_timeout: 1"),
        ("call_timeout: 1s", "call_timeout: soon"),
        ("call_timeout: 1s", "call_timeout: 1h"),
        ("call_timeout: 1s", "log_lines: -1"),
        ("every: 2m", "every: 1ms"),
        ("flush: {", "max_failure_ratio: 2\nflush: {"),
        ("flush: {", "max_failure_ratio: half\nflush: {"),
        // where to start
        ("start: { clicks: { 0: 42 } }", "start: yesterday"),
        ("start: { clicks: { 0: 42 } }", "start: { click: { 0: 42 } }"),
        ("start: { clicks: { 0: 42 } }", "start: { clicks: { x: 42 } }"),
        ("start: { clicks: { 0: 42 } }", "start: { clicks: { 0: -1 } }"),
        // Parquet
        ("dt = date(ts)", "dt = dat(ts)"),
        ("dt = date(ts)", "date(ts)"),
        ("dt = date(ts)", "country"),
        ("dt = date(ts)", "s = bucket(0, user)"),
        ("dt = date(ts)", "s = bucket(user)"),
        ("dt = date(ts)", "s = date(ts"),
        ("dt = date(ts)", "a/b = ts"),
        ("zstd(3)", "zstd(99)"),
        ("zstd(3)", "gzip"),
        // what comes later
        ("group_id: readers", "topics_regex: \"click.*\""),
        ("format: json", "format: avro"),
        ("on_error: skip", "grants: { http: [example.org] }"),
        ("    parquet:\n", "    kafka: { topic: out }\n    parquet:\n"),
        ("flush: {", "kafka: { brokers: ['a:1'], sasl: { mechanism: PLAIN } }\nflush: {"),
        ("flush: {", "kafka: { brokers: ['a:1'], security: sasl_tls }\nflush: {"),
        (
            "flush: {",
            "kafka: { brokers: ['a'], security: sasl_tls, sasl: { mechanism: PLAIN, username: u, password: not-to-be-shown } }\nflush: {",
        ),
        (
            "flush: {",
            "kafka: { brokers: ['a:1'], security: sasl_tls, sasl: { mechanism: GSSAPI } }\nflush: {",
        ),
        (
            "flush: {",
            "kafka: { brokers: ['a:1'], security: sasl_tls, sasl: { mechanism: AWS_MSK_IAM } }\nflush: {",
        ),
        (
            "flush: {",
            "kafka: { brokers: ['a:1'], security: sasl_plaintext, sasl: { mechanism: AWS_MSK_IAM, region: r, username: u } }\nflush: {",
        ),
        ("flush: {", "kafka: { brokers: ['a:1'], security: tls, cert_file: host.pem }\nflush: {"),
        (
            "flush: {",
            "kafka: { brokers: ['a:1'], security: plaintext, cert_file: host.pem, key_file: host.key, key_password: 'a${B}' }\nflush: {",
        ),
        ("flush: {", "store: { url: 'gs://bucket' }\nflush: {"),
        ("group_id: readers", "group_id: \"${GROUP}\""),
    ];
    insta::assert_snapshot!(texts(PIPELINE_FILE, &mistakes, |text| read_pipeline(text).err()));
}

#[test]
fn mistakes_in_host_settings() {
    let mistakes = [
        ("workers = 3", "workers = "),
        ("workers = 3", "workers = 3\nworkers = 4"),
        ("workers = 3", "workers = 0"),
        ("workers = 3", "workers = \"3\""),
        ("workers = 3", "worker = 3"),
        ("transforms = \"parts\"", "transforms = 1"),
        ("transforms = \"parts\"", "transforms = \"\""),
        ("0.0.0.0:80", "8080"),
        ("0.0.0.0:80", "example.org:80"),
        ("s3://bucket/prefix", "s4://bucket/prefix"),
        ("s3://bucket/prefix", "az://bucket"),
        ("s3://bucket/prefix", "s3:///prefix"),
        ("s3://bucket/prefix", "s3://key:secret@bucket"),
        ("s3://bucket/prefix", "s3://bucket?region=x"),
        ("s3://bucket/prefix", "file://data/out"),
        ("s3://bucket/prefix", "folder"),
        ("http://127.0.0.1:9100", "127.0.0.1:9100"),
        ("path_style = true", "path_style = \"yes\""),
        ("\"b:9093\"", "\"b\""),
        ("\"b:9093\"", "\"kafka://b:9093\""),
        ("[\"a:9092\", \"b:9093\"]", "[]"),
        ("[\"a:9092\", \"b:9093\"]", "\"a:9092\""),
        ("security = \"tls\"", "security = \"ssl\""),
        ("security = \"tls\"", "security = \"plaintext\""),
        ("security = \"tls\"", "security = \"sasl_tls\""),
        ("security = \"tls\"", "sasl = { mechanism = \"PLAIN\" }"),
        ("\"fetch.min.bytes\" = 1", "\"group.id\" = \"x\""),
        ("\"fetch.min.bytes\" = 1", "\"enable.auto.commit\" = true"),
        ("\"fetch.min.bytes\" = 1", "\"fetch.min.bytes\" = [1]"),
        ("1GiB", "1GiiB"),
        ("1GiB", "1MiB"),
        ("eu-central-1", "${REGION}"),
    ];
    insta::assert_snapshot!(texts(SETTINGS_FILE, &mistakes, |text| read_host(text, &[]).err()));
}

#[test]
fn mistakes_in_flags_and_variables() {
    let mistakes = [
        ("workers", "many"),
        ("workers", "0"),
        ("kafka.brokers", "nowhere"),
        ("kafka.options", "fetch.min.bytes"),
        ("store.path_style", "maybe"),
        ("memory.budget", "lots"),
        ("kafka.security", "tsl"),
        ("store.url", "ftp://x"),
    ];
    let texts =
        mistakes.map(|(key, text)| read_host("", &[given(key, text)]).unwrap_err().to_string());
    insta::assert_snapshot!(texts.join("\n\n"));
}

#[test]
fn mistakes_of_several_files_are_told_at_once() {
    let host = host(None, &[], Path::new(HERE), 2).unwrap();
    let file = |name: &str, text: &str| PipelineFile { name: name.into(), text: text.into() };
    let files = [
        file("a.yaml", PIPELINE_FILE),
        file("b.yaml", PIPELINE_FILE),
        file(
            "c.yaml",
            &PIPELINE_FILE.replace("every: 2m", "every: 0s").replace("clicks, more", "clicks, '!'"),
        ),
    ];
    insta::assert_snapshot!(pipelines(&files, Path::new(HERE), &host).unwrap_err());
}

#[test]
fn schemas_know_every_key() {
    let schema = pipeline_schema().to_string();
    for key in ["partition_by", "call_timeout", "on_error", "dead_letters", "additionalProperties"]
    {
        assert!(schema.contains(key), "the schema of pipelines lacks {key}");
    }
    let schema = host_schema();
    for setting in SETTINGS {
        let key = setting.key.rsplit('.').next().unwrap();
        assert!(
            schema.to_string().contains(&format!("\"{key}\"")),
            "the schema of hosts lacks {key}"
        );
    }
    assert_eq!(schema.get("required"), None);
}

proptest! {
    #[test]
    fn no_text_is_a_panic(text in ".{0,200}") {
        drop(read_pipeline(&text));
        drop(read_host(&text, &[]));
    }

    #[test]
    fn no_damage_is_a_panic(at in 0..PIPELINE_FILE.len(), insert in "[^a-z]{0,4}") {
        let mut text = PIPELINE_FILE.to_owned();
        text.insert_str(at, &insert);
        drop(read_pipeline(&text));
    }
}

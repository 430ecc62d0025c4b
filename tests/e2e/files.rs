//! Few and large files, whatever the number of partitions, within the memory budget; and what a file says of itself.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidemill_tests::{
    eventually, full,
    host::{Site, StoreKind},
    kafka::{self, Record},
    reader, unique,
};

use crate::log;

const WORKERS: usize = 2;
const COUNTRIES: u64 = 20;
/// What a process holds beyond the memory budget: code, librdkafka's buffers of 64 lanes, the allocator's reserve.
const BEYOND_BUDGET_MIB: u64 = 400;
const BUDGET_MIB: u64 = 128;

fn click(n: u64) -> Record {
    let value = json!({
        "ts": format!("2026-11-01T00:{:02}:{:02}Z", n / 60 % 60, n % 60),
        "user": format!("u{n}"), "email": "a@example.com", "country": format!("C{:02}", n % COUNTRIES),
        "url": format!("https://shop.example/{n}/{}", "x".repeat(usize::try_from(n % 200).expect("small"))),
        "amount": 1.5, "items": 1, "ua": "Mozilla/5.0",
    });
    Record::of(i32::try_from(n % 64).expect("64 partitions"), value.to_string())
}

#[test]
fn many_partitions_make_few_files_within_the_budget() {
    let topic = unique("files");
    kafka::create_topic(&topic, 64, &[]);
    let site = Site::new(StoreKind::Folder);
    site.write(
        "pipelines/clicks.yaml",
        format!(
            "name: clicks\nsource:\n  kafka: {{ topics: [{topic}], group_id: {topic}, format: json }}\n\
             transforms: [{{ component: clean-clicks }}]\n\
             outputs: {{ clean: {{ parquet: {{ partition_by: [country] }} }} }}\nflush: {{ every: 2s, idle: 2s }}\n"
        ),
    );
    let budget = format!("{BUDGET_MIB}MiB");
    let host = site.run_with(&["--memory-budget", &budget]).ready();
    let end = Instant::now() + Duration::from_secs(if full() { 60 } else { 12 });
    let mut produced = 0;
    while Instant::now() < end {
        kafka::produce(&topic, (produced..produced + 20_000).map(click), &[]);
        produced += 20_000;
    }
    eventually("all is committed", 40, || {
        (log::records(&site.store, "clicks") >= produced).then_some(())
    });
    let peak = host.peak_memory_mib();
    host.drain();
    site.verify();

    let manifests = log::manifests(&site.store, "clicks");
    let data: Vec<_> = manifests.iter().filter(|manifest| manifest["kind"] == "data").collect();
    let values = usize::try_from(COUNTRIES).expect("small");
    // A manifest is one worker's flush: one output with rows, and its hive values.
    let most = data.iter().map(|manifest| log::files(manifest).len()).max();
    assert!(most.is_some_and(|most| most <= values), "{most:?} files in a flush");
    let flushes = data.len();
    assert!(
        log::file_count(&site.store, "clicks") <= flushes * values,
        "{flushes} flushes of {WORKERS} workers"
    );
    assert!(
        peak <= BUDGET_MIB + BEYOND_BUDGET_MIB,
        "{peak} MiB at the peak, the budget is {BUDGET_MIB} MiB"
    );
}

#[test]
fn the_demo_adds_up_and_duckdb_agrees() {
    let site = Site::new(StoreKind::Folder);
    let output = site.tidemill(&["demo", "--records", "30000", "--json", "--dir", "demo"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("JSON is text");
    let summary: Value =
        serde_json::from_str(text.lines().last().expect("a last line")).expect("it is JSON");
    let count = |name: &str| summary[name].as_i64().expect("a count");
    assert_eq!(count("records"), 30_000);
    let parts = ["emitted", "dropped", "rejected", "broken"].map(count);
    assert_eq!(parts.iter().sum::<i64>(), 30_000);
    assert!(parts.iter().all(|part| *part > 0), "{parts:?}");
    assert_eq!(count("dead_letters"), count("rejected") + count("broken"));
    let data = reader::Place::Folder(summary["data_dir"].as_str().expect("a folder").into());
    assert_eq!(
        reader::number(&data, "clean", "SELECT count(*) FROM rows"),
        summary["rows"]["clean"].as_i64().expect("a count")
    );
    assert_eq!(reader::number(&data, "clean", "SELECT count(DISTINCT country) FROM rows"), 20);
    assert_eq!(
        reader::number(&data, "dead_letters", "SELECT count(*) FROM rows"),
        count("dead_letters")
    );
    let transforms =
        std::fs::read_dir(site.path().join("demo/transforms")).expect("the watched folder");
    assert_eq!(transforms.count(), 1, "clean-clicks.wasm is its only component");
}

#[test]
fn produce_verify_and_explain_tell_the_truth() {
    let topic = unique("truth");
    let site = Site::new(StoreKind::Folder);
    site.write(
        "pipelines/clicks.yaml",
        format!(
            "name: clicks\nsource:\n  kafka: {{ topics: [{topic}], group_id: {topic}, format: json }}\n\
             transforms: [{{ component: clean-clicks }}]\noutputs: {{ clean: {{ parquet: {{}} }} }}\nflush: {{ every: 1s, idle: 500ms }}\n"
        ),
    );
    let brokers = kafka::brokers();
    let produced = site.tidemill(&[
        "produce",
        "--brokers",
        &brokers,
        "--topic",
        &topic,
        "--partitions",
        "3",
        "--records",
        "5000",
        "--ledger",
        "ledger",
    ]);
    assert!(produced.status.success(), "{}", String::from_utf8_lossy(&produced.stderr));
    let ledger =
        std::fs::read_to_string(site.path().join("ledger")).expect("the ledger is written");
    assert_eq!(ledger.lines().count(), 5000);
    let host = site.run().ready();
    eventually("all is committed", 30, || {
        (log::records(&site.store, "clicks") >= 5000).then_some(())
    });
    host.drain();
    site.verify();

    let manifests = log::manifests(&site.store, "clicks");
    let key = manifests
        .iter()
        .flat_map(log::files)
        .find(|key| key.contains("/clean/"))
        .expect("a file")
        .to_owned();
    let explained = site.tidemill(&["explain", &site.store.join(&key).display().to_string()]);
    let text = String::from_utf8_lossy(&explained.stdout).into_owned();
    assert!(
        explained.status.success() && text.contains(&topic) && text.contains("clean-clicks"),
        "{text}"
    );

    let verify = |more: &[&str], code: i32, says: &str| {
        let arguments = [&["verify", "--config", "tidemill.toml"], more].concat();
        let verified = site.tidemill(&arguments);
        let text = [verified.stdout, verified.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        assert!(verified.status.code() == Some(code) && text.contains(says), "{more:?}: {text}");
    };
    let path = site.store.join(&key);
    let whole = std::fs::read(&path).expect("the file is there");
    let mut damaged = whole.clone();
    let middle = damaged.len() / 3;
    damaged[middle] ^= 1;
    std::fs::write(&path, damaged).expect("the file can be written");
    // As long, and with the same footer: only who reads all of it can know.
    verify(&[], 0, "no gap");
    verify(&["--deep"], 3, &key);
    std::fs::write(&path, whole).expect("the file can be written");
    verify(&["--deep"], 0, "no gap");
    verify(&["--store", "elsewhere"], 2, "has no log");
    std::fs::remove_file(&path).expect("the file is there");
    verify(&[], 3, &key);
    // What a user deletes after it was claimed is not missed at the next start.
    site.run().ready().drain();
}

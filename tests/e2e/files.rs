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

const WORKERS: u64 = 2;
const COUNTRIES: u64 = 20;
const BUDGET_MIB: u64 = 32;
/// What a host holds beyond the memory budget: code, fetches under way, librdkafka's bookkeeping of 64 lanes, the component's
/// memory, the allocator's reserve.
const BEYOND_BUDGET_MIB: u64 = 300;

/// A click whose URL no compression makes small.
fn click(n: u64) -> Record {
    let mut state = n;
    let noise: String = (0..32)
        .map(|_| {
            // Weyl's sequence, mixed: https://prng.di.unimi.it/splitmix64.c
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            format!("{mixed:016x}")
        })
        .collect();
    let value = json!({
        "ts": format!("2026-11-01T00:{:02}:{:02}Z", n / 60 % 60, n % 60),
        "user": format!("u{n}"), "email": "a@example.com", "country": format!("C{:02}", n % COUNTRIES),
        "url": format!("https://shop.example/{n}/{noise}"),
        "amount": 1.5, "items": 1, "ua": "Mozilla/5.0",
    });
    Record::of(i32::try_from(n % 64).expect("64 partitions"), value.to_string())
}

/// 64 lanes and 20 hive values under load, with far more data a flush than the memory budget: pages spill, files do not end.
fn many_partitions_make_few_files_within_the_budget(kind: StoreKind) {
    let topic = unique("files");
    kafka::create_topic(&topic, 64, &[]);
    let site = Site::new(kind);
    // In a plain run one flush has all.
    let flush = if full() { "25s" } else { "10m" };
    site.write(
        "pipelines/clicks.yaml",
        format!(
            "name: clicks\nsource:\n  kafka: {{ topics: [{topic}], group_id: {topic}, format: json }}\n\
             transforms: [{{ component: clean-clicks }}]\n\
             outputs: {{ clean: {{ parquet: {{ partition_by: [country] }} }} }}\nflush: {{ every: {flush}, idle: {flush} }}\n"
        ),
    );
    let budget = format!("{BUDGET_MIB}MiB");
    let host = site.run_with(&["--memory-budget", &budget]).ready();
    // A minute in a full run; else as many records as make one flush much larger than the budget.
    let end = Instant::now() + Duration::from_secs(if full() { 60 } else { 0 });
    let (mut produced, mut held) = (0, 0.0_f64);
    while produced < 250_000 || Instant::now() < end {
        kafka::produce(&topic, (produced..produced + 5_000).map(click), &[]);
        produced += 5_000;
        held = held.max(host.metric("tidemill_buffered_bytes"));
    }
    #[expect(clippy::cast_precision_loss, reason = "a count is far below 2^53")]
    let all = produced as f64;
    eventually("all is read", 35, || {
        held = held.max(host.metric("tidemill_buffered_bytes"));
        (host.metric("tidemill_records_received_total") >= all).then_some(())
    });
    let peak = host.peak_memory_mib();
    host.drain();
    assert_eq!(log::records(&site.store, "clicks"), produced);
    site.verify();

    let manifests = log::manifests(&site.store, "clicks");
    let data: Vec<_> = manifests.iter().filter(|manifest| manifest["kind"] == "data").collect();
    // A manifest is one worker's flush: one output with rows, and its hive values.
    let most = data.iter().map(|manifest| log::files(manifest).len() as u64).max();
    assert!(most.is_some_and(|most| most <= COUNTRIES), "{most:?} files in a flush");
    assert!(
        log::file_count(&site.store, "clicks") as u64 <= data.len() as u64 * COUNTRIES,
        "{} flushes of {WORKERS} workers",
        data.len()
    );
    // All of it is true only under pressure: a flush had more than its worker's share of the budget.
    let bytes = |manifest: &&Value| -> u64 {
        let files = manifest["files"].as_array().map(Vec::as_slice).unwrap_or_default();
        files.iter().map(|file| file["bytes"].as_u64().expect("a size")).sum()
    };
    let largest = data.iter().map(bytes).max().unwrap_or_default();
    let share = (BUDGET_MIB << 20) / WORKERS;
    assert!(largest > share, "the largest flush has {largest} bytes, a share is {share}");
    #[expect(clippy::cast_precision_loss, reason = "a budget is far below 2^53")]
    let budget = (BUDGET_MIB << 20) as f64;
    assert!(held > budget / 5.0, "{held} bytes were held at most, of {budget}");
    assert!(held <= budget, "{held} bytes were held, the budget is {budget}");
    assert!(
        peak <= BUDGET_MIB + BEYOND_BUDGET_MIB,
        "{peak} MiB at the peak, the budget is {BUDGET_MIB} MiB"
    );
}

#[test]
fn folder_many_partitions_make_few_files_within_the_budget() {
    many_partitions_make_few_files_within_the_budget(StoreKind::Folder);
}

#[test]
fn s3_many_partitions_make_few_files_within_the_budget() {
    many_partitions_make_few_files_within_the_budget(StoreKind::S3);
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

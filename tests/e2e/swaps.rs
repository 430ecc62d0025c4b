//! Another version of a component, while records flow: no record is lost or doubled, and a file is made by one version.

use std::{
    collections::BTreeMap,
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::json;
use sha2::{Digest as _, Sha256};
use tidemill_tests::{
    eventually, full, guest,
    host::{Host, Site, StoreKind},
    reader,
};

use crate::{identity::Identity, log};

pub(crate) const FILE: &str = "transforms/stamped.wasm";

/// A build of `stamped` whose rows carry a number.
pub(crate) fn build(stamp: u32) -> Vec<u8> {
    let mut wasm = guest("stamped.wasm");
    let before = b"tidemill-stamp:";
    let digits = format!("{stamp:08}");
    let places: Vec<_> = (0..wasm.len() - 40)
        .filter(|&at| wasm[at..].starts_with(before) && wasm[at + 23..].starts_with(b":tidemill"))
        .collect();
    assert_eq!(places.len(), 1, "the stamp stands in the file once");
    wasm[places[0] + before.len()..][..8].copy_from_slice(digits.as_bytes());
    wasm
}

pub(crate) fn digest(wasm: &[u8]) -> String {
    Sha256::digest(wasm).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A site whose one pipeline runs build 0.
pub(crate) fn site(kind: StoreKind, identity: &Identity) -> Site {
    let site = Site::new(kind);
    site.write(FILE, build(0));
    identity.pipeline_of("stamped", &site, "300ms", "[]");
    site
}

/// Waits until a host runs a build.
pub(crate) fn runs(host: &Host, wasm: &[u8]) {
    let digest = digest(wasm);
    eventually("the build is swapped in", 40, || {
        host.events("component swapped").iter().any(|event| event["new"] == *digest).then_some(())
    });
}

/// Waits until a host refused a build; why.
pub(crate) fn refused(host: &Host, wasm: &[u8]) -> String {
    let digest = digest(wasm);
    eventually("the build is refused", 40, || {
        let events = host.events("component refused");
        let event = events.into_iter().find(|event| event["digest"] == *digest)?;
        event["message"].as_str().map(str::to_owned)
    })
}

/// Produces for as long as it lives.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<Identity>>,
}

impl Load {
    pub(crate) fn start(mut identity: Identity) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                identity.produce(300);
            }
            identity
        });
        Self { stop, thread: Some(thread) }
    }

    pub(crate) fn end(mut self) -> Identity {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().expect("it ends once").join().expect("the broker takes records")
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Each file has rows of one build, and its footer and the manifest name that one. Which builds there are.
pub(crate) fn judged(site: &Site, builds: impl IntoIterator<Item = u32>) -> BTreeMap<u32, usize> {
    let by_digest: BTreeMap<String, u32> =
        builds.into_iter().map(|stamp| (digest(&build(stamp)), stamp)).collect();
    let sql = "SELECT filename, min(stamp), max(stamp) FROM rows GROUP BY 1";
    let rows = reader::query(&site.place, "data/copy/records", sql);
    let stamps: BTreeMap<String, u32> = rows
        .iter()
        .map(|row| {
            assert_eq!(row[1], row[2], "{} is of several builds", row[0]);
            let name = row[0].as_str().expect("a name").rsplit('/').next().expect("a file");
            (name.to_owned(), row[1].as_u64().and_then(|n| u32::try_from(n).ok()).expect("a stamp"))
        })
        .collect();
    let mut files = 0;
    for manifest in log::manifests(&site.store, "copy") {
        let digest = manifest["transforms"][0]["sha256"].as_str().unwrap_or_default();
        for key in log::files(&manifest) {
            let name = key.rsplit('/').next().expect("a file");
            assert_eq!(
                by_digest.get(digest),
                stamps.get(name),
                "{key} is not of the build that its manifest names"
            );
            files += 1;
            let footer =
                site.tidemill(&["explain", "--json", &site.store.join(key).display().to_string()]);
            let footer: serde_json::Value = serde_json::from_slice(&footer.stdout).expect("JSON");
            assert!(
                footer.to_string().contains(digest),
                "the footer of {key} names another build: {footer}"
            );
        }
    }
    assert_eq!(files, stamps.len());
    let mut found = BTreeMap::new();
    stamps.into_values().for_each(|stamp| *found.entry(stamp).or_default() += 1);
    found
}

fn many_swaps_under_load(kind: StoreKind) {
    let swaps: u32 = if full() { 100 } else { 10 };
    let identity = Identity::new(4);
    let site = site(kind, &identity);
    let host = site.run().ready();
    let load = Load::start(identity);
    for stamp in 1..=swaps {
        let wasm = build(stamp);
        site.rename_into(FILE, &wasm);
        runs(&host, &wasm);
        // Every build gets something to do.
        let label = format!("digest=\"{}\"", digest(&wasm));
        eventually("the build gets records", 20, || {
            let (_, metrics) = host.get("/metrics")?;
            metrics
                .lines()
                .any(|line| {
                    line.starts_with("tidemill_records_received_total") && line.contains(&label)
                })
                .then_some(())
        });
    }
    let mut identity = load.end();
    identity.produce(100);
    identity.committed(&site, 40);
    let events = host.events("component swapped");
    assert_eq!(events.len(), swaps as usize);
    for event in &events {
        let cut = event["cut"].as_str().expect("a cut");
        assert_eq!(cut.split(' ').count(), 4, "four lanes go over: {event}");
        assert!(event["pause_seconds"].as_f64().is_some_and(|pause| pause > 0.0), "{event}");
    }
    assert!(host.metric("tidemill_swap_pause_seconds_count") >= f64::from(swaps));
    let loaded = host.events("component loaded");
    let loaded = loaded.iter().filter(|event| event["component"] == "stamped").count();
    assert_eq!(loaded, swaps as usize + 1, "each build is loaded once");
    assert!(host.metric("tidemill_reloads_total") > f64::from(swaps));
    host.drain();
    identity.judge(&site);
    let found = judged(&site, 0..=swaps);
    assert_eq!(found.keys().copied().collect::<Vec<_>>(), (0..=swaps).collect::<Vec<_>>());
}

#[test]
fn folder_many_swaps_under_load() {
    many_swaps_under_load(StoreKind::Folder);
}

#[test]
fn s3_many_swaps_under_load() {
    many_swaps_under_load(StoreKind::S3);
}

#[test]
fn a_file_that_is_swapped_fifty_times_a_second_ends_as_the_last_one() {
    let identity = Identity::new(2);
    let site = site(StoreKind::Folder, &identity);
    let host = site.run().ready();
    let load = Load::start(identity);
    let end = Instant::now() + Duration::from_secs(4);
    let mut stamp = 0;
    while Instant::now() < end {
        stamp += 1;
        site.rename_into(FILE, build(stamp));
        thread::park_timeout(Duration::from_millis(20));
    }
    runs(&host, &build(stamp));
    let mut identity = load.end();
    identity.produce(100);
    identity.committed(&site, 40);
    assert!(host.events("component refused").is_empty(), "{}", host.log());
    host.drain();
    identity.judge(&site);
    judged(&site, 0..=stamp);
}

#[test]
fn what_one_replica_accepts_all_of_them_run() {
    let identity = Identity::new(8);
    let site = site(StoreKind::S3, &identity);
    let first = site.run().ready();
    // The second one watches a folder of its own, which is empty but for what it needs.
    site.write("elsewhere/passthrough-raw.wasm", guest("stamped.wasm"));
    let second = site.run_with(&["--transforms", "elsewhere"]).ready();
    let load = Load::start(identity);
    for stamp in 1..=3 {
        site.rename_into(FILE, build(stamp));
        runs(&first, &build(stamp));
        runs(&second, &build(stamp));
    }
    let mut identity = load.end();
    identity.produce(100);
    identity.committed(&site, 40);
    second.drain();
    first.drain();
    identity.judge(&site);
    judged(&site, 0..=3);
}

#[test]
fn a_version_that_comes_while_the_store_is_away_waits_for_it() {
    let identity = Identity::new(2);
    let site = site(StoreKind::Folder, &identity);
    let host = site.run().ready();
    let load = Load::start(identity);
    let away = site.store.with_extension("away");
    fs::rename(&site.store, &away).expect("the store's folder is there");
    site.rename_into(FILE, build(1));
    eventually("the host says why", 20, || {
        host.log().contains("components wait, trying on").then_some(())
    });
    fs::rename(&away, &site.store).expect("nothing took the store's place");
    runs(&host, &build(1));
    let mut identity = load.end();
    identity.produce(100);
    identity.committed(&site, 50);
    host.drain();
    identity.judge(&site);
    judged(&site, [0, 1]);
}

#[test]
fn kills_in_the_midst_of_swaps_lose_nothing() {
    let mut identity = Identity::new(4);
    let site = site(StoreKind::Folder, &identity);
    let mut stamp = 0;
    for kill in 0..4_u32 {
        let host = site.run().ready();
        let load = Load::start(identity);
        for _ in 0..3 {
            stamp += 1;
            site.rename_into(FILE, build(stamp));
            runs(&host, &build(stamp));
        }
        // The next one is somewhere on its road.
        stamp += 1;
        site.rename_into(FILE, build(stamp));
        thread::park_timeout(Duration::from_millis(u64::from(kill) * 150));
        host.kill();
        identity = load.end();
    }
    let host = site.run().ready();
    identity.committed(&site, 50);
    host.drain();
    identity.judge(&site);
    judged(&site, 0..=stamp);
}

#[test]
fn swaps_during_rebalances_lose_nothing() {
    let identity = Identity::new(8);
    let site = site(StoreKind::Folder, &identity);
    let first = site.run().ready();
    let load = Load::start(identity);
    for stamp in 1..=4 {
        let second = site.run();
        site.rename_into(FILE, build(stamp));
        let second = second.ready();
        runs(&first, &build(stamp));
        second.drain();
    }
    let mut identity = load.end();
    identity.produce(100);
    identity.committed(&site, 50);
    first.drain();
    identity.judge(&site);
    judged(&site, 0..=4);
}

#[test]
fn a_pipeline_that_its_component_stopped_goes_on_with_a_mended_one() {
    let mut identity = Identity::new(2);
    let site = site(StoreKind::Folder, &identity);
    // One that traps on every record.
    site.write(FILE, build(66_666_666));
    identity.produce(500);
    let host = site.run();
    eventually("the pipeline failed", 30, || {
        let (_, body) = host.get("/readyz")?;
        (body.contains("FAILED") && body.contains("told to trap")).then_some(())
    });
    site.rename_into(FILE, build(1));
    runs(&host, &build(1));
    identity.committed(&site, 30);
    let host = host.ready();
    host.drain();
    identity.judge(&site);
    judged(&site, [1]);
}

#[test]
fn the_demo_shows_a_swap() {
    let site = Site::new(StoreKind::Folder);
    let mut demo = site.start(&["demo", "--dir", "demo"]);
    let clicks = |demo: &Host| {
        let (_, body) = demo.get("/v1/pipelines/clicks")?;
        serde_json::from_str::<serde_json::Value>(&body).ok()
    };
    let some = |demo: &Host, version: &str| {
        eventually(&format!("files of version {version} appear"), 40, || {
            let status = clicks(demo)?;
            let committed = status["committed"]["records"].as_u64()?;
            (status["transforms"][0]["version"] == version && committed > 0).then_some(committed)
        })
    };
    let before = some(&demo, "0.1.0");
    let line = eventually("the demo says how", 20, || {
        let log = demo.log();
        let (_, line) = log.split_once("to change the transform while records flow: ")?;
        line.lines().next().map(str::to_owned)
    });
    let copied =
        std::process::Command::new("sh").args(["-c", &line]).current_dir(site.path()).status();
    assert!(copied.is_ok_and(|status| status.success()), "{line}");
    eventually("the demo says so", 20, || {
        demo.log().contains("pipeline clicks went over from clean-clicks").then_some(())
    });
    // More than the generator may be ahead: these are the new version's.
    let before = before.max(some(&demo, "0.2.0"));
    eventually("records go on", 40, || {
        (clicks(&demo)?["committed"]["records"].as_u64()? > before + 60_000).then_some(())
    });
    demo.signal(rustix::process::Signal::INT);
    let status = demo.ended(40);
    assert!(status.success(), "{status}: {}", demo.log());
    let place = reader::Place::Folder(site.path().join("demo/store/data/clicks"));
    let rows =
        reader::query(&place, "clean", "SELECT count(*) > count(page), count(page) > 0 FROM rows");
    assert_eq!(json!(rows), json!([[true, true]]));
}

//! kill -9 at each named step of a commit, then a restart: nothing lost, nothing double.
//!
//! The host is stopped (SIGSTOP) again and again until it stands in the step; only then is it killed. So each kill hits.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tidemill_tests::{
    eventually, full,
    host::{Host, Site, StoreKind},
    kafka, reader,
};

use crate::{identity::Identity, log};

#[derive(Clone, Copy, Debug)]
enum Step {
    PartsStaged,
    ManifestCreated,
    HalfPublished,
    OffsetsNotCommitted,
}

/// Where the commit of the newest manifest with files stands. `settled` is the last one that is known to be through.
fn stands_in(
    step: Step,
    site: &Site,
    kind: StoreKind,
    identity: &Identity,
    settled: &mut Option<u64>,
) -> bool {
    let manifests = log::manifests(&site.store, "copy");
    let newest = manifests.iter().rev().find(|manifest| log::files(manifest).len() > 1);
    let (visible, all) = newest.map_or((0, 0), |manifest| {
        let files = log::files(manifest);
        (files.iter().filter(|key| site.store.join(key).exists()).count(), files.len())
    });
    match step {
        // As many as a flush has files: each of its eight shards is whole, and its manifest is not there.
        Step::PartsStaged => visible == all && staged(site, kind) >= SHARDS,
        Step::ManifestCreated => all > 1 && visible == 0,
        Step::HalfPublished => visible > 0 && visible < all,
        Step::OffsetsNotCommitted => {
            let inputs = newest
                .and_then(|manifest| manifest["inputs"].as_array().cloned())
                .unwrap_or_default();
            let seq = newest.and_then(|manifest| manifest["seq"].as_u64());
            if inputs.is_empty() || visible < all || seq == *settled {
                return false;
            }
            let committed = kafka::committed(&identity.topic, &identity.topic, identity.partitions);
            let behind = inputs.iter().any(|input| {
                let partition = input["partition"]
                    .as_u64()
                    .and_then(|partition| usize::try_from(partition).ok());
                let committed = committed[partition.expect("a partition is a small number")];
                input["end"].as_i64().expect("an end") > committed
            });
            // The broker is slow to ask: not twice for the same one.
            *settled = seq.filter(|_| !behind);
            behind
        }
    }
}

/// Files that wait for a manifest, or uploads that have a part.
fn staged(site: &Site, kind: StoreKind) -> usize {
    match kind {
        StoreKind::Folder => entries(&site.store.join("_log/copy/stage")).len(),
        StoreKind::S3 => {
            let bucket = site.store.parent().expect("the bucket's folder");
            let uploads = entries(&bucket.join(".sgwtmp/multipart"));
            let uploads = uploads.iter().flat_map(|object| entries(object));
            uploads.filter(|upload| !entries(upload).is_empty()).count()
        }
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

/// Files of a flush: its hive partitions.
const SHARDS: usize = 8;

/// A host that is stopped in a step.
fn stopped_at(step: Step, kind: StoreKind, site: &Site, identity: &mut Identity) -> Host {
    identity.pipeline(site, "200ms", &format!(r#"["shard = bucket({SHARDS}, _kafka_offset)"]"#));
    identity.produce(500);
    let host = site.run().ready();
    let deadline = Instant::now() + Duration::from_secs(40);
    let mut settled = None;
    loop {
        assert!(Instant::now() < deadline, "the host was never found at {step:?}: {}", host.log());
        // Enough for another flush, which is another chance.
        identity.produce(200);
        let chance = Instant::now() + Duration::from_millis(700);
        while Instant::now() < chance {
            host.signal(Signal::STOP);
            if stands_in(step, site, kind, identity, &mut settled) {
                return host;
            }
            host.signal(Signal::CONT);
            std::thread::park_timeout(Duration::from_micros(100));
        }
    }
}

fn kill_at(step: Step, kind: StoreKind) {
    let site = Site::new(kind);
    let mut identity = Identity::new(4);
    stopped_at(step, kind, &site, &mut identity).kill();
    identity.produce(300);
    let host = site.run().ready();
    identity.committed(&site, 40);
    host.drain();
    identity.judge(&site);
}

/// SIGTERM while a flush is being committed and the next one is filled.
fn drain_at(step: Step, kind: StoreKind) {
    let site = Site::new(kind);
    let mut identity = Identity::new(4);
    let mut host = stopped_at(step, kind, &site, &mut identity);
    identity.produce(300);
    host.signal(Signal::TERM);
    host.signal(Signal::CONT);
    let status = host.ended(30);
    assert!(status.success(), "{status}: {}", host.log());
    site.verify();
    let host = site.run().ready();
    identity.committed(&site, 40);
    host.drain();
    identity.judge(&site);
}

/// A staged file is gone before anybody published it: its rows are lost, and a person has to say so.
#[test]
fn a_lost_file_is_given_up_by_a_person_alone() {
    let site = Site::new(StoreKind::Folder);
    let mut identity = Identity::new(4);
    stopped_at(Step::ManifestCreated, StoreKind::Folder, &site, &mut identity).kill();
    let manifests = log::manifests(&site.store, "copy");
    let newest = manifests.last().expect("it is there");
    let lost = &newest["files"][0];
    let stage = lost["stage"]["id"].as_str().expect("it was staged");
    fs::remove_file(site.store.join(stage)).expect("it was not published");
    let mut host = site.run();
    assert_eq!(host.ended(40).code(), Some(3), "{}", host.log());
    assert!(host.log().contains("STAGE_LOST") && host.log().contains("--void"), "{}", host.log());

    let seq = newest["seq"].to_string();
    let repair = |more: &[&str]| {
        let output = site.tidemill(&[&["repair", "copy", "--void", &seq], more].concat());
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        said
    };
    assert!(repair(&[]).contains(&format!("1 files of manifest {seq} would be given up")));
    repair(&["--yes"]);
    assert!(repair(&["--yes"]).contains("nothing needs this repair"));
    let host = site.run().ready();
    identity.committed(&site, 40);
    host.drain();
    site.verify();
    let output = site.tidemill(&["verify", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    let report = &report["pipelines"]["copy"]["report"];
    assert_eq!((&report["void_files"], &report["void_rows"]), (&1.into(), &lost["rows"]));
    let rows = reader::number(&site.place, "data/copy/records", "SELECT count(*) FROM rows");
    let all = log::records(&site.store, "copy");
    let lost = lost["rows"].as_u64().expect("a number");
    assert_eq!(u64::try_from(rows).expect("a count"), all - lost, "nothing else is missing");
}

/// What a reader beside it sees: rows, none of them twice.
fn rows_seen(site: &Site) -> u64 {
    let manifests = log::manifests(&site.store, "copy");
    if !manifests.iter().flat_map(log::files).any(|key| site.store.join(key).exists()) {
        return 0;
    }
    let sql = "SELECT count(*), count(DISTINCT (_kafka_partition, _kafka_offset)) FROM rows";
    let seen = &reader::query(&site.place, "data/copy/records", sql)[0];
    assert_eq!(seen[0], seen[1], "rows, distinct");
    seen[0].as_u64().expect("a count")
}

/// Kills at any moment, round after round, while records keep coming and somebody reads.
fn kill_again_and_again(kind: StoreKind) {
    let site = Site::new(kind);
    let mut identity = Identity::new(4);
    identity.pipeline(&site, "200ms", r#"["shard = bucket(4, _kafka_offset)"]"#);
    let rounds = if full() { 100 } else { 3 };
    let mut seen = 0;
    for round in 0..rounds {
        identity.produce(300);
        let (host, before) = (site.run(), log::manifests(&site.store, "copy").len());
        // Sometimes before it has joined the group, sometimes in the middle of a flush.
        // Two there will be: each of the two workers gets a lane with records, sooner or later.
        let manifests = round % 3;
        eventually("the host is where it is to be killed", 40, || {
            (log::manifests(&site.store, "copy").len() >= before + manifests).then_some(())
        });
        let now = rows_seen(&site);
        assert!(now >= seen, "{seen} rows were visible, now {now} are");
        seen = now;
        host.kill();
    }
    let host = site.run().ready();
    identity.committed(&site, 50);
    host.drain();
    identity.judge(&site);
}

#[test]
fn folder_again_and_again() {
    kill_again_and_again(StoreKind::Folder);
}

#[test]
fn s3_again_and_again() {
    kill_again_and_again(StoreKind::S3);
}

#[test]
fn folder_parts_staged() {
    kill_at(Step::PartsStaged, StoreKind::Folder);
}

#[test]
fn folder_manifest_created() {
    kill_at(Step::ManifestCreated, StoreKind::Folder);
}

#[test]
fn folder_half_published() {
    kill_at(Step::HalfPublished, StoreKind::Folder);
}

#[test]
fn folder_offsets_not_committed() {
    kill_at(Step::OffsetsNotCommitted, StoreKind::Folder);
}

#[test]
fn s3_parts_staged() {
    kill_at(Step::PartsStaged, StoreKind::S3);
}

#[test]
fn s3_manifest_created() {
    kill_at(Step::ManifestCreated, StoreKind::S3);
}

#[test]
fn s3_half_published() {
    kill_at(Step::HalfPublished, StoreKind::S3);
}

#[test]
fn s3_offsets_not_committed() {
    kill_at(Step::OffsetsNotCommitted, StoreKind::S3);
}

#[test]
fn folder_drain_while_parts_are_staged() {
    drain_at(Step::PartsStaged, StoreKind::Folder);
}

#[test]
fn s3_drain_while_the_manifest_is_created() {
    drain_at(Step::ManifestCreated, StoreKind::S3);
}

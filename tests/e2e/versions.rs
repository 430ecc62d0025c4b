//! Which versions of a component are taken: bad ones, half-written ones, deleted ones, pinned ones, and those that came
//! while nobody looked.

use std::{
    collections::BTreeMap, fs, io::Write as _, os::unix::fs::symlink, thread, time::Duration,
};

use serde_json::json;
use tidemill_tests::{
    eventually, guest,
    host::{Site, StoreKind},
    reader,
};

use crate::{
    identity::Identity,
    swaps::{FILE, build, digest, judged, refused, runs, site},
};

/// A component whose rows are others.
fn sample(site: &Site) -> Vec<u8> {
    fs::read(site.path().join("transforms/passthrough-raw.wasm")).expect("it is built")
}

/// What `validate` finds: its exit code, and all that it says.
fn validated(site: &Site) -> (Option<i32>, String) {
    let arguments = ["validate", "--config", "tidemill.toml", "--listen", "127.0.0.1:0"];
    let output = site.tidemill(&arguments);
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn a_bad_version_changes_nothing_however_often_it_comes() {
    let mut identity = Identity::new(2);
    let site = site(StoreKind::S3, &identity);
    identity.produce(500);
    let host = site.run().ready();
    let garbage = b"no component at all".to_vec();
    let other_world = guest("wrong-world.wasm");
    let other_rows = sample(&site);
    for _ in 0..10 {
        for bad in [&garbage, &other_world, &other_rows] {
            site.rename_into(FILE, bad);
            refused(&host, bad);
        }
        identity.produce(50);
    }
    assert!(refused(&host, &garbage).contains("is no WebAssembly component"));
    assert!(refused(&host, &other_world).contains("is no transform"));
    let text = refused(&host, &other_rows);
    assert!(
        text.contains("pipeline copy: SCHEMA_DIFFERS") && text.contains("records.stamp is gone"),
        "{text}"
    );
    assert_eq!(host.events("component refused").len(), 3, "once is enough");
    assert!(host.events("component swapped").is_empty());
    identity.committed(&site, 30);
    host.drain();
    // The file is bad, and what ran before runs on.
    let host = site.run().ready();
    identity.produce(100);
    identity.committed(&site, 30);
    let about = |event: &serde_json::Value| event["component"] == "stamped";
    assert!(!host.events("component").iter().any(about), "{}", host.log());
    host.drain();
    identity.judge(&site);
    assert_eq!(judged(&site, [0]).len(), 1);
}

#[test]
fn a_file_that_is_written_slowly_is_loaded_once_it_is_whole() {
    let mut identity = Identity::new(1);
    let site = site(StoreKind::Folder, &identity);
    let host = site.run().ready();
    let wasm = build(1);
    let mut file = fs::File::create(site.path().join(FILE)).expect("it can be written");
    for piece in wasm.chunks(wasm.len() / 8) {
        file.write_all(piece).expect("there is room");
        // Longer than any debounce, so that the host sees every half-written state.
        thread::park_timeout(Duration::from_millis(600));
    }
    drop(file);
    runs(&host, &wasm);
    assert!(host.events("component refused").is_empty(), "{}", host.log());
    identity.produce(100);
    identity.committed(&site, 30);
    host.drain();
    identity.judge(&site);
    assert_eq!(judged(&site, [0, 1]), BTreeMap::from([(1, 1)]));
}

/// As Kubernetes changes the files of a ConfigMap: links through a link that leads elsewhere at once.
#[test]
fn a_link_that_leads_elsewhere_is_another_version() {
    let mut identity = Identity::new(1);
    let site = site(StoreKind::Folder, &identity);
    let folder = site.path().join("transforms");
    fs::remove_file(site.path().join(FILE)).expect("it is there");
    let lead = |version: u32| {
        let (place, link) = (format!("..{version}"), folder.join("..next"));
        fs::create_dir(folder.join(&place)).expect("there is none");
        fs::write(folder.join(&place).join("stamped.wasm"), build(version)).expect("it is new");
        symlink(&place, &link).expect("there is none");
        fs::rename(link, folder.join("..data")).expect("it takes the place of the one before");
    };
    lead(0);
    symlink("..data/stamped.wasm", site.path().join(FILE)).expect("there is none");
    let host = site.run().ready();
    identity.produce(50);
    identity.committed(&site, 30);
    lead(1);
    runs(&host, &build(1));
    identity.produce(50);
    identity.committed(&site, 30);
    host.drain();
    identity.judge(&site);
    assert_eq!(judged(&site, [0, 1]).len(), 2);
}

#[test]
fn a_deleted_file_changes_nothing_and_neither_does_a_restart() {
    let mut identity = Identity::new(2);
    let site = site(StoreKind::S3, &identity);
    identity.produce(100);
    let host = site.run().ready();
    site.rename_into(FILE, build(1));
    runs(&host, &build(1));
    fs::remove_file(site.path().join(FILE)).expect("it is there");
    identity.produce(100);
    identity.committed(&site, 30);
    host.drain();
    // Not even a start needs the file; an old one does not come back by itself.
    for old in [None, Some(build(0))] {
        if let Some(old) = old {
            site.write(FILE, old);
        }
        let host = site.run().ready();
        identity.produce(100);
        identity.committed(&site, 30);
        let about = |event: &serde_json::Value| event["component"] == "stamped";
        assert!(!host.events("component").iter().any(about), "{}", host.log());
        host.drain();
    }
    let (_, text) = validated(&site);
    assert!(text.contains(&digest(&build(1))[..12]), "{text}");
    identity.judge(&site);
    assert!(judged(&site, [0, 1])[&1] >= 3);
}

#[test]
fn a_version_that_came_while_the_host_was_away_is_checked_before_it_runs() {
    let mut identity = Identity::new(1);
    let site = site(StoreKind::Folder, &identity);
    identity.produce(100);
    let host = site.run().ready();
    identity.committed(&site, 30);
    host.drain();
    // One that does not fit is refused, and the old one runs.
    let other = sample(&site);
    site.write(FILE, &other);
    let (code, text) = validated(&site);
    assert!(code == Some(2) && text.contains("SCHEMA_DIFFERS"), "{text}");
    let host = site.run().ready();
    refused(&host, &other);
    identity.produce(100);
    identity.committed(&site, 30);
    host.drain();
    // One that does is the first to run.
    site.write(FILE, build(2));
    let (_, text) = validated(&site);
    assert!(text.contains(&digest(&build(2))[..12]), "{text}");
    identity.produce(100);
    let host = site.run().ready();
    identity.committed(&site, 30);
    host.drain();
    identity.judge(&site);
    assert_eq!(judged(&site, [0, 2]).into_keys().collect::<Vec<_>>(), [0, 2]);
}

#[test]
fn rows_of_a_wider_version_join_those_of_the_one_before() {
    let mut identity = Identity::new(1);
    let site = site(StoreKind::Folder, &identity);
    identity.produce(100);
    let host = site.run().ready();
    identity.committed(&site, 30);
    let wide = guest("stamped_wide.wasm");
    site.rename_into(FILE, &wide);
    runs(&host, &wide);
    identity.produce(100);
    identity.committed(&site, 30);
    // The way back is no way for a file: it is refused like any other that narrows.
    site.rename_into(FILE, build(3));
    let text = refused(&host, &build(3));
    assert!(text.contains("records.stamp was int64 and is int32, records.note is gone"), "{text}");
    host.drain();
    identity.judge(&site);
    let sql = "SELECT count(*), count(note), max(stamp) FROM rows";
    let rows = reader::query(&site.place, "data/copy/records", sql);
    assert_eq!(json!(rows), json!([[200, 100, 1_u64 << 40]]));
}

#[test]
fn a_pinned_version_stays() {
    let mut identity = Identity::new(1);
    let site = site(StoreKind::Folder, &identity);
    identity.produce(100);
    let host = site.run().ready();
    site.rename_into(FILE, build(1));
    runs(&host, &build(1));
    host.drain();
    // Both builds are kept in the store.
    let pin = format!("stamped@sha256:{}", digest(&build(0)));
    identity.pipeline_of(&pin, &site, "300ms", "[]");
    let host = site.run().ready();
    site.rename_into(FILE, build(2));
    eventually("the file is looked at", 30, || {
        host.events("component loaded")
            .iter()
            .any(|event| event["digest"] == *digest(&build(2)))
            .then_some(())
    });
    identity.produce(100);
    identity.committed(&site, 30);
    assert!(host.events("component swapped").is_empty());
    let deleted = host.request("DELETE", "/v1/components/stamped", &[], b"");
    let (status, problem) = deleted.expect("the host answers");
    assert!(status == 409 && problem.contains("is used by copy"), "{problem}");
    host.drain();
    identity.judge(&site);
    assert_eq!(judged(&site, [0, 1]).into_keys().next_back(), Some(0));
}

#[test]
fn a_pipeline_that_changes_with_its_component_does_not_escape_the_comparison() {
    let mut identity = Identity::new(1);
    let site = site(StoreKind::Folder, &identity);
    identity.produce(100);
    let host = site.run().ready();
    identity.committed(&site, 30);
    host.drain();
    // Only the new component has this field, so the old one can't even be tried any more.
    identity.pipeline_of("stamped", &site, "300ms", "[topic]");
    site.write(FILE, sample(&site));
    let (code, text) = validated(&site);
    assert!(code == Some(2) && text.contains("records.stamp is gone"), "{text}");
    let mut host = site.run();
    assert_eq!(host.ended(40).code(), Some(2), "{}", host.log());
    let refused = host.events("component refused").pop().expect("it is refused");
    assert!(refused["message"].to_string().contains("SCHEMA_DIFFERS"), "{refused}");
    identity.judge(&site);
}

#[test]
fn a_folder_of_five_hundred_files_delays_nothing() {
    let mut identity = Identity::new(1);
    let site = site(StoreKind::Folder, &identity);
    for n in 0..500 {
        site.write(&format!("transforms/spare-{n}.wasm"), build(7));
    }
    let host = site.run().ready();
    // Most of the others are still waiting for their turn.
    site.rename_into(FILE, build(1));
    runs(&host, &build(1));
    assert!(host.events("component loaded").len() < 400, "the one that is used did not come first");
    identity.produce(100);
    identity.committed(&site, 30);
    // Each is written to the log, and a disk takes its time for that.
    eventually("the others follow", 50, || {
        (host.events("component loaded").len() >= 60).then_some(())
    });
    assert!(host.events("component refused").is_empty(), "{}", host.log());
    host.drain();
    identity.judge(&site);
}

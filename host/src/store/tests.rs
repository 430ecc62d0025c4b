//! One suite for every store, and what is particular to each.

use std::{collections::HashSet, io::Write as _, path::PathBuf, time::Duration};

use futures::future::join_all;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::runtime::Handle;

use super::*;
use crate::{
    budget::Budget,
    commit::manifest::{File, Stage},
};

mod answers;

fn settings(url: &str) -> config::Store {
    config::Store { url: url.parse().unwrap(), endpoint: None, path_style: false, region: None }
}

async fn local(folder: &TempDir) -> Store {
    let url = url::Url::from_directory_path(folder.path()).unwrap();
    Store::open(&settings(url.as_str())).await.unwrap()
}

impl Store {
    fn with_looks(&self, looks: &'static [Duration]) -> Self {
        Self(Arc::new(Inner { looks, ..Inner::clone(&self.0) }))
    }
}

/// Two handles on one store, as two processes have them, where the store outlives one.
async fn conformance(store: &Store, other: &Store) {
    store.probe().await.unwrap();
    create_is_put_if_absent(store, other).await;
    objects_read_back(store, other).await;
    listing(store).await;
    abandoned_files_leave_nothing(store).await;
    files_are_invisible_until_published(store, other).await;
    large_files_keep_their_bytes(store, other).await;
    const LOOKS: &[Duration] = &[Duration::from_millis(1); 3];
    let impatient = store.with_looks(LOOKS);
    discarded_files_are_lost(&impatient, other).await;
    deleted_files_do_not_come_back(&impatient).await;
    keys_stay_below_the_root(store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_conforms() {
    let store = Store::open(&settings("memory://")).await.unwrap();
    assert_eq!(store.stager(), StagerKind::Multipart);
    conformance(&store, &store.clone()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn local_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let store = local(&folder).await;
    assert_eq!(store.stager(), StagerKind::Rename);
    conformance(&store, &local(&folder).await).await;
    assert!(entries(&folder.path().join("_log/p/stage")).is_empty(), "a staged file stays behind");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s3_conforms() {
    let given = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let url = format!(
        "s3://{}/root of/{:032x}",
        given("TIDEMILL_TEST_S3_BUCKET"),
        rand::random::<u128>()
    );
    let endpoint = Some(given("TIDEMILL_TEST_S3_ENDPOINT").parse().unwrap());
    let settings = config::Store { endpoint, path_style: true, ..settings(&url) };
    let (store, other) =
        (Store::open(&settings).await.unwrap(), Store::open(&settings).await.unwrap());
    assert_eq!(store.stager(), StagerKind::Multipart);
    conformance(&store, &other).await;
    let missing = config::Store { url: "s3://no-such-bucket-of-ours".parse().unwrap(), ..settings };
    let fault = Store::open(&missing).await.unwrap().probe().await.unwrap_err();
    assert!(!fault.retry && fault.to_string().contains("NoSuchBucket"), "{fault}");
}

async fn create_is_put_if_absent(store: &Store, other: &Store) {
    for round in 0..10 {
        let key = format!("_log/p/e0001/{round:020}.json");
        let bodies: Vec<Bytes> =
            (0..8).map(|writer| Bytes::from(format!("writer {writer}"))).collect();
        let writers = bodies.iter().enumerate().map(|(index, body)| {
            let store = if index % 2 == 0 { store } else { other };
            store.create(&key, body.clone())
        });
        let results = join_all(writers).await;
        let winners: Vec<_> = results
            .iter()
            .zip(&bodies)
            .filter(|(created, _)| matches!(created, Created::Ok))
            .collect();
        assert_eq!(winners.len(), 1, "{results:?}");
        assert_eq!(store.get(&key).await.unwrap().as_ref(), Some(winners[0].1));
    }
}

async fn objects_read_back(store: &Store, other: &Store) {
    assert_eq!(store.get("_log/p/none").await.unwrap(), None);
    assert_eq!(store.size("_log/p/none").await.unwrap(), None);
    store.put("_log/p/one", Bytes::from_static(b"first")).await.unwrap();
    store.put("_log/p/one", Bytes::from_static(b"second text")).await.unwrap();
    assert_eq!(other.get("_log/p/one").await.unwrap().unwrap(), "second text");
    assert_eq!(other.size("_log/p/one").await.unwrap(), Some(11));
    assert_eq!(other.range("_log/p/one", 7..11).await.unwrap(), "text");
    assert_eq!(other.range("_log/p/one", 7..100).await.unwrap(), "text");
    assert!(other.range("_log/p/none", 0..1).await.is_err());
}

async fn listing(store: &Store) {
    let keys = [
        "l/a b%2Fc=1/x.json",
        "l/a/1.json",
        "l/a/10.json",
        "l/a/2.json",
        "l/a/deep/er/3.json",
        "l/ab/1.json",
    ];
    for key in keys {
        store.put(key, Bytes::from_static(b"x")).await.unwrap();
    }
    let names = async |prefix, after| -> Vec<String> {
        store.list(prefix, after).await.unwrap().into_iter().map(|object| object.key).collect()
    };
    assert_eq!(names("l/", None).await, keys);
    assert_eq!(names("l/a", None).await, keys[1..5]);
    assert_eq!(names("l/a/", Some("l/a/10.json")).await, keys[3..5]);
    assert_eq!(names("l/a", Some("l/a/11.json")).await, keys[3..5], "the key need not exist");
    assert!(names("l/none", None).await.is_empty());
    assert_eq!(
        store.list("l/ab", None).await.unwrap(),
        [Object { key: "l/ab/1.json".into(), bytes: 1 }]
    );
}

/// Stages `bytes` in writes of uneven size, as a worker does: not on a thread of the runtime.
async fn stage(store: &Store, key: &str, bytes: Vec<u8>) -> Staged {
    let mut writer = store.stage(key.to_owned(), Handle::current(), &Budget::new(u64::MAX).share());
    let staged = tokio::task::spawn_blocking(move || {
        bytes.chunks(777_777).for_each(|chunk| writer.write_all(chunk).unwrap());
        writer.finish().unwrap()
    });
    staged.await.unwrap()
}

fn file(staged: &Staged) -> File {
    let Staged { key, bytes, sha256, stage } = staged.clone();
    let file = File { output: "out".into(), key, rows: 1, bytes, sha256, stage };
    // Through JSON, as another process gets it.
    serde_json::from_slice(&serde_json::to_vec(&file).unwrap()).unwrap()
}

async fn files_are_invisible_until_published(store: &Store, other: &Store) {
    for (name, bytes) in [("empty", Vec::new()), ("small", b"a few bytes".to_vec())] {
        let key = format!("data/p/out/city=S%C3%A3o%20Paulo/{name}.parquet");
        let staged = stage(store, &key, bytes.clone()).await;
        assert_eq!((staged.bytes, &staged.key), (bytes.len() as u64, &key));
        assert_eq!(staged.sha256, hex::encode(Sha256::digest(&bytes)));
        assert_eq!(store.get(&key).await.unwrap(), None);
        assert!(!store.list("data", None).await.unwrap().iter().any(|object| object.key == key));

        let file = file(&staged);
        let published = other.publish(&file).await;
        assert!(matches!(published, Published::Done), "{published:?}");
        // S3 may say "done" once more.
        let again = store.publish(&file).await;
        assert!(matches!(again, Published::Already | Published::Done), "{again:?}");
        assert_eq!(store.get(&key).await.unwrap().unwrap(), bytes);
        assert!(
            store.list("data/p/out", None).await.unwrap().iter().any(|object| object.key == key)
        );
    }
}

async fn large_files_keep_their_bytes(store: &Store, other: &Store) {
    // Less than a part, exactly two parts, and more parts than may be under way.
    for (n, size) in
        [PART_BYTES - 1, 2 * PART_BYTES, 3 * PART_BYTES + 12_345].into_iter().enumerate()
    {
        let bytes: Vec<u8> =
            (0..size).map(|at| u8::try_from((at / 7 + at / 65_536) % 251).unwrap()).collect();
        let staged = stage(store, &format!("data/p/out/large-{n}.parquet"), bytes.clone()).await;
        if let Stage::Multipart { parts, .. } = &staged.stage {
            assert_eq!(parts.len(), size.div_ceil(PART_BYTES));
        }
        assert!(matches!(other.publish(&file(&staged)).await, Published::Done));
        assert!(
            store.get(&staged.key).await.unwrap().unwrap() == bytes,
            "{size} bytes changed on their way"
        );
    }
}

async fn discarded_files_are_lost(store: &Store, other: &Store) {
    let staged = stage(store, "data/p/out/discarded.parquet", b"unwanted".to_vec()).await;
    other.discard(&staged.key, &staged.stage).await.unwrap();
    store.discard(&staged.key, &staged.stage).await.unwrap();
    let published = store.publish(&file(&staged)).await;
    assert!(
        matches!(&published, Published::Lost(text) if text.contains("discarded.parquet")),
        "{published:?}"
    );
}

async fn deleted_files_do_not_come_back(store: &Store) {
    let file = file(&stage(store, "data/p/out/once.parquet", b"rows".to_vec()).await);
    assert!(matches!(store.publish(&file).await, Published::Done));
    store.delete(&file.key).await.unwrap();
    // S3 may remember the completion, and say so again without doing anything.
    let again = store.publish(&file).await;
    assert!(matches!(again, Published::Lost(_) | Published::Done), "{again:?}");
    assert_eq!(store.size(&file.key).await.unwrap(), None);
}

async fn abandoned_files_leave_nothing(store: &Store) {
    let budget = Budget::new(u64::MAX);
    let key = "data/p/out/abandoned.parquet";
    let mut writer = store.stage(key.into(), Handle::current(), &budget.share());
    let written = tokio::task::spawn_blocking(move || {
        writer.write_all(&vec![7; PART_BYTES + 1]).unwrap();
        writer.abort();
    });
    written.await.unwrap();
    // A part that is under way counts until it has arrived.
    while budget.used() > 0 {
        assert_eq!(budget.used(), PART_BYTES as u64);
        tokio::task::yield_now().await;
    }
    assert_eq!(store.size("data/p/out/abandoned.parquet").await.unwrap(), None);
}

async fn keys_stay_below_the_root(store: &Store) {
    for key in
        ["", "/", "/a", "a/", "../a", "a/../../b", "a/./b", "a//b", "a\nb", &"x".repeat(1025)]
    {
        assert!(store.get(key).await.is_err(), "{key}");
        assert!(matches!(store.create(key, Bytes::new()).await, Created::Other(_)), "{key}");
    }
    let escaping = Stage::Rename { id: "_log/../../etc/passwd".into() };
    assert!(store.discard("data/p/x", &escaping).await.is_err());
}

fn entries(folder: &PathBuf) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test]
async fn publish_leaves_a_foreign_file_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = local(&folder).await;
    let file = file(&stage(&store, "data/p/out/mine.parquet", b"mine".to_vec()).await);
    store.put(&file.key, Bytes::from_static(b"not mine")).await.unwrap();
    let published = store.publish(&file).await;
    assert!(matches!(&published, Published::Unknown(fault) if !fault.retry), "{published:?}");
    assert_eq!(store.get(&file.key).await.unwrap().unwrap(), "not mine");
    store.delete(&file.key).await.unwrap();
    assert!(matches!(store.publish(&file).await, Published::Done));
}

#[tokio::test]
async fn sweep_takes_old_files_that_no_manifest_names() {
    let folder = tempfile::tempdir().unwrap();
    let store = local(&folder).await;
    let mut ids = Vec::new();
    for n in 0..2 {
        let Stage::Rename { id } =
            stage(&store, &format!("data/p/out/{n}.parquet"), b"x".to_vec()).await.stage
        else {
            panic!("a local store renames");
        };
        ids.push(id);
    }
    let named = HashSet::from([ids[0].clone()]);
    assert_eq!(
        store.sweep("p", &named, Duration::from_secs(3600)).await.unwrap(),
        0,
        "they are young"
    );
    assert_eq!(store.sweep("other", &named, Duration::ZERO).await.unwrap(), 0);
    assert_eq!(store.sweep("p", &named, Duration::ZERO).await.unwrap(), 1);
    assert_eq!(
        (store.size(&ids[0]).await.unwrap(), store.size(&ids[1]).await.unwrap()),
        (Some(1), None)
    );
}

#[tokio::test]
async fn two_files_never_share_a_stage() {
    let folder = tempfile::tempdir().unwrap();
    let store = local(&folder).await;
    stage(&store, "data/p/out/a=1/same.parquet", b"first".to_vec()).await;
    let fault = store
        .stage(
            "data/p/out/a=2/same.parquet".into(),
            Handle::current(),
            &Budget::new(u64::MAX).share(),
        )
        .finish()
        .unwrap_err();
    assert!(!fault.retry, "{fault}");
    let kept = store.get("_log/p/stage/same.parquet").await.unwrap().unwrap();
    assert_eq!(kept, "first");
}

#[tokio::test]
async fn a_folder_that_is_gone_is_not_an_empty_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = local(&folder).await;
    fs::remove_dir_all(folder.path()).unwrap();
    for fault in [
        store.get("_log/p/x").await.unwrap_err(),
        store.size("_log/p/x").await.unwrap_err(),
        store.list("_log/p", None).await.unwrap_err(),
        store.put("_log/p/x", Bytes::new()).await.unwrap_err(),
        match store.create("_log/p/x", Bytes::new()).await {
            Created::Ok => panic!("nothing can be created in a folder that is gone"),
            Created::Other(fault) => fault,
        },
        store
            .stage("data/p/out/x".into(), Handle::current(), &Budget::new(u64::MAX).share())
            .finish()
            .unwrap_err(),
    ] {
        assert!(fault.retry && fault.to_string().contains("is gone"), "{fault}");
    }
    assert!(!folder.path().exists(), "nobody made it again");
}

#[tokio::test]
async fn a_full_disk_is_an_outside_fault_that_names_the_folder() {
    let fault = faults::disk(
        "file:///lake",
        "stage",
        "data/p/x",
        &io::Error::from(io::ErrorKind::StorageFull),
    );
    assert!(fault.retry && fault.blame == crate::fault::Blame::Outside);
    assert!(
        fault.to_string().contains("file:///lake") && fault.help.unwrap().contains("free space")
    );
}

#[tokio::test]
async fn a_file_in_the_way_of_a_folder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("_log"), "").unwrap();
    let fault = local(&folder).await.probe().await.unwrap_err();
    assert!(!fault.retry && fault.to_string().contains("_log/.probe"), "{fault}");
    let url = format!("file://{}/_log", folder.path().display());
    let fault = Store::open(&settings(&url)).await.unwrap_err();
    assert!(!fault.retry && fault.to_string().contains(&url), "{fault}");
}

#[tokio::test]
async fn other_kinds_of_store_are_refused() {
    let fault = Store::open(&settings("ftp://host/x")).await.unwrap_err();
    assert!(!fault.retry && fault.to_string().contains("ftp"), "{fault}");
}

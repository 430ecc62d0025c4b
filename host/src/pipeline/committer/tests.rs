//! The committer against real stores: memory (open uploads) and the local disk (renames).

use std::{collections::BTreeMap, io::Write as _};

use futures::future::join_all;
use tempfile::TempDir;
use tokio::{runtime::Handle, time::timeout};

use super::*;
use crate::{
    budget::Budget,
    commit::{
        log::Log,
        manifest::{Handover, Manifest, Published, Stage},
        verify::{Evidence, Found, verify},
    },
    config,
};

const NEVER: Duration = Duration::from_secs(3600);
/// Nothing happens but what is asked for.
const STILL: Pace = Pace { help_after: NEVER, follow_every: NEVER, checkpoint_every: u64::MAX };

/// Both kinds of stager. The folder stands for as long as its store.
async fn stores() -> [(Store, Option<TempDir>); 2] {
    let folder = tempfile::tempdir().unwrap();
    let url = url::Url::from_directory_path(folder.path()).unwrap();
    [(open(url.as_str()).await, Some(folder)), (open("memory://").await, None)]
}

async fn open(url: &str) -> Store {
    let url = url.parse().unwrap();
    let settings = config::Store { url, endpoint: None, path_style: false, region: None };
    Store::open(&settings).await.unwrap()
}

async fn committer(store: &Store, pace: Pace) -> Result<Arc<Committer>, Fault> {
    Committer::paced(store.clone(), "p", "me", pace).await
}

fn lane(partition: i32) -> Lane {
    Lane::new("t", partition)
}

fn inputs(ranges: &[(i32, i64, i64)]) -> Vec<InputRange> {
    let input = |&(partition, start, end)| InputRange { lane: lane(partition), start, end };
    ranges.iter().map(input).collect()
}

/// A flush with a row for each record in one staged file.
async fn flush(store: &Store, ranges: &[(i32, i64, i64)]) -> Flush {
    let nonce = names::nonce(rand::random());
    let key = names::data_key("p", "clean", "", 0, 0, &nonce, 0);
    let mut writer = store.stage(key, Handle::current(), &Budget::new(u64::MAX).share());
    let stage = move || {
        writer.write_all(b"rows").unwrap();
        writer.finish().unwrap()
    };
    let staged = tokio::task::spawn_blocking(stage).await.unwrap();
    let count = |&(_, start, end): &(i32, i64, i64)| {
        let records = u64::try_from(end - start).unwrap();
        let rows = BTreeMap::from([("clean".to_owned(), records)]);
        Counts { records, emitted: records, rows, ..Counts::default() }
    };
    let counts: Vec<_> = ranges.iter().map(count).collect();
    let rows = counts.iter().map(|counts| counts.records).sum();
    let (key, bytes, sha256, stage) = (staged.key, staged.bytes, staged.sha256, staged.stage);
    let file = File { output: "clean".into(), key, rows, bytes, sha256, stage };
    Flush {
        nonce,
        worker: 0,
        inputs: inputs(ranges),
        transforms: vec![],
        files: vec![file],
        counts,
    }
}

async fn manifests(store: &Store) -> Vec<(String, Vec<u8>)> {
    let mut manifests = Vec::new();
    for object in store.list("_log/p", None).await.unwrap() {
        if names::epoch_of(&object.key).is_some() && !object.key.contains("/checkpoint/") {
            let bytes = store.get(&object.key).await.unwrap().unwrap();
            manifests.push((object.key, bytes.to_vec()));
        }
    }
    manifests
}

/// What is there is what the log says, and nothing waits to be published. Files are no Parquet here: nobody asks for their rows.
async fn assert_clean(store: &Store) {
    let manifests = manifests(store).await;
    let decoded = manifests.iter().map(|(key, bytes)| Manifest::decode(key, bytes).unwrap());
    let rows: BTreeMap<_, _> =
        decoded.flat_map(|manifest| manifest.files).map(|file| (file.key, file.rows)).collect();
    let found = |object: crate::store::Object| Found {
        rows: rows.get(&object.key).copied().ok_or_else(|| "a foreign file".to_owned()),
        key: object.key,
        bytes: object.bytes,
        sha256: None,
    };
    let files = store.list("data/p", None).await.unwrap().into_iter().map(found).collect();
    let evidence = Evidence { manifests, files, ..Evidence::default() };
    let report = verify("p", &evidence);
    assert!(report.is_clean() && report.pending == 0, "{report}");
}

/// What a writer leaves that died right after it created this manifest.
async fn die_after_create(store: &Store, flush: &Flush) {
    let mut log = Log::default();
    for (key, bytes) in manifests(store).await {
        log.fold(&Manifest::decode(&key, &bytes).unwrap()).unwrap();
    }
    let Flush { nonce, inputs, transforms, files, counts, worker: _ } = flush.clone();
    let manifest = Manifest {
        v: 1,
        pipeline: "p".into(),
        epoch: 1,
        seq: log.next(),
        nonce,
        prev: log.prev().to_owned(),
        kind: Kind::Data,
        inputs,
        transforms,
        files,
        counts,
        handover: None,
        voids: vec![],
        published: Published::default(),
        writer: "dead".into(),
        ts: String::new(),
    };
    let key = names::manifest_key("p", 1, manifest.seq);
    let created = store.create(&key, manifest.encode().into()).await;
    assert!(matches!(created, crate::store::Created::Ok));
}

/// Follows until it holds; no longer than a test may take.
async fn until(committer: &Committer, mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !holds().await {
            committer.follow().await.unwrap();
        }
    };
    timeout(Duration::from_secs(20), wait).await.expect("it never came to hold");
}

#[tokio::test]
async fn two_processes_share_a_log() {
    for (store, _folder) in stores().await {
        let (a, b) =
            (committer(&store, STILL).await.unwrap(), committer(&store, STILL).await.unwrap());
        assert_eq!(a.start(vec![(lane(0), 5), (lane(1), 0)]).await.unwrap()[0], (lane(0), 5));
        // It was not the first: the answer is the truth.
        assert_eq!(b.start(vec![(lane(0), 9)]).await.unwrap(), [(lane(0), 5)]);
        let done = a.commit(flush(&store, &[(0, 5, 7), (1, 0, 2)]).await).await.unwrap();
        assert_eq!(done, Outcome::Committed { seq: 2 });
        assert_eq!(b.position(&lane(0)), Some(5));
        // One lane moved, so none of it is committed, and its file goes.
        let late = flush(&store, &[(0, 5, 6)]).await;
        let done = b.commit(late.clone()).await.unwrap();
        assert_eq!(done, Outcome::Fenced { lane: lane(0), position: 7 });
        until(&b, async || {
            matches!(store.publish(&late.files[0]).await, crate::store::Published::Lost(_))
        })
        .await;
        let done = b.commit(flush(&store, &[(0, 7, 8)]).await).await.unwrap();
        assert_eq!(done, Outcome::Committed { seq: 3 });
        a.follow().await.unwrap();
        assert_eq!(a.standing().lanes, [(lane(0), 8), (lane(1), 2)]);
        assert_clean(&store).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_of_two_processes_commit_at_the_same_time() {
    for (store, _folder) in stores().await {
        let (a, b) =
            (committer(&store, STILL).await.unwrap(), committer(&store, STILL).await.unwrap());
        let lanes = 0..8;
        a.start(lanes.clone().map(|partition| (lane(partition), 0)).collect()).await.unwrap();
        b.follow().await.unwrap();
        let work = lanes.map(|partition| {
            let (store, committer) = (&store, if partition % 2 == 0 { &a } else { &b });
            async move {
                for start in 0..5 {
                    let flush = flush(store, &[(partition, start, start + 1)]).await;
                    let worker = usize::try_from(partition).unwrap();
                    let done = committer.commit(Flush { worker, ..flush }).await.unwrap();
                    assert!(matches!(done, Outcome::Committed { .. }));
                }
            }
        });
        join_all(work).await;
        assert_eq!(manifests(&store).await.len(), 42);
        assert_clean(&store).await;
    }
}

#[tokio::test]
async fn what_a_dead_writer_left_is_published() {
    for (store, _folder) in stores().await {
        let a = committer(&store, STILL).await.unwrap();
        a.start(vec![(lane(0), 0)]).await.unwrap();
        die_after_create(&store, &flush(&store, &[(0, 0, 3)]).await).await;
        drop(a);
        // By whoever starts …
        let b = committer(&store, STILL).await.unwrap();
        assert_eq!(b.position(&lane(0)), Some(3));
        assert_clean(&store).await;
        // … or by whoever sees it unclaimed for a while.
        let at_once =
            Pace { help_after: Duration::ZERO, follow_every: Duration::from_millis(5), ..STILL };
        let c = committer(&store, at_once).await.unwrap();
        let dead = flush(&store, &[(0, 3, 4)]).await;
        die_after_create(&store, &dead).await;
        until(&c, async || store.size(&dead.files[0].key).await.unwrap().is_some()).await;
        assert_clean(&store).await;
        drop(c);
        // … or by whoever drains, since it may be the last.
        let d = committer(&store, STILL).await.unwrap();
        let dead = flush(&store, &[(0, 4, 5)]).await;
        die_after_create(&store, &dead).await;
        d.claim().await.unwrap();
        assert!(store.size(&dead.files[0].key).await.unwrap().is_some());
        assert_clean(&store).await;
    }
}

#[tokio::test]
async fn claimed_files_may_be_deleted() {
    let [(store, folder), _] = stores().await;
    let (a, b) = (committer(&store, STILL).await.unwrap(), committer(&store, STILL).await.unwrap());
    a.start(vec![(lane(0), 0), (lane(1), 0)]).await.unwrap();
    let (one, two) = (flush(&store, &[(0, 0, 1)]).await, flush(&store, &[(1, 0, 1)]).await);
    b.follow().await.unwrap();
    a.commit(one.clone()).await.unwrap();
    b.commit(two.clone()).await.unwrap();
    a.claim().await.unwrap();
    b.claim().await.unwrap();
    for flush in [one, two] {
        std::fs::remove_file(folder.as_ref().unwrap().path().join(&flush.files[0].key)).unwrap();
    }
    drop((a, b));
    let c = committer(&store, STILL).await.unwrap();
    assert_eq!(c.standing().lanes, [(lane(0), 1), (lane(1), 1)]);
    c.claim().await.unwrap();
    c.health().unwrap();
}

/// Nobody adds to what was sealed; whoever opens the log later, also after a crash half-way, goes on in the next epoch.
#[tokio::test]
async fn a_sealed_epoch_is_followed_by_the_next() {
    for (store, _folder) in stores().await {
        let zombie = committer(&store, STILL).await.unwrap();
        zombie.start(vec![(lane(0), 0), (lane(1), 4)]).await.unwrap();
        zombie.commit(flush(&store, &[(0, 0, 3)]).await).await.unwrap();
        // In the log and not visible: whoever begins the next epoch has to see to it.
        die_after_create(&store, &flush(&store, &[(1, 4, 6)]).await).await;
        let late = flush(&store, &[(0, 3, 5)]).await;
        let given_up = BTreeSet::from(["t".to_owned()]);
        let handover = Handover { given_up: given_up.clone(), ..Handover::default() };
        {
            let sealing = committer(&store, STILL).await.unwrap();
            sealing.seal(handover.clone()).await.unwrap();
            assert_eq!(sealing.seal(handover).await.unwrap_err().code, Some("SEALED"));
        }
        let seen = Committer::inspect(&store, "p").await.unwrap();
        let lanes = vec![(lane(0), 3), (lane(1), 6)];
        assert_eq!((seen.epoch, seen.next, &seen.lanes), (2, 0, &lanes));

        let fault = zombie.commit(late.clone()).await.unwrap_err();
        assert!(fault.code == Some("SEALED") && fault.retry, "{fault}");
        assert_eq!(zombie.health().unwrap_err().code, Some("SEALED"));
        zombie.start(vec![(lane(2), 0)]).await.unwrap_err();
        zombie.claim().await.unwrap();

        let opened = [committer(&store, STILL), committer(&store, STILL)];
        let [a, b] = join_all(opened).await.try_into().unwrap();
        let (a, b) = (a.unwrap(), b.unwrap());
        let standing = a.standing();
        assert_eq!((standing.epoch, standing.next, standing.lanes), (2, 1, lanes));
        assert_eq!(standing.given_up, given_up);
        b.follow().await.unwrap();
        b.commit(flush(&store, &[(0, 3, 4)]).await).await.unwrap();
        assert_clean(&store).await;
        let ended = Committer::begin_epoch(&store, "p", "me", Handover::default()).await.unwrap();
        assert_eq!((ended.epoch, ended.given_up), (3, BTreeSet::new()));
        a.claim().await.unwrap();
        assert_clean(&store).await;
    }
}

#[tokio::test]
async fn a_lost_file_halts() {
    for (store, _folder) in stores().await {
        let a = committer(&store, STILL).await.unwrap();
        a.start(vec![(lane(0), 0)]).await.unwrap();
        let lost = flush(&store, &[(0, 0, 3)]).await;
        a.discard(&lost.files).await;
        let fault = a.commit(lost).await.unwrap_err();
        assert_eq!(fault.code, Some("STAGE_LOST"), "{fault}");
        assert_eq!(a.health().unwrap_err().code, Some("STAGE_LOST"));
        assert_eq!(a.follow().await.unwrap_err().code, Some("STAGE_LOST"));
        let fault = committer(&store, STILL).await.unwrap_err();
        assert!(fault.code == Some("STAGE_LOST") && !fault.retry, "{fault}");
        assert!(fault.help.is_some());
    }
}

#[tokio::test]
async fn an_edited_log_halts() {
    for (store, _folder) in stores().await {
        let a = committer(&store, STILL).await.unwrap();
        a.start(vec![(lane(0), 0)]).await.unwrap();
        let b = committer(&store, STILL).await.unwrap();
        let (key, bytes) = manifests(&store).await.remove(1);
        let edited = String::from_utf8(bytes).unwrap().replace("\"end\":0", "\"end\": 0");
        store.put(&key, edited.into()).await.unwrap();
        let fault = committer(&store, STILL).await.unwrap_err();
        assert_eq!(fault.code, Some("LOG_FORK"), "{fault}");
        // Whoever read it before goes on until it meets something that does not follow.
        store.put(&names::manifest_key("p", 1, 2), "{}".into()).await.unwrap();
        let fault = b.commit(flush(&store, &[(0, 0, 1)]).await).await.unwrap_err();
        assert_eq!(fault.code, Some("LOG_FORK"), "{fault}");
        assert!(!fault.message.contains("LOG_FORK"), "told once: {fault}");
    }
}

#[tokio::test]
async fn a_start_reads_from_the_newest_good_checkpoint() {
    for (store, _folder) in stores().await {
        let a = committer(&store, Pace { checkpoint_every: 50, ..STILL }).await.unwrap();
        for partition in 0..99 {
            a.start(vec![(lane(partition), 7)]).await.unwrap();
        }
        let other = committer(&store, STILL).await.unwrap();
        assert_eq!(other.standing().lanes, a.standing().lanes, "read ahead in ever larger steps");
        let checkpoint = names::checkpoint_key("p", 1, 100);
        until(&a, async || store.size(&checkpoint).await.unwrap().is_some()).await;
        // The whole log can't be read any more, the checkpoint can.
        store.put(&names::manifest_key("p", 1, 3), "{}".into()).await.unwrap();
        let damaged = names::checkpoint_key("p", 1, 101);
        store.put(&damaged, "{\"v\":1".into()).await.unwrap();
        let b = committer(&store, STILL).await.unwrap();
        assert_eq!((b.standing().lanes, b.next_seq()), (a.standing().lanes, 100));
        let done = b.commit(flush(&store, &[(4, 7, 9)]).await).await.unwrap();
        assert_eq!(done, Outcome::Committed { seq: 100 });
    }
}

#[tokio::test]
async fn a_checkpoint_does_not_wait_for_what_others_have_under_way() {
    let [(store, _folder), _] = stores().await;
    let a = committer(&store, Pace { checkpoint_every: 2, ..STILL }).await.unwrap();
    a.start(vec![(lane(0), 0), (lane(1), 0)]).await.unwrap();
    die_after_create(&store, &flush(&store, &[(1, 0, 1)]).await).await;
    a.commit(flush(&store, &[(0, 0, 1)]).await).await.unwrap();
    let checkpoint = names::checkpoint_key("p", 1, 2);
    until(&a, async || store.size(&checkpoint).await.unwrap().is_some()).await;
    drop(a);
    committer(&store, STILL).await.unwrap();
    assert_clean(&store).await;
}

#[tokio::test]
async fn a_foreign_stage_is_no_reason_to_give_up_at_once() {
    let [(store, _folder), _] = stores().await;
    let a = committer(&store, STILL).await.unwrap();
    a.start(vec![(lane(0), 0)]).await.unwrap();
    let mut foreign = flush(&store, &[(0, 0, 1)]).await;
    foreign.files[0].stage = Stage::Multipart { id: "x".into(), parts: vec![] };
    let commit = a.commit(foreign);
    assert!(
        timeout(Duration::from_millis(300), commit).await.is_err(),
        "nobody knows, so it is tried on"
    );
    // It is in the log all the same, and others' commits go on beside it.
    let done = a.commit(flush(&store, &[(0, 1, 2)]).await).await.unwrap();
    assert_eq!(done, Outcome::Committed { seq: 3 });
    a.health().unwrap();
}

use super::*;
use crate::{
    commit::manifest::{Counts, Handover, InputRange, Published},
    record::Lane,
};

/// The bytes of a manifest or a checkpoint, edited.
type Edit = fn(&mut Evidence);

/// A start, and two flushes of a file each that nobody claims as published; a checkpoint after the start.
fn evidence() -> Evidence {
    let mut log = Log::default();
    let mut evidence = Evidence { stages: Some(BTreeSet::new()), ..Evidence::default() };
    for (kind, start, end) in [(Kind::Start, 0, 0), (Kind::Data, 0, 3), (Kind::Data, 3, 5)] {
        let records = u64::try_from(end - start).unwrap();
        let data = kind == Kind::Data;
        let file = File {
            output: "clean".into(),
            key: format!("data/p/clean/{end}.parquet"),
            rows: records,
            bytes: 10,
            sha256: "ab".into(),
            stage: Stage::Rename { id: format!("_log/p/stage/{end}") },
        };
        let rows = [("clean".to_owned(), records)].into();
        let counts = Counts { records, emitted: records, rows, ..Counts::default() };
        let manifest = Manifest {
            v: 1,
            pipeline: "p".into(),
            epoch: 1,
            seq: log.next(),
            nonce: format!("{end}"),
            prev: log.prev().to_owned(),
            kind,
            inputs: vec![InputRange { lane: Lane::new("t", 0), start, end }],
            transforms: vec![],
            files: if data { vec![file.clone()] } else { vec![] },
            counts: if data { vec![counts] } else { vec![] },
            handover: None,
            voids: vec![],
            published: Published::default(),
            writer: String::new(),
            ts: String::new(),
        };
        log.fold(&manifest).unwrap();
        evidence.manifests.push((names::manifest_key("p", 1, manifest.seq), manifest.encode()));
        if data {
            let (key, sha256) = (file.key, Some("ab".into()));
            evidence.files.push(Found { key, bytes: 10, rows: Ok(records), sha256 });
        } else {
            let checkpoint = serde_json::to_vec(&log.checkpoint()).unwrap();
            evidence.checkpoints.push((names::checkpoint_key("p", 1, 1), checkpoint));
        }
    }
    evidence
}

fn problems(edit: Edit) -> Vec<String> {
    let mut evidence = evidence();
    edit(&mut evidence);
    verify("p", &evidence).problems
}

fn replace(bytes: &mut Vec<u8>, from: &str, to: &str) {
    let text = String::from_utf8(bytes.clone()).unwrap();
    assert!(text.contains(from), "{text}");
    *bytes = text.replace(from, to).into_bytes();
}

#[test]
fn a_kept_promise_is_clean() {
    let report = verify("p", &evidence());
    assert_eq!(
        (report.problems.clone(), report.manifests, report.files, report.rows, report.records),
        (vec![], 3, 2, 5, 5)
    );
    assert_eq!((report.empty_offsets, report.pending), (0, 0));
    assert_eq!(report.positions, [("t".to_owned(), 0, 5)]);
}

#[test]
fn every_breach_is_found() {
    let breaches: [(Edit, &str); 14] = [
        (|e| drop(e.files.remove(0)), "data/p/clean/3.parquet is missing"),
        (|e| e.files[0].key = "data/p/clean/x.parquet".into(), "x.parquet is in no manifest"),
        (|e| e.files[0].bytes = 11, "has 11 bytes"),
        (|e| e.files[1].rows = Ok(3), "has 3 rows, its manifest says 2"),
        (|e| e.files[1].rows = Err("cannot read the footer".into()), "cannot read the footer"),
        (|e| e.files[1].sha256 = Some("cd".into()), "has the digest cd"),
        (|e| drop(e.manifests.remove(1)), "LOG_FORK"),
        (|e| replace(&mut e.manifests[2].1, "\"end\":5", "\"end\":4"), "2 records of 1 offsets"),
        (|e| replace(&mut e.manifests[1].1, "\"end\":3", "\"end\":4"), "LOG_FORK"),
        (|e| e.manifests[1].1.truncate(20), "is no manifest"),
        (
            |e| replace(&mut e.checkpoints[0].1, ",0]", ",7]"),
            "is not what the manifests below it say",
        ),
        (|e| e.checkpoints[0].0 = names::checkpoint_key("p", 1, 2), "says that it reaches 1"),
        (|e| e.checkpoints[0].1.clear(), "is no checkpoint"),
        (
            |e| {
                e.checkpoints[0].0 = names::checkpoint_key("p", 1, 9);
                replace(&mut e.checkpoints[0].1, "\"seq\":1", "\"seq\":9");
            },
            "reaches past the end",
        ),
    ];
    for (edit, says) in breaches {
        let problems = problems(edit);
        assert!(problems.iter().any(|problem| problem.contains(says)), "{says}: {problems:?}");
    }
}

/// The same, sealed, and a second epoch that has begun.
fn two_epochs() -> Evidence {
    let mut evidence = evidence();
    let mut log = Log::default();
    for (key, bytes) in &evidence.manifests {
        log.fold(&Manifest::decode(key, bytes).unwrap()).unwrap();
    }
    let blank = Manifest::decode("", &evidence.manifests[0].1).unwrap();
    let (seq, prev) = (log.next(), log.prev().to_owned());
    let handover = Some(Handover::default());
    let seal = Manifest { seq, prev, kind: Kind::Seal, inputs: vec![], handover, ..blank.clone() };
    log.fold(&seal).unwrap();
    let (inputs, handover) = log.next_epoch().unwrap();
    let (kind, handover) = (Kind::Genesis, Some(handover));
    let genesis = Manifest { epoch: 2, kind, inputs, handover, ..blank };
    for manifest in [seal, genesis] {
        let key = names::manifest_key("p", manifest.epoch, manifest.seq);
        evidence.manifests.push((key, manifest.encode()));
    }
    evidence
}

#[test]
fn a_later_epoch_goes_on_where_the_one_before_was_sealed() {
    let report = verify("p", &two_epochs());
    assert_eq!((report.problems.clone(), report.epoch, report.manifests), (vec![], 2, 5));
    assert_eq!(report.positions, [("t".to_owned(), 0, 5)]);
    assert!(report.to_string().contains("epoch 2"), "{report}");
    // Whatever the sealed one names is visible by now.
    let mut missing = two_epochs();
    missing.files.remove(1);
    missing.stages = None;
    assert_eq!(verify("p", &missing).problems, ["data/p/clean/5.parquet is missing"]);
    let breaches: [(Edit, &str); 3] = [
        (|e| drop(e.manifests.remove(3)), "does not go on where epoch 1 was sealed"),
        (|e| replace(&mut e.manifests[4].1, "\"end\":5", "\"end\":6"), "LOG_FORK"),
        (
            |e| {
                replace(&mut e.manifests[4].1, "\"start\":5", "\"start\":6");
                replace(&mut e.manifests[4].1, "\"end\":5", "\"end\":6");
            },
            "does not go on where epoch 1 was sealed",
        ),
    ];
    for (edit, says) in breaches {
        let mut evidence = two_epochs();
        edit(&mut evidence);
        let problems = verify("p", &evidence).problems;
        assert!(problems.iter().any(|problem| problem.contains(says)), "{says}: {problems:?}");
    }
}

#[test]
fn what_somebody_gave_up_is_told_and_no_problem() {
    let mut evidence = evidence();
    let mut log = Log::default();
    for (key, bytes) in &evidence.manifests {
        log.fold(&Manifest::decode(key, bytes).unwrap()).unwrap();
    }
    let blank = Manifest::decode("", &evidence.manifests[0].1).unwrap();
    let (voids, skipped) =
        (vec![2], vec![InputRange { lane: Lane::new("t", 0), start: 5, end: 9 }]);
    for (kind, inputs, voids) in [(Kind::Void, vec![], voids), (Kind::Skip, skipped, vec![])] {
        let (seq, prev) = (log.next(), log.prev().to_owned());
        let manifest = Manifest { seq, prev, kind, inputs, voids, ..blank.clone() };
        log.fold(&manifest).unwrap();
        evidence.manifests.push((names::manifest_key("p", 1, seq), manifest.encode()));
    }
    evidence.files.remove(1);
    let report = verify("p", &evidence);
    assert_eq!((report.problems.clone(), report.void_files, report.void_rows), (vec![], 1, 2));
    assert_eq!((report.skipped_offsets, report.empty_offsets), (4, 0));
    assert_eq!(report.positions, [("t".to_owned(), 0, 9)]);
}

#[test]
fn counts_are_there_for_every_input() {
    let mut evidence = evidence();
    let mut last = Manifest::decode("", &evidence.manifests[2].1).unwrap();
    last.counts.clear();
    evidence.manifests[2].1 = last.encode();
    let problems = verify("p", &evidence).problems;
    assert!(problems[0].contains("1 inputs and counts for 0"), "{problems:?}");
}

#[test]
fn what_is_still_staged_is_not_missing() {
    let mut evidence = evidence();
    evidence.files.remove(1);
    evidence.stages = Some(["_log/p/stage/5".to_owned()].into());
    let report = verify("p", &evidence);
    assert_eq!((report.problems.clone(), report.pending), (vec![], 1));
    // Where stages can't be listed, nobody knows better.
    evidence.stages = None;
    assert_eq!(verify("p", &evidence), report);
    evidence.stages = Some(BTreeSet::new());
    assert_eq!(verify("p", &evidence).problems, ["data/p/clean/5.parquet is missing"]);
}

#[test]
fn offsets_without_a_record_are_told() {
    let mut evidence = evidence();
    let mut last = Manifest::decode("", &evidence.manifests[2].1).unwrap();
    last.inputs[0].end = 9;
    evidence.manifests[2].1 = last.encode();
    let report = verify("p", &evidence);
    assert_eq!((report.problems.clone(), report.empty_offsets), (vec![], 4));
    assert!(report.to_string().contains("4 offsets without a record"));
}

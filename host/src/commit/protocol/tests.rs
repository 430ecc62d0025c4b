//! Single ways through the core, told as stories. All ways together are the model's.

use super::*;
use crate::commit::manifest::Stage;

fn lane(partition: i32) -> Lane {
    Lane::new("t", partition)
}

fn append(nonce: &str, kind: Kind, inputs: &[(i32, i64, i64)]) -> Append {
    let file = File {
        output: "o".into(),
        key: nonce.into(),
        rows: 1,
        bytes: 1,
        sha256: String::new(),
        stage: Stage::Rename { id: nonce.into() },
    };
    let inputs = inputs
        .iter()
        .map(|&(partition, start, end)| InputRange { lane: lane(partition), start, end })
        .collect();
    let files = if kind == Kind::Data { vec![file] } else { vec![] };
    let (transforms, counts, ts) = (vec![], vec![], String::new());
    let handover = None;
    Append { nonce: nonce.into(), worker: 0, kind, inputs, transforms, files, counts, handover, ts }
}

fn data(nonce: &str, inputs: &[(i32, i64, i64)]) -> Event {
    Event::Commit(append(nonce, Kind::Data, inputs))
}

fn creates(commands: &[Command]) -> Vec<&Manifest> {
    let mut creates = Vec::new();
    for command in commands {
        if let Command::Create(manifest) = command {
            creates.push(manifest);
        }
    }
    creates
}

fn the_create(commands: &[Command]) -> Manifest {
    match creates(commands)[..] {
        [manifest] => manifest.clone(),
        _ => panic!("one Create in {commands:?}"),
    }
}

fn dones(commands: &[Command]) -> Vec<(&str, &Done)> {
    let mut dones = Vec::new();
    for command in commands {
        if let Command::Done(nonce, done) = command {
            dones.push((nonce.as_str(), done));
        }
    }
    dones
}

/// A writer that knows both lanes at 0, from manifest 0.
fn writer() -> Writer {
    let mut writer = Writer::new("p", 1, "w", Log::default());
    writer.step(Event::Commit(append("s", Kind::Start, &[(0, 0, 0), (1, 0, 0)])));
    writer.step(Event::Created(true));
    writer
}

#[test]
fn a_flush_is_created_then_published_then_done() {
    let mut writer = writer();
    let manifest = the_create(&writer.step(data("a", &[(0, 0, 5)])));
    assert_eq!((manifest.seq, manifest.prev.as_str()), (1, writer.log().prev()));
    let commands = writer.step(Event::Created(true));
    assert_eq!(commands, [Command::Publish(1, manifest.files[0].clone())]);
    let commands = writer.step(Event::Published(1, "a".into(), Outcome::Visible));
    assert_eq!(dones(&commands), [("a", &Done::Committed(1))]);
    assert_eq!(writer.log().position(&lane(0)), Some(5));
}

#[test]
fn the_next_flush_is_created_while_the_last_is_published() {
    let mut writer = writer();
    writer.step(data("a", &[(0, 0, 5)]));
    assert!(creates(&writer.step(data("b", &[(0, 5, 6)]))).is_empty(), "one Create at a time");
    let commands = writer.step(Event::Created(true));
    assert_eq!(the_create(&commands).nonce, "b");
    let commands = writer.step(Event::Published(1, "a".into(), Outcome::Visible));
    assert_eq!(dones(&commands), [("a", &Done::Committed(1))]);
}

#[test]
fn what_is_folded_is_what_was_sent() {
    let mut first = writer();
    let foreign = the_create(&first.step(data("a", &[(0, 0, 5)])));
    let mut writer = writer();
    writer.step(Event::Follow);
    writer.step(Event::Read(1, Some(foreign)));
    writer.step(Event::Read(2, None));
    writer.step(Event::Help(vec![1]));
    let sent = the_create(&writer.step(data("b", &[(0, 5, 6)])));
    // What is known to be published changes while the Create is under way.
    writer.step(Event::Published(1, "a".into(), Outcome::Visible));
    writer.step(Event::Created(true));
    assert_eq!(writer.log().prev(), sent.digest());
}

#[test]
fn after_an_error_the_same_bytes_go_to_the_same_number() {
    let mut writer = writer();
    let sent = the_create(&writer.step(data("a", &[(0, 0, 5)])));
    assert_eq!(writer.step(Event::Created(false)), [Command::Read(1)]);
    assert_eq!(the_create(&writer.step(Event::Read(1, None))), sent);
    writer.step(Event::Created(false));
    let commands = writer.step(Event::Read(1, Some(sent)));
    assert!(matches!(commands[..], [Command::Publish(1, _)]), "it was mine: {commands:?}");
}

#[test]
fn a_foreign_manifest_rebases_a_flush_or_fences_it_whole() {
    let (mut a, mut b) = (writer(), writer());
    let foreign = the_create(&a.step(data("a", &[(0, 0, 5)])));
    b.step(data("b", &[(1, 0, 3)]));
    b.step(data("c", &[(0, 0, 1), (1, 3, 4)]));
    b.step(data("d", &[(1, 4, 5)]));
    b.step(Event::Created(false));
    let commands = b.step(Event::Read(1, Some(foreign.clone())));
    let rebased = the_create(&commands);
    assert_eq!((rebased.seq, rebased.prev), (2, foreign.digest()));
    // The next one reads a lane that moved; the last is not fenced by any lane of its own, but built on it.
    let commands = b.step(Event::Created(true));
    let fenced = Done::Fenced(lane(0));
    assert_eq!(dones(&commands), [("c", &fenced), ("d", &fenced)]);
    let discards = commands.iter().filter(|command| matches!(command, Command::Discard(_)));
    assert_eq!(discards.count(), 2);
}

#[test]
fn another_worker_goes_on_past_a_fence() {
    let mut writer = writer();
    writer.step(data("a", &[(0, 0, 5)]));
    writer.step(data("stale", &[(0, 0, 1)]));
    let other = Append { worker: 1, ..append("other", Kind::Data, &[(1, 0, 1)]) };
    writer.step(Event::Commit(other));
    let commands = writer.step(Event::Created(true));
    assert_eq!(dones(&commands), [("stale", &Done::Fenced(lane(0)))]);
    assert_eq!(the_create(&commands).nonce, "other");
}

#[test]
fn what_could_never_be_folded_is_refused() {
    let mut writer = writer();
    for inputs in [&[(0, 0, 0)][..], &[(0, 0, 1), (0, 0, 2)]] {
        let commands = writer.step(data("x", inputs));
        assert!(matches!(dones(&commands)[..], [("x", Done::Refused(_))]), "{commands:?}");
        assert!(creates(&commands).is_empty());
    }
}

#[test]
fn starts_and_claims_give_way_to_whoever_was_faster() {
    let mut writer = writer();
    let start = |lanes| Event::Commit(append("s2", Kind::Start, lanes));
    assert_eq!(dones(&writer.step(start(&[(0, 9, 9)]))), [("s2", &Done::Needless)]);
    let manifest = the_create(&writer.step(start(&[(0, 9, 9), (2, 7, 7)])));
    assert_eq!(manifest.inputs, [InputRange { lane: lane(2), start: 7, end: 7 }]);
    writer.step(Event::Created(true));
    let claim = || Event::Commit(append("c", Kind::Claim, &[]));
    assert_eq!(dones(&writer.step(claim())), [("c", &Done::Needless)]);
    writer.step(data("a", &[(0, 0, 1)]));
    writer.step(Event::Created(true));
    writer.step(Event::Published(2, "a".into(), Outcome::Visible));
    assert_eq!(the_create(&writer.step(claim())).published.through, 3);
}

#[test]
fn an_unknown_result_is_tried_again_and_a_lost_file_halts() {
    let mut writer = writer();
    writer.step(data("a", &[(0, 0, 1)]));
    let publish = writer.step(Event::Created(true));
    assert_eq!(writer.step(Event::Published(1, "a".into(), Outcome::Unknown)), publish);
    let halt = Command::Halt(Halt::StageLost(1, "a".into()));
    assert_eq!(writer.step(Event::Published(1, "a".into(), Outcome::Lost)), [halt]);
}

#[test]
fn a_claim_says_more_than_an_answer() {
    let mut first = writer();
    let foreign = the_create(&first.step(data("a", &[(0, 0, 1)])));
    first.step(Event::Created(true));
    first.step(Event::Published(1, "a".into(), Outcome::Visible));
    let claim = the_create(&first.step(Event::Commit(append("c", Kind::Claim, &[]))));
    let mut writer = writer();
    writer.step(Event::Follow);
    writer.step(Event::Read(1, Some(foreign)));
    writer.step(Event::Read(2, None));
    assert_eq!(writer.step(Event::Help(vec![1])).len(), 1);
    writer.step(Event::Follow);
    writer.step(Event::Read(2, Some(claim)));
    // It was visible, and a user deleted it since.
    assert!(writer.step(Event::Published(1, "a".into(), Outcome::Lost)).is_empty());
    writer.step(Event::Read(3, None));
    assert!(writer.is_idle());
}

#[test]
fn recovery_ends_when_all_is_visible() {
    let mut first = writer();
    let foreign = the_create(&first.step(data("a", &[(0, 0, 1)])));
    let mut writer = writer();
    writer.step(Event::Recover);
    writer.step(data("b", &[(1, 0, 1)]));
    writer.step(Event::Read(1, Some(foreign)));
    let commands = writer.step(Event::Read(2, None));
    assert!(matches!(commands[..], [Command::Publish(1, _)]), "{commands:?}");
    let commands = writer.step(Event::Published(1, "a".into(), Outcome::Visible));
    assert_eq!(commands[0], Command::Followed);
    assert_eq!(the_create(&commands).published.through, 2);
}

//! The bounds that are exhausted, and the mutants that must be caught within them.
//!
//! Always: two writers, two lanes of two records, two files a flush, at most two flushes under way in a writer. Then, in a
//! plain run, all interleavings of three flushes; of two flushes with a lost or ambiguous request, with a crash at any step, and
//! (one record a lane) with both or with two such requests; of three flushes with a crash (one record a lane). With
//! `TIDEMILL_TEST_FULL` set: three records a lane, three flushes with a fault, three flushes with a crash, and two with a crash
//! and a fault on two records a lane, three of them on one. A plain run takes a minute and a half on one slow core, half a
//! minute the longest; a full one up to half an hour.

use stateright::{Checker, HasDiscoveries, Model};

use super::{
    Bounds, Mutant, Protocol,
    properties::{CLAIMS, NO_GHOST, NO_HALT, NO_LOSS, ONCE},
};

/// Tries every interleaving. Fails, with the way there, where a property does not hold.
fn exhaust(bounds: Bounds, at_least: usize) {
    let checker = Protocol { bounds, mutant: None }.checker().threads(2).spawn_bfs().join();
    checker.assert_properties();
    let states = checker.unique_state_count();
    assert!(states >= at_least, "only {states} states were found: the model lost its reach");
}

fn full() -> bool {
    std::env::var("TIDEMILL_TEST_FULL").is_ok_and(|full| !full.is_empty())
}

const TWO_FLUSHES: Bounds = Bounds { records: 2, flushes: 2, ..Bounds::NONE };

#[test]
fn three_flushes() {
    let records = if full() { 3 } else { 2 };
    exhaust(Bounds { records, flushes: 3, ..TWO_FLUSHES }, 250_000);
}

#[test]
fn a_fault() {
    let flushes = if full() { 3 } else { 2 };
    exhaust(Bounds { flushes, faults: 1, ..TWO_FLUSHES }, 70_000);
}

#[test]
fn a_crash() {
    exhaust(Bounds { crashes: 1, claims: full(), ..TWO_FLUSHES }, 100_000);
}

/// A crash while a flush is being committed, the next one is filled, and another writer commits.
#[test]
fn a_crash_among_three_flushes() {
    let records = if full() { 2 } else { 1 };
    exhaust(Bounds { records, flushes: 3, crashes: 1, ..TWO_FLUSHES }, 140_000);
}

#[test]
fn a_crash_and_a_fault() {
    let bounds = Bounds { crashes: 1, faults: 1, ..TWO_FLUSHES };
    exhaust(Bounds { records: 1, ..bounds }, 150_000);
    if full() {
        exhaust(bounds, 500_000);
        exhaust(Bounds { records: 1, flushes: 3, ..bounds }, 1_000_000);
    }
}

#[test]
fn two_faults() {
    let records = if full() { 2 } else { 1 };
    exhaust(Bounds { records, faults: 2, ..TWO_FLUSHES }, 60_000);
}

#[test]
fn an_empty_log_that_both_begin() {
    let faults = u8::from(full());
    exhaust(Bounds { records: 3, starts: true, faults, ..TWO_FLUSHES }, 40_000);
}

#[test]
fn claims() {
    let faults = u8::from(full());
    exhaust(Bounds { claims: true, faults, ..TWO_FLUSHES }, 25_000);
}

/// Somebody seals the epoch while others commit, with a crash at any step, or an answer that is lost.
#[test]
fn a_seal() {
    let bounds = Bounds { records: 1, seals: true, ..TWO_FLUSHES };
    exhaust(Bounds { crashes: 1, ..bounds }, 10_000);
    exhaust(Bounds { faults: 1, ..bounds }, 10_000);
    if full() {
        exhaust(Bounds { crashes: 1, faults: 1, ..bounds }, 100_000);
    }
}

/// The model finds a property that does not hold, and this one is among those that it finds first.
fn assert_caught(mutant: Mutant, bounds: Bounds, property: &'static str) {
    let checker = Protocol { bounds, mutant: Some(mutant) }
        .checker()
        .threads(1)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    let found: Vec<_> = checker.discoveries().into_keys().collect();
    assert!(found.contains(&property), "{mutant:?}: {property:?} is not among {found:?}");
}

const A_CRASH_AND_A_FAULT: Bounds = Bounds { crashes: 1, faults: 1, ..TWO_FLUSHES };
const THREE_FLUSHES: Bounds = Bounds { flushes: 3, ..TWO_FLUSHES };
const A_SEAL_AND_A_CRASH: Bounds = Bounds { seals: true, crashes: 1, ..TWO_FLUSHES };

/// One test a mutant: the rule, the variant that breaks it, the bounds, and what fails then.
macro_rules! caught {
    ($($test:ident: $mutant:ident, $bounds:ident, $property:ident;)+) => {$(
        #[test]
        fn $test() {
            assert_caught(Mutant::$mutant, $bounds, $property);
        }
    )+};
}

caught! {
    rule_1_ignore_the_nonce: IgnoreTheNonce, A_CRASH_AND_A_FAULT, NO_LOSS;
    rule_2_move_on_unread: MoveOnUnread, A_CRASH_AND_A_FAULT, ONCE;
    rule_2_fold_other_bytes: FoldOtherBytes, THREE_FLUSHES, ONCE;
    rule_3_rebase_moved_lanes: RebaseMovedLanes, A_CRASH_AND_A_FAULT, ONCE;
    rule_3_keep_later_flushes: KeepLaterFlushes, THREE_FLUSHES, NO_HALT;
    rule_4_recover_without_publishing: RecoverWithoutPublishing, A_CRASH_AND_A_FAULT, CLAIMS;
    rule_4_checkpoint_unpublished: CheckpointUnpublished, A_CRASH_AND_A_FAULT, CLAIMS;
    rule_5_claim_what_is_assumed: ClaimWhatIsAssumed, A_CRASH_AND_A_FAULT, CLAIMS;
    rule_6_publish_before_manifest: PublishBeforeManifest, A_CRASH_AND_A_FAULT, NO_GHOST;
    rule_7_stop_at_the_first: StopAtTheFirst, A_CRASH_AND_A_FAULT, CLAIMS;
    rule_8_discard_on_error: DiscardOnError, A_CRASH_AND_A_FAULT, NO_LOSS;
    rule_9_create_overwrites: CreateOverwrites, A_CRASH_AND_A_FAULT, ONCE;
    rule_10_take_unknown_for_visible: TakeUnknownForVisible, A_CRASH_AND_A_FAULT, CLAIMS;
    rule_11_append_past_a_seal: AppendPastASeal, A_SEAL_AND_A_CRASH, ONCE;
    rule_11_checkpoint_a_seal: CheckpointASeal, A_SEAL_AND_A_CRASH, ONCE;
}

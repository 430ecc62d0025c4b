//! What a worker has read since its last flush: pure accounting, lane by lane.
//!
//! | record's offset against the lane's next | meaning |
//! |---|---|
//! | below | already committed, or already in this flush: dropped |
//! | equal | the next record |
//! | above | a hole: compaction or a transaction's marker, unless retention took records that were not read |

use std::collections::BTreeMap;

use crate::{
    commit::manifest::{Counts, InputRange},
    record::{Lane, OffsetRange},
};

/// The lanes of a worker and what it has read of each since the last flush.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    lanes: BTreeMap<Lane, Entry>,
}

#[derive(Debug)]
struct Entry {
    assignment: u64,
    range: OffsetRange,
    counts: Counts,
}

/// How a batch lies against its lane's position.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// The lane is not the worker's, or an older assignment of it fetched the batch.
    Stale,
    /// All of the batch was read before.
    Old,
    /// The records from this place on are new; if there is a hole before them, it starts at the lane's position.
    New {
        /// Place in the batch of the first new record.
        first: usize,
        /// Whether offsets are missing between the lane's position and the batch's last record.
        hole: bool,
    },
}

impl Ledger {
    /// Takes a lane over, from an offset on.
    pub(super) fn assign(&mut self, lane: Lane, assignment: u64, start: i64) {
        let range = OffsetRange { start, end: start };
        self.lanes.insert(lane, Entry { assignment, range, counts: Counts::default() });
    }

    /// Gives a lane up. What was read of it since the last flush is forgotten: seal first to keep it.
    pub(super) fn revoke(&mut self, lane: &Lane) {
        self.lanes.remove(lane);
    }

    /// The lanes that the worker owns, with their assignments.
    pub(super) fn lanes(&self) -> Vec<(Lane, u64)> {
        self.lanes.iter().map(|(lane, entry)| (lane.clone(), entry.assignment)).collect()
    }

    /// The next offset of a lane.
    pub(super) fn next(&self, lane: &Lane) -> Option<i64> {
        self.lanes.get(lane).map(|entry| entry.range.end)
    }

    /// How a batch lies against its lane's position.
    pub(super) fn fit(&self, lane: &Lane, assignment: u64, offsets: &[i64]) -> Fit {
        let Some(entry) = self.lanes.get(lane).filter(|entry| entry.assignment == assignment)
        else {
            return Fit::Stale;
        };
        let first = offsets.partition_point(|&offset| offset < entry.range.end);
        let Some(&last) = offsets.last().filter(|_| first < offsets.len()) else {
            return Fit::Old;
        };
        let records = i64::try_from(offsets.len() - first).expect("a batch is small");
        Fit::New { first, hole: last - entry.range.end + 1 != records }
    }

    /// Adds records that were processed: the lane's position moves to `end`.
    pub(super) fn add(&mut self, lane: &Lane, end: i64, counts: &Counts) {
        let entry = self
            .lanes
            .get_mut(lane)
            .expect("a batch is added right after it was found to fit its lane");
        debug_assert!(end > entry.range.end);
        entry.range.end = end;
        entry.counts.add(counts);
    }

    /// Ends the flush: what was read, by lane. The next one starts where this one ends.
    pub(super) fn seal(&mut self) -> (Vec<InputRange>, Vec<Counts>) {
        let read = self.lanes.iter_mut().filter(|(_, entry)| entry.range.start < entry.range.end);
        read.map(|(lane, entry)| {
            let OffsetRange { start, end } = entry.range;
            entry.range.start = end;
            (InputRange { lane: lane.clone(), start, end }, std::mem::take(&mut entry.counts))
        })
        .unzip()
    }

    /// What was read so far, without ending the flush.
    pub(super) fn inputs(&self) -> Vec<InputRange> {
        let read = self.lanes.iter().filter(|(_, entry)| entry.range.start < entry.range.end);
        read.map(|(lane, entry)| InputRange {
            lane: lane.clone(),
            start: entry.range.start,
            end: entry.range.end,
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Fit, Ledger};
    use crate::{commit::manifest::Counts, record::Lane};

    fn lane() -> Lane {
        Lane::new("clicks", 0)
    }

    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        ledger.assign(lane(), 2, 10);
        ledger
    }

    #[test]
    fn a_batch_of_another_assignment_is_stale() {
        assert_eq!(ledger().fit(&lane(), 1, &[10]), Fit::Stale);
        assert_eq!(ledger().fit(&Lane::new("clicks", 1), 2, &[10]), Fit::Stale);
    }

    #[test]
    fn offsets_are_held_against_the_position() {
        assert_eq!(ledger().fit(&lane(), 2, &[8, 9]), Fit::Old);
        assert_eq!(ledger().fit(&lane(), 2, &[]), Fit::Old);
        assert_eq!(ledger().fit(&lane(), 2, &[9, 10, 11]), Fit::New { first: 1, hole: false });
        assert_eq!(ledger().fit(&lane(), 2, &[11]), Fit::New { first: 0, hole: true });
        assert_eq!(ledger().fit(&lane(), 2, &[10, 12]), Fit::New { first: 0, hole: true });
    }

    #[test]
    fn a_flush_ends_where_the_next_begins() {
        let mut ledger = ledger();
        let counts = Counts { records: 3, emitted: 2, dropped: 1, ..Counts::default() };
        ledger.add(&lane(), 13, &counts);
        ledger.add(&lane(), 16, &counts);
        let (inputs, sealed) = ledger.seal();
        assert_eq!(
            (inputs[0].start, inputs[0].end, sealed[0].records, sealed[0].emitted),
            (10, 16, 6, 4)
        );
        assert_eq!(ledger.seal().0, []);
        assert_eq!(ledger.fit(&lane(), 2, &[16]), Fit::New { first: 0, hole: false });
    }
}

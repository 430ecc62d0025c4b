//! The lanes of a consumer as they stand, and how far each has been read.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

use super::source::Placed;
use crate::record::Lane;

/// An assignment of a lane.
#[derive(Debug)]
pub(super) struct Assigned {
    pub(super) lane: Lane,
    pub(super) assignment: u64,
    /// The next offset to hand to the worker.
    next: AtomicI64,
    /// Whether a record could not be read: nothing after it may be handed out.
    stuck: AtomicBool,
}

impl Assigned {
    fn new(placed: &Placed) -> Self {
        Self {
            lane: placed.lane.clone(),
            assignment: placed.assignment,
            next: AtomicI64::new(placed.start),
            stuck: AtomicBool::new(false),
        }
    }

    pub(super) fn next(&self) -> i64 {
        self.next.load(Ordering::Relaxed)
    }

    pub(super) fn advance(&self, next: i64) {
        self.next.store(next, Ordering::Relaxed);
    }

    pub(super) fn is_stuck(&self) -> bool {
        self.stuck.load(Ordering::Relaxed)
    }

    pub(super) fn stick(&self) {
        self.stuck.store(true, Ordering::Relaxed);
    }
}

/// The lanes that are assigned, by topic and partition.
#[derive(Clone, Debug, Default)]
pub(super) struct Lanes(HashMap<Arc<str>, BTreeMap<i32, Arc<Assigned>>>);

impl Lanes {
    pub(super) fn get(&self, topic: &str, partition: i32) -> Option<&Arc<Assigned>> {
        self.0.get(topic)?.get(&partition)
    }

    pub(super) fn contains(&self, lane: &Lane) -> bool {
        self.get(&lane.topic, lane.partition).is_some()
    }

    /// Whether this is the lane's assignment.
    pub(super) fn is_current(&self, lane: &Lane, assignment: u64) -> bool {
        self.get(&lane.topic, lane.partition)
            .is_some_and(|current| current.assignment == assignment)
    }

    pub(super) fn insert(&mut self, placed: &Placed) {
        let lanes = self.0.entry(Arc::clone(&placed.lane.topic)).or_default();
        lanes.insert(placed.lane.partition, Arc::new(Assigned::new(placed)));
    }

    pub(super) fn remove(&mut self, lane: &Lane) {
        if let Some(lanes) = self.0.get_mut(&lane.topic) {
            lanes.remove(&lane.partition);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Assigned>> {
        self.0.values().flat_map(BTreeMap::values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(partition: i32, assignment: u64) -> Placed {
        Placed { lane: Lane::new("t", partition), worker: 0, start: 5, assignment }
    }

    #[test]
    fn a_table_that_was_taken_before_a_change_keeps_its_labels() {
        let mut lanes = Lanes::default();
        lanes.insert(&placed(1, 7));
        let before = lanes.clone();
        lanes.insert(&placed(1, 8));
        lanes.remove(&Lane::new("t", 2));
        assert_eq!(before.get("t", 1).map(|lane| lane.assignment), Some(7));
        assert_eq!(lanes.get("t", 1).map(|lane| lane.assignment), Some(8));
        before.get("t", 1).unwrap().advance(99);
        assert_eq!(lanes.get("t", 1).map(|lane| lane.next()), Some(5));
    }

    #[test]
    fn a_lane_that_is_there_has_one_assignment() {
        let mut lanes = Lanes::default();
        let lane = Lane::new("t", 1);
        lanes.insert(&placed(1, 7));
        assert!(lanes.is_current(&lane, 7));
        assert!(!lanes.is_current(&lane, 6) && !lanes.is_current(&lane, 8));
        assert!(!lanes.is_current(&Lane::new("t", 2), 7));
        lanes.remove(&lane);
        assert!(!lanes.contains(&lane) && !lanes.is_current(&lane, 7));
    }
}

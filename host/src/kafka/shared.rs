//! What the event thread shares with the source and its workers.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{lanes::Lanes, queue::Queue, source::Rewind, trouble::Trouble};
use crate::record::Lane;

/// What the event thread shares with the source and its workers.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Written by the event thread alone.
    lanes: RwLock<Arc<Lanes>>,
    /// The workers' queues. They keep the client alive, which keeps this alive: the event thread empties it in the end.
    queues: Mutex<Vec<Arc<Queue>>>,
    rewinds: Mutex<HashMap<Lane, Rewind>>,
    troubles: Mutex<HashMap<Lane, Trouble>>,
    stop: AtomicBool,
}

impl Shared {
    pub(super) fn set_queues(&self, queues: Vec<Arc<Queue>>) {
        *self.queues() = queues;
    }

    /// The lanes as they stand; they do not change before the guard is dropped.
    pub(super) fn lanes(&self) -> RwLockReadGuard<'_, Arc<Lanes>> {
        self.lanes.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the event thread to rewind lanes.
    pub(super) fn rewind(&self, lanes: Vec<Rewind>) {
        let mut rewinds = self.rewinds.lock().unwrap_or_else(PoisonError::into_inner);
        for mut rewind in lanes {
            // The one before, if it still waits, never came to be.
            if let Some(waiting) = rewinds.get(&rewind.placed.lane)
                && waiting.placed.assignment == rewind.replaces
            {
                rewind.replaces = waiting.replaces;
            }
            rewinds.insert(rewind.placed.lane.clone(), rewind);
        }
    }

    pub(super) fn take_rewinds(&self) -> Vec<Rewind> {
        let mut rewinds = self.rewinds.lock().unwrap_or_else(PoisonError::into_inner);
        rewinds.drain().map(|(_, rewind)| rewind).collect()
    }

    /// Asks the event thread to tell why a lane cannot be read.
    pub(super) fn report(&self, trouble: Trouble) {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        troubles.insert(trouble.lane.lane.clone(), trouble);
    }

    pub(super) fn take_troubles(&self) -> Vec<Trouble> {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        troubles.drain().map(|(_, trouble)| trouble).collect()
    }

    /// Asks the event thread to leave the group and end.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    fn queues(&self) -> MutexGuard<'_, Vec<Arc<Queue>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the assignment while no worker takes records.
    pub(super) fn change<R>(&self, change: impl FnOnce(&mut Lanes, &[Arc<Queue>]) -> R) -> R {
        let queues = self.queues();
        for queue in &*queues {
            queue.wake();
        }
        let mut current = self.lanes.write().unwrap_or_else(PoisonError::into_inner);
        let mut lanes = Lanes::clone(&current);
        let result = change(&mut lanes, &queues);
        *current = Arc::new(lanes);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::Placed;

    #[test]
    fn a_rewind_of_a_rewind_that_waits_replaces_what_that_one_replaces() {
        let (shared, lane) = (Shared::default(), Lane::new("t", 0));
        let rewind = |replaces, assignment| Rewind {
            replaces,
            placed: Placed { lane: lane.clone(), worker: 0, start: 0, assignment },
        };
        shared.rewind(vec![rewind(4, 6)]);
        shared.rewind(vec![rewind(6, 8)]);
        assert_eq!(shared.take_rewinds(), [rewind(4, 8)]);
        shared.rewind(vec![rewind(8, 9)]);
        assert_eq!(shared.take_rewinds(), [rewind(8, 9)]);
    }
}

//! One bound on memory for all workers of a host: for open files, and for parts on their way to the store.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// Bytes that the workers of a host may hold together in arenas, open files and parts in flight.
///
/// Nothing is refused: who holds much gives back when it is exceeded, and who would read more waits until what goes away
/// by itself has gone. Counting is two atomic additions.
#[derive(Debug)]
pub struct Budget {
    limit: u64,
    /// What is kept free of all that lasts, for parts on their way.
    room: AtomicU64,
    /// What others than workers have of it: librdkafka's queues.
    elsewhere: AtomicU64,
    used: AtomicU64,
    /// The part of `used` that goes away by itself: files whose end has begun, parts on their way.
    closing: AtomicU64,
    sharers: AtomicU64,
}

impl Budget {
    /// A budget of `limit` bytes.
    pub fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self {
            limit,
            room: AtomicU64::new(0),
            elsewhere: AtomicU64::new(0),
            used: AtomicU64::new(0),
            closing: AtomicU64::new(0),
            sharers: AtomicU64::new(0),
        })
    }

    /// Sets bytes aside until the answer is dropped: `elsewhere` for what is not counted here, `room` for what goes away by
    /// itself. However much is set aside, workers have half of the budget.
    pub fn set_aside(self: &Arc<Self>, elsewhere: u64, room: u64) -> SetAside {
        self.elsewhere.fetch_add(elsewhere, Relaxed);
        self.room.fetch_add(room, Relaxed);
        SetAside { budget: Arc::clone(self), elsewhere, room }
    }

    /// Bytes that others than workers have.
    pub fn elsewhere(&self) -> u64 {
        self.elsewhere.load(Relaxed)
    }

    /// The bound, in bytes.
    pub fn limit(&self) -> u64 {
        self.limit - self.elsewhere.load(Relaxed).min(self.limit / 2)
    }

    /// The bound of what lasts, in bytes.
    pub fn lasting_limit(&self) -> u64 {
        let limit = self.limit();
        limit - self.room.load(Relaxed).min(limit / 2)
    }

    /// Bytes in use; may exceed the limit for a while.
    pub fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// Bytes in use, but for what goes away by itself.
    pub fn lasting(&self) -> u64 {
        self.used().saturating_sub(self.closing.load(Relaxed))
    }

    /// One more worker shares the budget, until the share and all that it counts are dropped.
    pub fn share(self: &Arc<Self>) -> Arc<Share> {
        self.sharers.fetch_add(1, Relaxed);
        Arc::new(Share { budget: Arc::clone(self), used: AtomicU64::new(0) })
    }
}

/// Bytes of a [`Budget`] that are not for what lasts, until this is dropped.
#[derive(Debug)]
pub struct SetAside {
    budget: Arc<Budget>,
    elsewhere: u64,
    room: u64,
}

impl Drop for SetAside {
    fn drop(&mut self) {
        self.budget.elsewhere.fetch_sub(self.elsewhere, Relaxed);
        self.budget.room.fetch_sub(self.room, Relaxed);
    }
}

/// A worker's share of a [`Budget`].
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    used: AtomicU64,
}

impl Share {
    /// The budget of all.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Bytes that the worker has in use.
    pub fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// Bytes that the worker may hold even while the budget is exceeded: others hold more.
    pub fn fair(&self) -> u64 {
        self.budget.limit() / self.budget.sharers.load(Relaxed).max(1) / 2
    }

    /// Whether the worker should not read more now: the budget is exceeded, some of it goes away by itself, and what the
    /// worker holds is more than fair. So a worker whose store does not answer stops itself and nobody else.
    pub fn should_wait(&self) -> bool {
        let (budget, closing) = (&self.budget, self.budget.closing.load(Relaxed));
        budget.used() > budget.limit() && closing > 0 && self.used() > self.fair()
    }

    /// Counts `bytes` until the reservation is dropped.
    pub fn reserve(self: &Arc<Self>, bytes: u64) -> Reservation {
        let mut reservation = Reservation { share: Arc::clone(self), bytes: 0, closing: false };
        reservation.set(bytes);
        reservation
    }

    /// Counts `bytes` that go away by themselves, until the reservation is dropped.
    pub fn reserve_closing(self: &Arc<Self>, bytes: u64) -> Reservation {
        let mut reservation = self.reserve(bytes);
        reservation.close();
        reservation
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.sharers.fetch_sub(1, Relaxed);
    }
}

/// Bytes that count in a [`Budget`] until this is dropped.
#[derive(Debug)]
pub struct Reservation {
    share: Arc<Share>,
    bytes: u64,
    closing: bool,
}

impl Reservation {
    /// Bytes that it counts.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Counts `bytes` from now on.
    pub fn set(&mut self, bytes: u64) {
        let Share { budget, used } = &*self.share;
        let closing = self.closing.then_some(&budget.closing);
        for counter in [Some(&budget.used), Some(used), closing].into_iter().flatten() {
            // Adding first keeps each counter at or above zero whatever another thread does meanwhile.
            counter.fetch_add(bytes, Relaxed);
            counter.fetch_sub(self.bytes, Relaxed);
        }
        self.bytes = bytes;
    }

    /// Says that the bytes go away by themselves.
    pub fn close(&mut self) {
        if !self.closing {
            self.share.budget.closing.fetch_add(self.bytes, Relaxed);
            self.closing = true;
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_is_reserved_until_it_is_dropped() {
        let budget = Budget::new(100);
        let share = budget.share();
        let mut arena = share.reserve(30);
        let mut file = share.reserve(50);
        arena.set(10);
        assert_eq!((budget.used(), budget.lasting()), (60, 60));
        file.close();
        file.set(70);
        assert_eq!((budget.used(), budget.lasting()), (80, 10));
        let part = share.reserve_closing(20);
        assert_eq!((budget.used(), budget.lasting(), share.used()), (100, 10, 100));
        drop((file, part));
        assert_eq!((budget.used(), budget.lasting()), (10, 10));
        drop(arena);
        assert_eq!((budget.used(), share.used()), (0, 0));
    }

    #[test]
    fn what_lasts_leaves_room_for_parts_and_for_what_others_have() {
        let budget = Budget::new(100);
        let limits = || (budget.limit(), budget.lasting_limit());
        let first = budget.set_aside(20, 10);
        assert_eq!(limits(), (80, 70));
        let second = budget.set_aside(0, 80);
        assert_eq!(limits(), (80, 40), "half of what there is");
        let third = budget.set_aside(70, 0);
        assert_eq!(limits(), (50, 25));
        drop((first, second, third));
        assert_eq!(limits(), (100, 100));
    }

    #[test]
    fn shares_follow_the_number_of_workers() {
        let budget = Budget::new(100);
        let one = budget.share();
        assert_eq!(one.fair(), 50);
        let two = budget.share();
        assert_eq!(two.fair(), 25);
        drop(one);
        assert_eq!(two.fair(), 50);
    }

    #[test]
    fn who_holds_much_waits_for_what_goes_away_by_itself() {
        let budget = Budget::new(100);
        let (stuck, well) = (budget.share(), budget.share());
        let mut open = stuck.reserve(120);
        assert!(!stuck.should_wait(), "nothing of it goes away by itself");
        open.close();
        let small = well.reserve(20);
        assert!(stuck.should_wait() && !well.should_wait());
        let large = well.reserve(10);
        assert!(well.should_wait());
        drop((open, small, large));
        assert!(!stuck.should_wait() && !well.should_wait());
    }
}

//! One bound on memory for all workers of a host.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// Bytes that the workers of a host may hold together in arenas, open files and parts in flight.
///
/// Nothing waits for it and nothing is refused: who holds much gives back when it is exceeded. Counting is two atomic additions.
#[derive(Debug)]
pub struct Budget {
    limit: u64,
    used: AtomicU64,
    /// The part of `used` that files hold whose end has begun: it goes away by itself.
    closing: AtomicU64,
    sharers: AtomicU64,
}

impl Budget {
    /// A budget of `limit` bytes.
    pub fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self {
            limit,
            used: AtomicU64::new(0),
            closing: AtomicU64::new(0),
            sharers: AtomicU64::new(0),
        })
    }

    /// The bound, in bytes.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Bytes in use; may exceed the limit for a while.
    pub fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// Counts `bytes` until the reservation is dropped.
    pub fn reserve(self: &Arc<Self>, bytes: u64) -> Reservation {
        self.used.fetch_add(bytes, Relaxed);
        Reservation { budget: Arc::clone(self), bytes, closing: false }
    }

    /// Bytes in use, but for what files hold whose end has begun.
    pub(super) fn lasting(&self) -> u64 {
        self.used().saturating_sub(self.closing.load(Relaxed))
    }

    /// One more worker shares the budget, until the share is dropped.
    pub(super) fn share(self: &Arc<Self>) -> Share {
        self.sharers.fetch_add(1, Relaxed);
        Share { budget: Arc::clone(self) }
    }
}

/// Bytes that count in a [`Budget`] until this is dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: Arc<Budget>,
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
        // Adding first keeps each counter at or above zero whatever another thread does meanwhile.
        self.budget.used.fetch_add(bytes, Relaxed);
        self.budget.used.fetch_sub(self.bytes, Relaxed);
        if self.closing {
            self.budget.closing.fetch_add(bytes, Relaxed);
            self.budget.closing.fetch_sub(self.bytes, Relaxed);
        }
        self.bytes = bytes;
    }

    /// Says that the bytes go away by themselves.
    pub(super) fn close(&mut self) {
        if !self.closing {
            self.budget.closing.fetch_add(self.bytes, Relaxed);
            self.closing = true;
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// A worker's share of a [`Budget`].
#[derive(Debug)]
pub(super) struct Share {
    budget: Arc<Budget>,
}

impl Share {
    /// Bytes that the worker may hold even while the budget is exceeded: others hold more.
    pub(super) fn fair(&self) -> u64 {
        self.budget.limit / self.budget.sharers.load(Relaxed).max(1) / 2
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.sharers.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_is_reserved_until_it_is_dropped() {
        let budget = Budget::new(100);
        let mut arena = budget.reserve(30);
        let mut file = budget.reserve(50);
        arena.set(10);
        assert_eq!((budget.used(), budget.lasting()), (60, 60));
        file.close();
        file.set(70);
        assert_eq!((budget.used(), budget.lasting()), (80, 10));
        drop(file);
        assert_eq!((budget.used(), budget.lasting()), (10, 10));
        drop(arena);
        assert_eq!(budget.used(), 0);
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
}

//! What a worker is told, beside its records.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::{meters::Meters, plan::Plan, rows::Rows, shared::Shared};
use crate::{config, events::Cut, kafka::Placed, record::Lane};

/// A bounded queue of these leads to each worker: a worker reads it before it looks at a batch.
#[derive(Debug)]
pub(super) enum Control {
    /// Lanes are the worker's from now on.
    Assign(Vec<Placed>),
    /// Lanes are no longer the worker's. What was read of them is flushed; the answer comes when that is committed.
    Revoke(Vec<Lane>, Sender<()>),
    /// The end: flush and answer when that is committed.
    Drain(Sender<()>),
}

/// Other versions of components, or other settings, ready to take the next batch.
#[derive(Debug)]
pub(super) struct Swap {
    pub plan: Arc<Plan>,
    pub rows: Rows,
    pub flush: config::Flush,
    pub meters: Meters,
    /// Told when it works.
    pub done: Sender<Swapped>,
}

/// A worker went over.
#[derive(Debug)]
pub(super) struct Swapped {
    /// Where its lanes go over.
    pub cut: Vec<Cut>,
    /// How long its records waited.
    pub pause: Duration,
    /// What made the rows until then. Dropping it takes a while, so somebody else does.
    pub retired: Rows,
}

/// Holds the newest of what is put into it, so that whoever takes it never has to work off a queue.
#[derive(Debug)]
pub(super) struct Mailbox<T>(Mutex<Option<T>>);

impl<T> Default for Mailbox<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T> Mailbox<T> {
    /// Puts something in; what was not taken before comes back.
    pub(super) fn put(&self, new: T) -> Option<T> {
        self.0.lock().expect("nothing panics while it holds this lock").replace(new)
    }

    /// Puts something in, made from what was not taken before.
    pub(super) fn put_over(&self, make: impl FnOnce(Option<T>) -> T) {
        let mut held = self.0.lock().expect("nothing panics while it holds this lock");
        let before = held.take();
        *held = Some(make(before));
    }

    /// Takes it out.
    pub(super) fn take(&self) -> Option<T> {
        self.0.lock().expect("nothing panics while it holds this lock").take()
    }
}

/// How many controls wait at most. The event thread sends one an assignment, so it waits only behind a worker that is busy for minutes.
pub(super) const QUEUE: usize = 64;

/// How often whoever waits for answers looks whether the pipeline still lives.
const LOOK: Duration = Duration::from_millis(100);

/// Waits for answers of workers; how many came before the deadline. A worker that failed leaves what it was told unread,
/// and its answer for ever out.
pub(super) fn answered(
    answers: &Receiver<()>,
    told: usize,
    deadline: Instant,
    shared: &Shared,
) -> usize {
    let mut came = 0;
    while came < told && Instant::now() < deadline && !shared.failed() {
        match answers.recv_timeout(LOOK) {
            Ok(()) => came += 1,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    came
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::bounded;

    use super::*;
    use crate::{events::Events, fault::Fault};

    #[test]
    fn nobody_waits_for_a_worker_that_failed() {
        let (shared, _) = Shared::new("p", Events::default());
        // What was told is never read, and its sender of the answer lives on in the queue.
        let (answer, answers) = bounded(2);
        answer.send(()).unwrap();
        let hour = Instant::now() + Duration::from_secs(3600);
        assert_eq!(answered(&answers, 1, hour, &shared), 1);
        shared.fail(Fault::bug("gone"));
        assert_eq!(answered(&answers, 1, hour, &shared), 0);
        drop(answer);
    }
}

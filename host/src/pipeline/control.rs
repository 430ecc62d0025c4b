//! What a worker is told, beside its records.

use crossbeam_channel::Sender;

use crate::{kafka::Placed, record::Lane};

/// A bounded queue of these leads to each worker: a worker reads it before it looks at a batch.
#[derive(Debug)]
pub(super) enum Control {
    /// Lanes are the worker's from now on.
    Assign(Vec<Placed>),
    /// Lanes are no longer the worker's. What was read of them is flushed; the answer comes when that is committed.
    Revoke(Vec<Lane>, Sender<()>),
    /// Another replica moved a lane of the flush of this era: all of the worker's lanes rewind to the log.
    Fenced(u64),
    /// The end: flush and answer when that is committed.
    Drain(Sender<()>),
}

/// How many of these wait at most. The event thread sends one an assignment, so it waits only behind a worker that is busy for minutes.
pub(super) const QUEUE: usize = 64;

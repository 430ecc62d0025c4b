//! Kafka: the source, a load producer, topics, and the broker inside the binary that the demo uses.
//!
//! # How records are read
//! librdkafka fetches each lane into a queue of the lane's own. That queue is forwarded into the queue of the lane's worker,
//! which the worker reads in batches ([`WorkerQueue::fetch`]). One thread polls the client for events (rebalances, errors);
//! it never gets a record. Not reading is the back-pressure: fetching stops when a worker's queue is full.
//!
//! # Why no record of an older assignment passes for one of a newer
//! Lanes start at positions that librdkafka does not know of, and start again elsewhere when a flush is thrown away
//! ([`Source::rewind`]). Records that were fetched before must not be taken for records after it: they would jump ahead,
//! and what is read again would then be dropped as old. Three facts keep them apart.
//!
//! 1. *librdkafka drops what it has not handed out.* Every record carries the version of its lane's fetcher. Taking the
//!    lane out of the assignment raises the lane's version before that call returns, and a reader of a queue is never given
//!    a record of a lower version than the lane's. So it does not matter what is left in which queue.
//! 2. *What it has handed out is labelled by us.* All changes of the assignment are made by the event thread while it holds the
//!    `lanes` lock for writing; a worker holds it for reading while it takes records. So no call of a worker
//!    overlaps a change: all that one call takes was fetched by the assignments in the table as it stood then, and is labelled with them.
//!    The event thread wakes waiting workers first, so that it waits for the calls under way only.
//! 3. *A call that overlaps no change leaves no trace in the next assignment.* At its end librdkafka notes how far the
//!    application has come in the lane, and continues there after a pause (every rebalance pauses the lanes that a member keeps).
//!    Were an older call to note it after the lane was stopped, the new assignment could continue past records that nobody read.
//!
//! Stopping a fetcher also ends the forwarding of its lane, later, on librdkafka's main thread. Therefore lanes are forwarded
//! *after* they are assigned: the main thread handles the stop before it answers the assign, and what is fetched in
//! between waits in the lane's own queue, whose content moves along when it is forwarded. Before the lane is assigned its queue is
//! forwarded to nowhere, which tells librdkafka not to forward it to the event thread's queue.
//!
//! Pauses may make records appear twice in one assignment, in different batches: readers drop offsets below their position.
//! Holes in the offsets are records that compaction removed, aborted transactions, and the markers of transactions. A record that
//! librdkafka cannot read must not look like a hole, so a lane delivers nothing after such an error until it is rewound.

mod admin;
mod client;
mod events;
mod lanes;
mod mock;
mod offsets;
mod producer;
mod queue;
mod reader;
mod shared;
mod source;
#[cfg(test)]
mod tests;
mod token;
mod trouble;

pub use admin::{create_topic, members, partitions, watermarks};
pub use client::check_options;
pub use mock::Mock;
pub use offsets::{Lag, Offsets};
pub use producer::{Ack, Load, Pace, Produced, produce};
pub use reader::WorkerQueue;
pub use source::{Assignments, Placed, Rewind, Source};

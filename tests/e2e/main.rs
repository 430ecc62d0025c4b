//! End to end: real Kafka, real stores, real components, and a reader that knows nothing of the host.

mod api;
mod chains;
mod clicks;
mod compiler;
mod files;
mod identity;
mod kills;
mod log;
mod members;
mod metrics;
mod outages;
mod page;
mod pipelines;
mod poison;
mod python;
mod readme;
mod refusals;
mod sandbox;
mod sasl;
mod slow;
mod sources;
mod stores;
mod swaps;
mod tls;
mod versions;

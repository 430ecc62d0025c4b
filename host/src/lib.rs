//! Tidemill reads Kafka, runs transforms as sandboxed WebAssembly components, and writes exactly-once partitioned Parquet.

pub mod api;
pub mod budget;
pub mod cli;
pub mod commit;
pub mod config;
pub mod decode;
pub mod engine;
pub mod events;
pub mod fault;
pub mod generator;
pub mod kafka;
pub mod parquet;
pub mod pipeline;
pub mod record;
pub mod registry;
pub mod schema;
pub mod store;
pub mod telemetry;

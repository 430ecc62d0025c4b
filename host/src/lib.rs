//! Tidemill reads Kafka, runs transforms as sandboxed WebAssembly components, and writes exactly-once partitioned Parquet.

pub mod commit;
pub mod config;
pub mod decode;
pub mod engine;
pub mod fault;
pub mod generator;
pub mod parquet;
pub mod kafka;
pub mod record;
pub mod schema;
pub mod store;

//! Tidemill reads Kafka, runs transforms as sandboxed WebAssembly components, and writes exactly-once partitioned Parquet.

pub mod commit;
pub mod config;
pub mod fault;
pub mod kafka;
pub mod record;
pub mod schema;

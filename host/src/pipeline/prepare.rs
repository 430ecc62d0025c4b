//! All beside the components that can be refused before the first record: the store, the topics.

use crate::{
    config,
    fault::Fault,
    kafka,
    store::{PART_BYTES, PARTS_IN_FLIGHT, Store},
};

/// What a pipeline meets.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    pub store: Store,
    /// One a core, and at most one a partition: more would have nothing to do.
    pub workers: usize,
}

/// Checks what a pipeline needs. Blocks: not for the I/O runtime.
pub(super) fn prepare(
    host: &config::Host,
    pipeline: &config::Pipeline,
    runtime: &tokio::runtime::Handle,
) -> Result<Prepared, Fault> {
    let store = runtime.block_on(Store::open(&pipeline.store))?;
    runtime.block_on(store.probe())?;
    let mut partitions = 0;
    for (index, topic) in pipeline.source.topics.iter().enumerate() {
        partitions += kafka::partitions(&pipeline.kafka, topic)?.ok_or_else(|| {
            let brokers = pipeline.kafka.brokers.join(", ");
            let fault = Fault::config(format!("there is no topic {topic} at {brokers}"))
                .help("create it, or name another one");
            pipeline.written.blame(&["source", "kafka", "topics", &index.to_string()], fault)
        })?;
    }
    Ok(Prepared { store, workers: host.workers.clamp(1, partitions.max(1)) })
}

/// Bytes of the parts that a pipeline's closers may have on their way: each ends one file at a time while memory is scarce.
pub(super) fn parts_bytes(pipeline: &config::Pipeline, workers: usize) -> u64 {
    let parts = if pipeline.store.url.scheme() == "s3" { PARTS_IN_FLIGHT * PART_BYTES } else { 0 };
    (workers * parts) as u64
}

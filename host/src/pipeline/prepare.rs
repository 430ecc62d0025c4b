//! All beside the component that can be refused before the first record: the store, the topics.

use std::sync::Arc;

use super::plan::Plan;
use crate::{config, fault::Fault, kafka, store::Store};

/// A pipeline that can start.
#[derive(Debug)]
pub(super) struct Prepared {
    pub store: Store,
    /// Of the version that it is to run; another one is swapped in.
    pub plan: Arc<Plan>,
    /// One a core, and at most one a partition: more would have nothing to do.
    pub workers: usize,
}

/// Checks what a pipeline needs. Blocks: not for the I/O runtime.
pub(super) fn prepare(
    host: &config::Host,
    pipeline: &config::Pipeline,
    plan: Arc<Plan>,
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
    Ok(Prepared { store, plan, workers: host.workers.clamp(1, partitions.max(1)) })
}

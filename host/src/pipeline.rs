//! Pipelines: workers that read, transform and write, closers that commit, supervisors that start and drain them.
//!
//! ```text
//!  brokers ──► librdkafka ══ lane queues ══► worker 0 ──(1 job)──► closer 0 ─┐
//!              event thread ─(64 controls)─► worker 1 ──(1 job)──► closer 1 ─┼─► log and files, one commit at a time
//!                                              └─(2 parts a file)─► uploads on the I/O runtime
//! ```

mod closer;
pub mod committer;
mod control;
mod dead_letters;
mod guest;
mod kafka_columns;
mod lanes;
mod ledger;
mod meters;
mod prepare;
mod rows;
mod running;
mod status;
mod supervisor;
mod worker;

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use tokio::{runtime::Handle, task::spawn_blocking};

pub use self::status::{PipelineStatus, State};
use self::{
    committer::Committer,
    prepare::{Prepared, prepare},
    running::{EPOCH, Surroundings},
    supervisor::Supervised,
};
use crate::{
    budget::Budget,
    config,
    engine::{Compiler, Engine},
    fault::Fault,
    store::{PART_BYTES, PARTS_IN_FLIGHT},
};

/// The pipelines of a host.
#[derive(Debug)]
pub struct Runtime {
    running: Vec<Supervised>,
}

impl Runtime {
    /// Starts pipelines. All that can be refused before the first record is refused here, for all of them.
    ///
    /// # Errors
    /// The first pipeline's fault; then none runs.
    pub async fn start(
        host: config::Host,
        pipelines: Vec<config::Pipeline>,
    ) -> Result<Self, Fault> {
        let handle = Handle::current();
        blocking(move || {
            let engine = engine(&host)?;
            // A quarter of the budget is librdkafka's: it fetches ahead for all pipelines together.
            let queue_bytes = host.memory_budget / 4 / pipelines.len().max(1) as u64;
            let budget = Budget::with_room(
                host.memory_budget - host.memory_budget / 4,
                pipelines.iter().map(|pipeline| parts_bytes(pipeline, host.workers)).sum(),
            );
            let around =
                Surroundings { budget, queue_bytes, runtime: handle, writer: writer(), host };
            let prepared: Vec<_> = pipelines
                .iter()
                .map(|pipeline| prepare(&engine, &around.host, pipeline, &around.runtime))
                .collect::<Result<_, _>>()?;
            let start =
                |(pipeline, prepared)| Supervised::start(around.clone(), pipeline, prepared);
            let running =
                pipelines.into_iter().zip(prepared).map(start).collect::<Result<_, _>>()?;
            Ok(Self { running })
        })
        .await
    }

    /// Does all that `start` does before the first record, and says what it found, one line a pipeline.
    ///
    /// # Errors
    /// The first pipeline's fault.
    pub async fn validate(
        host: config::Host,
        pipelines: Vec<config::Pipeline>,
    ) -> Result<Vec<String>, Fault> {
        let handle = Handle::current();
        blocking(move || {
            let engine = engine(&host)?;
            let validate = |pipeline: &config::Pipeline| {
                let prepared = prepare(&engine, &host, pipeline, &handle)?;
                let log = Committer::inspect(&prepared.store, &pipeline.name, EPOCH);
                Ok(finding(pipeline, &prepared, handle.block_on(log)?))
            };
            pipelines.iter().map(validate).collect()
        })
        .await
    }

    /// What each pipeline is doing.
    pub fn status(&self) -> Vec<PipelineStatus> {
        self.running.iter().map(Supervised::status).collect()
    }

    /// Flushes, commits, claims and leaves the groups, all pipelines at the same time.
    ///
    /// # Errors
    /// The first pipeline's fault; the others are drained all the same.
    pub async fn drain(self, timeout: Duration) -> Result<(), Fault> {
        let drains = self.running.into_iter().map(|running| running.drain(timeout));
        join_all(drains).await.into_iter().collect()
    }
}

async fn blocking<T: Send + 'static>(
    run: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    spawn_blocking(run).await.map_err(|panic| Fault::bug("a pipeline panicked").caused_by(panic))?
}

/// Bytes of the parts that a pipeline's closers may have on their way: each ends one file at a time while memory is scarce.
fn parts_bytes(pipeline: &config::Pipeline, workers: usize) -> u64 {
    let parts = if pipeline.store.url.scheme() == "s3" { PARTS_IN_FLIGHT * PART_BYTES } else { 0 };
    (workers * parts) as u64
}

/// What is to be run, in a line.
fn finding(pipeline: &config::Pipeline, prepared: &Prepared, next: u64) -> String {
    let topics = pipeline.source.topics.join(", ");
    let transforms: String = prepared
        .transforms
        .iter()
        .map(|t| format!("{} {} ({}) -> ", t.name, t.version, &t.sha256[..12]))
        .collect();
    let outputs: Vec<_> = prepared.outputs.iter().map(|output| output.name.as_str()).collect();
    let log = match next.checked_sub(1) {
        None => "begins a new log".to_owned(),
        Some(newest) => format!("goes on after manifest {newest}"),
    };
    let (name, outputs, url) = (&pipeline.name, outputs.join(", "), prepared.store.url());
    format!("{name}: {topics} -> {transforms}{outputs} at {url}; {log}")
}

fn engine(host: &config::Host) -> Result<Arc<Engine>, Fault> {
    Engine::new(host.scratch.join("components"), Compiler::this_binary()?)
}

/// Who this process is, for people who read manifests.
fn writer() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname");
    let name = name.map_or_else(|_| "host".to_owned(), |name| name.trim().to_owned());
    format!("{name}/{}", std::process::id())
}

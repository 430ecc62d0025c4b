//! Pipelines: workers that read, transform and write, closers that commit, supervisors that start and drain them.
//!
//! ```text
//!  brokers ──► librdkafka ══ lane queues ══► worker 0 ──(1 job)──► closer 0 ─┐
//!              event thread ─(64 controls)─► worker 1 ──(1 job)──► closer 1 ─┼─► log and files, one commit at a time
//!                                              └─(2 parts a file)─► uploads on the I/O runtime
//! ```

mod board;
mod chain;
mod changes;
mod closer;
pub mod committer;
mod control;
mod dead_letters;
mod definitions;
mod failures;
mod files;
mod fleet;
mod kafka_columns;
mod keeper;
mod lanes;
mod ledger;
mod link;
mod manage;
mod meters;
mod plan;
mod prepare;
pub mod repair;
mod rows;
mod running;
mod shared;
mod status;
mod supervisor;
mod swapping;
mod task;
mod users;
mod worker;

use std::{sync::Arc, time::Duration};

use tokio::{runtime::Handle, sync::Notify, task::spawn_blocking};

pub use self::{
    changes::Change,
    files::paths as files,
    manage::{Control, Deleted, How, Kind, Put, Turn},
    status::{Behind, Origin, PipelineStatus, Refused, RunningTransform, State},
};
use self::{
    committer::{Committer, Standing},
    fleet::{Fleet, Planned},
    keeper::{Keeper, Keeping},
    plan::Plan,
    prepare::Prepared,
    running::Surroundings,
};
use crate::{
    budget::Budget,
    config,
    engine::{Compiler, Engine},
    events::Events,
    fault::Fault,
    registry::{Place, Registry, Users, Watch, Wish},
    store::Store,
};

/// The pipelines of a host, and their components.
#[derive(Debug)]
pub struct Runtime {
    fleet: Arc<Fleet>,
    /// Told when somebody wants the host to end.
    end: Arc<Notify>,
    /// These end with the runtime.
    _keeping: Keeping,
    _watch: Watch,
}

impl Runtime {
    /// Starts the pipelines that the files in the folder define, and those in the log of the registry. One that can't start
    /// is tried again and again, and disturbs no other.
    ///
    /// # Errors
    /// The first pipeline's fault, when all are defined by files and none can start.
    pub async fn start(host: config::Host, events: Events) -> Result<Self, Fault> {
        let handle = Handle::current();
        blocking(move || {
            let fleet = fleet(host, handle, events)?;
            let mut keeper = Keeper::new(Arc::clone(&fleet));
            keeper.begin()?;
            fleet.start()?;
            let users: Arc<dyn Users> = Arc::clone(&fleet) as Arc<dyn Users>;
            let watch = fleet.registry.watch(users)?;
            let keeping = keeper.keep()?;
            Ok(Self { fleet, end: Arc::default(), _keeping: keeping, _watch: watch })
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
            let fleet = fleet(host, handle.clone(), Events::default())?;
            for pipeline in pipelines {
                fleet.add(pipeline, Origin::Api, Wish::default());
            }
            let find = |(pipeline, prepared, plan): Planned| {
                let log = Committer::inspect(&prepared.store, &pipeline.name);
                Ok(finding(&pipeline, &prepared, &plan, &handle.block_on(log)?))
            };
            fleet.validate()?.into_iter().map(find).collect()
        })
        .await
    }

    /// What each pipeline is doing.
    pub fn status(&self) -> Vec<PipelineStatus> {
        self.fleet.status()
    }

    /// What others may see and do of it, for as long as it runs.
    pub fn control(&self) -> Control {
        Control::new(Arc::clone(&self.fleet), Arc::clone(&self.end))
    }

    /// Waits until somebody wants the host to end.
    pub async fn ended(&self) {
        self.end.notified().await;
    }

    /// Flushes, commits, claims and leaves the groups, all pipelines at the same time.
    ///
    /// # Errors
    /// The first pipeline's fault; the others are drained all the same.
    pub async fn drain(self, timeout: Duration) -> Result<(), Fault> {
        let Self { fleet, end: _, _keeping: keeping, _watch: watch } = self;
        // Nothing is taken in any more that could not be tried in peace.
        drop((keeping, watch));
        fleet.drain(timeout).await
    }
}

async fn blocking<T: Send + 'static>(
    run: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    spawn_blocking(run).await.map_err(|panic| Fault::bug("a pipeline panicked").caused_by(panic))?
}

/// What is to be run, in a line.
fn finding(
    pipeline: &config::Pipeline,
    prepared: &Prepared,
    plan: &Plan,
    log: &Standing,
) -> String {
    let topics = pipeline.source.topics.join(", ");
    let transforms: String = plan
        .transforms
        .iter()
        .map(|t| format!("{} {} ({}) -> ", t.name, t.version, &t.sha256[..12]))
        .collect();
    let outputs: Vec<_> = plan.outputs.iter().map(|output| output.name.as_str()).collect();
    let log = match (log.epoch, log.next.checked_sub(1)) {
        (1, None) => "begins a new log".to_owned(),
        (epoch, None) => format!("begins epoch {epoch} of its log"),
        (1, Some(newest)) => format!("goes on after manifest {newest}"),
        (epoch, Some(newest)) => format!("goes on after manifest {newest} of epoch {epoch}"),
    };
    let (name, outputs, url) = (&pipeline.name, outputs.join(", "), prepared.store.url());
    format!("{name}: {topics} -> {transforms}{outputs} at {url}; {log}")
}

/// A host without pipelines. What is known of components and pipelines lies in its store; compiled components are kept in
/// the scratch folder.
fn fleet(host: config::Host, runtime: Handle, events: Events) -> Result<Arc<Fleet>, Fault> {
    let store = runtime.block_on(Store::open(&host.store))?;
    runtime.block_on(store.probe())?;
    let registry = Registry::open(Place {
        folder: host.transforms.clone(),
        store,
        writer: writer(),
        engine: Engine::new(host.scratch.join("components"), Compiler::this_binary()?)?,
        events: events.clone(),
        runtime: runtime.clone(),
    })?;
    let (budget, pipelines) = (Budget::new(host.memory_budget), Arc::default());
    let around = Surroundings { host, events, budget, pipelines, runtime, writer: writer() };
    Ok(Fleet::new(around, Arc::new(registry)))
}

/// Who this process is, for people who read manifests.
fn writer() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname");
    let name = name.map_or_else(|_| "host".to_owned(), |name| name.trim().to_owned());
    format!("{name}/{}", std::process::id())
}

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
mod failures;
mod fleet;
mod guest;
mod kafka_columns;
mod lanes;
mod ledger;
mod meters;
mod plan;
mod prepare;
mod rows;
mod running;
mod status;
mod supervisor;
mod worker;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
};

pub use self::status::{PipelineStatus, RunningTransform, State};
use self::{
    committer::Committer,
    fleet::Fleet,
    prepare::{Prepared, prepare},
    running::{EPOCH, Surroundings},
    supervisor::Supervised,
};
use crate::{
    budget::Budget,
    config,
    engine::{Compiler, Engine},
    events::Events,
    fault::Fault,
    registry::{History, Outcome, Place, Registry, Users, Watch},
    store::{PART_BYTES, PARTS_IN_FLIGHT, Store},
};

/// The pipelines of a host, and their components.
#[derive(Debug)]
pub struct Runtime {
    fleet: Arc<Fleet>,
    registry: Arc<Registry>,
    /// Ends with the runtime.
    _watch: Watch,
}

impl Runtime {
    /// Starts pipelines. All that can be refused before the first record is refused here, for all of them.
    ///
    /// # Errors
    /// The first pipeline's fault; then none runs.
    pub async fn start(
        host: config::Host,
        pipelines: Vec<config::Pipeline>,
        events: Events,
    ) -> Result<Self, Fault> {
        let handle = Handle::current();
        blocking(move || {
            // A quarter of the budget is librdkafka's: it fetches ahead for all pipelines together.
            let queue_bytes = host.memory_budget / 4 / pipelines.len().max(1) as u64;
            let budget = Budget::with_room(
                host.memory_budget - host.memory_budget / 4,
                pipelines.iter().map(|pipeline| parts_bytes(pipeline, host.workers)).sum(),
            );
            let registry = Arc::new(registry(&host, &handle, events.clone())?);
            let writer = writer();
            let around =
                Surroundings { host, events, budget, queue_bytes, runtime: handle, writer };
            let fleet = Arc::new(Fleet::new(pipelines));
            let prepare = |(pipeline, plan): (Arc<config::Pipeline>, _)| {
                let prepared = prepare(&around.host, &pipeline, plan, &around.runtime)?;
                Ok((pipeline, prepared))
            };
            let prepared: Vec<_> = fleet
                .pick(&registry, true)?
                .into_iter()
                .map(prepare)
                .collect::<Result<_, Fault>>()?;
            for (pipeline, prepared) in prepared {
                let (name, plan) = (pipeline.name.clone(), Arc::clone(&prepared.plan));
                let running = Supervised::start(around.clone(), pipeline, prepared)?;
                fleet.started(&name, &plan, running);
            }
            let users: Arc<dyn Users> = Arc::clone(&fleet) as Arc<dyn Users>;
            let watch = registry.watch(users)?;
            Ok(Self { fleet, registry, _watch: watch })
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
            let registry = registry(&host, &handle, Events::default())?;
            let validate = |(pipeline, plan): (Arc<config::Pipeline>, _)| {
                let prepared = prepare(&host, &pipeline, plan, &handle)?;
                let log = Committer::inspect(&prepared.store, &pipeline.name, EPOCH);
                Ok(finding(&pipeline, &prepared, handle.block_on(log)?))
            };
            Fleet::new(pipelines).pick(&registry, false)?.into_iter().map(validate).collect()
        })
        .await
    }

    /// What each pipeline is doing.
    pub fn status(&self) -> Vec<PipelineStatus> {
        self.fleet.status()
    }

    /// What others may see and do of it, for as long as it runs.
    pub fn control(&self) -> Control {
        Control {
            fleet: Arc::clone(&self.fleet),
            registry: Arc::clone(&self.registry),
            turn: Arc::new(Semaphore::new(1)),
        }
    }

    /// Flushes, commits, claims and leaves the groups, all pipelines at the same time.
    ///
    /// # Errors
    /// The first pipeline's fault; the others are drained all the same.
    pub async fn drain(self, timeout: Duration) -> Result<(), Fault> {
        self.fleet.drain(timeout).await
    }
}

/// What the API sees and does of a host's pipelines and components.
#[derive(Clone, Debug)]
pub struct Control {
    fleet: Arc<Fleet>,
    registry: Arc<Registry>,
    turn: Arc<Semaphore>,
}

/// The right to change components: there is one. Whoever waits for it holds neither a thread nor a body in memory.
#[derive(Debug)]
pub struct Turn(OwnedSemaphorePermit);

impl Control {
    /// What each pipeline is doing.
    pub fn pipelines(&self) -> Vec<PipelineStatus> {
        self.fleet.status()
    }

    /// All components with their versions, by name.
    pub fn components(&self) -> BTreeMap<String, History> {
        self.registry.components()
    }

    /// The pipelines that name a component.
    pub fn users(&self, component: &str) -> Vec<String> {
        self.fleet.users(component)
    }

    /// Waits for the right to change components.
    ///
    /// # Errors
    /// Never: it is there for as long as this is.
    pub async fn turn(&self) -> Result<Turn, Fault> {
        let turn = Arc::clone(&self.turn).acquire_owned().await;
        turn.map(Turn).map_err(|closed| Fault::bug("nobody gets a turn").caused_by(closed))
    }

    /// Takes an uploaded component in: see [`Registry::upload`].
    ///
    /// # Errors
    /// The surroundings' fault: then nothing has changed.
    pub async fn upload(&self, turn: Turn, name: String, wasm: Bytes) -> Result<Outcome, Fault> {
        self.change(turn, move |registry, users| registry.upload(users, &name, wasm)).await
    }

    /// Makes an earlier version the current one: see [`Registry::roll_back`].
    ///
    /// # Errors
    /// There is no such version, or the store does not answer.
    pub async fn roll_back(
        &self,
        turn: Turn,
        name: String,
        digest: String,
    ) -> Result<Outcome, Fault> {
        self.change(turn, move |registry, users| registry.roll_back(users, &name, &digest)).await
    }

    /// Forgets a component: see [`Registry::remove`]. Whether there was one.
    ///
    /// # Errors
    /// Somebody uses it, or its file can't be deleted.
    pub async fn remove(&self, turn: Turn, name: String) -> Result<bool, Fault> {
        self.change(turn, move |registry, users| registry.remove(users, &name)).await
    }

    async fn change<T: Send + 'static>(
        &self,
        Turn(turn): Turn,
        change: impl FnOnce(&Registry, &Fleet) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let Self { fleet, registry, .. } = self.clone();
        blocking(move || {
            let changed = change(&registry, &fleet);
            // Until here, also when the caller has gone.
            drop(turn);
            changed
        })
        .await
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
        .plan
        .transforms
        .iter()
        .map(|t| format!("{} {} ({}) -> ", t.name, t.version, &t.sha256[..12]))
        .collect();
    let outputs: Vec<_> = prepared.plan.outputs.iter().map(|output| output.name.as_str()).collect();
    let log = match next.checked_sub(1) {
        None => "begins a new log".to_owned(),
        Some(newest) => format!("goes on after manifest {newest}"),
    };
    let (name, outputs, url) = (&pipeline.name, outputs.join(", "), prepared.store.url());
    format!("{name}: {topics} -> {transforms}{outputs} at {url}; {log}")
}

/// The components of a host: compiled ones are kept in the scratch folder, all that is known of them in the store.
fn registry(host: &config::Host, runtime: &Handle, events: Events) -> Result<Registry, Fault> {
    let store = runtime.block_on(Store::open(&host.store))?;
    runtime.block_on(store.probe())?;
    Registry::open(Place {
        folder: host.transforms.clone(),
        store,
        writer: writer(),
        engine: Engine::new(host.scratch.join("components"), Compiler::this_binary()?)?,
        events,
        runtime: runtime.clone(),
    })
}

/// Who this process is, for people who read manifests.
fn writer() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname");
    let name = name.map_or_else(|_| "host".to_owned(), |name| name.trim().to_owned());
    format!("{name}/{}", std::process::id())
}

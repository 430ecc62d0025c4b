//! Pipelines: workers that read, transform and write, closers that commit, supervisors that start and drain them.
//!
//! ```text
//!  brokers ──► librdkafka ══ lane queues ══► worker 0 ──(1 job)──► closer 0 ─┐
//!              event thread ─(64 controls)─► worker 1 ──(1 job)──► closer 1 ─┼─► log and files, one commit at a time
//!                                              └─(2 parts a file)─► uploads on the I/O runtime
//! ```

mod chain;
mod changes;
mod closer;
pub mod committer;
mod control;
mod dead_letters;
mod failures;
mod files;
mod fleet;
mod kafka_columns;
mod keeper;
mod lanes;
mod ledger;
mod link;
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
mod users;
mod worker;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use serde::Deserialize;
use tokio::{
    runtime::Handle,
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
};

pub use self::{
    changes::Change,
    files::paths as files,
    status::{Behind, Origin, PipelineStatus, Refused, RunningTransform, State},
};
use self::{
    committer::{Committer, Standing},
    fleet::{Fleet, Planned, Taken},
    keeper::{Keeper, Keeping},
    plan::Plan,
    prepare::Prepared,
    running::Surroundings,
};
use crate::{
    budget::Budget,
    config::{self, PipelineFile},
    engine::{Compiler, Engine},
    events::Events,
    fault::Fault,
    registry::{Desired, History, Outcome, Place, Registry, Users, Watch, Wish},
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
        let (fleet, end) = (Arc::clone(&self.fleet), Arc::clone(&self.end));
        Control {
            fleet,
            end,
            turns: Arc::new(std::array::from_fn(|_| Arc::new(Semaphore::new(1)))),
        }
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

/// What the API sees and does of a host's pipelines and components.
#[derive(Clone, Debug)]
pub struct Control {
    fleet: Arc<Fleet>,
    end: Arc<Notify>,
    turns: Arc<[Arc<Semaphore>; 4]>,
}

/// What people change, one at a time of each kind: nobody who wants to pause a pipeline waits for an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Components come and go.
    Components,
    /// An earlier version of a component is chosen.
    Versions,
    /// Pipelines come, change and go.
    Pipelines,
    /// Pipelines are paused, stopped, started.
    Wishes,
}

/// The right to change something. Whoever waits for it holds neither a thread nor a body in memory.
#[derive(Debug)]
pub struct Turn(OwnedSemaphorePermit);

/// How a definition is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct How {
    /// Only say what would come of it.
    #[serde(default)]
    pub dry_run: bool,
    /// If it does not name the topics of its log, begin a new epoch of the log with those that it names.
    #[serde(default)]
    pub new_epoch: bool,
}

/// What became of a definition that was put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Put {
    /// There was no pipeline of this name.
    Created,
    /// These keys changed; none, if it says what the one before said. And what a person should know of it.
    Changed(Vec<Change>, Vec<String>),
    /// A file defines it.
    InFile(String),
}

/// What became of a pipeline that was to be deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// It is forgotten.
    Gone,
    /// A file defines it: nothing has changed.
    InFile(String),
    /// There was none.
    Unknown,
}

impl Control {
    /// What each pipeline is doing.
    pub fn pipelines(&self) -> Vec<PipelineStatus> {
        self.fleet.status()
    }

    /// Definitions that no pipeline runs, nor shows.
    pub fn refused(&self) -> Vec<Refused> {
        self.fleet.refused()
    }

    /// What a pipeline is doing, and its definition.
    pub fn pipeline(&self, name: &str) -> Option<(PipelineStatus, serde_json::Value)> {
        self.fleet.described(name).map(|(status, written)| (status, written.value()))
    }

    /// Reads the text of a pipeline.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn read(&self, text: String) -> Result<config::Pipeline, config::Problems> {
        let host = &self.fleet.around.host;
        let file = PipelineFile { name: "body".to_owned(), text };
        let mut read = config::pipelines(&[file], &host.pipelines, host)?;
        let pipeline = read.pop().expect("one that was read without a problem is a pipeline");
        let secrets = pipeline.written.open_secrets();
        if secrets.is_empty() { Ok(pipeline) } else { Err(config::Problems(secrets)) }
    }

    /// Registers a pipeline, or changes it, if it can run: else what ran before runs on.
    ///
    /// # Errors
    /// Why not: then nothing has changed.
    pub async fn put(
        &self,
        turn: Turn,
        pipeline: config::Pipeline,
        how: How,
    ) -> Result<Put, Fault> {
        self.change(turn, move |fleet| {
            if let Some((Origin::File(file), ..)) = fleet.known(&pipeline.name) {
                return Ok(Put::InFile(file));
            }
            let text = pipeline.written.text().to_owned();
            match fleet.define(pipeline, &Origin::Api, Some(&text), how)? {
                Taken::Created => Ok(Put::Created),
                Taken::Changed(changes, warnings) => Ok(Put::Changed(changes, warnings)),
            }
        })
        .await
    }

    /// Forgets a pipeline that was registered, and drains it. Its log and its files stay.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn delete(&self, turn: Turn, name: String) -> Result<Deleted, Fault> {
        let deleted = self.change(turn, move |fleet| {
            if let Some((Origin::File(file), ..)) = fleet.known(&name) {
                return Ok((Deleted::InFile(file), None));
            }
            let mut held = fleet.registry.hold();
            held.follow()?;
            // Also one that no host could make a pipeline of.
            let was_there = held.forget(&name)?;
            fleet.forget_stray(&name);
            let running = fleet.take_out(&name);
            drop(held);
            let deleted =
                if was_there || running.is_some() { Deleted::Gone } else { Deleted::Unknown };
            Ok((deleted, Some(fleet.end(running))))
        });
        let (deleted, ended) = deleted.await?;
        // Nobody else waits for it.
        if let Some(ended) = ended {
            drop(ended.await);
        }
        Ok(deleted)
    }

    /// Has a pipeline run, pause or stop, on all hosts that have the same store.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn desire(&self, turn: Turn, name: String, desired: Desired) -> Result<(), Fault> {
        self.change(turn, move |fleet| {
            let mut held = fleet.registry.hold();
            held.follow()?;
            let wish = held.desire(&name, desired)?;
            fleet.desire(&name, wish);
            Ok(())
        })
        .await
    }

    /// Has the host drain and end, as SIGTERM does.
    pub fn drain(&self) {
        self.end.notify_one();
    }

    /// All components with their versions, by name.
    pub fn components(&self) -> BTreeMap<String, History> {
        self.fleet.registry.components()
    }

    /// The pipelines that name a component.
    pub fn users(&self, component: &str) -> Vec<String> {
        self.fleet.users(component)
    }

    /// Waits for the right to change something of a kind.
    ///
    /// # Errors
    /// Never: it is there for as long as this is.
    pub async fn turn(&self, kind: Kind) -> Result<Turn, Fault> {
        let turn = Arc::clone(&self.turns[kind as usize]).acquire_owned().await;
        turn.map(Turn).map_err(|closed| Fault::bug("nobody gets a turn").caused_by(closed))
    }

    /// Takes an uploaded component in: see [`Registry::upload`].
    ///
    /// # Errors
    /// The surroundings' fault: then nothing has changed.
    pub async fn upload(&self, turn: Turn, name: String, wasm: Bytes) -> Result<Outcome, Fault> {
        self.change(turn, move |fleet| fleet.registry.upload(fleet, &name, wasm)).await
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
        self.change(turn, move |fleet| fleet.registry.roll_back(fleet, &name, &digest)).await
    }

    /// Forgets a component: see [`Registry::remove`]. Whether there was one.
    ///
    /// # Errors
    /// Somebody uses it, or its file can't be deleted.
    pub async fn remove(&self, turn: Turn, name: String, force: bool) -> Result<bool, Fault> {
        self.change(turn, move |fleet| fleet.registry.remove(fleet, &name, force)).await
    }

    async fn change<T: Send + 'static>(
        &self,
        Turn(turn): Turn,
        change: impl FnOnce(&Fleet) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let fleet = Arc::clone(&self.fleet);
        blocking(move || {
            let changed = fleet.goes_on().and_then(|()| change(&fleet));
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

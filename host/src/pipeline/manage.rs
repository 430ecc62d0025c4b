//! What the API sees and does of a host's pipelines and components.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::{
    blocking,
    changes::Change,
    fleet::{Fleet, Taken},
    status::{Origin, PipelineStatus, Refused},
};
use crate::{
    config::{self, PipelineFile},
    fault::Fault,
    registry::{Desired, History, Outcome, Users as _},
};

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
    pub(super) fn new(fleet: Arc<Fleet>, end: Arc<Notify>) -> Self {
        let turns = std::array::from_fn(|_| Arc::new(Semaphore::new(1)));
        Self { fleet, end, turns: Arc::new(turns) }
    }

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
        let problems = pipeline.over_the_api(host);
        if problems.is_empty() { Ok(pipeline) } else { Err(config::Problems(problems)) }
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

    /// Takes an uploaded component in: see [`Registry::upload`](crate::registry::Registry::upload).
    ///
    /// # Errors
    /// The surroundings' fault: then nothing has changed.
    pub async fn upload(&self, turn: Turn, name: String, wasm: Bytes) -> Result<Outcome, Fault> {
        self.change(turn, move |fleet| fleet.registry.upload(fleet, &name, wasm)).await
    }

    /// Makes an earlier version the current one: see [`Registry::roll_back`](crate::registry::Registry::roll_back).
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

    /// Forgets a component: see [`Registry::remove`](crate::registry::Registry::remove). Whether there was one.
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

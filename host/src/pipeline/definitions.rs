//! How a host takes definitions of pipelines, and what it shows of those that it does not take.

use std::{
    collections::BTreeMap,
    sync::{Arc, MutexGuard},
    time::Duration,
};

use chrono::{SecondsFormat, Utc};
use crossbeam_channel::unbounded;
use tokio::time::timeout;

use super::{
    changes,
    committer::Committer,
    fleet::{Fleet, Taken},
    manage::How,
    plan::Plan,
    prepare::{Prepared, prepare},
    status::{Origin, Refused},
    task::Task,
};
use crate::{commit::manifest::Handover, config, events::What, fault::Fault};

/// How long a new epoch may take to begin.
const BEGIN: Duration = Duration::from_secs(120);

impl Fleet {
    /// Takes a definition of a pipeline, new or changed, if it can run: else what ran before runs on. With `text`, it is
    /// written to the log of the registry.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn define(
        &self,
        pipeline: config::Pipeline,
        origin: &Origin,
        text: Option<&str>,
        how: How,
    ) -> Result<Taken, Fault> {
        // Another replica may have changed it meanwhile.
        self.registry.hold().follow()?;
        let name = pipeline.name.clone();
        let before = self.lock().get(&name).map(|member| Arc::clone(&member.pipeline));
        let pipeline = Arc::new(pipeline);
        let changes = before.as_ref().map(|before| changes::between(before, &pipeline));
        let registered = self.registry.pipelines().remove(&name).unwrap_or_default();
        let is_logged = text.is_none() || registered.definition.as_deref() == text;
        if is_logged && changes.as_ref().is_some_and(Vec::is_empty) {
            self.refuse(&name, None);
            return Ok(Taken::Changed(Vec::new(), Vec::new()));
        }
        let mut warnings = Vec::new();
        if let Some(before) = before.filter(|_| registered.outputs.is_some()) {
            changes::stays(&before, &pipeline)?;
            warnings = changes::warnings(&before, &pipeline);
        }
        let prepared = prepare(&self.around.host, &pipeline, &self.around.runtime)?;
        let runtime = &self.around.runtime;
        let log = runtime.block_on(Committer::inspect(&prepared.store, &name))?;
        let fits = changes::fits(&pipeline, &log);
        let begins_epoch = fits.is_err() && how.new_epoch;
        if !begins_epoch {
            fits?;
        }
        let given_up = changes::given_up(&pipeline, &log);
        if begins_epoch {
            let topics: Vec<_> = given_up.iter().map(String::as_str).collect();
            let topics = if topics.is_empty() { "none".to_owned() } else { topics.join(", ") };
            warnings
                .push(format!("epoch {} of the log ends; topics given up: {topics}", log.epoch));
        }
        self.compile(&pipeline);
        let mut held = self.registry.hold();
        let mut plan = self.plan(&mut held, &pipeline, !how.dry_run)?;
        let taken = changes.map_or(Taken::Created, |changes| Taken::Changed(changes, warnings));
        if how.dry_run {
            return Ok(taken);
        }
        if begins_epoch {
            // Nobody waits for the pipeline's store meanwhile. Before it is defined: if that fails, nothing runs until the
            // same is asked for once more, and nothing is doubled.
            drop(held);
            let handover = Handover { given_up, ..Handover::default() };
            let writer = &self.around.writer;
            let begin = Committer::begin_epoch(&prepared.store, &name, writer, handover);
            let begun = runtime.block_on(async { timeout(BEGIN, begin).await });
            begun.map_err(|_| {
                Fault::outside(format!(
                    "begin an epoch of pipeline {name}: its store does not answer"
                ))
                .help("ask for the same again: an epoch that was begun is not begun twice")
            })??;
            held = self.registry.hold();
            plan = self.plan(&mut held, &pipeline, true)?;
        }
        held.write(&name, plan.written(), &plan.components())?;
        if let Some(text) = text {
            held.define(&name, text)?;
        }
        self.put(pipeline, origin, Some(plan), Some(prepared))?;
        self.tell_defined(&name, &taken);
        Ok(taken)
    }

    /// Takes a definition that can't run yet in the place of one that can't either: it is tried again and again.
    pub(super) fn define_unready(
        &self,
        pipeline: config::Pipeline,
        origin: &Origin,
    ) -> Result<(), Fault> {
        let pipeline = Arc::new(pipeline);
        // Nobody swaps a version into it meanwhile.
        let _held = self.registry.hold();
        let before = self.lock().get(&pipeline.name).map(|member| Arc::clone(&member.pipeline));
        let changes = before.map(|before| changes::between(&before, &pipeline));
        let name = pipeline.name.clone();
        self.put(pipeline, origin, None, None)?;
        let taken = changes.map_or(Taken::Created, |changes| Taken::Changed(changes, Vec::new()));
        self.tell_defined(&name, &taken);
        Ok(())
    }

    fn tell_defined(&self, name: &str, taken: &Taken) {
        let changes = match taken {
            Taken::Created => Vec::new(),
            Taken::Changed(changes, warnings) => {
                for warning in warnings {
                    tracing::warn!(pipeline = name, "{warning}");
                }
                changes.iter().map(ToString::to_string).collect()
            }
        };
        self.around.events.tell(What::Defined { pipeline: name.to_owned(), changes });
    }

    /// Has a pipeline run a definition from now on.
    fn put(
        &self,
        pipeline: Arc<config::Pipeline>,
        origin: &Origin,
        plan: Option<Arc<Plan>>,
        prepared: Option<Prepared>,
    ) -> Result<(), Fault> {
        let name = pipeline.name.clone();
        let wish = self.registry.pipelines().remove(&name).unwrap_or_default().wish;
        let new = self.add((*pipeline).clone(), origin.clone(), wish);
        let task =
            Task { pipeline: Some(Arc::clone(&pipeline)), prepared, plan, ..Task::default() };
        {
            let mut members = self.lock();
            let Some(member) = members.get_mut(&name) else { return Ok(()) };
            (member.pipeline, member.origin, member.refused) = (pipeline, origin.clone(), None);
            member.plan.clone_from(&task.plan);
            if let Some(running) = member.supervised.as_ref().filter(|_| !new) {
                running.task(task);
                return Ok(());
            }
        }
        let (first, _) = unbounded();
        self.launch(&name, task, first)
    }

    /// Notes why the newest definition of a pipeline is not what runs; `None`, if it is.
    pub(super) fn refuse(&self, name: &str, reason: Option<String>) {
        let mut members = self.lock();
        let Some(member) = members.get_mut(name).filter(|member| member.refused != reason) else {
            return;
        };
        member.refused.clone_from(&reason);
        drop(members);
        if let Some(reason) = reason {
            let pipeline = name.to_owned();
            self.around.events.tell(What::DefinitionRefused { pipeline, reason });
        }
    }

    /// Shows a definition that no pipeline can be made of; whether that is news.
    pub(super) fn refuse_stray(
        &self,
        origin: Origin,
        pipeline: Option<&str>,
        reason: &str,
    ) -> bool {
        let known = match (&origin, pipeline) {
            (Origin::File(file), _) => file.clone(),
            (Origin::Api, name) => name.unwrap_or_default().to_owned(),
        };
        let mut strays = self.strays();
        if strays.get(&known).is_some_and(|stray| stray.reason == reason) {
            return false;
        }
        let (name, reason) = (pipeline.map(str::to_owned), reason.to_owned());
        let since = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
        strays.insert(known, Refused { origin, name, reason, since });
        true
    }

    /// A definition is gone, or runs.
    pub(super) fn forget_stray(&self, known: &str) {
        self.strays().remove(known);
    }

    /// Definitions that no pipeline runs, nor shows.
    pub(super) fn refused(&self) -> Vec<Refused> {
        self.strays().values().cloned().collect()
    }

    fn strays(&self) -> MutexGuard<'_, BTreeMap<String, Refused>> {
        self.strays.lock().expect("nothing panics while it holds this lock")
    }
}

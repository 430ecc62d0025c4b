//! The registry in one hand: what a pipeline needs of it at one time, without anything changing in between.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, MutexGuard},
};

use super::{
    Known as _, Users,
    log::{Change, Desired, Log, Registered, Wish},
    road::RoadWorks,
};
use crate::{engine::Component, fault::Fault, schema::Output};

/// The registry, held. Everybody else who wants to change something waits: it is not held while brokers are asked.
pub struct Held<'a>(MutexGuard<'a, RoadWorks>);

impl fmt::Debug for Held<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").finish_non_exhaustive()
    }
}

impl<'a> Held<'a> {
    pub(super) fn new(works: MutexGuard<'a, RoadWorks>) -> Self {
        Self(works)
    }

    /// Tries the files of these components as they lie in the folder, before their users start: all of them while the host is
    /// `starting`, else those that nobody writes any more. With `keeping`, what comes of it is written to the log; else a
    /// version that would be refused is a fault.
    ///
    /// # Errors
    /// What is wrong with a component that has no earlier version to run instead.
    pub fn settle(
        &mut self,
        users: &dyn Users,
        names: &BTreeSet<&str>,
        keeping: bool,
        starting: bool,
    ) -> Result<(), Fault> {
        self.0.settle(users, names, keeping, starting)
    }

    /// The version of a component that a pipeline is to run: the current one, or the one that it pins.
    ///
    /// # Errors
    /// There is no such component or version; or the store does not answer.
    pub fn pick(&mut self, name: &str, pin: Option<&str>) -> Result<Arc<Component>, Fault> {
        self.0.pick(name, pin)
    }

    /// What a pipeline writes, as far as it ran before.
    pub fn written(&self, pipeline: &str) -> Option<Vec<Output>> {
        self.0.written(pipeline)
    }

    /// A pipeline writes these rows from now on, by these components.
    ///
    /// # Errors
    /// The store does not answer.
    pub fn write(
        &mut self,
        pipeline: &str,
        outputs: &[Output],
        components: &BTreeSet<String>,
    ) -> Result<(), Fault> {
        let write = |log: &Log| {
            let is_known = |known: &Registered| {
                known.outputs.as_deref() == Some(outputs) && known.components == *components
            };
            let known = log.pipelines.get(pipeline).is_some_and(is_known);
            let (pipeline, outputs) = (pipeline.to_owned(), outputs.to_vec());
            let components = components.clone();
            (!known).then_some(Change::Write { pipeline, outputs, components })
        };
        self.0.append(write).map(drop)
    }

    /// Gives up a current version of which no instance can be made, and makes an earlier one the current one again.
    ///
    /// # Errors
    /// The store does not answer, or a pipeline has something against the earlier one.
    pub fn withdraw(
        &mut self,
        users: &dyn Users,
        name: &str,
        from: &str,
        to: &str,
        why: &Fault,
    ) -> Result<(), Fault> {
        self.0.withdraw(users, name, from, to, why)
    }

    /// Reads what other replicas wrote.
    ///
    /// # Errors
    /// The store does not answer.
    pub fn follow(&mut self) -> Result<(), Fault> {
        let works = &mut *self.0;
        works.runtime.block_on(works.journal.follow())?;
        works.show();
        Ok(())
    }

    /// Registers a pipeline, or changes it: `definition` is its text.
    ///
    /// # Errors
    /// The store does not answer.
    pub fn define(&mut self, pipeline: &str, definition: &str) -> Result<(), Fault> {
        let define = |log: &Log| {
            let known = log.pipelines.get(pipeline).and_then(|known| known.definition.as_deref());
            let differs = known != Some(definition);
            let (pipeline, definition) = (pipeline.to_owned(), definition.to_owned());
            differs.then_some(Change::Define { pipeline, definition })
        };
        self.0.append(define).map(drop)
    }

    /// Forgets a pipeline that was registered. Whether it was.
    ///
    /// # Errors
    /// The store does not answer.
    pub fn forget(&mut self, pipeline: &str) -> Result<bool, Fault> {
        let forget = |log: &Log| {
            let known = log.pipelines.get(pipeline).is_some_and(|known| known.definition.is_some());
            known.then(|| Change::Forget { pipeline: pipeline.to_owned() })
        };
        self.0.append(forget)
    }

    /// Notes what a person wants a pipeline to do, if that is news: that it runs always is, since it may have failed.
    ///
    /// # Errors
    /// The store does not answer.
    pub fn desire(&mut self, pipeline: &str, desired: Desired) -> Result<Wish, Fault> {
        let desire = |log: &Log| {
            let known = log.pipelines.get(pipeline).map(|known| known.wish).unwrap_or_default();
            let pipeline = pipeline.to_owned();
            let is_news = desired == Desired::Running || known.desired != desired;
            is_news.then_some(Change::Desire { pipeline, desired })
        };
        self.0.append(desire)?;
        let known = self.0.journal.log().pipelines.get(pipeline);
        Ok(known.map(|known| known.wish).unwrap_or_default())
    }
}

//! What a supervisor is told to do, and whom it asks how.

use std::{collections::BTreeMap, sync::Arc};

use super::{plan::Plan, prepare::Prepared};
use crate::{config, fault::Fault, registry::Desired};

/// What a pipeline is to be from now on; what is not named stays as it is.
#[derive(Debug, Default)]
pub(super) struct Task {
    pub pipeline: Option<Arc<config::Pipeline>>,
    pub prepared: Option<Prepared>,
    pub plan: Option<Arc<Plan>>,
    /// For components of another version, how often a version of it was chosen.
    pub chosen: BTreeMap<String, u64>,
    pub desired: Option<Desired>,
}

/// Whoever says how a pipeline can run.
pub(super) trait Planner: Send + Sync {
    /// All that can be refused before the first record. Blocks.
    ///
    /// # Errors
    /// What keeps the pipeline from running.
    fn ready(&self, pipeline: &Arc<config::Pipeline>) -> Result<(Prepared, Arc<Plan>), Fault>;

    /// Gives up a version of a component that was accepted and of which no instance can be made, and goes back to another.
    /// Blocks.
    ///
    /// # Errors
    /// The store does not answer, or the other one can't run any more.
    fn withdraw(&self, component: &str, from: &str, to: &str, why: &Fault) -> Result<(), Fault>;
}

impl Task {
    /// This one, after another that nobody took up.
    pub(super) fn over(self, before: Self) -> Self {
        let Self { pipeline, mut prepared, mut plan, mut chosen, desired } = before;
        if self.pipeline.is_some() {
            // What another definition was to run with is nothing for this one.
            (prepared, plan) = (None, None);
        }
        chosen.extend(self.chosen);
        Self {
            pipeline: self.pipeline.or(pipeline),
            prepared: self.prepared.or(prepared),
            plan: self.plan.or(plan),
            chosen,
            desired: self.desired.or(desired),
        }
    }
}

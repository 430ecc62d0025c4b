//! One transform of a pipeline at work on one worker: an instance, made anew when a call was its last.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    dead_letters::{DeadLetter, Stage},
    meters::Meters,
    plan::Step,
};
use crate::{
    config,
    engine::{Component, GuestContext, GuestMetrics, Instance, Payload, Rows},
    fault::Fault,
    record::Batch,
};

/// A transform on one worker.
#[derive(Debug)]
pub(super) struct Link {
    /// Its place in the pipeline.
    number: usize,
    context: GuestContext,
    settings: config::Transform,
    component: Arc<Component>,
    feed: Vec<usize>,
    meters: Meters,
    instance: Instance,
}

impl Link {
    /// # Errors
    /// When it can't be instantiated.
    pub(super) fn new(
        pipeline: &config::Pipeline,
        number: usize,
        step: &Step,
        meters: Meters,
    ) -> Result<Self, Fault> {
        let settings = pipeline.transforms[number].clone();
        let (component, context) = (Arc::clone(&step.component), step.context.clone());
        let instance = instantiate(&component, &context, &settings, &meters)?;
        let feed = step.feed.clone();
        Ok(Self { number, context, settings, component, feed, meters, instance })
    }

    /// The component's name.
    pub(super) fn name(&self) -> &str {
        self.component.name()
    }

    /// The component's digest.
    pub(super) fn digest(&self) -> &str {
        self.component.digest()
    }

    /// What becomes of a record that it rejects or fails for.
    pub(super) fn on_error(&self) -> config::OnError {
        self.settings.on_error
    }

    /// For each field that it reads or carries, its place among the fields of the transform before.
    pub(super) fn feed(&self) -> &[usize] {
        &self.feed
    }

    /// Tells how much memory the instance has, and what its limits are.
    pub(super) fn measure(&self, worker: usize) {
        self.meters.transform(
            self.number,
            worker,
            self.instance.memory_bytes(),
            &self.settings.limits,
        );
    }

    /// One call, by a new instance if the one before was lost. Of records that it rejects, the first reason counts.
    ///
    /// # Errors
    /// Those of [`Instance::process`], with the transform's place.
    pub(super) fn process(
        &mut self,
        batch: &Batch,
        payload: Payload<'_>,
        rejected: &mut BTreeMap<u32, DeadLetter>,
    ) -> Result<Vec<Rows>, (usize, Fault)> {
        let number = self.number;
        if self.instance.is_poisoned() {
            let Self { component, context, settings, meters, .. } = self;
            self.instance = instantiate(component, context, settings, meters)
                .map_err(|fault| (number, fault))?;
        }
        let processed = self.instance.process(batch, payload).map_err(|fault| {
            self.meters.failed(&fault);
            (number, fault)
        })?;
        for rejection in processed.rejections {
            rejected.entry(rejection.index).or_insert(DeadLetter {
                index: rejection.index,
                stage: Stage::Transform,
                transform: number,
                class: "REJECTED",
                field: None,
                error: rejection.reason,
            });
        }
        Ok(processed.outputs)
    }
}

fn instantiate(
    component: &Arc<Component>,
    context: &GuestContext,
    settings: &config::Transform,
    meters: &Meters,
) -> Result<Instance, Fault> {
    let metrics: Arc<dyn GuestMetrics> = Arc::new(meters.clone());
    component.instantiate(context.clone(), &settings.config, &settings.limits, metrics)
}

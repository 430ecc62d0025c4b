//! A pipeline on its way from one set of components and settings to another, worker by worker.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crossbeam_channel::Receiver;

use super::{control::Swapped, plan::Plan, status::RunningTransform};
use crate::events::{Cut, What};

/// A plan that some workers run already.
#[derive(Debug)]
pub(super) struct Swapping {
    /// What all ran before.
    old: Vec<RunningTransform>,
    pub plan: Arc<Plan>,
    /// How often a version was chosen, by component.
    chosen: BTreeMap<String, u64>,
    workers: usize,
    pub dones: Receiver<Swapped>,
    cut: Vec<Cut>,
    pause: Duration,
}

impl Swapping {
    pub(super) fn new(
        old: Vec<RunningTransform>,
        plan: Arc<Plan>,
        chosen: BTreeMap<String, u64>,
        workers: usize,
        dones: Receiver<Swapped>,
    ) -> Self {
        let (cut, pause) = (Vec::new(), Duration::ZERO);
        Self { old, plan, chosen, workers, dones, cut, pause }
    }

    /// This one, in the place of another that did not come to its end.
    pub(super) fn after(mut self, before: Option<Self>) -> Self {
        if let Some(before) = before {
            let newer = std::mem::replace(&mut self.chosen, before.chosen);
            self.chosen.extend(newer);
            self.old = before.old;
        }
        self
    }

    /// One more worker went over; whether all did.
    pub(super) fn one(&mut self, done: Swapped) -> bool {
        let Swapped { cut, pause, retired } = done;
        drop(retired);
        self.cut.extend(cut);
        self.pause = self.pause.max(pause);
        self.workers -= 1;
        self.workers == 0
    }

    /// What there is to tell: each transform that has another version.
    pub(super) fn told(mut self, pipeline: &str) -> Vec<What> {
        self.cut.sort_by(|a, b| a.lane.cmp(&b.lane));
        let digests = self.plan.digests();
        let mut told = Vec::new();
        for old in &self.old {
            let Some(new) = digests.get(old.component.as_str()).filter(|new| **new != old.digest)
            else {
                continue;
            };
            let component = old.component.clone();
            let what = What::Swapped {
                pipeline: pipeline.to_owned(),
                generation: self.chosen.get(&component).copied().unwrap_or_default(),
                component,
                old: old.digest.clone(),
                new: (*new).to_owned(),
                cut: self.cut.clone(),
                pause_seconds: self.pause.as_secs_f64(),
            };
            // One that a pipeline has twice is told of once.
            if !told.contains(&what) {
                told.push(what);
            }
        }
        told
    }
}

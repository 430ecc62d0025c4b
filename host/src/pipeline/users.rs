//! What the pipelines of a host have against a version of a component, and how they go over to it.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::{
    fleet::{Fleet, Member, lock},
    plan::Plan,
    task::Task,
};
use crate::{
    config,
    engine::Component,
    fault::Fault,
    registry::{Checked, Known, Objection, Users},
};

impl Users for Fleet {
    fn against(&self, component: &str) -> String {
        let members = self.lock();
        let mut hash = Sha256::new();
        let mut used = false;
        for member in members.values().filter(|member| member.follows(component)) {
            let config::Pipeline { name, source, transforms, outputs, dead_letters, .. } =
                &*member.pipeline;
            let asked = (name, source.format, transforms, outputs, dead_letters);
            hash.update(format!("{} {asked:?}", env!("CARGO_PKG_VERSION")));
            used = true;
        }
        if used { hex::encode(&hash.finalize()[..8]) } else { String::new() }
    }

    fn check(
        &self,
        component: &Arc<Component>,
        comparing: bool,
        known: &mut dyn Known,
    ) -> Result<Checked, Objection> {
        let name = component.name();
        let users: Vec<_> = self
            .lock()
            .values()
            .filter(|member| member.follows(name))
            .map(|member| (Arc::clone(&member.pipeline), member.plan.clone()))
            .collect();
        let mut plans = Vec::with_capacity(users.len());
        let mut objections = Vec::new();
        for (pipeline, running) in users {
            let before = known.written(&pipeline.name);
            let Some(components) = components(&pipeline, running.as_deref(), component, known)
            else {
                continue;
            };
            let planned = Plan::new(&pipeline, &components).and_then(|plan| match &before {
                Some(before) if comparing => plan.follows(before, &pipeline).map(|()| plan),
                _ => Ok(plan),
            });
            match planned {
                Ok(plan) => plans.push((pipeline, Arc::new(plan))),
                // One that does not run has no say beside others, unless it did run before the host started.
                Err(objection) if running.is_none() && (before.is_none() || !self.settles()) => {
                    // In a chain it may be another one that does not fit.
                    if pipeline.transforms.len() == 1 {
                        objections.push(objection);
                    }
                }
                Err(objection) => return Err(objection),
            }
        }
        if plans.is_empty() && !objections.is_empty() {
            return Err(objections.remove(0));
        }
        let outputs = plans
            .iter()
            .map(|(pipeline, plan)| (pipeline.name.clone(), plan.written().to_vec()))
            .collect();
        let step = plans.iter().find_map(|(_, plan)| {
            plan.steps.iter().find(|step| step.component.digest() == component.digest())
        });
        let version = step.map(|step| step.descriptor.version.clone());
        let (members, component) = (Arc::clone(&self.members), name.to_owned());
        let swap = move |generation| {
            let mut members = lock(&members);
            for (pipeline, plan) in plans {
                let Some(member) = members.get_mut(&pipeline.name) else { continue };
                // It may be another pipeline of the same name by now.
                if !Arc::ptr_eq(&member.pipeline, &pipeline) {
                    continue;
                }
                member.plan = Some(Arc::clone(&plan));
                let chosen = [(component.clone(), generation)].into();
                if let Some(running) = &member.supervised {
                    running.task(Task { plan: Some(plan), chosen, ..Task::default() });
                }
            }
        };
        Ok(Checked { version, outputs, swap: Box::new(swap) })
    }

    fn users(&self, component: &str) -> Vec<String> {
        let names = |(name, member): (&String, &Member)| {
            let mut transforms = member.pipeline.transforms.iter();
            transforms.any(|transform| transform.component == component).then(|| name.clone())
        };
        self.lock().iter().filter_map(names).collect()
    }

    fn blame(&self, component: &str, fault: Fault) -> Fault {
        let members = self.lock();
        let Some(member) = members.values().find(|member| member.follows(component)) else {
            return fault;
        };
        let transforms = &member.pipeline.transforms;
        let number = transforms.iter().position(|transform| transform.component == component);
        let number = number.unwrap_or_default().to_string();
        member.pipeline.written.blame(&["transforms", &number, "component"], fault)
    }
}

/// The components of a pipeline with a version of one of them; the others are those that it runs. `None` while another one is
/// not there.
fn components(
    pipeline: &config::Pipeline,
    running: Option<&Plan>,
    component: &Arc<Component>,
    known: &mut dyn Known,
) -> Option<Vec<Arc<Component>>> {
    let pick = |(number, transform): (usize, &config::Transform)| {
        if transform.component == component.name() && transform.digest.is_none() {
            return Some(Arc::clone(component));
        }
        match running {
            Some(plan) => plan.steps.get(number).map(|step| Arc::clone(&step.component)),
            None => known.pick(&transform.component, transform.digest.as_deref()).ok(),
        }
    };
    pipeline.transforms.iter().enumerate().map(pick).collect()
}

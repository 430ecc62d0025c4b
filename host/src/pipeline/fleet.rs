//! The pipelines of a host, as the registry sees them: who uses which component, and what each has against a version.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use futures::future::join_all;
use sha2::{Digest, Sha256};

use super::{plan::Plan, status::PipelineStatus, supervisor::Supervised};
use crate::{
    config,
    engine::Component,
    fault::Fault,
    registry::{Checked, Objection, Registry, Users},
};

/// The pipelines of a host.
#[derive(Debug)]
pub(super) struct Fleet {
    members: Arc<Mutex<Vec<Member>>>,
    /// What a version of each component is tried for.
    against: BTreeMap<String, String>,
}

/// A pipeline, with what runs of it.
#[derive(Debug)]
struct Member {
    pipeline: Arc<config::Pipeline>,
    /// Of the version that it runs, or ran last.
    plan: Option<Arc<Plan>>,
    running: Option<Supervised>,
}

/// A pipeline, and what it is to run.
pub(super) type Picked = (Arc<config::Pipeline>, Arc<Plan>);

impl Member {
    /// Whether it runs whatever version of the component is the current one.
    fn follows(&self, component: &str) -> bool {
        self.pipeline
            .transforms
            .iter()
            .any(|transform| transform.component == component && transform.digest.is_none())
    }
}

impl Fleet {
    pub(super) fn new(pipelines: Vec<config::Pipeline>) -> Self {
        let member = |pipeline| Member { pipeline: Arc::new(pipeline), plan: None, running: None };
        let members: Vec<_> = pipelines.into_iter().map(member).collect();
        let mut against = BTreeMap::<String, Sha256>::new();
        for config::Pipeline { name, source, transforms, outputs, dead_letters, .. } in
            members.iter().map(|member| &*member.pipeline)
        {
            for transform in transforms.iter().filter(|transform| transform.digest.is_none()) {
                let asked = (name, source.format, transform, outputs, dead_letters);
                let hash = against.entry(transform.component.clone()).or_default();
                hash.update(format!("{} {asked:?}", env!("CARGO_PKG_VERSION")));
            }
        }
        let short = |hash: Sha256| hex::encode(&hash.finalize()[..8]);
        let against = against.into_iter().map(|(name, hash)| (name, short(hash))).collect();
        Self { members: Arc::new(Mutex::new(members)), against }
    }

    /// Decides which version each pipeline is to run. With `keeping`, the registry writes down what comes of new files.
    ///
    /// # Errors
    /// The first pipeline's fault.
    pub(super) fn pick(&self, registry: &Registry, keeping: bool) -> Result<Vec<Picked>, Fault> {
        let pick = |pipeline: &config::Pipeline| {
            let transform = &pipeline.transforms[0];
            registry
                .pick(&transform.component, transform.digest.as_deref())
                .map_err(|fault| pipeline.written.blame(&["transforms", "0", "component"], fault))
        };
        let plan = |pipeline: &config::Pipeline| {
            let plan = Plan::new(pipeline, pick(pipeline)?).map_err(|objection| objection.fault)?;
            Ok::<_, Fault>(Arc::new(plan))
        };
        let pipelines: Vec<_> =
            self.lock().iter().map(|member| Arc::clone(&member.pipeline)).collect();
        // What ran before the host ended is what a new file is compared with; there may be nothing.
        let before: Vec<_> = pipelines.iter().map(|pipeline| plan(pipeline).ok()).collect();
        self.lock().iter_mut().zip(before).for_each(|(member, plan)| member.plan = plan);
        registry.settle(self, keeping)?;
        let plans: Vec<_> =
            pipelines.iter().map(|pipeline| plan(pipeline)).collect::<Result<_, _>>()?;
        Ok(pipelines.into_iter().zip(plans).collect())
    }

    /// A pipeline runs.
    pub(super) fn started(&self, name: &str, plan: Arc<Plan>, running: Supervised) {
        if let Some(member) = self.lock().iter_mut().find(|member| member.pipeline.name == name) {
            (member.plan, member.running) = (Some(plan), Some(running));
        }
    }

    /// What each pipeline is doing.
    pub(super) fn status(&self) -> Vec<PipelineStatus> {
        let members = self.lock();
        members.iter().filter_map(|member| Some(member.running.as_ref()?.status())).collect()
    }

    /// The pipelines that name a component, pinned or not.
    pub(super) fn users(&self, component: &str) -> Vec<String> {
        let names = |member: &Member| {
            let mut transforms = member.pipeline.transforms.iter();
            transforms
                .any(|transform| transform.component == component)
                .then(|| member.pipeline.name.clone())
        };
        self.lock().iter().filter_map(names).collect()
    }

    /// Drains all pipelines at the same time; the first fault.
    pub(super) async fn drain(&self, timeout: Duration) -> Result<(), Fault> {
        let running: Vec<_> =
            self.lock().iter_mut().filter_map(|member| member.running.take()).collect();
        let drains = running.into_iter().map(|running| running.drain(timeout));
        join_all(drains).await.into_iter().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Member>> {
        lock(&self.members)
    }
}

fn lock(members: &Mutex<Vec<Member>>) -> MutexGuard<'_, Vec<Member>> {
    members.lock().expect("nothing panics while it holds this lock")
}

impl Users for Fleet {
    fn against(&self, component: &str) -> String {
        self.against.get(component).cloned().unwrap_or_default()
    }

    fn check(&self, component: &Arc<Component>, comparing: bool) -> Result<Checked, Objection> {
        let users: Vec<_> = self
            .lock()
            .iter()
            .filter(|member| member.follows(component.name()))
            .map(|member| (Arc::clone(&member.pipeline), member.plan.clone()))
            .collect();
        let mut plans = Vec::with_capacity(users.len());
        for (pipeline, before) in users {
            let plan = Plan::new(&pipeline, Arc::clone(component))?;
            if let Some(before) = before.filter(|_| comparing) {
                plan.follows(&before, &pipeline)?;
            }
            plans.push((pipeline, Arc::new(plan)));
        }
        let version = plans.first().map(|(_, plan)| plan.descriptor.version.clone());
        let members = Arc::clone(&self.members);
        let swap = move |generation| {
            let mut members = lock(&members);
            for (pipeline, plan) in plans {
                let Some(member) =
                    members.iter_mut().find(|member| member.pipeline.name == pipeline.name)
                else {
                    continue;
                };
                member.plan = Some(Arc::clone(&plan));
                if let Some(running) = &member.running {
                    running.swap(plan, generation);
                }
            }
        };
        Ok(Checked { version: version.unwrap_or_default(), swap: Box::new(swap) })
    }

    fn blame(&self, component: &str, fault: Fault) -> Fault {
        match self.lock().iter().find(|member| member.follows(component)) {
            Some(member) => member.pipeline.written.blame(&["transforms", "0", "component"], fault),
            None => fault,
        }
    }
}

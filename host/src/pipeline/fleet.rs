//! The pipelines of a host, as the registry sees them: who uses which component, and what each has against a version.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use futures::future::join_all;
use sha2::{Digest, Sha256};

use super::{
    plan::{Plan, objection},
    status::PipelineStatus,
    supervisor::Supervised,
};
use crate::{
    config,
    engine::{Component, GuestContext},
    fault::{Blame, Fault},
    registry::{Checked, Objection, Registry, Users},
    schema::Output,
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
    /// What the version writes that it runs, or ran last.
    before: Before,
    running: Option<Supervised>,
}

/// What a newer version is compared with.
#[derive(Clone, Debug)]
enum Before {
    /// Nothing was written yet.
    Nothing,
    /// The outputs of the version before.
    Rows(Vec<Output>),
    /// There is a version before, and it can't be told what it wrote.
    Unknown(String),
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
        let member = |pipeline| Member {
            pipeline: Arc::new(pipeline),
            before: Before::Nothing,
            running: None,
        };
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
        // What ran before the host ended is what a new file is compared with.
        let before: Vec<_> = pipelines
            .iter()
            .map(|pipeline| before(registry, pipeline))
            .collect::<Result<_, _>>()?;
        self.lock().iter_mut().zip(before).for_each(|(member, before)| member.before = before);
        registry.settle(self, keeping)?;
        let plans: Vec<_> =
            pipelines.iter().map(|pipeline| plan(pipeline)).collect::<Result<_, _>>()?;
        Ok(pipelines.into_iter().zip(plans).collect())
    }

    /// A pipeline runs.
    pub(super) fn started(&self, name: &str, plan: &Plan, running: Supervised) {
        if let Some(member) = self.lock().iter_mut().find(|member| member.pipeline.name == name) {
            (member.before, member.running) = (Before::rows(plan), Some(running));
        }
    }

    /// What each pipeline is doing.
    pub(super) fn status(&self) -> Vec<PipelineStatus> {
        let members = self.lock();
        members.iter().filter_map(|member| Some(member.running.as_ref()?.status())).collect()
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

impl Before {
    fn rows(plan: &Plan) -> Self {
        Self::Rows(plan.descriptor.outputs.clone())
    }
}

/// What the current version of a pipeline's component wrote for it: as the log has it, or as the version says itself.
fn before(registry: &Registry, pipeline: &config::Pipeline) -> Result<Before, Fault> {
    let transform = &pipeline.transforms[0];
    let name = &transform.component;
    if transform.digest.is_some() || registry.current(name).is_none() {
        return Ok(Before::Nothing);
    }
    if let Some(outputs) = registry.written(name, &pipeline.name) {
        return Ok(Before::Rows(outputs));
    }
    let context = GuestContext { pipeline: pipeline.name.clone() };
    let component = registry.pick(name, None)?;
    match component.probe(&context, &transform.config, &transform.limits) {
        Ok(descriptor) => Ok(Before::Rows(descriptor.outputs)),
        Err(fault) if matches!(fault.blame, Blame::Outside | Blame::Bug) => Err(fault),
        Err(fault) => Ok(Before::Unknown(fault.to_string())),
    }
}

/// A version whose rows can't be compared with what is there.
fn incomparable(pipeline: &config::Pipeline, why: &str) -> Objection {
    let text = format!("its rows can't be compared with those that are there: {why}");
    let fault = Fault::transform(text)
        .code("SCHEMA_UNKNOWN")
        .help("if they fit, pin it: `component: NAME@sha256:…` is not compared");
    objection(pipeline, &["transforms", "0", "component"], fault)
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
            .map(|member| (Arc::clone(&member.pipeline), member.before.clone()))
            .collect();
        let mut plans = Vec::with_capacity(users.len());
        for (pipeline, before) in users {
            let plan = Plan::new(&pipeline, Arc::clone(component))?;
            match before {
                Before::Rows(before) if comparing => plan.follows(&before, &pipeline)?,
                Before::Unknown(why) if comparing => return Err(incomparable(&pipeline, &why)),
                _ => {}
            }
            plans.push((pipeline, Arc::new(plan)));
        }
        let outputs = plans
            .iter()
            .map(|(pipeline, plan)| (pipeline.name.clone(), plan.descriptor.outputs.clone()))
            .collect();
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
                member.before = Before::rows(&plan);
                if let Some(running) = &member.running {
                    running.swap(plan, generation);
                }
            }
        };
        Ok(Checked { version: version.unwrap_or_default(), outputs, swap: Box::new(swap) })
    }

    fn users(&self, component: &str) -> Vec<String> {
        let names = |member: &Member| {
            let mut transforms = member.pipeline.transforms.iter();
            transforms
                .any(|transform| transform.component == component)
                .then(|| member.pipeline.name.clone())
        };
        self.lock().iter().filter_map(names).collect()
    }

    fn blame(&self, component: &str, fault: Fault) -> Fault {
        match self.lock().iter().find(|member| member.follows(component)) {
            Some(member) => member.pipeline.written.blame(&["transforms", "0", "component"], fault),
            None => fault,
        }
    }
}

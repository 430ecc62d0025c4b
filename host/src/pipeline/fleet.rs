//! The pipelines of a host: what each is, what it runs, and what it has against a version of a component.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crossbeam_channel::{Sender, unbounded};
use futures::future::join_all;
use tokio::{sync::oneshot, task::JoinHandle};

use super::{
    changes::Change,
    plan::Plan,
    prepare::{Prepared, prepare},
    running::Surroundings,
    status::{Origin, PipelineStatus, Refused},
    supervisor::Supervised,
    task::{Planner, Task},
};
use crate::{
    config,
    events::What,
    fault::{Blame, Fault},
    registry::{Held, Registry, Wish},
};

/// The pipelines of a host.
pub(super) struct Fleet {
    me: Weak<Self>,
    pub around: Surroundings,
    pub registry: Arc<Registry>,
    pub members: Arc<Mutex<Members>>,
    /// Definitions that no member has: by the file's or the pipeline's name.
    pub strays: Mutex<BTreeMap<String, Refused>>,
    /// Whether the files in the folder of components are tried as they lie there.
    settling: AtomicBool,
    /// Whether the host ends: nothing is started any more.
    ending: AtomicBool,
    /// Pipelines that were taken out and still commit what they hold.
    leaving: Mutex<Vec<JoinHandle<()>>>,
}

/// By name.
pub(super) type Members = BTreeMap<String, Member>;

/// A pipeline, with what runs of it.
#[derive(Debug)]
pub(super) struct Member {
    pub pipeline: Arc<config::Pipeline>,
    pub origin: Origin,
    wish: Wish,
    /// What it runs, or is to run; none before it could be planned.
    pub plan: Option<Arc<Plan>>,
    /// Why its newest definition is not what runs.
    pub refused: Option<String>,
    pub supervised: Option<Supervised>,
}

/// A pipeline, what it needs, and what it would run.
pub(super) type Planned = (Arc<config::Pipeline>, Prepared, Arc<Plan>);

/// What became of a definition.
#[derive(Debug)]
pub(super) enum Taken {
    /// There was no pipeline of this name.
    Created,
    /// What changed; nothing, if it says what the one before said. And what a person should know of it.
    Changed(Vec<Change>, Vec<String>),
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet").field("members", &self.members).finish_non_exhaustive()
    }
}

impl Member {
    /// Whether it runs whatever version of the component is the current one.
    pub(super) fn follows(&self, component: &str) -> bool {
        self.pipeline
            .transforms
            .iter()
            .any(|transform| transform.component == component && transform.digest.is_none())
    }

    fn status(&self) -> Option<PipelineStatus> {
        let status = self.supervised.as_ref()?.status();
        let (origin, refused) = (self.origin.clone(), self.refused.clone());
        Some(PipelineStatus { origin, refused, ..status })
    }
}

impl Fleet {
    pub(super) fn new(around: Surroundings, registry: Arc<Registry>) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            around,
            registry,
            members: Arc::default(),
            strays: Mutex::default(),
            settling: AtomicBool::new(true),
            ending: AtomicBool::new(false),
            leaving: Mutex::default(),
        })
    }

    /// Adds a pipeline that does not start yet. Whether there was none of its name.
    pub(super) fn add(&self, pipeline: config::Pipeline, origin: Origin, wish: Wish) -> bool {
        let mut members = self.lock();
        if members.contains_key(&pipeline.name) {
            return false;
        }
        let (name, pipeline) = (pipeline.name.clone(), Arc::new(pipeline));
        let (plan, refused, supervised) = (None, None, None);
        let member = Member { pipeline, origin, wish, plan, refused, supervised };
        members.insert(name, member);
        self.around.pipelines.store(members.len(), Ordering::Relaxed);
        true
    }

    /// Starts all pipelines, and waits until one runs, or all have tried: then the first one's fault, if there is one.
    pub(super) fn start(&self) -> Result<(), Fault> {
        let (first, firsts) = unbounded();
        for name in self.names() {
            self.launch(&name, Task::default(), first.clone())?;
        }
        drop(first);
        let mut failed = BTreeMap::new();
        let mut runs = false;
        while !runs && let Ok((name, fault)) = firsts.recv() {
            match fault {
                Some(fault) => drop(failed.insert(name, fault)),
                // Those that have not tried yet may wait for brokers that do not answer.
                None => runs = true,
            }
        }
        self.settling.store(false, Ordering::Release);
        // What is registered in the store can only be mended over the API of a host that runs, and what is outside may mend
        // itself.
        let registered = self.lock().values().any(|member| member.origin == Origin::Api);
        let may_pass = failed.values().any(|fault| fault.retry && fault.blame == Blame::Outside);
        match failed.pop_first().filter(|_| !runs && !registered && !may_pass) {
            Some((_, fault)) => Err(fault),
            None => Ok(()),
        }
    }

    pub(super) fn launch(
        &self,
        name: &str,
        task: Task,
        first: Sender<(String, Option<Fault>)>,
    ) -> Result<(), Fault> {
        let mut members = self.lock();
        // Told while the members are locked: a drain takes all of them, or comes later.
        self.goes_on()?;
        let Some(member) = members.get_mut(name) else { return Ok(()) };
        let planner: Weak<dyn Planner> = Weak::<Self>::clone(&self.me);
        let task = Task { desired: Some(member.wish.desired), ..task };
        let pipeline = Arc::clone(&member.pipeline);
        let started = Supervised::start(&self.around, planner, pipeline, task, first)?;
        member.supervised = Some(started);
        Ok(())
    }

    /// Plans every pipeline, and does not start it: what each would run.
    ///
    /// # Errors
    /// The first pipeline's fault.
    pub(super) fn validate(&self) -> Result<Vec<Planned>, Fault> {
        let pipelines: Vec<_> =
            self.lock().values().map(|member| Arc::clone(&member.pipeline)).collect();
        let validate = |pipeline: Arc<config::Pipeline>| {
            self.compile(&pipeline);
            let plan = self.plan(&mut self.registry.hold(), &pipeline, false)?;
            let prepared = prepare(&self.around.host, &pipeline, &self.around.runtime)?;
            Ok((pipeline, prepared, plan))
        };
        pipelines.into_iter().map(validate).collect()
    }

    /// Has a pipeline run, pause or stop. Whether there is such a pipeline.
    pub(super) fn desire(&self, name: &str, wish: Wish) -> bool {
        let mut members = self.lock();
        let Some(member) = members.get_mut(name) else { return false };
        if let Some(running) = &member.supervised {
            // Also when it is to do what it does: one that failed is started again by it.
            running.task(Task { desired: Some(wish.desired), ..Task::default() });
        }
        member.wish = wish;
        true
    }

    /// Forgets a pipeline; what runs of it is to be [ended](Self::end).
    pub(super) fn take_out(&self, name: &str) -> Option<Supervised> {
        let mut members = self.lock();
        let member = members.remove(name);
        self.around.pipelines.store(members.len(), Ordering::Relaxed);
        member?.supervised
    }

    /// Drains a pipeline that was taken out, while others change. The answer ends when that is done.
    pub(super) fn end(&self, running: Option<Supervised>) -> oneshot::Receiver<()> {
        let (done, ended) = oneshot::channel();
        let Some(running) = running else { return ended };
        let (pipeline, timeout) = (running.status().name, self.around.host.drain_timeout);
        let events = self.around.events.clone();
        let leave = async move {
            if let Err(fault) = running.drain(timeout).await {
                tracing::warn!(pipeline, "removed before all was committed: {fault}");
            }
            events.tell(What::Removed { pipeline });
            drop(done);
        };
        let mut leaving = self.leaving.lock().expect("nothing panics while it holds this lock");
        leaving.retain(|leaving| !leaving.is_finished());
        leaving.push(self.around.runtime.spawn(leave));
        ended
    }

    /// Whether something may still be changed.
    ///
    /// # Errors
    /// The host ends.
    pub(super) fn goes_on(&self) -> Result<(), Fault> {
        if !self.ending.load(Ordering::Acquire) {
            return Ok(());
        }
        Err(Fault::outside("the host is draining")
            .code("DRAINING")
            .help("ask another host, or this one when it runs again"))
    }

    /// What each pipeline is doing.
    pub(super) fn status(&self) -> Vec<PipelineStatus> {
        self.lock().values().filter_map(Member::status).collect()
    }

    /// What a pipeline is doing, and its definition as it is written.
    pub(super) fn described(&self, name: &str) -> Option<(PipelineStatus, config::Written)> {
        let members = self.lock();
        let member = members.get(name)?;
        Some((member.status()?, member.pipeline.written.clone()))
    }

    /// Where a pipeline is defined, whether it could be planned, and what it is to do.
    pub(super) fn known(&self, name: &str) -> Option<(Origin, bool, Wish)> {
        let members = self.lock();
        let member = members.get(name)?;
        Some((member.origin.clone(), member.plan.is_some(), member.wish))
    }

    /// All pipelines.
    pub(super) fn names(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    /// Drains all pipelines at the same time, and starts none any more; the first fault.
    pub(super) async fn drain(&self, timeout: Duration) -> Result<(), Fault> {
        let running: Vec<_> = {
            let members = self.lock();
            self.ending.store(true, Ordering::Release);
            // They are shown until the end.
            members.values().filter_map(|member| member.supervised.clone()).collect()
        };
        let drains = running.into_iter().map(|running| running.drain(timeout));
        let drained = join_all(drains).await.into_iter().collect();
        let leaving = std::mem::take(
            &mut *self.leaving.lock().expect("nothing panics while it holds this lock"),
        );
        // Each has its own timeout, and has said what is wrong.
        join_all(leaving).await;
        drained
    }

    /// Has the components of a pipeline compiled before somebody holds the registry to try them.
    pub(super) fn compile(&self, pipeline: &config::Pipeline) {
        let transforms = pipeline.transforms.iter();
        self.registry.compile_for(
            transforms.map(|transform| (transform.component.as_str(), transform.digest.as_deref())),
        );
    }

    /// What a pipeline is to run. With `keeping`, the log learns of new files of its components.
    pub(super) fn plan(
        &self,
        held: &mut Held<'_>,
        pipeline: &config::Pipeline,
        keeping: bool,
    ) -> Result<Arc<Plan>, Fault> {
        let followed: BTreeSet<&str> = pipeline
            .transforms
            .iter()
            .filter(|transform| transform.digest.is_none())
            .map(|transform| transform.component.as_str())
            .collect();
        // A host that runs keeps what comes into the folder, whoever looks at it first.
        let starting = self.settles();
        held.settle(self, &followed, keeping || !starting, starting)?;
        let pick = |(number, transform): (usize, &config::Transform)| {
            let path = ["transforms", &number.to_string(), "component"];
            held.pick(&transform.component, transform.digest.as_deref())
                .map_err(|fault| pipeline.written.blame(&path, fault))
        };
        let components: Vec<_> =
            pipeline.transforms.iter().enumerate().map(pick).collect::<Result<_, _>>()?;
        let plan = Plan::new(pipeline, &components).map_err(|objection| *objection.fault)?;
        // Whoever pins a build says that its rows fit.
        let pins = pipeline.transforms.iter().any(|transform| transform.digest.is_some());
        if let Some(before) = held.written(&pipeline.name).filter(|_| !pins) {
            plan.follows(&before, pipeline).map_err(|objection| *objection.fault)?;
        }
        Ok(Arc::new(plan))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Members> {
        lock(&self.members)
    }

    /// Whether the host is starting.
    pub(super) fn settles(&self) -> bool {
        self.settling.load(Ordering::Acquire)
    }
}

impl Planner for Fleet {
    fn ready(&self, pipeline: &Arc<config::Pipeline>) -> Result<(Prepared, Arc<Plan>), Fault> {
        self.compile(pipeline);
        let plan = {
            let mut held = self.registry.hold();
            let plan = self.plan(&mut held, pipeline, true)?;
            let mut members = self.lock();
            let member = members.get_mut(&pipeline.name);
            // Not of a definition that has been replaced meanwhile.
            if let Some(member) = member.filter(|member| Arc::ptr_eq(&member.pipeline, pipeline)) {
                member.plan = Some(Arc::clone(&plan));
            }
            plan
        };
        let prepared = prepare(&self.around.host, pipeline, &self.around.runtime)?;
        let mut held = self.registry.hold();
        // Another version may have come while the brokers were asked.
        let is_newest = self.lock().get(&pipeline.name).and_then(|member| member.plan.clone());
        if !is_newest.is_some_and(|newest| Arc::ptr_eq(&newest, &plan)) {
            return Err(Fault::outside("its components changed while it was prepared"));
        }
        held.write(&pipeline.name, plan.written(), &plan.components())?;
        Ok((prepared, plan))
    }

    fn withdraw(&self, component: &str, from: &str, to: &str, why: &Fault) -> Result<(), Fault> {
        self.registry.hold().withdraw(self, component, from, to, why)
    }
}

pub(super) fn lock(members: &Mutex<Members>) -> MutexGuard<'_, Members> {
    members.lock().expect("nothing panics while it holds this lock")
}

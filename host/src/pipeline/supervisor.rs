//! Keeps a pipeline doing what it is to do: starts it, swaps other versions and settings in, pauses, stops and drains it, and
//! starts it again, later and later, when it failed for a reason that may pass.
//!
//! A run that failed leaves its group at once, so that other replicas take its lanes over. Nothing of it has to be
//! mended: what it had not committed is read again.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender, after, bounded, never, select};
use tokio::sync::oneshot;

use super::{
    control::{Mailbox, Swapped},
    plan::Plan,
    prepare::Prepared,
    running::{Running, Surroundings},
    shared::Shared,
    status::{PipelineStatus, RunningTransform},
    swapping::Swapping,
    task::{Planner, Task},
};
use crate::{
    commit::manifest::TransformId,
    config,
    fault::{Blame, Fault},
    registry::Desired,
};

/// The wait before the first new start; it doubles with each start that commits nothing.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// The wait before a version is tried again of which no instance could be made.
const SWAP_AGAIN: Duration = Duration::from_secs(1);
/// After so many attempts, one after the other, it is given up.
const SWAPS: u32 = 5;

/// A pipeline and the thread that looks after it.
#[derive(Clone, Debug)]
pub(super) struct Supervised {
    /// Of the newest run.
    shared: Arc<Mutex<Arc<Shared>>>,
    drains: Sender<Drain>,
    tasks: Arc<Mailbox<Task>>,
    /// There is something in `tasks`.
    wake: Sender<()>,
}

#[derive(Debug)]
struct Drain {
    timeout: Duration,
    answer: oneshot::Sender<Result<(), Fault>>,
}

/// What the thread has.
struct Supervisor {
    around: Surroundings,
    planner: Weak<dyn Planner>,
    pipeline: Arc<config::Pipeline>,
    /// What it needs and what it runs, once that is known.
    ready: Option<(Prepared, Arc<Plan>)>,
    desired: Desired,
    newest: Arc<Mutex<Arc<Shared>>>,
    shared: Arc<Shared>,
    alarms: Receiver<()>,
    running: Option<Running>,
    tasks: Arc<Mailbox<Task>>,
    swapping: Option<Swapping>,
    /// Attempts to go over that failed, one after the other.
    failed_swaps: u32,
    started: Instant,
    /// Starts one after the other that committed nothing.
    attempts: u32,
    /// Why it does not run.
    failure: Option<Fault>,
    /// Tells when to start again.
    start_again: Receiver<Instant>,
    /// Tells when to try again to go over.
    swap_again: Receiver<Instant>,
    /// For components that it is to go over to, how often a version was chosen.
    chosen: BTreeMap<String, u64>,
}

impl Supervised {
    /// Starts looking after a pipeline. `first` is told its name, and the fault of the first start, if it had one.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(super) fn start(
        around: &Surroundings,
        planner: Weak<dyn Planner>,
        pipeline: Arc<config::Pipeline>,
        task: Task,
        first: Sender<(String, Option<Fault>)>,
    ) -> Result<Self, Fault> {
        let (shared, alarms) = Shared::new(&pipeline.name, around.events.clone());
        let newest = Arc::new(Mutex::new(Arc::clone(&shared)));
        let (drains, drained) = bounded(1);
        let (wake, woken) = bounded(1);
        let tasks = Arc::<Mailbox<Task>>::default();
        let desired = task.desired.unwrap_or_default();
        shared.desired(desired);
        let mut supervisor = Supervisor {
            around: around.clone(),
            planner,
            pipeline,
            ready: task.prepared.zip(task.plan),
            desired,
            newest: Arc::clone(&newest),
            shared,
            alarms,
            running: None,
            tasks: Arc::clone(&tasks),
            swapping: None,
            failed_swaps: 0,
            started: Instant::now(),
            attempts: 0,
            failure: None,
            start_again: never(),
            swap_again: never(),
            chosen: task.chosen,
        };
        let guard = Guard(Arc::clone(&newest));
        let run = move || {
            let _guard = guard;
            supervisor.start();
            let failure = supervisor.failure.as_ref().map(Fault::copy);
            // Nobody may wait for it.
            first.send((supervisor.pipeline.name.clone(), failure)).ok();
            drop(first);
            supervisor.run(&drained, &woken);
        };
        thread::Builder::new()
            .name("supervisor".to_owned())
            .spawn(run)
            .map_err(|error| Fault::outside("start a thread").caused_by(error).permanent())?;
        Ok(Self { shared: newest, drains, tasks, wake })
    }

    /// Has it do something else from now on. It was tried before. Of several tasks, the newest counts.
    pub(super) fn task(&self, task: Task) {
        self.tasks.put_over(|before| task.over(before.unwrap_or_default()));
        // One wake-up is enough for all that comes before it is heard.
        self.wake.try_send(()).ok();
    }

    pub(super) fn status(&self) -> PipelineStatus {
        self.shared.lock().expect("nothing panics while it holds this lock").status()
    }

    /// Flushes, commits, claims, and leaves the group.
    ///
    /// # Errors
    /// When the pipeline has failed, or not all is committed in time: what is missing is read again at the next start.
    pub(super) async fn drain(self, timeout: Duration) -> Result<(), Fault> {
        let name = self.status().name;
        let gone = || Fault::bug(format!("the supervisor of pipeline {name} is gone"));
        let (answer, answered) = oneshot::channel();
        self.drains.try_send(Drain { timeout, answer }).map_err(|_| gone())?;
        // A thread that waits for the store or the brokers does not hear of it.
        match tokio::time::timeout(timeout, answered).await {
            Ok(answer) => answer.map_err(|_| gone())?,
            Err(_) => Err(late(&name, timeout)),
        }
    }
}

/// Shows that nobody looks after a pipeline any more.
struct Guard(Arc<Mutex<Arc<Shared>>>);

impl Drop for Guard {
    fn drop(&mut self) {
        if thread::panicking() {
            let newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            newest.stopped(&Fault::bug("the supervisor panicked: the log has the place"));
        }
    }
}

/// The fault of a drain that took too long.
pub(super) fn late(pipeline: &str, timeout: Duration) -> Fault {
    let text = format!("pipeline {pipeline} did not commit its last flush within {timeout:?}");
    Fault::outside(text).help("nothing is lost: it is read again at the next start")
}

impl Supervisor {
    fn run(mut self, drains: &Receiver<Drain>, woken: &Receiver<()>) {
        loop {
            let (alarms, start, swap) =
                (self.alarms.clone(), self.start_again.clone(), self.swap_again.clone());
            let dones =
                self.swapping.as_ref().map_or_else(never, |swapping| swapping.dones.clone());
            select! {
                recv(drains) -> drain => {
                    // Without a drain the host itself is gone.
                    if let Ok(Drain { timeout, answer }) = drain {
                        answer.send(self.drain(timeout)).ok();
                    }
                    return;
                }
                recv(alarms) -> alarm => {
                    let wait = alarm.ok().and_then(|()| self.failed());
                    self.start_again = wait.map_or_else(never, after);
                }
                recv(start) -> _ => self.start(),
                recv(woken) -> _ => self.take_task(),
                recv(swap) -> _ => self.swap(),
                recv(dones) -> done => self.swapped(done.ok()),
            }
        }
    }

    /// Does what it is told.
    fn take_task(&mut self) {
        let Some(Task { pipeline, prepared, plan, chosen, desired }) = self.tasks.take() else {
            return;
        };
        let before = Arc::clone(&self.pipeline);
        let runs = self.ready.as_ref().map(|(_, plan)| Arc::clone(&plan.transforms));
        let is_other = pipeline.is_some();
        let differs =
            is_other || plan.as_ref().is_some_and(|plan| runs.as_ref() != Some(&plan.transforms));
        self.pipeline = pipeline.unwrap_or_else(|| Arc::clone(&before));
        self.ready = match (self.ready.take(), prepared, plan) {
            (_, Some(prepared), Some(plan)) => Some((prepared, plan)),
            // Another definition has to be planned first.
            _ if is_other => None,
            (Some((prepared, _)), None, Some(plan)) => Some((prepared, plan)),
            (ready, ..) => ready,
        };
        self.chosen.extend(chosen);
        self.desired = desired.unwrap_or(self.desired);
        self.shared.desired(self.desired);
        let Some(running) = self.running.as_ref().filter(|_| self.desired != Desired::Stopped)
        else {
            self.end_run();
            self.without_a_run();
            self.attempts = 0;
            return self.start();
        };
        running.pause(self.desired == Desired::Paused);
        if self.ready.is_none() || moves(&before, &self.pipeline) {
            self.end_run();
            self.without_a_run();
            self.start();
        } else if differs {
            self.swap();
        }
    }

    /// Tells of other versions that no worker goes over to, since none works.
    fn without_a_run(&mut self) {
        let Some((_, plan)) = &self.ready else { return };
        let (shown, chosen) = (self.shared.status().transforms, std::mem::take(&mut self.chosen));
        let swapping = Swapping::new(shown, Arc::clone(plan), chosen, 0, never());
        self.went_over(swapping);
    }

    /// Starts a run, if it is to run.
    fn start(&mut self) {
        self.start_again = never();
        if self.desired == Desired::Stopped {
            return self.rest();
        }
        (self.shared, self.alarms) = self.shared.again();
        *self.newest.lock().expect("nothing panics while it holds this lock") =
            Arc::clone(&self.shared);
        self.started = Instant::now();
        match self.get_ready().and_then(|()| self.begin()) {
            Ok(running) => {
                tracing::info!(pipeline = self.pipeline.name, "the pipeline runs");
                self.shared.started(running.workers());
                (self.running, self.failure) = (Some(running), None);
            }
            Err(fault) => {
                let (pipeline, help) = (&self.pipeline.name, fault.help.as_deref());
                tracing::error!(pipeline, help, "cannot start: {fault}");
                self.start_again = self.after(fault).map_or_else(never, after);
            }
        }
    }

    /// Finds out what it needs and runs, if that is not known yet.
    fn get_ready(&mut self) -> Result<(), Fault> {
        if self.ready.is_none() {
            let planner =
                self.planner.upgrade().ok_or_else(|| Fault::outside("the host is ending"))?;
            self.ready = Some(planner.ready(&self.pipeline)?);
        }
        Ok(())
    }

    fn begin(&self) -> Result<Running, Fault> {
        let Some((prepared, plan)) = &self.ready else {
            return Err(Fault::bug("a pipeline starts before it is ready"));
        };
        self.shared.runs(transforms(plan));
        let (shared, paused) = (Arc::clone(&self.shared), self.desired == Desired::Paused);
        Running::start(&self.around, &self.pipeline, prepared, plan, paused, shared)
    }

    /// Has the run go over to what is planned.
    fn swap(&mut self) {
        self.swap_again = never();
        let (Some(running), Some((_, plan))) = (&self.running, &self.ready) else { return };
        // What some workers have not done yet, they leave out.
        let before = self.swapping.take();
        match running.swap(&self.pipeline, plan) {
            Ok(dones) => {
                self.failed_swaps = 0;
                let shown = self.shared.status().transforms;
                let (workers, chosen) = (running.workers(), std::mem::take(&mut self.chosen));
                let next = Swapping::new(shown, Arc::clone(plan), chosen, workers, dones);
                self.swapping = Some(next.after(before));
            }
            Err(fault) => {
                let name = &self.pipeline.name;
                tracing::warn!(pipeline = name, "cannot swap, trying on: {fault}");
                self.swapping = before;
                self.swap_again = after(SWAP_AGAIN);
                self.failed_swaps += 1;
                if self.failed_swaps >= SWAPS && fault.blame == Blame::Transform {
                    self.failed_swaps = 0;
                    self.withdraw(&fault);
                }
            }
        }
    }

    /// Gives up what it can't go over to: the version that runs is the current one again.
    fn withdraw(&self, why: &Fault) {
        let (Some(planner), Some((_, plan))) = (self.planner.upgrade(), &self.ready) else {
            return;
        };
        let runs = self.shared.status().transforms;
        for (new, old) in plan.transforms.iter().zip(&runs) {
            if new.name != old.component || new.sha256 == old.digest {
                continue;
            }
            if let Err(fault) = planner.withdraw(&new.name, &new.sha256, &old.digest, why) {
                let component = &new.name;
                tracing::warn!(component, "cannot go back to the version before: {fault}");
            }
        }
    }

    /// A worker went over to what is planned. `None` when no other will.
    fn swapped(&mut self, done: Option<Swapped>) {
        let Some(mut swapping) = self.swapping.take() else { return };
        let Some(done) = done else { return };
        if swapping.one(done) {
            self.went_over(swapping);
        } else {
            self.swapping = Some(swapping);
        }
    }

    fn went_over(&self, swapping: Swapping) {
        self.shared.runs(transforms(&swapping.plan));
        for what in swapping.told(&self.pipeline.name) {
            self.around.events.tell(what);
        }
    }

    fn drain(&mut self, timeout: Duration) -> Result<(), Fault> {
        match self.running.take() {
            Some(running) => running.drain(timeout),
            None => self.failure.take().map_or(Ok(()), Err),
        }
    }

    /// Ends the run as well as that goes: what it can't commit in time is read again.
    fn end_run(&mut self) {
        self.finish_swap();
        let Some(running) = self.running.take() else { return };
        if let Err(fault) = running.drain(self.around.host.drain_timeout) {
            tracing::warn!(
                pipeline = self.pipeline.name,
                "ended before all was committed: {fault}"
            );
        }
    }

    /// Ends the run, since a person wants it to do nothing.
    fn rest(&mut self) {
        self.end_run();
        (self.start_again, self.failure, self.attempts) = (never(), None, 0);
        self.shared.rests();
    }

    /// The next run begins with what this one was going over to.
    fn finish_swap(&mut self) {
        if let Some(swapping) = self.swapping.take() {
            self.went_over(swapping);
        }
    }

    /// Ends a run that failed; how long to wait before the next one, if another can help.
    fn failed(&mut self) -> Option<Duration> {
        if let Some(running) = self.running.take() {
            running.abandon();
        }
        self.finish_swap();
        if self.shared.last_commit() < self.started.elapsed() {
            self.attempts = 0;
        }
        let fault = self.shared.take_fault()?;
        self.after(fault)
    }

    /// Shows why nothing flows; how long to wait before the next start, if another can help. What keeps it from getting ready
    /// may be mended at any time: a topic is made, a component comes.
    fn after(&mut self, fault: Fault) -> Option<Duration> {
        let again = fault.retry || self.ready.is_none();
        if self.ready.is_none() {
            self.shared.unprepared(&fault);
        } else {
            self.shared.stopped(&fault);
        }
        self.failure = Some(fault);
        if !again {
            return None;
        }
        let wait = wait(self.attempts, rand::random_range(0.5..1.0));
        self.attempts += 1;
        tracing::warn!(pipeline = self.pipeline.name, ?wait, "the pipeline starts again");
        Some(wait)
    }
}

/// Whether a pipeline reads or writes elsewhere: then a run can't go over to it.
fn moves(before: &config::Pipeline, after: &config::Pipeline) -> bool {
    before.source != after.source || before.kafka != after.kafka || before.store != after.store
}

/// What a run of it runs.
fn transforms(plan: &Plan) -> Vec<RunningTransform> {
    let transform = |transform: &TransformId| RunningTransform {
        component: transform.name.clone(),
        digest: transform.sha256.clone(),
        version: transform.version.clone(),
    };
    plan.transforms.iter().map(transform).collect()
}

/// How long to wait after so many starts that came to nothing. `share` keeps pipelines that failed together apart.
fn wait(attempts: u32, share: f64) -> Duration {
    let whole = (FIRST_WAIT * 2_u32.pow(attempts.min(10))).min(MAX_WAIT).mul_f64(share);
    Duration::from_millis(u64::try_from(whole.as_millis()).expect("a minute has few milliseconds"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_minute() {
        let waits: Vec<_> = [0, 1, 2, 10, 99].map(|n| wait(n, 1.0).as_secs()).into();
        assert_eq!(waits, [1, 2, 4, 60, 60]);
        assert_eq!(wait(1, 0.5), Duration::from_secs(1));
    }
}

//! Keeps a pipeline running: what fails for a reason that may pass is started again, later and later.
//!
//! A run that failed leaves its group at once, so that other replicas take its lanes over. Nothing of it has to be
//! mended: what it had not committed is read again.

use std::{
    sync::{Arc, Mutex},
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
    status::{PipelineStatus, RunningTransform, Shared},
};
use crate::{
    commit::manifest::TransformId,
    config,
    events::{Cut, What},
    fault::Fault,
};

/// The wait before the first new start; it doubles with each start that commits nothing.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// The wait before a version is tried again of which no instance could be made.
const SWAP_AGAIN: Duration = Duration::from_secs(1);

/// A pipeline and the thread that looks after it.
#[derive(Debug)]
pub(super) struct Supervised {
    /// Of the newest run.
    shared: Arc<Mutex<Arc<Shared>>>,
    drains: Sender<Drain>,
    versions: Arc<Mailbox<Version>>,
    /// There is something in `versions`.
    wake: Sender<()>,
}

/// A version to run from now on.
#[derive(Debug)]
struct Version {
    plan: Arc<Plan>,
    /// Counts the choices of a version.
    generation: u64,
}

/// A version that some workers run already.
struct Swapping {
    /// The digest of the one that all ran before.
    old: String,
    version: Version,
    workers: usize,
    dones: Receiver<Swapped>,
    cut: Vec<Cut>,
    pause: Duration,
}

#[derive(Debug)]
struct Drain {
    timeout: Duration,
    answer: oneshot::Sender<Result<(), Fault>>,
}

/// What the thread has.
struct Supervisor {
    around: Surroundings,
    pipeline: Arc<config::Pipeline>,
    prepared: Prepared,
    newest: Arc<Mutex<Arc<Shared>>>,
    shared: Arc<Shared>,
    alarms: Receiver<()>,
    running: Option<Running>,
    versions: Arc<Mailbox<Version>>,
    swapping: Option<Swapping>,
    started: Instant,
    /// Starts one after the other that committed nothing.
    attempts: u32,
    /// Why it does not run.
    failure: Option<Fault>,
    /// Tells when to start again.
    start_again: Receiver<Instant>,
    /// Tells when to try a version again, and which.
    swap_again: Receiver<Instant>,
}

impl Supervised {
    /// Starts a pipeline. Blocks: not for the I/O runtime.
    ///
    /// # Errors
    /// Those of the first start, which is not tried again.
    pub(super) fn start(
        around: Surroundings,
        pipeline: Arc<config::Pipeline>,
        prepared: Prepared,
    ) -> Result<Self, Fault> {
        let (shared, alarms) = Shared::new(&pipeline.name);
        shared.runs(transforms(&prepared.plan));
        let running = Running::start(&around, &pipeline, &prepared, Arc::clone(&shared))?;
        let newest = Arc::new(Mutex::new(Arc::clone(&shared)));
        let (drains, drained) = bounded(1);
        let (wake, woken) = bounded(1);
        let versions = Arc::<Mailbox<Version>>::default();
        let supervisor = Supervisor {
            around,
            pipeline,
            prepared,
            newest: Arc::clone(&newest),
            shared,
            alarms,
            running: Some(running),
            versions: Arc::clone(&versions),
            swapping: None,
            started: Instant::now(),
            attempts: 0,
            failure: None,
            start_again: never(),
            swap_again: never(),
        };
        thread::Builder::new()
            .name("supervisor".to_owned())
            .spawn(move || supervisor.run(&drained, &woken))
            .map_err(|error| Fault::outside("start a thread").caused_by(error).permanent())?;
        Ok(Self { shared: newest, drains, versions, wake })
    }

    /// Runs another version from now on, without a pause. It was tried before. Of several, the newest counts.
    pub(super) fn swap(&self, plan: Arc<Plan>, generation: u64) {
        drop(self.versions.put(Version { plan, generation }));
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
                recv(start) -> _ => self.start_again(),
                recv(woken) -> _ => self.swap(),
                recv(swap) -> _ => self.swap(),
                recv(dones) -> done => self.swapped(done.ok()),
            }
        }
    }

    /// Has the run go over to the newest version; one that failed starts again with it.
    fn swap(&mut self) {
        self.swap_again = never();
        let Some(version) = self.versions.take() else { return };
        let old = self.prepared.plan.component.digest().to_owned();
        if version.plan.component.digest() == old {
            return;
        }
        let Some(running) = &self.running else {
            self.prepared.plan = Arc::clone(&version.plan);
            self.attempts = 0;
            self.start_again();
            self.tell(old, &version, Vec::new(), Duration::ZERO);
            return;
        };
        match running.swap(&self.pipeline, &version.plan) {
            Ok(dones) => {
                self.prepared.plan = Arc::clone(&version.plan);
                // What some workers have not done yet, they leave out.
                let old = self.swapping.take().map_or(old, |swapping| swapping.old);
                let (workers, cut, pause) = (self.prepared.workers, Vec::new(), Duration::ZERO);
                self.swapping = Some(Swapping { old, version, workers, dones, cut, pause });
            }
            Err(fault) => {
                let (name, component) = (&self.pipeline.name, version.plan.component.name());
                tracing::warn!(pipeline = name, component, "cannot swap, trying on: {fault}");
                self.versions.put_back(version);
                self.swap_again = after(SWAP_AGAIN);
            }
        }
    }

    /// A worker went over to the newest version. `None` when no other will.
    fn swapped(&mut self, done: Option<Swapped>) {
        let Some(mut swapping) = self.swapping.take() else { return };
        let Some(Swapped { cut, pause, retired }) = done else { return };
        drop(retired);
        swapping.cut.extend(cut);
        swapping.pause = swapping.pause.max(pause);
        swapping.workers -= 1;
        if swapping.workers > 0 {
            self.swapping = Some(swapping);
            return;
        }
        let Swapping { old, version, mut cut, pause, .. } = swapping;
        cut.sort_by(|a, b| a.lane.cmp(&b.lane));
        self.tell(old, &version, cut, pause);
    }

    fn tell(&self, old: String, version: &Version, cut: Vec<Cut>, pause: Duration) {
        let Version { plan, generation } = version;
        self.shared.runs(transforms(plan));
        self.around.events.tell(What::Swapped {
            pipeline: self.pipeline.name.clone(),
            component: plan.component.name().to_owned(),
            old,
            new: plan.component.digest().to_owned(),
            generation: *generation,
            cut,
            pause_seconds: pause.as_secs_f64(),
        });
    }

    fn drain(&mut self, timeout: Duration) -> Result<(), Fault> {
        match self.running.take() {
            Some(running) => running.drain(timeout),
            None => Err(self
                .failure
                .take()
                .unwrap_or_else(|| Fault::bug("a pipeline does not run for no reason"))),
        }
    }

    /// Ends a run that failed; how long to wait before the next one, if another can help.
    fn failed(&mut self) -> Option<Duration> {
        if let Some(running) = self.running.take() {
            running.abandon();
        }
        // The next run begins with the version that this one was going over to.
        if let Some(Swapping { old, version, cut, pause, .. }) = self.swapping.take() {
            self.tell(old, &version, cut, pause);
        }
        if self.shared.last_commit() < self.started.elapsed() {
            self.attempts = 0;
        }
        let fault = self.shared.take_fault()?;
        self.after(fault)
    }

    /// Shows why nothing flows; how long to wait before the next start, if another can help.
    fn after(&mut self, fault: Fault) -> Option<Duration> {
        self.shared.stopped(&fault);
        let retry = fault.retry;
        self.failure = Some(fault);
        if !retry {
            return None;
        }
        let wait = wait(self.attempts, rand::random_range(0.5..1.0));
        self.attempts += 1;
        tracing::warn!(pipeline = self.pipeline.name, ?wait, "the pipeline starts again");
        Some(wait)
    }

    fn start_again(&mut self) {
        (self.shared, self.alarms) = self.shared.again();
        *self.newest.lock().expect("nothing panics while it holds this lock") =
            Arc::clone(&self.shared);
        self.started = Instant::now();
        let shared = Arc::clone(&self.shared);
        self.start_again =
            match Running::start(&self.around, &self.pipeline, &self.prepared, shared) {
                Ok(running) => {
                    tracing::info!(pipeline = self.pipeline.name, "the pipeline runs again");
                    self.running = Some(running);
                    never()
                }
                Err(fault) => {
                    tracing::error!(pipeline = self.pipeline.name, "cannot start again: {fault}");
                    self.after(fault).map_or_else(never, after)
                }
            };
    }
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

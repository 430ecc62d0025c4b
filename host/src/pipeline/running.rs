//! A pipeline that runs: its source, its workers and their closers.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, bounded};
use tokio::{
    runtime::Handle,
    task::spawn_blocking,
    time::{interval, timeout_at},
};

use super::{
    chain::Chain,
    changes,
    closer::{self, Closer},
    committer::Committer,
    control::{self, Control, Mailbox, Swap, Swapped},
    failures::Failures,
    lanes::Lanes,
    meters::Meters,
    plan::Plan,
    prepare::{self, Prepared},
    rows::Rows,
    shared::Shared,
    status::Behind,
    supervisor,
    worker::{Setting, Ways, Worker},
};
use crate::{
    budget::{Budget, SetAside},
    config,
    events::Events,
    fault::Fault,
    kafka::{Lag, Source},
};

/// A pipeline that runs.
#[derive(Debug)]
pub(super) struct Running {
    name: String,
    shared: Arc<Shared>,
    committer: Arc<Committer>,
    source: Arc<Source>,
    lanes: Arc<Lanes>,
    /// One a worker.
    swaps: Vec<Arc<Mailbox<Swap>>>,
    paused: Arc<AtomicBool>,
    meters: Meters,
    threads: Vec<JoinHandle<()>>,
    runtime: Handle,
    /// What librdkafka and parts on their way may have of the budget.
    _set_aside: SetAside,
}

/// Bytes that librdkafka needs to get anywhere.
const MIN_QUEUE: u64 = 256 << 10;

/// What the pipelines of a host share.
#[derive(Clone, Debug)]
pub(super) struct Surroundings {
    pub host: config::Host,
    pub events: Events,
    pub budget: Arc<Budget>,
    /// How many pipelines there are.
    pub pipelines: Arc<AtomicUsize>,
    pub runtime: Handle,
    /// Who this process is, in manifests.
    pub writer: String,
}

impl Surroundings {
    /// What librdkafka may hold for a pipeline: a quarter of the budget is for all of them. One that comes later has its
    /// share too, of half of the budget at most, and open files have less.
    fn queue_bytes(&self) -> u64 {
        let pipelines = self.pipelines.load(Ordering::Relaxed).max(1) as u64;
        let left = (self.host.memory_budget / 2).saturating_sub(self.budget.elsewhere());
        (self.host.memory_budget / 4 / pipelines).min(left / 2).max(MIN_QUEUE)
    }
}

impl Running {
    /// Starts a pipeline: recovers its log, joins its group. Blocks: not for the I/O runtime.
    pub(super) fn start(
        around: &Surroundings,
        pipeline: &config::Pipeline,
        prepared: &Prepared,
        plan: &Plan,
        paused: bool,
        shared: Arc<Shared>,
    ) -> Result<Self, Fault> {
        let Surroundings { host, budget, runtime, writer, .. } = around;
        let (name, workers) = (&pipeline.name, prepared.workers);
        let queue_bytes = around.queue_bytes();
        let set_aside = budget.set_aside(queue_bytes, prepare::parts_bytes(pipeline, workers));
        let meters = Meters::new(name, &plan.steps[0].component);
        // Instances are made before anything is written or the group is joined: what they refuse costs nothing.
        let rows = instances(pipeline, plan, &meters, workers)?;
        let committer = Committer::open(prepared.store.clone(), name, writer);
        let committer = runtime.block_on(committer)?;
        // Before the group is joined: positions of another topic would stay where they are for ever.
        changes::fits(pipeline, &committer.standing())?;
        match runtime.block_on(committer.sweep(name, 2 * closer::STAGE_MAX_AGE)) {
            Ok(0) => {}
            Ok(files) => {
                tracing::info!(pipeline = name, files, "staged files of dead processes deleted")
            }
            // They are in nobody's way.
            Err(fault) => {
                tracing::warn!(pipeline = name, "staged files of dead processes stay: {fault}")
            }
        }
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..workers).map(|_| bounded(control::QUEUE)).unzip();
        let lanes = Arc::new(Lanes::new(
            name,
            pipeline.source.start.clone(),
            Arc::clone(&committer),
            senders.clone(),
            Arc::clone(&shared),
            runtime.clone(),
        ));
        let assignments = Arc::clone(&lanes);
        let (source, queues) =
            Source::start(&pipeline.kafka, &pipeline.source, workers, assignments, queue_bytes)?;
        let source = Arc::new(source);
        let setting = Setting {
            pipeline: name.as_str().into(),
            store: prepared.store.clone(),
            committer: Arc::clone(&committer),
            source: Arc::clone(&source),
            lanes: Arc::clone(&lanes),
            shared: Arc::clone(&shared),
            meters: meters.clone(),
            outputs: Arc::clone(&plan.outputs),
            budget: Arc::clone(budget),
            scratch: host.scratch.clone(),
            flush: pipeline.flush,
            transforms: Arc::clone(&plan.transforms),
            runtime: runtime.clone(),
        };
        let mut threads = Vec::with_capacity(2 * workers);
        let swaps: Vec<Arc<Mailbox<Swap>>> = (0..workers).map(|_| Arc::default()).collect();
        let paused = Arc::new(AtomicBool::new(paused));
        for (number, ((queue, rows), controls)) in
            queues.into_iter().zip(rows).zip(receivers).enumerate()
        {
            let (jobs, queued) = bounded(closer::QUEUE);
            let fenced = Arc::new(AtomicU64::new(0));
            let closer = Closer {
                number,
                committer: Arc::clone(&committer),
                source: Arc::clone(&source),
                fenced: Arc::clone(&fenced),
                shared: Arc::clone(&shared),
                meters: meters.clone(),
                budget: Arc::clone(budget),
                runtime: runtime.clone(),
            };
            let (swaps, paused) = (Arc::clone(&swaps[number]), Arc::clone(&paused));
            let ways = Ways { queue, controls, swaps, paused, closer: jobs, fenced };
            let worker = Worker::new(number, setting.clone(), ways, rows)?;
            threads.push(spawn(format!("closer-{number}"), &shared, move || closer.run(&queued))?);
            threads.push(spawn(format!("worker-{number}"), &shared, move || worker.run())?);
        }
        let watched = Watched {
            source: Arc::downgrade(&source),
            committer: Arc::downgrade(&committer),
            shared: Arc::clone(&shared),
            meters: meters.clone(),
        };
        runtime.spawn(watched.watch());
        let (name, runtime) = (name.clone(), runtime.clone());
        Ok(Self {
            name,
            shared,
            committer,
            source,
            lanes,
            swaps,
            paused,
            meters,
            threads,
            runtime,
            _set_aside: set_aside,
        })
    }

    /// Has all workers commit what they hold and read nothing, or read on.
    pub(super) fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::Release);
    }

    /// Has all workers go over to other versions or settings, each when it can do so without a pause; the answer tells of
    /// each that did.
    ///
    /// # Errors
    /// When an instance can't be made: then nothing has changed.
    pub(super) fn swap(
        &self,
        pipeline: &config::Pipeline,
        plan: &Arc<Plan>,
    ) -> Result<Receiver<Swapped>, Fault> {
        let meters = self.meters.of(&plan.steps[0].component);
        let instances = instances(pipeline, plan, &meters, self.swaps.len())?;
        let (done, dones) = bounded(self.swaps.len());
        for (mailbox, rows) in self.swaps.iter().zip(instances) {
            let (plan, meters, done) = (Arc::clone(plan), meters.clone(), done.clone());
            let flush = pipeline.flush;
            drop(mailbox.put(Swap { plan, rows, flush, meters, done }));
        }
        Ok(dones)
    }

    /// How many workers it has.
    pub(super) fn workers(&self) -> usize {
        self.swaps.len()
    }

    /// Leaves the group after a failure. The threads end by themselves: at once, or when the store lets go of them.
    pub(super) fn abandon(self) {
        self.source.leave();
    }

    /// Flushes, commits, claims, and leaves the group. Blocks: not for the I/O runtime.
    ///
    /// # Errors
    /// When the pipeline failed before, or not all is committed in time: what is missing is read again at the next start.
    pub(super) fn drain(self, timeout: Duration) -> Result<(), Fault> {
        let deadline = Instant::now() + timeout;
        let (answer, answers) = bounded(self.lanes.workers.len());
        let told = self
            .lanes
            .workers
            .iter()
            .filter(|worker| worker.send(Control::Drain(answer.clone())).is_ok())
            .count();
        drop(answer);
        let committed = control::answered(&answers, told, deadline, &self.shared);
        if let Some(fault) = self.shared.take_fault() {
            self.source.leave();
            return Err(fault);
        }
        if committed < told {
            // Threads that still wait for the store keep the source, and read nothing of it.
            self.source.leave();
            return Err(supervisor::late(&self.name, timeout));
        }
        let claim = async { timeout_at(deadline.into(), self.committer.claim()).await };
        match self.runtime.block_on(claim) {
            Ok(claimed) => claimed?,
            Err(_) => tracing::warn!(
                pipeline = self.name,
                "what was published is not claimed in time: the next start does"
            ),
        }
        for thread in self.threads {
            thread.join().map_err(|_| Fault::bug("a thread of the pipeline panicked"))?;
        }
        // The last reference: the group is left now.
        drop(self.source);
        Ok(())
    }
}

/// Instances of all transforms for each worker.
fn instances(
    pipeline: &config::Pipeline,
    plan: &Plan,
    meters: &Meters,
    workers: usize,
) -> Result<Vec<Rows>, Fault> {
    let instance = |_| {
        Ok(Rows {
            chain: Chain::new(pipeline, plan, meters)?,
            places: plan.places.clone(),
            outputs: Arc::clone(&plan.outputs),
            failures: Failures::new(pipeline.max_failure_ratio),
            meters: meters.clone(),
        })
    };
    (0..workers).map(instance).collect()
}

/// How often it looks whether what a person had to see to still keeps records back.
const LOOK: Duration = Duration::from_secs(15);
/// A run that lasts so long works, even if it has no lanes.
const LASTS: Duration = Duration::from_secs(60);

/// What is looked at every second, for as long as there is a source.
#[derive(Clone)]
struct Watched {
    source: Weak<Source>,
    committer: Weak<Committer>,
    shared: Arc<Shared>,
    meters: Meters,
}

impl Watched {
    /// librdkafka tells of trouble once, and of its end by records alone: of a lane that has none waiting, nobody would ever
    /// hear that it is over.
    fn look_for_ends(&self) {
        let watched = self.clone();
        spawn_blocking(move || {
            let Some(source) = watched.source.upgrade() else { return };
            let waits = |lag: &Lag| {
                source.offsets().watermarks(&lag.lane).map_or(true, |range| range.end > lag.next)
            };
            for lane in watched.shared.lasting_troubles() {
                let lags = source.lags();
                let mut of =
                    lags.iter().filter(|lag| lane.as_ref().is_none_or(|lane| *lane == lag.lane));
                if !lags.is_empty() && !of.any(waits) {
                    watched.shared.nothing_waits(lane.as_ref());
                }
            }
        });
    }

    /// Keeps the gauges of the lag up to date, and learns of a halt of the log also while nothing is committed.
    async fn watch(self) {
        let mut ticks = interval(Duration::from_secs(1));
        let (mut told, started) = (BTreeSet::new(), Instant::now());
        let mut looked = started;
        loop {
            ticks.tick().await;
            let Some(lags) = self.source.upgrade().map(|source| source.lags()) else { return };
            let seconds = self.meters.behind(&lags, &mut told, self.shared.last_commit());
            let records = lags.iter().filter_map(Lag::offsets).sum();
            self.shared.behind(Behind { records, seconds }, Instant::now());
            self.shared.trouble_fades(Instant::now());
            let all_read = !lags.is_empty() && lags.iter().all(|lag| lag.offsets() == Some(0));
            if all_read || started.elapsed() > LASTS {
                self.shared.works();
            }
            if looked.elapsed() > LOOK && !self.shared.lasting_troubles().is_empty() {
                looked = Instant::now();
                self.look_for_ends();
            }
            let health = self.committer.upgrade().map_or(Ok(()), |committer| committer.health());
            if let Err(fault) = health {
                return self.shared.fail(fault);
            }
        }
    }
}

/// Spawns a thread whose panic fails the pipeline instead of silently ending it.
fn spawn(
    name: String,
    shared: &Arc<Shared>,
    run: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, Fault> {
    let guard = PanicGuard(Arc::clone(shared));
    let run = move || {
        let guard = guard;
        run();
        drop(guard);
    };
    thread::Builder::new()
        .name(name)
        .spawn(run)
        .map_err(|error| Fault::outside("start a thread").caused_by(error).permanent())
}

struct PanicGuard(Arc<Shared>);

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.fail(Fault::bug("a thread of the pipeline panicked: the log has the place"));
        }
    }
}

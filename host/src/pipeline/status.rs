//! What a pipeline tells people: its state, its counts, its faults.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

use serde::Serialize;
use tokio::runtime::Handle;

use crate::{commit::manifest::Counts, fault::Fault, record::Lane};

/// The state of a pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum State {
    /// Records flow, or would if there were any.
    Running,
    /// Some lanes halted, the others go on.
    Degraded,
    /// It stopped.
    Failed,
}

impl State {
    /// As people read it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Degraded => "DEGRADED",
            Self::Failed => "FAILED",
        }
    }
}

/// What a pipeline is doing.
#[derive(Clone, Debug, Serialize)]
pub struct PipelineStatus {
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: State,
    /// Why it is not RUNNING.
    pub reason: Option<String>,
    /// Records that were processed since the start, committed or not.
    pub processed: Counts,
    /// Records that were committed since the start.
    pub committed: Counts,
    /// Files that were published since the start.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Flushes that were committed since the start.
    pub flushes: u64,
    /// Flushes that another replica fenced since the start.
    pub fenced: u64,
}

/// The status that the threads of a pipeline share. Locked once a batch or a flush, never for longer than an addition.
#[derive(Debug)]
pub(super) struct Shared(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    status: PipelineStatus,
    last_commit: Instant,
    halted: BTreeMap<Lane, String>,
    fault: Option<Fault>,
}

impl Shared {
    pub(super) fn new(name: &str) -> Self {
        let status = PipelineStatus {
            name: name.to_owned(),
            state: State::Running,
            reason: None,
            processed: Counts::default(),
            committed: Counts::default(),
            files: 0,
            bytes: 0,
            flushes: 0,
            fenced: 0,
        };
        let (last_commit, halted) = (Instant::now(), BTreeMap::new());
        Self(Mutex::new(Inner { status, last_commit, halted, fault: None }))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("nothing panics while it holds this lock")
    }

    pub(super) fn status(&self) -> PipelineStatus {
        self.lock().status.clone()
    }

    /// Notes a commit.
    pub(super) fn committed(&self, change: impl FnOnce(&mut PipelineStatus)) {
        self.lock().last_commit = Instant::now();
        self.update(change);
    }

    /// How long ago the last commit was, or the start.
    pub(super) fn last_commit(&self) -> Duration {
        self.lock().last_commit.elapsed()
    }

    /// Changes the counts.
    pub(super) fn update(&self, change: impl FnOnce(&mut PipelineStatus)) {
        change(&mut self.lock().status);
    }

    /// Stops the pipeline. The first fault is the one that people see.
    pub(super) fn fail(&self, fault: Fault) {
        let mut inner = self.lock();
        tracing::error!(
            pipeline = inner.status.name,
            help = fault.help.as_deref(),
            "pipeline failed: {fault}"
        );
        if inner.fault.is_none() {
            inner.status.state = State::Failed;
            inner.status.reason = Some(fault.to_string());
            inner.fault = Some(fault);
        }
    }

    pub(super) fn failed(&self) -> bool {
        self.lock().status.state == State::Failed
    }

    /// The fault that stopped the pipeline.
    pub(super) fn take_fault(&self) -> Option<Fault> {
        self.lock().fault.take()
    }

    /// Asks the surroundings again and again for as long as that may help and the pipeline lives.
    pub(super) fn patiently<T>(
        &self,
        runtime: &Handle,
        mut ask: impl FnMut() -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        loop {
            match ask() {
                Err(fault) if fault.retry && !self.failed() => {
                    tracing::warn!("trying again in a second: {fault}");
                    runtime.block_on(tokio::time::sleep(Duration::from_secs(1)));
                }
                done => return done,
            }
        }
    }

    /// Halts a lane; the others go on.
    pub(super) fn halt(&self, lane: &Lane, fault: &Fault) {
        let mut inner = self.lock();
        tracing::error!(pipeline = inner.status.name, %lane, help = fault.help.as_deref(), "lane halted: {fault}");
        inner.halted.insert(lane.clone(), fault.to_string());
        if inner.status.state == State::Running {
            inner.status.state = State::Degraded;
        }
        let reasons: Vec<_> =
            inner.halted.iter().map(|(lane, reason)| format!("{lane}: {reason}")).collect();
        if inner.fault.is_none() {
            inner.status.reason = Some(reasons.join("; "));
        }
    }
}

//! What a pipeline tells people: its state, its counts, its faults.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender, bounded};
use serde::Serialize;
use tokio::runtime::Handle;

use crate::{
    commit::manifest::Counts,
    fault::{Blame, Fault},
    record::Lane,
};

/// The state of a pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum State {
    /// Records flow, or would if there were any.
    Running,
    /// Some lanes halted, or the whole of it waits for something outside.
    Degraded,
    /// It stopped, and does not start again by itself.
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
    /// Whether it is FAILED for what its component did: another version starts it again.
    pub awaits_component: bool,
    /// What it runs, in order.
    pub transforms: Vec<RunningTransform>,
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

/// A transform that a pipeline runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunningTransform {
    /// The component's name.
    pub component: String,
    /// SHA-256 of its file.
    pub digest: String,
    /// Its version, as it says itself.
    pub version: String,
}

/// What the threads of one run of a pipeline share: its counts, which go on from run to run, and the fault that ends the run.
///
/// Threads of an earlier run may still be waiting for a store: what they commit counts, their faults do not.
#[derive(Debug)]
pub(super) struct Shared {
    board: Arc<Mutex<Board>>,
    run: u32,
    failed: AtomicBool,
    fault: Mutex<Option<Fault>>,
    alarm: Sender<()>,
}

/// librdkafka tells every ten seconds that no broker answers.
const TROUBLE_LASTS: Duration = Duration::from_secs(25);
const STARTED_AGAIN: &str = "started again, nothing is committed yet: ";

/// What people see. Locked once a batch or a flush, never for longer than an addition.
#[derive(Debug)]
struct Board {
    status: PipelineStatus,
    /// The run whose state is shown.
    run: u32,
    last_commit: Instant,
    halted: BTreeMap<Lane, String>,
    /// What a person should look at, while librdkafka tries on.
    trouble: Option<Trouble>,
    /// Why the run before failed, until this one commits something or has nothing left to read.
    setback: Option<String>,
}

#[derive(Debug)]
struct Trouble {
    text: String,
    /// One that nobody has to see to is over when it is not told again.
    until: Option<Instant>,
}

impl Board {
    /// Works out the state of a run that has not failed.
    fn show(&mut self) {
        let halted = self.halted.iter().map(|(lane, reason)| format!("{lane}: {reason}"));
        let reasons: Vec<_> = self
            .setback
            .iter()
            .chain(self.trouble.iter().map(|trouble| &trouble.text))
            .cloned()
            .chain(halted)
            .collect();
        self.status.state = if reasons.is_empty() { State::Running } else { State::Degraded };
        self.status.reason = (!reasons.is_empty()).then(|| reasons.join("; "));
    }
}

impl Shared {
    /// For the first run of a pipeline. The receiver gets one signal when the run fails.
    pub(super) fn new(name: &str) -> (Arc<Self>, Receiver<()>) {
        let status = PipelineStatus {
            name: name.to_owned(),
            state: State::Running,
            reason: None,
            awaits_component: false,
            transforms: Vec::new(),
            processed: Counts::default(),
            committed: Counts::default(),
            files: 0,
            bytes: 0,
            flushes: 0,
            fenced: 0,
        };
        let (last_commit, halted) = (Instant::now(), BTreeMap::new());
        let board = Board { status, run: 0, last_commit, halted, trouble: None, setback: None };
        Self::of(Arc::new(Mutex::new(board)), 0)
    }

    /// For the next run.
    pub(super) fn again(&self) -> (Arc<Self>, Receiver<()>) {
        let run = self.run + 1;
        let mut board = self.lock();
        (board.run, board.trouble) = (run, None);
        board.setback = board.status.reason.take().map(|reason| format!("{STARTED_AGAIN}{reason}"));
        board.halted.clear();
        board.status.awaits_component = false;
        board.show();
        Self::of(Arc::clone(&self.board), run)
    }

    fn of(board: Arc<Mutex<Board>>, run: u32) -> (Arc<Self>, Receiver<()>) {
        let (alarm, alarms) = bounded(1);
        let (failed, fault) = (AtomicBool::new(false), Mutex::default());
        (Arc::new(Self { board, run, failed, fault, alarm }), alarms)
    }

    fn lock(&self) -> MutexGuard<'_, Board> {
        self.board.lock().expect("nothing panics while it holds this lock")
    }

    /// The board, if it shows this run, and the run goes on.
    fn current(&self) -> Option<MutexGuard<'_, Board>> {
        let board = self.lock();
        (board.run == self.run && !self.failed()).then_some(board)
    }

    pub(super) fn status(&self) -> PipelineStatus {
        self.lock().status.clone()
    }

    /// Notes what it runs from now on.
    pub(super) fn runs(&self, transforms: Vec<RunningTransform>) {
        self.lock().status.transforms = transforms;
    }

    /// Notes a commit.
    pub(super) fn committed(&self, change: impl FnOnce(&mut PipelineStatus)) {
        let mut board = self.lock();
        board.last_commit = Instant::now();
        change(&mut board.status);
        drop(board);
        self.works();
    }

    /// The run does its work: it committed something, or has nothing left to read.
    pub(super) fn works(&self) {
        let Some(mut board) = self.current() else { return };
        if board.setback.take().is_some() {
            board.show();
        }
    }

    /// How long ago the last commit was, or the start.
    pub(super) fn last_commit(&self) -> Duration {
        self.lock().last_commit.elapsed()
    }

    /// Changes the counts.
    pub(super) fn update(&self, change: impl FnOnce(&mut PipelineStatus)) {
        change(&mut self.lock().status);
    }

    /// Ends the run. The first fault is the one that people see.
    pub(super) fn fail(&self, fault: Fault) {
        let board = self.lock();
        if board.run != self.run || self.failed.swap(true, Ordering::AcqRel) {
            tracing::debug!(pipeline = board.status.name, "failed as well: {fault}");
            return;
        }
        let help = fault.help.as_deref();
        tracing::error!(pipeline = board.status.name, help, "pipeline failed: {fault}");
        *self.fault.lock().expect("nothing panics while it holds this lock") = Some(fault);
        // There is room for the one signal of a run.
        self.alarm.try_send(()).ok();
    }

    pub(super) fn failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// The fault that ended the run.
    pub(super) fn take_fault(&self) -> Option<Fault> {
        self.fault.lock().expect("nothing panics while it holds this lock").take()
    }

    /// Shows why nothing flows.
    pub(super) fn stopped(&self, fault: &Fault) {
        let mut board = self.lock();
        let state = if fault.retry { State::Degraded } else { State::Failed };
        (board.status.state, board.status.reason) = (state, Some(fault.to_string()));
        board.status.awaits_component = !fault.retry && fault.blame == Blame::Transform;
    }

    /// Asks the surroundings again and again for as long as that may help and the run lives.
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
        let Some(mut board) = self.current() else { return };
        tracing::error!(pipeline = board.status.name, %lane, help = fault.help.as_deref(), "lane halted: {fault}");
        board.halted.insert(lane.clone(), fault.to_string());
        board.show();
    }

    /// Says what keeps records from coming until a person sees to it.
    pub(super) fn trouble(&self, fault: &Fault) {
        let Some(mut board) = self.current() else { return };
        let until = fault.help.is_none().then(|| Instant::now() + TROUBLE_LASTS);
        board.trouble = Some(Trouble { text: fault.to_string(), until });
        board.show();
    }

    /// Trouble that was not told again for a while is over.
    pub(super) fn trouble_fades(&self, now: Instant) {
        let Some(mut board) = self.current() else { return };
        if board.trouble.as_ref().and_then(|trouble| trouble.until).is_some_and(|until| until < now)
        {
            board.trouble = None;
            board.show();
        }
    }

    /// Records come again.
    pub(super) fn trouble_is_over(&self) {
        let Some(mut board) = self.current() else { return };
        if board.trouble.take().is_some() {
            board.show();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_fails_once_and_the_next_one_begins_clean() {
        let (first, alarms) = Shared::new("p");
        first.update(|status| status.files = 3);
        first.halt(&Lane::new("t", 0), &Fault::outside("gone"));
        assert_eq!(first.status().state, State::Degraded);
        first.fail(Fault::outside("first"));
        first.fail(Fault::outside("second"));
        assert_eq!((alarms.try_iter().count(), first.failed()), (1, true));
        assert_eq!(first.take_fault().map(|fault| fault.message), Some("first".into()));
        first.stopped(&Fault::outside("first"));
        let (second, alarms) = first.again();
        let shown = (second.status().state, second.status().reason);
        assert_eq!(
            shown,
            (State::Degraded, Some("started again, nothing is committed yet: first".into()))
        );
        second.works();
        assert_eq!((second.status().state, second.status().reason), (State::Running, None));
        assert_eq!(second.status().files, 3);
        // What is left of the first run does no harm.
        first.fail(Fault::outside("late"));
        first.halt(&Lane::new("t", 0), &Fault::outside("late"));
        first.update(|status| status.files += 1);
        assert_eq!((second.failed(), alarms.try_iter().count()), (false, 0));
        assert_eq!((second.status().state, second.status().files), (State::Running, 4));
    }

    #[test]
    fn trouble_passes_and_halted_lanes_stay() {
        let (shared, _) = Shared::new("p");
        shared.trouble(&Fault::config("not allowed").help("allow it"));
        shared.halt(&Lane::new("t", 0), &Fault::outside("gone"));
        let reason = shared.status().reason.unwrap();
        assert_eq!(reason, "not allowed; t/0: gone");
        shared.trouble_fades(Instant::now() + 2 * TROUBLE_LASTS);
        assert_eq!(shared.status().reason.unwrap(), reason, "a person has to see to it");
        shared.trouble_is_over();
        assert_eq!(shared.status().reason.unwrap(), "t/0: gone");
        shared.trouble(&Fault::outside("no broker"));
        shared.trouble_fades(Instant::now());
        assert_eq!(shared.status().reason.unwrap(), "no broker; t/0: gone");
        shared.trouble_fades(Instant::now() + 2 * TROUBLE_LASTS);
        assert_eq!(shared.status().reason.unwrap(), "t/0: gone");
        assert_eq!(shared.status().state, State::Degraded);
    }
}

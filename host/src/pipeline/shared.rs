//! What the threads of a pipeline share, and what they tell people: its state, its counts, its faults.

use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender, bounded};
use tokio::runtime::Handle;

use super::{
    board::{At, Board, Trouble},
    changes::OTHER_LOG,
    status::{Behind, PipelineStatus, RunningTransform},
};
use crate::{
    commit::manifest::Counts,
    events::Events,
    fault::{Blame, Fault},
    record::Lane,
    registry::Desired,
};

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
/// A pipeline of which nothing was processed for so long, though records wait, is stalled.
const STALLS: Duration = Duration::from_secs(30);
const STARTED_AGAIN: &str = "started again, nothing is committed yet: ";

impl Shared {
    /// For the first run of a pipeline. The receiver gets one signal when the run fails.
    pub(super) fn new(name: &str, events: Events) -> (Arc<Self>, Receiver<()>) {
        Self::of(Arc::new(Mutex::new(Board::new(name, events))), 0)
    }

    /// For the next run.
    pub(super) fn again(&self) -> (Arc<Self>, Receiver<()>) {
        let run = self.run + 1;
        let mut board = self.lock();
        let unprepared = board.unprepared;
        match &board.at {
            // That it is looked at again is not worth another state.
            At::Failure(..) if unprepared => {}
            At::Failure(reason, _) => {
                board.setback = Some(format!("{STARTED_AGAIN}{reason}"));
                board.at = At::Starting;
            }
            _ => board.at = At::Starting,
        }
        (board.run, board.stalled, board.joined) = (run, None, false);
        board.troubles.clear();
        board.halted.clear();
        board.resting.clear();
        board.status.awaits_mending = unprepared;
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
        let board = self.lock();
        let last_commit_age_seconds = board.last_commit.elapsed().as_secs_f64();
        PipelineStatus { last_commit_age_seconds, ..board.status.clone() }
    }

    /// The run has begun, with so many workers.
    pub(super) fn started(&self, workers: usize) {
        let Some(mut board) = self.current() else { return };
        board.workers = workers;
        (board.at, board.last_progress, board.unprepared) = (At::Work, Instant::now(), false);
        board.status.awaits_mending = false;
        board.show();
    }

    /// The group has given out its lanes.
    pub(super) fn joined(&self) {
        let Some(mut board) = self.current() else { return };
        (board.joined, board.last_progress) = (true, Instant::now());
        board.show();
    }

    /// A worker reads nothing from now on, or reads again.
    pub(super) fn worker_rests(&self, worker: usize, rests: bool) {
        let mut board = self.lock();
        if board.run != self.run {
            return;
        }
        if rests {
            board.resting.insert(worker);
        } else {
            board.resting.remove(&worker);
        }
        board.show();
    }

    /// The run has ended, as a person wants it to.
    pub(super) fn rests(&self) {
        let mut board = self.lock();
        (board.at, board.setback, board.status.lag) = (At::Rest, None, None);
        board.unprepared = false;
        board.show();
    }

    /// Notes what a person wants it to do.
    pub(super) fn desired(&self, desired: Desired) {
        let mut board = self.lock();
        (board.status.desired, board.last_progress) = (desired, Instant::now());
        board.show();
    }

    /// Notes how far it is behind. One that is behind and reads nothing is not RUNNING.
    pub(super) fn behind(&self, behind: Behind, now: Instant) {
        let Some(mut board) = self.current() else { return };
        // Nobody knows it of lanes that others have.
        board.status.lag = board.joined.then_some(behind);
        if behind.records == 0 || board.status.desired != Desired::Running {
            board.last_progress = now;
        }
        let waits = now.saturating_duration_since(board.last_progress);
        let stalled = (waits >= STALLS).then(|| {
            let (records, seconds) = (behind.records, STALLS.as_secs());
            format!("nothing was processed for {seconds} s and more, and {records} records wait: the transform or the store is slow")
        });
        if stalled.is_some() != board.stalled.is_some() {
            board.stalled = stalled;
            board.show();
        }
    }

    /// Records were processed.
    pub(super) fn processed(&self, counts: &Counts) {
        let mut board = self.lock();
        board.status.processed.add(counts);
        board.last_progress = Instant::now();
        if board.run == self.run && board.stalled.take().is_some() {
            board.show();
        }
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
        board.at = At::Failure(fault.to_string(), fault.retry);
        let is_for_a_person = fault.blame == Blame::Transform || fault.code == Some(OTHER_LOG);
        board.status.awaits_mending = !fault.retry && is_for_a_person;
        (board.unprepared, board.status.lag) = (false, None);
        board.show();
    }

    /// Shows why it can't start yet. It is tried again.
    pub(super) fn unprepared(&self, fault: &Fault) {
        let mut board = self.lock();
        board.at = At::Failure(fault.to_string(), fault.retry);
        (board.status.awaits_mending, board.unprepared) = (true, true);
        board.show();
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

    /// Says what keeps records from coming, of a lane or of all, until a person sees to it.
    pub(super) fn trouble(&self, lane: Option<&Lane>, fault: &Fault) {
        let Some(mut board) = self.current() else { return };
        let until = fault.help.is_none().then(|| Instant::now() + TROUBLE_LASTS);
        board.troubles.insert(lane.cloned(), Trouble { text: fault.to_string(), until });
        board.show();
    }

    /// Trouble that was not told again for a while is over.
    pub(super) fn trouble_fades(&self, now: Instant) {
        self.end_troubles(|_, trouble| trouble.until.is_some_and(|until| until < now));
    }

    /// Records of a lane come again. What is wrong with another is still wrong.
    pub(super) fn records_come(&self, of: &Lane) {
        self.end_troubles(|lane, _| lane.is_none_or(|lane| lane == of));
    }

    /// The lanes whose trouble a person has to see to; `None` is all of them.
    pub(super) fn lasting_troubles(&self) -> Vec<Option<Lane>> {
        let Some(board) = self.current() else { return Vec::new() };
        let lasting = board.troubles.iter().filter(|(_, trouble)| trouble.until.is_none());
        lasting.map(|(lane, _)| lane.clone()).collect()
    }

    /// Nothing is left to read of a lane, or of all: whatever was wrong keeps nothing back.
    pub(super) fn nothing_waits(&self, of: Option<&Lane>) {
        self.end_troubles(|lane, _| lane == of);
    }

    /// Lanes are given out anew: what is still wrong will be told again.
    pub(super) fn trouble_is_over(&self) {
        self.end_troubles(|_, _| true);
    }

    fn end_troubles(&self, is_over: impl Fn(Option<&Lane>, &Trouble) -> bool) {
        let Some(mut board) = self.current() else { return };
        let before = board.troubles.len();
        board.troubles.retain(|lane, trouble| !is_over(lane.as_ref(), trouble));
        if board.troubles.len() < before {
            board.show();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::status::State, *};

    #[test]
    fn a_run_fails_once_and_the_next_one_begins_clean() {
        let (first, alarms) = Shared::new("p", Events::default());
        assert_eq!(first.status().state, State::Degraded);
        first.started(1);
        assert!(first.status().reason.unwrap().contains("waits for its partitions"));
        first.joined();
        assert_eq!(first.status().state, State::Running);
        first.update(|status| status.files = 3);
        first.halt(&Lane::new("t", 0), &Fault::outside("gone"));
        assert_eq!(first.status().state, State::Degraded);
        first.fail(Fault::outside("first"));
        first.fail(Fault::outside("second"));
        assert_eq!((alarms.try_iter().count(), first.failed()), (1, true));
        assert_eq!(first.take_fault().map(|fault| fault.message), Some("first".into()));
        first.stopped(&Fault::outside("first"));
        let (second, alarms) = first.again();
        second.started(1);
        second.joined();
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
        let (shared, _) = Shared::new("p", Events::default());
        shared.started(1);
        shared.joined();
        let of = Lane::new("t", 1);
        shared.trouble(Some(&of), &Fault::config("not allowed").help("allow it"));
        shared.halt(&Lane::new("t", 0), &Fault::outside("gone"));
        let reason = shared.status().reason.unwrap();
        assert_eq!(reason, "not allowed; t/0: gone");
        shared.trouble_fades(Instant::now() + 2 * TROUBLE_LASTS);
        shared.records_come(&Lane::new("t", 2));
        assert_eq!(shared.status().reason.unwrap(), reason, "a person has to see to it");
        shared.records_come(&of);
        assert_eq!(shared.status().reason.unwrap(), "t/0: gone");
        shared.trouble(Some(&of), &Fault::config("not allowed").help("allow it"));
        shared.trouble_is_over();
        assert_eq!(shared.status().reason.unwrap(), "t/0: gone");
        shared.trouble(None, &Fault::outside("no broker"));
        shared.trouble_fades(Instant::now());
        assert_eq!(shared.status().reason.unwrap(), "no broker; t/0: gone");
        shared.trouble_fades(Instant::now() + 2 * TROUBLE_LASTS);
        assert_eq!(shared.status().reason.unwrap(), "t/0: gone");
        assert_eq!(shared.status().state, State::Degraded);
    }

    #[test]
    fn one_that_is_behind_and_reads_nothing_does_not_run() {
        let (shared, _) = Shared::new("p", Events::default());
        shared.started(1);
        shared.joined();
        let behind = |records, seconds| {
            let now = Instant::now() + Duration::from_secs(seconds);
            shared.behind(Behind { records, seconds: None }, now);
            shared.status().state
        };
        assert_eq!(behind(5, 10), State::Running);
        assert_eq!(behind(0, 20), State::Running);
        assert_eq!(behind(5, 40), State::Running, "there was nothing to read 20 seconds ago");
        assert_eq!(behind(5, 51), State::Degraded);
        assert!(shared.status().reason.unwrap().contains("5 records wait"));
        shared.processed(&Counts::default());
        assert_eq!(shared.status().state, State::Running);
        shared.desired(Desired::Paused);
        assert_eq!(behind(5, 100), State::Running, "it still reads");
        shared.worker_rests(0, true);
        assert_eq!((behind(5, 100), behind(5, 200)), (State::Paused, State::Paused));
        shared.rests();
        assert_eq!((shared.status().state, shared.status().reason), (State::Stopped, None));
    }
}

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
    prepare::Prepared,
    running::{Running, Surroundings},
    status::{PipelineStatus, Shared, State},
};
use crate::{config, fault::Fault};

/// The wait before the first new start; it doubles with each start that commits nothing.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// A pipeline and the thread that looks after it.
#[derive(Debug)]
pub(super) struct Supervised {
    /// Of the newest run.
    shared: Arc<Mutex<Arc<Shared>>>,
    drains: Sender<Drain>,
}

#[derive(Debug)]
struct Drain {
    timeout: Duration,
    answer: oneshot::Sender<Result<(), Fault>>,
}

/// What the thread has.
struct Supervisor {
    around: Surroundings,
    pipeline: config::Pipeline,
    prepared: Prepared,
    newest: Arc<Mutex<Arc<Shared>>>,
    shared: Arc<Shared>,
    alarms: Receiver<()>,
    running: Option<Running>,
    started: Instant,
    /// Starts one after the other that committed nothing.
    attempts: u32,
    /// Why it does not run.
    failure: Option<Fault>,
}

impl Supervised {
    /// Starts a pipeline. Blocks: not for the I/O runtime.
    ///
    /// # Errors
    /// Those of the first start, which is not tried again.
    pub(super) fn start(
        around: Surroundings,
        pipeline: config::Pipeline,
        prepared: Prepared,
    ) -> Result<Self, Fault> {
        let (shared, alarms) = Shared::new(&pipeline.name);
        let running = Running::start(&around, &pipeline, &prepared, Arc::clone(&shared))?;
        let newest = Arc::new(Mutex::new(Arc::clone(&shared)));
        let (drains, drained) = bounded(1);
        let supervisor = Supervisor {
            around,
            pipeline,
            prepared,
            newest: Arc::clone(&newest),
            shared,
            alarms,
            running: Some(running),
            started: Instant::now(),
            attempts: 0,
            failure: None,
        };
        thread::Builder::new()
            .name("supervisor".to_owned())
            .spawn(move || supervisor.run(&drained))
            .map_err(|error| Fault::outside("start a thread").caused_by(error).permanent())?;
        Ok(Self { shared: newest, drains })
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
    fn run(mut self, drains: &Receiver<Drain>) {
        let mut start_again = never();
        loop {
            let alarms = self.alarms.clone();
            select! {
                recv(drains) -> drain => {
                    // Without a drain the host itself is gone.
                    if let Ok(Drain { timeout, answer }) = drain {
                        answer.send(self.drain(timeout)).ok();
                    }
                    return;
                }
                recv(alarms) -> alarm => {
                    start_again = match alarm {
                        Ok(()) => self.failed().map_or_else(never, after),
                        Err(_) => never(),
                    };
                }
                recv(start_again) -> _ => {
                    start_again = self.start_again().map_or_else(never, after);
                }
            }
        }
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
        if self.shared.last_commit() < self.started.elapsed() {
            self.attempts = 0;
        }
        let fault = self.shared.take_fault()?;
        self.after(fault)
    }

    /// Shows why nothing flows; how long to wait before the next start, if another can help.
    fn after(&mut self, fault: Fault) -> Option<Duration> {
        let (retry, text) = (fault.retry, fault.to_string());
        self.failure = Some(fault);
        if !retry {
            self.shared.stopped(State::Failed, text);
            return None;
        }
        let wait = wait(self.attempts, rand::random_range(0.5..1.0));
        self.attempts += 1;
        tracing::warn!(pipeline = self.pipeline.name, ?wait, "the pipeline starts again");
        self.shared.stopped(State::Degraded, text);
        Some(wait)
    }

    fn start_again(&mut self) -> Option<Duration> {
        (self.shared, self.alarms) = self.shared.again();
        *self.newest.lock().expect("nothing panics while it holds this lock") =
            Arc::clone(&self.shared);
        self.started = Instant::now();
        let shared = Arc::clone(&self.shared);
        match Running::start(&self.around, &self.pipeline, &self.prepared, shared) {
            Ok(running) => {
                tracing::info!(pipeline = self.pipeline.name, "the pipeline runs again");
                self.running = Some(running);
                None
            }
            Err(fault) => {
                tracing::error!(pipeline = self.pipeline.name, "cannot start again: {fault}");
                self.after(fault)
            }
        }
    }
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

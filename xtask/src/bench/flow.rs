//! How records flow through a host: how many a second, and the longest time in which none did.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::Result;

use super::host::{Host, Http};

/// How often the host is asked. A batch takes it longer.
const EVERY: Duration = Duration::from_millis(2);

/// Watches how many records a host has processed, until it is dropped.
#[derive(Debug)]
pub(super) struct Flow {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What was seen since the last mark.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    from: (Instant, u64),
    /// When the count last rose, and to what.
    to: (Instant, u64),
    /// The longest time between two answers with different counts: never less than the truth.
    pub longest_gap: Duration,
}

impl Seen {
    fn new(now: Instant, records: u64) -> Self {
        Self { from: (now, records), to: (now, records), longest_gap: Duration::ZERO }
    }

    fn see(&mut self, now: Instant, records: u64) {
        if records > self.to.1 {
            self.longest_gap = self.longest_gap.max(now - self.to.0);
            self.to = (now, records);
        }
    }

    pub(super) fn records(&self) -> u64 {
        self.to.1
    }

    pub(super) fn seconds(&self) -> f64 {
        (self.to.0 - self.from.0).as_secs_f64()
    }

    pub(super) fn records_per_second(&self) -> f64 {
        (self.to.1 - self.from.1) as f64 / self.seconds()
    }
}

impl Flow {
    pub(super) fn of(host: &Host) -> Result<Self> {
        let mut http = Http::connect(&host.listen)?;
        let seen = Seen::new(Instant::now(), http.records("processed")?);
        let seen = Arc::new(Mutex::new(seen));
        let stop = Arc::new(AtomicBool::new(false));
        let (shared, stopped) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            // A host that ends is told of by whoever waits for it.
            while !stopped.load(Ordering::Relaxed)
                && let Ok(records) = http.records("processed")
            {
                shared.lock().expect("seeing does not panic").see(Instant::now(), records);
                thread::park_timeout(EVERY);
            }
        });
        Ok(Self { seen, stop, thread: Some(thread) })
    }

    /// Begins to look anew.
    pub(super) fn mark(&self) {
        let mut seen = self.seen.lock().expect("seeing does not panic");
        *seen = Seen::new(seen.to.0, seen.to.1);
    }

    /// What was seen since the mark; a gap that is still open counts.
    pub(super) fn seen(&self) -> Seen {
        let mut seen = *self.seen.lock().expect("seeing does not panic");
        seen.longest_gap = seen.longest_gap.max(seen.to.0.elapsed());
        seen
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_ends_when_the_count_rises() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut seen = Seen::new(start, 100);
        [(10, 100), (30, 200), (40, 200), (45, 300), (1000, 300)]
            .into_iter()
            .for_each(|(ms, records)| seen.see(at(ms), records));
        assert_eq!(seen.longest_gap, Duration::from_millis(30));
        assert_eq!((seen.records(), seen.seconds()), (300, 0.045));
    }
}

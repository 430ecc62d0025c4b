//! The metrics of a pipeline. Names stand in `telemetry`.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use metrics::{Label, counter, gauge, histogram};

use crate::{
    commit::manifest::Counts,
    config::Limits,
    engine::{Component, GuestMetrics},
    fault::Fault,
    kafka::Lag,
    parquet::{Reason, Sealed},
    record::Lane,
    telemetry as names,
};

/// The metrics of a pipeline, with its labels.
#[derive(Clone, Debug)]
pub(super) struct Meters {
    labels: Arc<[Label]>,
    /// The time of the newest record that was read, in milliseconds since 1970; the least number before the first.
    newest: Arc<AtomicI64>,
}

impl Meters {
    /// Of a pipeline, whose first transform is this component's.
    pub(super) fn new(pipeline: &str, component: &Component) -> Self {
        let newest = Arc::new(AtomicI64::new(i64::MIN));
        Self::labelled(Label::new("pipeline", pipeline.to_owned()), component, newest)
    }

    /// The same pipeline's, with another component or another version of it.
    pub(super) fn of(&self, component: &Component) -> Self {
        Self::labelled(self.labels[0].clone(), component, Arc::clone(&self.newest))
    }

    fn labelled(pipeline: Label, component: &Component, newest: Arc<AtomicI64>) -> Self {
        let labels = [
            pipeline,
            Label::new("component", component.name().to_owned()),
            Label::new("digest", component.digest().to_owned()),
        ];
        Self { labels: labels.into(), newest }
    }

    /// A worker went over to another version.
    pub(super) fn swapped(&self, pause: Duration) {
        histogram!(names::SWAP_PAUSE_SECONDS, self.pipeline()).record(pause);
    }

    fn pipeline(&self) -> Vec<Label> {
        vec![self.labels[0].clone()]
    }

    fn with(&self, name: &'static str, value: &'static str) -> Vec<Label> {
        vec![self.labels[0].clone(), Label::from_static_parts(name, value)]
    }

    /// Records of a batch were processed.
    pub(super) fn processed(&self, counts: &Counts, bytes: usize) {
        let records = [
            (names::RECORDS_RECEIVED, counts.records),
            (names::RECORDS_EMITTED, counts.emitted),
            (names::RECORDS_DROPPED, counts.dropped),
            (names::RECORDS_REJECTED, counts.rejected),
            (names::RECORDS_BROKEN, counts.broken),
        ];
        for (name, value) in records {
            counter!(name, self.labels.to_vec()).increment(value);
        }
        counter!(names::BYTES_RECEIVED, self.pipeline()).increment(bytes as u64);
        for (output, rows) in &counts.rows {
            let labels = vec![self.labels[0].clone(), Label::new("output", output.clone())];
            counter!(names::ROWS, labels).increment(*rows);
        }
    }

    /// A record of this time was read (milliseconds since 1970).
    pub(super) fn read_up_to(&self, timestamp: i64) {
        self.newest.fetch_max(timestamp, Ordering::Relaxed);
    }

    /// How far the lanes are behind, and how long ago the last commit was; the answer is in seconds. `told` has the lanes that were told of before: one
    /// that is another member's now is no lag of this process.
    pub(super) fn behind(
        &self,
        lags: &[Lag],
        told: &mut BTreeSet<Lane>,
        last_commit: Duration,
    ) -> Option<f64> {
        let lag_records = |lane: &Lane, records: u64| {
            let labels = vec![
                self.labels[0].clone(),
                Label::new("topic", lane.topic.to_string()),
                Label::new("partition", lane.partition.to_string()),
            ];
            gauge!(names::LAG_RECORDS, labels).set(float(records));
        };
        let gone = std::mem::take(told);
        for lag in lags {
            if let Some(offsets) = lag.offsets() {
                lag_records(&lag.lane, offsets);
                told.insert(lag.lane.clone());
            }
        }
        gone.difference(told).for_each(|lane| lag_records(lane, 0));
        gauge!(names::LAST_COMMIT_AGE_SECONDS, self.pipeline()).set(last_commit.as_secs_f64());
        let newest = self.newest.load(Ordering::Relaxed);
        let seconds = if lags.iter().all(|lag| lag.offsets() == Some(0)) {
            0.0
        } else if newest >= 0 {
            let age = chrono::Utc::now().timestamp_millis().saturating_sub(newest).max(0);
            float(age.cast_unsigned()) / 1000.0
        } else {
            return None;
        };
        gauge!(names::LAG_SECONDS, self.pipeline()).set(seconds);
        Some(seconds)
    }

    /// A call of the transform failed.
    pub(super) fn failed(&self, fault: &Fault) {
        match fault.code {
            Some("TRAP") => counter!(names::TRANSFORM_TRAPS, self.labels.to_vec()).increment(1),
            Some("DEADLINE") => {
                counter!(names::TRANSFORM_TIMEOUTS, self.labels.to_vec()).increment(1);
            }
            _ => {}
        }
    }

    /// A stage took this long for a batch.
    pub(super) fn stage(&self, stage: &'static str, took: Duration) {
        histogram!(names::STAGE_SECONDS, self.with("stage", stage)).record(took);
    }

    /// Files were closed.
    pub(super) fn closed<S: std::io::Write + Send>(&self, files: &[Sealed<S>]) {
        for file in files {
            let reason = match file.reason() {
                Reason::Flush => "flush",
                Reason::Size => "size",
                Reason::Memory => "memory",
            };
            counter!(names::CLOSES, self.with("reason", reason)).increment(1);
        }
    }

    /// A flush was committed.
    pub(super) fn committed(&self, reason: &'static str, files: u64, bytes: u64) {
        counter!(names::FLUSHES, self.with("reason", reason)).increment(1);
        counter!(names::FILES_PUBLISHED, self.pipeline()).increment(files);
        counter!(names::BYTES_PUBLISHED, self.pipeline()).increment(bytes);
    }

    /// Another replica fenced a flush.
    pub(super) fn fenced(&self) {
        counter!(names::FENCED, self.pipeline()).increment(1);
    }

    /// What a worker holds.
    pub(super) fn holds(&self, worker: usize, open_files: usize, buffered_bytes: u64) {
        let labels = || vec![self.labels[0].clone(), Label::new("worker", worker.to_string())];
        gauge!(names::OPEN_FILES, labels()).set(float(open_files as u64));
        gauge!(names::BUFFERED_BYTES, labels()).set(float(buffered_bytes));
    }

    /// What an instance of a transform has, and what it may have.
    pub(super) fn transform(&self, number: usize, worker: usize, memory: u64, limits: &Limits) {
        let mut labels = vec![
            self.labels[0].clone(),
            Label::new("transform", number.to_string()),
            self.labels[1].clone(),
        ];
        gauge!(names::LIMIT_MEMORY_BYTES, labels.clone()).set(float(limits.memory));
        gauge!(names::LIMIT_CALL_SECONDS, labels.clone()).set(limits.call_timeout.as_secs_f64());
        gauge!(names::LIMIT_OUTPUT_BYTES, labels.clone()).set(float(limits.output));
        gauge!(names::LIMIT_LOG_LINES, labels.clone()).set(f64::from(limits.log_lines));
        labels.push(Label::new("worker", worker.to_string()));
        gauge!(names::TRANSFORM_MEMORY_BYTES, labels).set(float(memory));
    }
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float, and 2^53 is far away")]
fn float(value: u64) -> f64 {
    value as f64
}

impl Meters {
    fn guest(&self, name: &str, labels: &[(String, String)]) -> (String, Vec<Label>) {
        let own = labels.iter().map(|(name, value)| Label::new(name.clone(), value.clone()));
        (format!("{}{name}", names::GUEST), self.labels.iter().cloned().chain(own).collect())
    }
}

/// A guest's own metrics, beside the pipeline's labels.
impl GuestMetrics for Meters {
    fn counter_add(&self, name: &str, labels: &[(String, String)], value: u64) {
        let (name, labels) = self.guest(name, labels);
        counter!(name, labels).increment(value);
    }

    fn gauge_set(&self, name: &str, labels: &[(String, String)], value: f64) {
        let (name, labels) = self.guest(name, labels);
        gauge!(name, labels).set(value);
    }

    fn histogram_record(&self, name: &str, labels: &[(String, String)], value: f64) {
        let (name, labels) = self.guest(name, labels);
        histogram!(name, labels).record(value);
    }
}

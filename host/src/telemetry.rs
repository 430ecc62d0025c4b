//! Logs, and the one list of metric names.

use std::io::IsTerminal;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::{
    EnvFilter, Layer, Registry, fmt, layer::SubscriberExt, util::SubscriberInitExt,
};

use crate::fault::Fault;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// One readable line an event.
    Text,
    /// One JSON object an event.
    Json,
}

/// Starts logging to standard error.
///
/// # Errors
/// When `filter` is not a filter such as `info` or `warn,tidemill::kafka=debug`.
pub fn log(filter: &str, format: LogFormat) -> Result<(), Fault> {
    let filter = EnvFilter::try_new(filter).map_err(|error| {
        let help =
            "write a level, such as info, or levels by module, such as warn,tidemill::kafka=debug";
        Fault::config(format!("`{filter}` is not a log filter")).caused_by(error).help(help)
    })?;
    // It calls the usual end of a consumer an error: the queue that it would close was closed before.
    let noise = "rdkafka::consumer::base_consumer=off".parse().expect("it is a directive");
    let filter = filter.add_directive(noise);
    let terminal = std::io::stderr().is_terminal();
    let text = match format {
        LogFormat::Auto => terminal,
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let layer: Box<dyn Layer<Registry> + Send + Sync> = if text {
        Box::new(fmt::layer().with_writer(std::io::stderr).with_ansi(terminal && colours()))
    } else {
        Box::new(fmt::layer().json().flatten_event(true).with_writer(std::io::stderr))
    };
    // A second call, as in tests, keeps the first subscriber.
    drop(tracing_subscriber::registry().with(layer.with_filter(filter)).try_init());
    Ok(())
}

/// Whether the user wants colours (<https://no-color.org>).
pub fn colours() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A metric: its name, what kind it is, what it counts.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// The name, in base units.
    pub name: &'static str,
    /// What kind it is.
    pub kind: Kind,
    /// What it counts, with its labels.
    pub help: &'static str,
}

/// What kind a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Counts values by size.
    Histogram,
}

/// Declares the constants and the list in one.
macro_rules! metrics {
    ($($constant:ident = $kind:ident $name:literal, $help:literal;)+) => {
        $(#[doc = $help] pub const $constant: &str = $name;)+

        /// Every metric of the host. A guest's own are named `tidemill_guest_<name>`.
        pub const METRICS: &[Metric] = &[$(Metric { name: $name, kind: Kind::$kind, help: $help }),+];
    };
}

metrics! {
    RECORDS_RECEIVED = Counter "tidemill_records_received_total", "Records read, by pipeline, component and digest (of its first transform)";
    RECORDS_EMITTED = Counter "tidemill_records_emitted_total", "Records that at least one row came out of, by pipeline, component and digest";
    RECORDS_DROPPED = Counter "tidemill_records_dropped_total", "Records that the transform dropped, by pipeline, component and digest";
    RECORDS_REJECTED = Counter "tidemill_records_rejected_total", "Records that the transform or the sink refused, by pipeline, component and digest";
    RECORDS_BROKEN = Counter "tidemill_records_broken_total", "Records that could not be decoded, by pipeline, component and digest";
    ROWS = Counter "tidemill_rows_total", "Rows written, by pipeline and output";
    BYTES_RECEIVED = Counter "tidemill_bytes_received_total", "Bytes of keys and values read, by pipeline";
    BYTES_PUBLISHED = Counter "tidemill_bytes_published_total", "Bytes of files that became visible, by pipeline";
    LAG_RECORDS = Gauge "tidemill_consumer_lag_records", "Records between what was read and the high watermark, by pipeline, topic and partition";
    LAG_SECONDS = Gauge "tidemill_consumer_lag_seconds", "Age of the newest record that was read, rising while nothing is read, 0 once all were, by pipeline";
    STAGE_SECONDS = Histogram "tidemill_stage_seconds", "Time a batch spends in a stage (fetch, decode, transform, encode, upload, commit), by pipeline and stage";
    TRANSFORM_TRAPS = Counter "tidemill_transform_traps_total", "Calls that ended in a trap, by pipeline, component and digest";
    TRANSFORM_TIMEOUTS = Counter "tidemill_transform_timeouts_total", "Calls that passed their deadline, by pipeline, component and digest";
    TRANSFORM_MEMORY_BYTES = Gauge "tidemill_transform_memory_bytes", "Memory of an instance, by pipeline, transform (its place in the pipeline), component and worker";
    LIMIT_MEMORY_BYTES = Gauge "tidemill_transform_limit_memory_bytes", "Memory that an instance may have, by pipeline, transform and component";
    LIMIT_CALL_SECONDS = Gauge "tidemill_transform_limit_call_seconds", "Time that a call may take, by pipeline, transform and component";
    LIMIT_OUTPUT_BYTES = Gauge "tidemill_transform_limit_output_bytes", "Output that a call may give, by pipeline, transform and component";
    LIMIT_LOG_LINES = Gauge "tidemill_transform_limit_log_lines", "Log lines a second that an instance may write, by pipeline, transform and component";
    RELOADS = Counter "tidemill_reloads_total", "Versions of components, by component and result (loaded, refused, rolled_back)";
    SWAP_PAUSE_SECONDS = Histogram "tidemill_swap_pause_seconds", "Time that a worker's records waited for another version of the component, by pipeline";
    COMPILE_SECONDS = Histogram "tidemill_compile_seconds", "Time to compile a component, by component";
    FILES_PUBLISHED = Counter "tidemill_files_published_total", "Files that became visible, by pipeline";
    CLOSES = Counter "tidemill_closes_total", "Files that were closed, by pipeline and reason (size, memory, flush)";
    FLUSHES = Counter "tidemill_flushes_total", "Flushes that were committed, by pipeline and reason (age, idle, swap, revoke, drain, halt)";
    LAST_COMMIT_AGE_SECONDS = Gauge "tidemill_last_commit_age_seconds", "Time since the last commit, by pipeline";
    OPEN_FILES = Gauge "tidemill_open_files", "Files being written, by pipeline and worker";
    BUFFERED_BYTES = Gauge "tidemill_buffered_bytes", "Bytes of open files and of parts in flight, by pipeline and worker";
    FENCED = Counter "tidemill_fenced_total", "Flushes that another process was ahead of, by pipeline";
}

/// What the names of a guest's own metrics begin with.
pub const GUEST: &str = "tidemill_guest_";

/// Upper bounds of the histograms' buckets, in seconds: from a fast decode to a slow upload.
const BUCKETS: &[f64] =
    &[0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0];

/// The metrics of this process.
#[derive(Clone, Debug)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// Starts collecting; at most once a process.
    ///
    /// # Errors
    /// When something collects already.
    pub fn install() -> Result<Self, Fault> {
        let builder = PrometheusBuilder::new().set_buckets(BUCKETS);
        let builder =
            builder.map_err(|error| Fault::bug("the buckets were refused").caused_by(error))?;
        let handle = builder.install_recorder();
        let handle =
            handle.map_err(|error| Fault::bug("cannot collect metrics twice").caused_by(error))?;
        for metric in METRICS {
            match metric.kind {
                Kind::Counter => metrics::describe_counter!(metric.name, metric.help),
                Kind::Gauge => metrics::describe_gauge!(metric.name, metric.help),
                Kind::Histogram => metrics::describe_histogram!(metric.name, metric.help),
            }
        }
        Ok(Self(handle))
    }

    /// All metrics in Prometheus' text format. To be called now and then: it also folds what histograms have collected.
    pub fn render(&self) -> String {
        self.0.run_upkeep();
        self.0.render()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_the_rules() {
        for metric in METRICS {
            assert!(metric.name.starts_with("tidemill_"), "{}", metric.name);
            assert_eq!(
                metric.name.ends_with("_total"),
                metric.kind == Kind::Counter,
                "{}",
                metric.name
            );
            assert_eq!(
                METRICS.iter().filter(|other| other.name == metric.name).count(),
                1,
                "{}",
                metric.name
            );
        }
    }

    #[test]
    fn a_wrong_filter_is_the_users_fault() {
        let fault = log("a=b=c", LogFormat::Text).unwrap_err();
        assert!(fault.to_string().starts_with("`a=b=c` is not a log filter"), "{fault}");
    }
}

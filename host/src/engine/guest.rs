//! What a guest has of the host while it runs: log lines, metrics, WASI that grants nothing.

use std::{
    collections::{HashSet, VecDeque},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{
    WasiCtx, WasiCtxView, WasiView,
    cli::{IsTerminal, StdoutStream},
    p2::{OutputStream, Pollable, StreamResult},
};

use super::{
    bindings::tidemill::transform::{
        host::{self, Level},
        types,
    },
    limits::Limiter,
};

/// Lines that an error quotes at most.
const QUOTED: usize = 5;
/// Bytes of a line at most; a longer one is cut into several.
const MAX_LINE: usize = 4096;
/// Series of a component at most: names and labels come from data.
const MAX_SERIES: usize = 1000;

/// Where the metrics of guests go.
pub trait GuestMetrics: Send + Sync {
    /// Adds to a counter.
    fn counter_add(&self, name: &str, labels: &[(String, String)], value: u64);
    /// Sets a gauge.
    fn gauge_set(&self, name: &str, labels: &[(String, String)], value: f64);
    /// Records a value in a histogram.
    fn histogram_record(&self, name: &str, labels: &[(String, String)], value: f64);
}

/// The data of a guest's store.
pub(super) struct Guest {
    wasi: WasiCtx,
    table: ResourceTable,
    pub limiter: Limiter,
    pub lines: Lines,
    metrics: Option<Arc<dyn GuestMetrics>>,
    series: HashSet<String>,
}

impl Guest {
    pub(super) fn new(
        limiter: Limiter,
        lines: Lines,
        metrics: Option<Arc<dyn GuestMetrics>>,
    ) -> Self {
        // No folder, no variable, no argument, no address: the builder grants nothing by itself, but names of hosts and sockets.
        let mut wasi = WasiCtx::builder();
        wasi.stdout(Stream { lines: lines.clone(), level: Level::Info });
        wasi.stderr(Stream { lines: lines.clone(), level: Level::Warn });
        wasi.allow_tcp(false).allow_udp(false).allow_ip_name_lookup(false);
        Self {
            wasi: wasi.build(),
            table: ResourceTable::new(),
            limiter,
            lines,
            metrics,
            series: HashSet::new(),
        }
    }

    /// Whether a metric may be recorded: its name is one, and it is not one series too many.
    fn admits(&mut self, name: &str, labels: &[(String, String)]) -> bool {
        let legal = (1..=63).contains(&name.len())
            && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
        let series = format!("{name}{labels:?}");
        if legal && self.series.contains(&series) {
            return true;
        }
        if !legal || self.series.len() >= MAX_SERIES {
            let why = if legal { "it has too many series" } else { "names are [a-z0-9_]{1,63}" };
            self.lines.line(Level::Warn, &format!("the metric {name:?} is ignored: {why}"));
            return false;
        }
        self.series.insert(series)
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl types::Host for Guest {}

impl host::Host for Guest {
    fn log(&mut self, level: Level, message: String) {
        message.lines().for_each(|line| self.lines.line(level, line));
    }

    fn counter_add(&mut self, name: String, labels: Vec<(String, String)>, value: u64) {
        if self.admits(&name, &labels) {
            self.metrics.iter().for_each(|metrics| metrics.counter_add(&name, &labels, value));
        }
    }

    fn gauge_set(&mut self, name: String, labels: Vec<(String, String)>, value: f64) {
        if self.admits(&name, &labels) {
            self.metrics.iter().for_each(|metrics| metrics.gauge_set(&name, &labels, value));
        }
    }

    fn histogram_record(&mut self, name: String, labels: Vec<(String, String)>, value: f64) {
        if self.admits(&name, &labels) {
            self.metrics.iter().for_each(|metrics| metrics.histogram_record(&name, &labels, value));
        }
    }
}

/// The lines of a guest, on their way into the host's log, at a bounded rate.
#[derive(Clone, Debug)]
pub(super) struct Lines(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    pipeline: String,
    component: String,
    digest: String,
    /// Lines a second.
    rate: u32,
    second: Instant,
    written: u32,
    suppressed: u64,
    /// The last lines that speak of trouble.
    trouble: VecDeque<String>,
}

impl Lines {
    pub(super) fn new(pipeline: &str, component: &str, digest: &str, rate: u32) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            pipeline: pipeline.to_owned(),
            component: component.to_owned(),
            digest: digest.to_owned(),
            rate,
            second: Instant::now(),
            written: 0,
            suppressed: 0,
            trouble: VecDeque::new(),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("nothing panics while it holds this lock")
    }

    /// The last lines that spoke of trouble, which are then forgotten.
    pub(super) fn take_trouble(&self) -> Vec<String> {
        self.lock().trouble.drain(..).collect()
    }

    fn line(&self, level: Level, line: &str) {
        let mut inner = self.lock();
        let cut: String = line.chars().take(MAX_LINE).collect();
        if matches!(level, Level::Warn | Level::Error) {
            if inner.trouble.len() == QUOTED {
                inner.trouble.pop_front();
            }
            inner.trouble.push_back(cut.clone());
        }
        if inner.second.elapsed() >= Duration::from_secs(1) {
            inner.second = Instant::now();
            inner.written = 0;
            let suppressed = std::mem::take(&mut inner.suppressed);
            if suppressed > 0 {
                inner.write(
                    Level::Warn,
                    &format!(
                        "{suppressed} lines were suppressed: more than {} a second",
                        inner.rate
                    ),
                );
            }
        }
        if inner.written >= inner.rate {
            inner.suppressed += 1;
            return;
        }
        inner.written += 1;
        inner.write(level, &cut);
    }
}

impl Inner {
    fn write(&self, level: Level, line: &str) {
        let Self { pipeline, component, digest, .. } = self;
        match level {
            Level::Trace => tracing::trace!(target: "guest", pipeline, component, digest, "{line}"),
            Level::Debug => tracing::debug!(target: "guest", pipeline, component, digest, "{line}"),
            Level::Info => tracing::info!(target: "guest", pipeline, component, digest, "{line}"),
            Level::Warn => tracing::warn!(target: "guest", pipeline, component, digest, "{line}"),
            Level::Error => tracing::error!(target: "guest", pipeline, component, digest, "{line}"),
        }
    }
}

/// Standard output or standard error of a guest.
#[derive(Clone)]
struct Stream {
    lines: Lines,
    level: Level,
}

impl IsTerminal for Stream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stream {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(Pipe { stream: self.clone(), rest: Vec::new() })
    }

    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(Pipe { stream: self.clone(), rest: Vec::new() })
    }
}

/// Cuts bytes into lines.
struct Pipe {
    stream: Stream,
    rest: Vec<u8>,
}

impl Pipe {
    fn push(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        while let Some(end) = memchr::memchr(b'\n', &self.rest)
            .or((self.rest.len() >= MAX_LINE).then_some(MAX_LINE - 1))
        {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            self.stream.lines.line(self.stream.level, line.trim_end_matches('\n'));
        }
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        if !self.rest.is_empty() {
            self.stream.lines.line(self.stream.level, &String::from_utf8_lossy(&self.rest));
        }
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Pipe {
    async fn ready(&mut self) {}
}

impl OutputStream for Pipe {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.push(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(64 << 10)
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.push(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

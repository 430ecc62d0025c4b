//! What a guest has of the host while it runs: log lines, metrics, WASI that grants nothing.

use std::time::Instant;

use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::{
    limits::{Limiter, MAX_RESOURCES},
    lines::Lines,
    metrics::{GuestMetrics, Kind, Meter},
    v0_1::tidemill::transform::{
        host::{self, Level},
        types,
    },
    wait::Waits,
};

/// The data of a guest's store.
pub(super) struct Guest {
    wasi: WasiCtx,
    table: ResourceTable,
    /// When the call under way is over.
    pub deadline: Instant,
    pub limiter: Limiter,
    pub lines: Lines,
    /// `None` while the component is only looked at.
    meter: Option<Meter>,
}

impl Guest {
    pub(super) fn new(limiter: Limiter, lines: Lines, meter: Option<Meter>) -> Self {
        // No folder, no variable, no argument, no address: the builder grants nothing by itself, but sockets and names of hosts.
        let mut wasi = WasiCtx::builder();
        wasi.stdout(lines.stdout()).stderr(lines.stderr());
        wasi.allow_tcp(false).allow_udp(false).allow_ip_name_lookup(false);
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_RESOURCES);
        Self { wasi: wasi.build(), table, deadline: Instant::now(), limiter, lines, meter }
    }

    pub(super) fn waits(&mut self) -> Waits<'_> {
        Waits { table: &mut self.table, deadline: self.deadline }
    }

    fn metric(
        &mut self,
        kind: Kind,
        name: &str,
        labels: &[(String, String)],
        record: impl FnOnce(&dyn GuestMetrics),
    ) {
        let Some(meter) = &mut self.meter else { return };
        if let Err(why) = meter.record(kind, name, labels, record) {
            let name: String = name.chars().take(64).collect();
            self.lines.message(
                Level::Info,
                &format!("the metric {name:?} is ignored, as others like it: {why}"),
            );
        }
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
        self.lines.message(level, &message);
    }

    fn counter_add(&mut self, name: String, labels: Vec<(String, String)>, value: u64) {
        self.metric(Kind::Counter, &name, &labels, |metrics| {
            metrics.counter_add(&name, &labels, value)
        });
    }

    fn gauge_set(&mut self, name: String, labels: Vec<(String, String)>, value: f64) {
        self.metric(Kind::Gauge, &name, &labels, |metrics| {
            metrics.gauge_set(&name, &labels, value)
        });
    }

    fn histogram_record(&mut self, name: String, labels: Vec<(String, String)>, value: f64) {
        self.metric(Kind::Histogram, &name, &labels, |metrics| {
            metrics.histogram_record(&name, &labels, value)
        });
    }
}

//! `tidemill run`: starts the pipelines, and drains them when it is told to end.

use std::{
    net::SocketAddr,
    pin::pin,
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{oneshot, watch},
    task::JoinHandle,
};

use super::flags::HostFlags;
use crate::{
    api::{Access, Health, Phase, PipelineHealth, Server, Shown},
    config::Host,
    events::Events,
    fault::Fault,
    pipeline::{Origin, PipelineStatus, Runtime, State},
    telemetry::Metrics,
};

/// How often `/readyz` learns how the pipelines are doing.
const LOOK: Duration = Duration::from_millis(250);

/// Runs the pipelines until SIGTERM or SIGINT, then flushes, commits and ends. A second signal ends at once.
#[derive(Debug, clap::Args)]
pub(super) struct Run {
    #[command(flatten)]
    flags: HostFlags,
}

impl Run {
    pub(super) async fn run(self) -> Result<(), Fault> {
        let host = self.flags.host()?;
        let drain_timeout = host.drain_timeout;
        let mut end = pin!(end_signal()?);
        let mut start = pin!(Running::start(host));
        let running = tokio::select! {
            running = &mut start => running?,
            () = &mut end => {
                // It drains once it has started, in the time that a drain has.
                let started = tokio::time::timeout(drain_timeout, start).await;
                let late = "end: the host has not started yet, the store or the brokers do not answer";
                let running = started.map_err(|_| Fault::outside(late))??;
                return running.drain(drain_timeout).await;
            }
        };
        tracing::info!(address = %running.address, "running; SIGTERM or Ctrl-C drains and ends");
        running.until(end).await;
        running.drain(drain_timeout).await
    }
}

/// A host at work: its pipelines and its HTTP server.
pub(super) struct Running {
    pub(super) runtime: Runtime,
    pub(super) address: SocketAddr,
    /// What happens.
    pub(super) events: Events,
    health: watch::Sender<Health>,
    server: JoinHandle<()>,
    stop_server: oneshot::Sender<()>,
}

impl Running {
    /// Answers probes, then starts the pipelines.
    pub(super) async fn start(host: Host) -> Result<Self, Fault> {
        let metrics = Metrics::install()?;
        let server = Server::bind(host.listen).await?;
        let address = server.address();
        let (health, shown) = watch::channel(Health::default());
        let (events, control) = (Events::default(), Arc::new(OnceLock::new()));
        let (stop_server, stopped) = oneshot::channel::<()>();
        let stopped = async move {
            // A sender that is gone says the same as one that sent.
            drop(stopped.await);
        };
        let shown = Shown {
            health: shown,
            metrics,
            events: events.clone(),
            control: Arc::clone(&control),
            access: Access::new(address, host.token_sha256),
        };
        let server = tokio::spawn(server.run(shown, stopped));
        let runtime = Runtime::start(host, events.clone()).await?;
        control.get_or_init(|| runtime.control());
        let running = Self { runtime, address, events, health, server, stop_server };
        running.look();
        Ok(running)
    }

    /// Keeps `/readyz` up to date until `end`, until the API says so, or until all pipelines failed.
    async fn until(&self, end: impl Future<Output = ()>) {
        tokio::pin!(end);
        let mut ticks = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                () = &mut end => return,
                () = self.runtime.ended() => return,
                _ = ticks.tick() => {
                    self.look();
                    // One that waits for what is to be mended gets it from a folder or from the API, and one that is
                    // registered in the store is changed there.
                    let failed = |status: &PipelineStatus| {
                        status.state == State::Failed
                            && !status.awaits_mending
                            && status.origin != Origin::Api
                    };
                    let status = self.runtime.status();
                    if !status.is_empty() && status.iter().all(failed) {
                        tracing::error!("every pipeline failed");
                        return;
                    }
                }
            }
        }
    }

    /// Tells `/readyz` how the pipelines are doing.
    pub(super) fn look(&self) {
        let pipelines = self.runtime.status().into_iter().map(|pipeline| PipelineHealth {
            name: pipeline.name,
            state: pipeline.state.name(),
            reason: pipeline.reason,
        });
        self.health.send_replace(Health { phase: Phase::Running, pipelines: pipelines.collect() });
    }

    /// Flushes, commits, leaves the group, and ends the server.
    pub(super) async fn drain(self, timeout: Duration) -> Result<(), Fault> {
        tracing::info!("draining; a second signal ends at once");
        self.health.send_modify(|health| health.phase = Phase::Draining);
        let drained = self.runtime.drain(timeout).await;
        if self.stop_server.send(()).is_ok() {
            // A client that keeps its connection open does not keep the host from ending.
            drop(tokio::time::timeout(Duration::from_secs(1), self.server).await);
        }
        drained
    }
}

/// Ends with the first SIGTERM or SIGINT; the second ends the process at once, which the commit protocol makes safe.
pub(super) fn end_signal() -> Result<impl Future<Output = ()>, Fault> {
    let fault = |error| Fault::outside("cannot listen for signals").caused_by(error);
    let mut terminate = signal(SignalKind::terminate()).map_err(fault)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(fault)?;
    let mut next = async move || {
        tokio::select! {
            _ = terminate.recv() => 128 + 15,
            _ = interrupt.recv() => 128 + 2,
        }
    };
    let (first, seen) = oneshot::channel::<()>();
    tokio::spawn(async move {
        next().await;
        drop(first);
        std::process::exit(next().await);
    });
    Ok(async move { drop(seen.await) })
}

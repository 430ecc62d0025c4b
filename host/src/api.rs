//! The HTTP server: probes, metrics, version.

mod answer;
#[cfg(test)]
mod tests;

use std::{future::Future, net::SocketAddr};

use axum::{Router, routing::get};
use serde::Serialize;
use tokio::{net::TcpListener, sync::watch};

use crate::{fault::Fault, telemetry::Metrics};

/// How the host is doing, as `/readyz` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Health {
    /// What the host is at.
    pub phase: Phase,
    /// How each pipeline is doing.
    pub pipelines: Vec<PipelineHealth>,
}

/// What a host is at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It loads components and reads logs.
    #[default]
    Starting,
    /// Its pipelines run.
    Running,
    /// It commits what it holds and ends.
    Draining,
}

/// How a pipeline is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PipelineHealth {
    /// Its name.
    pub name: String,
    /// RUNNING, PAUSED, STOPPED, DEGRADED or FAILED.
    pub state: &'static str,
    /// Why it is not RUNNING.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Health {
    /// Whether the host does its work: it runs, and no pipeline is at fault.
    pub fn is_ready(&self) -> bool {
        let faulty = |pipeline: &PipelineHealth| ["DEGRADED", "FAILED"].contains(&pipeline.state);
        self.phase == Phase::Running && !self.pipelines.iter().any(faulty)
    }
}

/// What the server shows.
#[derive(Clone, Debug)]
pub struct Shown {
    /// How the host is doing, kept up to date by its sender.
    pub health: watch::Receiver<Health>,
    /// The metrics of the process.
    pub metrics: Metrics,
}

/// A server that is bound to its address.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Takes the address, so that one in use is found at the start. Port 0 takes a free one.
    ///
    /// # Errors
    /// When the address is in use, not of this machine, or not permitted.
    pub async fn bind(address: SocketAddr) -> Result<Self, Fault> {
        let fault = |error| {
            let help = "choose another with --listen ADDR:PORT; port 0 takes a free one";
            Fault::outside(format!("cannot listen on {address}")).caused_by(error).help(help)
        };
        let listener = TcpListener::bind(address).await.map_err(fault)?;
        let address = listener.local_addr().map_err(fault)?;
        Ok(Self { listener, address })
    }

    /// The address, with the port that was taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `end`.
    pub async fn run(self, shown: Shown, end: impl Future<Output = ()> + Send + 'static) {
        let served = axum::serve(self.listener, routes(shown)).with_graceful_shutdown(end).await;
        if let Err(error) = served {
            tracing::error!(%error, "the HTTP server ended");
        }
    }
}

fn routes(shown: Shown) -> Router {
    Router::new()
        .route("/livez", get(answer::livez))
        .route("/readyz", get(answer::readyz))
        .route("/metrics", get(answer::metrics))
        .route("/version", get(answer::version))
        .fallback(answer::nothing)
        .with_state(shown)
}

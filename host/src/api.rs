//! The HTTP server: the page, probes, metrics, version; components, pipelines and events under `/v1`.
//!
//! Errors under `/v1` are problems as of RFC 9457: `application/problem+json` with `code` and `suggestion`.

mod access;
mod answer;
mod components;
mod events;
mod host;
mod page;
mod pipelines;
mod problem;
#[cfg(test)]
mod tests;

use std::{
    future::Future,
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware,
    routing::{get, post},
};
use serde::Serialize;
use tokio::{net::TcpListener, sync::watch};

pub use self::access::Access;
use self::problem::Problem;
use crate::{events::Events, fault::Fault, pipeline::Control, telemetry::Metrics};

/// Bytes of an uploaded component at most.
const MAX_UPLOAD: usize = 256 << 20;

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
    /// What happens.
    pub events: Events,
    /// The pipelines and components, once they run.
    pub control: Arc<OnceLock<Control>>,
    /// Who may use `/v1`.
    pub access: Access,
}

impl Shown {
    fn control(&self) -> Result<&Control, Problem> {
        self.control.get().ok_or_else(Problem::starting)
    }
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
    page::routes()
        .route("/livez", get(answer::livez))
        .route("/readyz", get(answer::readyz))
        .route("/metrics", get(answer::metrics))
        .route("/version", get(answer::version))
        .nest("/v1", v1(&shown))
        .fallback(answer::nothing)
        .with_state(shown)
}

fn v1(shown: &Shown) -> Router<Shown> {
    let component = get(components::get).put(components::put).delete(components::delete);
    let pipeline = get(pipelines::get).put(pipelines::put).delete(pipelines::delete);
    Router::new()
        .route("/pipelines", get(pipelines::list))
        .route("/pipelines/{name}", pipeline)
        .route("/pipelines/{name}/status", get(pipelines::status))
        .route("/pipelines/{name}/pause", post(pipelines::pause))
        .route("/pipelines/{name}/resume", post(pipelines::resume))
        .route("/pipelines/{name}/stop", post(pipelines::stop))
        .route("/pipelines/{name}/start", post(pipelines::start))
        .route("/components", get(components::list))
        .route("/components/{name}", component.layer(DefaultBodyLimit::max(MAX_UPLOAD)))
        .route("/components/{name}/versions", get(components::versions))
        .route("/components/{name}/rollback", post(components::roll_back))
        .route("/events", get(events::stream))
        .route("/host/drain", post(host::drain))
        .method_not_allowed_fallback(problem::not_allowed)
        .layer(middleware::from_fn_with_state(shown.access.clone(), access::check))
}

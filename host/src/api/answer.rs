//! What each address answers.

use axum::{
    Json,
    extract::State,
    http::{StatusCode, Uri, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::{Problem, Shown};

/// The process answers: it lives.
pub(super) async fn livez() -> Json<serde_json::Value> {
    Json(json!({ "live": true }))
}

/// Whether the host does its work; a body that names the pipeline at fault.
pub(super) async fn readyz(State(shown): State<Shown>) -> Response {
    let health = shown.health.borrow().clone();
    let ready = health.is_ready();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({ "ready": ready, "phase": health.phase, "pipelines": health.pipelines });
    (status, Json(body)).into_response()
}

/// All metrics, in Prometheus' text format.
pub(super) async fn metrics(State(shown): State<Shown>) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], shown.metrics.render())
        .into_response()
}

/// Which Tidemill this is.
pub(super) async fn version() -> Json<serde_json::Value> {
    Json(json!({ "name": "tidemill", "version": env!("CARGO_PKG_VERSION") }))
}

/// Nothing is here.
pub(super) async fn nothing(uri: Uri) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "NOT_FOUND", format!("there is nothing at {}", uri.path()))
        .suggest(
            "try /v1/components, /v1/pipelines, /v1/events, /livez, /readyz, /metrics or /version",
        )
}

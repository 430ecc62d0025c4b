//! `/v1/pipelines`: what each pipeline is doing.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use serde_json::{Value, json};

use super::{Problem, Shown};
use crate::pipeline::PipelineStatus;

/// All pipelines.
pub(super) async fn list(State(shown): State<Shown>) -> Result<Json<Value>, Problem> {
    Ok(Json(json!({ "pipelines": shown.control()?.pipelines() })))
}

/// One pipeline.
pub(super) async fn get(
    State(shown): State<Shown>,
    Path(name): Path<String>,
) -> Result<Json<PipelineStatus>, Problem> {
    let found = shown.control()?.pipelines().into_iter().find(|pipeline| pipeline.name == name);
    found.map(Json).ok_or_else(|| {
        Problem::new(StatusCode::NOT_FOUND, "NO_PIPELINE", format!("there is no pipeline {name}"))
            .suggest("see /v1/pipelines")
    })
}

//! `/v1/host`: the host as a whole.

use axum::{Json, extract::State, http::StatusCode};
use serde_json::{Value, json};

use super::{Problem, Shown};

/// Has the host flush, commit, leave its groups and end, as SIGTERM does.
pub(super) async fn drain(
    State(shown): State<Shown>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    shown.control()?.drain();
    Ok((StatusCode::ACCEPTED, Json(json!({ "draining": true }))))
}

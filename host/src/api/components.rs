//! `/v1/components`: which versions there are, which one runs, upload and rollback.

use std::time::Duration;

use axum::{
    Json,
    body::Bytes,
    extract::{
        FromRequest, Path, Query, Request, State,
        rejection::{JsonRejection, QueryRejection},
    },
    http::StatusCode,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{Problem, Shown};
use crate::{
    config,
    pipeline::Kind,
    registry::{History, Outcome, Refusal, Version},
};

/// How long an upload may take.
const UPLOAD: Duration = Duration::from_secs(120);

/// A component, as people see it.
#[derive(Debug, Serialize)]
struct Component {
    name: String,
    /// `null` while all that came was refused.
    current: Option<Current>,
    refused: Vec<Refusal>,
    /// Pipelines that name it.
    used_by: Vec<String>,
}

/// The version that runs.
#[derive(Debug, Serialize)]
struct Current {
    #[serde(flatten)]
    version: Version,
    /// Counts the choices of a version.
    generation: u64,
    /// When it was chosen.
    chosen: String,
}

/// Which version to go back to.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RollBack {
    /// Its digest, with or without `sha256:`.
    digest: String,
}

impl Component {
    fn new(name: String, history: History, used_by: Vec<String>) -> Self {
        let current = history.current.as_deref().and_then(|digest| history.version(digest));
        let current = current.cloned().map(|version| Current {
            version,
            generation: history.generation,
            chosen: history.since.clone(),
        });
        Self { name, current, refused: history.refused, used_by }
    }
}

/// All components.
pub(super) async fn list(State(shown): State<Shown>) -> Result<Json<Value>, Problem> {
    let control = shown.control()?;
    let components = control.components().into_iter().map(|(name, history)| {
        let users = control.users(&name);
        Component::new(name, history, users)
    });
    Ok(Json(json!({ "components": components.collect::<Vec<_>>() })))
}

/// One component.
pub(super) async fn get(
    State(shown): State<Shown>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    Ok(Json(described(&shown, name)?))
}

/// All versions of a component, the newest first.
pub(super) async fn versions(
    State(shown): State<Shown>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    let History { mut versions, mut refused, .. } = history(&shown, &name)?;
    versions.reverse();
    refused.reverse();
    Ok(Json(json!({ "versions": versions, "refused": refused })))
}

/// Takes a component in: the body is the file.
pub(super) async fn put(
    State(shown): State<Shown>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Json<Value>, Problem> {
    if !config::is_name(&name) {
        let text = format!("`{name}` cannot be the name of a component");
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "BAD_NAME", text)
            .suggest("use lower-case letters, digits and `-`, at most 63"));
    }
    let control = shown.control()?;
    let turn = control.turn(Kind::Components).await?;
    // Others wait for their turn meanwhile.
    let wasm = timeout(UPLOAD, Bytes::from_request(request, &())).await.map_err(|_| {
        let text = format!("the body did not come within {UPLOAD:?}");
        Problem::new(StatusCode::REQUEST_TIMEOUT, "SLOW_BODY", text).suggest("send it again")
    })?;
    let wasm = wasm
        .map_err(|rejection| Problem::new(rejection.status(), "BAD_BODY", rejection.body_text()))?;
    match control.upload(turn, name.clone(), wasm).await? {
        Outcome::Refused(reason) => {
            Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "COMPONENT_REFUSED", reason)
                .suggest("what ran before runs on"))
        }
        Outcome::Accepted | Outcome::Unchanged => Ok(Json(described(&shown, name)?)),
    }
}

/// Makes an earlier version the current one.
pub(super) async fn roll_back(
    State(shown): State<Shown>,
    Path(name): Path<String>,
    body: Result<Json<RollBack>, JsonRejection>,
) -> Result<Json<Value>, Problem> {
    let Json(RollBack { digest }) = body.map_err(|rejection| {
        Problem::new(rejection.status(), "BAD_BODY", rejection.body_text())
            .suggest("send {\"digest\": \"sha256:…\"}")
    })?;
    history(&shown, &name)?;
    let digest = digest.trim_start_matches("sha256:").to_ascii_lowercase();
    let control = shown.control()?;
    match control.roll_back(control.turn(Kind::Versions).await?, name.clone(), digest).await? {
        Outcome::Refused(reason) => {
            Err(Problem::new(StatusCode::CONFLICT, "COMPONENT_REFUSED", reason)
                .suggest("what ran before runs on"))
        }
        Outcome::Accepted | Outcome::Unchanged => Ok(Json(described(&shown, name)?)),
    }
}

/// What the query of a DELETE may say.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Force {
    /// Also if a pipeline of another host is known to have used it.
    #[serde(default)]
    force: bool,
}

/// Forgets a component that nobody uses.
pub(super) async fn delete(
    State(shown): State<Shown>,
    Path(name): Path<String>,
    how: Result<Query<Force>, QueryRejection>,
) -> Result<StatusCode, Problem> {
    let Query(Force { force }) = how.map_err(|rejection| {
        Problem::new(rejection.status(), "BAD_QUERY", rejection.body_text())
            .suggest("what can be asked for is ?force=true")
    })?;
    history(&shown, &name)?;
    let control = shown.control()?;
    control.remove(control.turn(Kind::Components).await?, name, force).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn history(shown: &Shown, name: &str) -> Result<History, Problem> {
    shown.control()?.components().remove(name).ok_or_else(|| {
        Problem::new(StatusCode::NOT_FOUND, "NO_COMPONENT", format!("there is no component {name}"))
            .suggest("see /v1/components")
    })
}

fn described(shown: &Shown, name: String) -> Result<Value, Problem> {
    let (history, users) = (history(shown, &name)?, shown.control()?.users(&name));
    Ok(json!(Component::new(name, history, users)))
}

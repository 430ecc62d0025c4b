//! `/v1/pipelines`: what each pipeline is and does; registering, changing, pausing, stopping.

use axum::{
    Json,
    extract::{FromRequest, Path, Query, Request, State, rejection::QueryRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Problem, Shown};
use crate::{
    config,
    pipeline::{Deleted, How, Kind, PipelineStatus, Put},
    registry::Desired,
};

/// A pipeline, as people see it.
#[derive(Debug, Serialize)]
struct Pipeline {
    #[serde(flatten)]
    status: PipelineStatus,
    /// As it is written, but for secrets.
    definition: Value,
}

/// All pipelines, and definitions that none could be made of.
pub(super) async fn list(State(shown): State<Shown>) -> Result<Json<Value>, Problem> {
    let control = shown.control()?;
    Ok(Json(json!({ "pipelines": control.pipelines(), "refused": control.refused() })))
}

/// One pipeline, with its definition.
pub(super) async fn get(
    State(shown): State<Shown>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    let (status, definition) =
        shown.control()?.pipeline(&name).ok_or_else(|| no_pipeline(&name))?;
    Ok(Json(json!(Pipeline { status, definition })))
}

/// What one pipeline is doing.
pub(super) async fn status(
    State(shown): State<Shown>,
    Path(name): Path<String>,
) -> Result<Json<PipelineStatus>, Problem> {
    described(&shown, &name).map(Json)
}

/// Registers a pipeline, or changes it: the body is its text, YAML or JSON.
pub(super) async fn put(
    State(shown): State<Shown>,
    Path(name): Path<String>,
    how: Result<Query<How>, QueryRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let Query(how) = how.map_err(|rejection| {
        Problem::new(rejection.status(), "BAD_QUERY", rejection.body_text())
            .suggest("what can be asked for is ?dry_run=true and ?new_epoch=true")
    })?;
    let text = String::from_request(request, &())
        .await
        .map_err(|rejection| Problem::new(rejection.status(), "BAD_BODY", rejection.body_text()))?;
    let control = shown.control()?;
    let pipeline = control.read(text)?;
    if pipeline.name != name {
        let text = format!("the body is of pipeline {}, the address of {name}", pipeline.name);
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "OTHER_NAME", text)
            .suggest("write the same name in both")
            .errors(vec![config::Problem::at_key("name", "it is not the name in the address")]));
    }
    let put = control.put(control.turn(Kind::Pipelines).await?, pipeline, how).await?;
    let (status, changes, warnings) = match put {
        Put::InFile(file) => return Err(in_file(&name, &file)),
        Put::Created if how.dry_run => (StatusCode::OK, Vec::new(), Vec::new()),
        Put::Created => (StatusCode::CREATED, Vec::new(), Vec::new()),
        Put::Changed(changes, warnings) => (StatusCode::OK, changes, warnings),
    };
    let created = status == StatusCode::CREATED || control.pipeline(&name).is_none();
    let body = json!({
        "name": name,
        "created": created,
        "changes": changes,
        "warnings": warnings,
        "dry_run": how.dry_run,
    });
    Ok((status, Json(body)).into_response())
}

/// Forgets a pipeline, after it was drained. Its log and its files stay.
pub(super) async fn delete(
    State(shown): State<Shown>,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    let control = shown.control()?;
    match control.delete(control.turn(Kind::Pipelines).await?, name.clone()).await? {
        Deleted::InFile(file) => Err(in_file(&name, &file)),
        Deleted::Unknown => Err(no_pipeline(&name)),
        Deleted::Gone => Ok(StatusCode::NO_CONTENT),
    }
}

/// Has a pipeline commit what it holds and read nothing; it keeps its partitions.
pub(super) async fn pause(shown: State<Shown>, name: Path<String>) -> Desire {
    desire(shown, name, Desired::Paused).await
}

/// Has a pipeline that was paused read on.
pub(super) async fn resume(shown: State<Shown>, name: Path<String>) -> Desire {
    desire(shown, name, Desired::Running).await
}

/// Has a pipeline commit what it holds and leave its group.
pub(super) async fn stop(shown: State<Shown>, name: Path<String>) -> Desire {
    desire(shown, name, Desired::Stopped).await
}

/// Starts a pipeline that was stopped, or has failed.
pub(super) async fn start(shown: State<Shown>, name: Path<String>) -> Desire {
    desire(shown, name, Desired::Running).await
}

/// What a wish is answered: it is noted, and is fulfilled soon.
type Desire = Result<(StatusCode, Json<PipelineStatus>), Problem>;

async fn desire(State(shown): State<Shown>, Path(name): Path<String>, desired: Desired) -> Desire {
    described(&shown, &name)?;
    let control = shown.control()?;
    control.desire(control.turn(Kind::Wishes).await?, name.clone(), desired).await?;
    Ok((StatusCode::ACCEPTED, Json(described(&shown, &name)?)))
}

fn described(shown: &Shown, name: &str) -> Result<PipelineStatus, Problem> {
    let found = shown.control()?.pipelines().into_iter().find(|pipeline| pipeline.name == name);
    found.ok_or_else(|| no_pipeline(name))
}

fn no_pipeline(name: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "NO_PIPELINE", format!("there is no pipeline {name}"))
        .suggest("see /v1/pipelines")
}

fn in_file(name: &str, file: &str) -> Problem {
    let text = format!("pipeline {name} is defined by the file {file}");
    Problem::new(StatusCode::CONFLICT, "IN_FILE", text).suggest("change or delete the file")
}

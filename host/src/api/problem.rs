//! Errors of the API, as of RFC 9457.

use axum::{
    http::{Method, StatusCode, Uri, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::{
    config::{self, Problems},
    fault::{Blame, Fault},
};

/// An error: what a caller gets.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    suggestion: Option<String>,
    /// What is wrong with a body, value by value.
    errors: Vec<config::Problem>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), suggestion: None, errors: Vec::new() }
    }

    #[must_use]
    pub(super) fn suggest(mut self, suggestion: impl Into<String>) -> Self {
        self.suggestion = Some(suggestion.into());
        self
    }

    #[must_use]
    pub(super) fn errors(mut self, errors: Vec<config::Problem>) -> Self {
        self.errors = errors;
        self
    }

    pub(super) fn starting() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "STARTING", "the host is starting")
            .suggest("ask again when /readyz says that it is ready")
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        let (status, code) = match (fault.code, fault.blame) {
            (Some("UNKNOWN_VERSION"), _) => (StatusCode::NOT_FOUND, "UNKNOWN_VERSION"),
            (Some("IN_USE"), _) => (StatusCode::CONFLICT, "IN_USE"),
            (code, Blame::Outside) => {
                (StatusCode::SERVICE_UNAVAILABLE, code.unwrap_or("UNAVAILABLE"))
            }
            (code, Blame::Bug) => (StatusCode::INTERNAL_SERVER_ERROR, code.unwrap_or("BUG")),
            (code, _) => (StatusCode::UNPROCESSABLE_ENTITY, code.unwrap_or("REFUSED")),
        };
        let (suggestion, key) = (fault.help.clone(), fault.key.clone());
        let detail = Fault { code: None, ..fault }.to_string();
        let errors = key.map(|key| config::Problem::at_key(&key, detail.clone()));
        Self { status, code, detail, suggestion, errors: errors.into_iter().collect() }
    }
}

impl From<Problems> for Problem {
    fn from(problems: Problems) -> Self {
        let Problems(errors) = &problems;
        let suggestion = errors.first().and_then(|first| first.help.clone());
        let (status, detail) = (StatusCode::UNPROCESSABLE_ENTITY, problems.to_string());
        Self { status, code: "INVALID", detail, suggestion, errors: problems.0 }
    }
}

/// Where a value stands, as of RFC 6901.
fn pointer(key: &str) -> String {
    let segments = key.split('.').filter(|segment| !segment.is_empty());
    segments.map(|segment| format!("/{}", segment.replace('~', "~0").replace('/', "~1"))).collect()
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self { status, code, detail, suggestion, errors } = self;
        let title = status.canonical_reason().unwrap_or("error");
        let mut body = json!({
            "type": "about:blank",
            "title": title,
            "status": status.as_u16(),
            "code": code,
            "detail": detail,
        });
        if let Some(suggestion) = suggestion {
            body["suggestion"] = suggestion.into();
        }
        if !errors.is_empty() {
            let shown = errors.into_iter().map(|error| {
                let line = error.place.map(|(line, _)| line);
                let (pointer, detail) = (pointer(&error.key), error.text);
                json!({ "pointer": pointer, "detail": detail, "line": line, "suggestion": error.help })
            });
            body["errors"] = shown.collect();
        }
        (status, [(CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
    }
}

/// The address takes other methods.
pub(super) async fn not_allowed(method: Method, uri: Uri) -> Problem {
    let text = format!("{} does not take {method}", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", text)
}

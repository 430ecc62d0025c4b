//! Errors of the API, as of RFC 9457.

use axum::{
    http::{Method, StatusCode, Uri, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::fault::{Blame, Fault};

/// An error: what a caller gets.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    suggestion: Option<String>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), suggestion: None }
    }

    #[must_use]
    pub(super) fn suggest(mut self, suggestion: impl Into<String>) -> Self {
        self.suggestion = Some(suggestion.into());
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
        let suggestion = fault.help.clone();
        Self { status, code, detail: Fault { code: None, ..fault }.to_string(), suggestion }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self { status, code, detail, suggestion } = self;
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
        (status, [(CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
    }
}

/// The address takes other methods.
pub(super) async fn not_allowed(method: Method, uri: Uri) -> Problem {
    let text = format!("{} does not take {method}", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", text)
}

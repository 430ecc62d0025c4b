//! `/`: the page for people, and its files below `/assets`. It speaks only the public API, and needs no token itself.

use std::borrow::Cow;

use axum::{
    Router,
    body::Body,
    extract::Path,
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode, Uri,
        header::{
            CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
            REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
        },
    },
    response::{IntoResponse, Response},
    routing::get,
};
use rust_embed::{EmbeddedFile, RustEmbed};

use super::{answer, problem};

/// The built page, which the build put into this binary.
#[derive(RustEmbed)]
#[folder = "dashboard/"]
struct Files;

const INDEX: &str = "index.html";

/// What a browser gets from a binary that was built without the page.
const NOT_BUILT: &str = "This build of tidemill holds no page. In a clone of the repository, \
                         `cargo xtask dashboard` builds it; then build tidemill again.\n\
                         The API answers all the same: /v1/pipelines, /v1/components, /v1/events.\n";

/// Nothing from elsewhere and nothing inline: what a record or a component says can't become code in the page.
const SECURITY: [(HeaderName, &str); 4] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (X_FRAME_OPTIONS, "DENY"),
];

pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/", get(index))
        .route("/assets/{*path}", get(asset))
        .method_not_allowed_fallback(problem::not_allowed)
}

async fn index(headers: HeaderMap) -> Response {
    page(Files::get(INDEX), &headers)
}

fn page(file: Option<EmbeddedFile>, asked: &HeaderMap) -> Response {
    match file {
        // It names the files that belong to this build: a browser asks each time whether it has changed.
        Some(EmbeddedFile { data, metadata }) => {
            sent(INDEX, data, metadata.sha256_hash(), asked, "no-cache")
        }
        None => {
            let plain = [(CONTENT_TYPE, "text/plain; charset=utf-8")];
            (StatusCode::NOT_FOUND, plain, NOT_BUILT).into_response()
        }
    }
}

async fn asset(Path(path): Path<String>, uri: Uri, headers: HeaderMap) -> Response {
    let name = format!("assets/{path}");
    match Files::get(&name) {
        // Its name has the digest of what is in it.
        Some(EmbeddedFile { data, metadata }) => {
            let forever = "public, max-age=31536000, immutable";
            sent(&name, data, metadata.sha256_hash(), &headers, forever)
        }
        None => answer::nothing(uri).await.into_response(),
    }
}

/// A file, or that the browser has it already.
fn sent(
    name: &str,
    data: Cow<'static, [u8]>,
    digest: [u8; 32],
    asked: &HeaderMap,
    cache: &'static str,
) -> Response {
    let tag = format!("\"{}\"", hex::encode(digest));
    let known = asked.get(IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
    let known = known.is_some_and(|tags| tags.split(',').any(|known| known.trim() == tag));
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(CONTENT_TYPE, content_type(name))], Body::from(data.into_owned())).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(ETAG, tag.parse().expect("hex digits in quotes are a header's value"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache));
    for (name, value) in SECURITY {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Of the kinds of files that the page is made of.
fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(asked: &HeaderMap) -> Response {
        sent("index.html", b"<p>".into(), [7; 32], asked, "no-cache")
    }

    #[test]
    fn a_file_is_sent_once_and_guarded_each_time() {
        let first = index(&HeaderMap::new());
        assert_eq!(first.status(), StatusCode::OK);
        assert_eq!(first.headers()[CONTENT_TYPE], "text/html; charset=utf-8");
        let tag = first.headers()[ETAG].clone();
        let again = index(&HeaderMap::from_iter([(IF_NONE_MATCH, tag)]));
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        for response in [&first, &again] {
            let policy = response.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap();
            assert!(policy.starts_with("default-src 'self';") && !policy.contains("unsafe"));
            assert_eq!(response.headers()[CACHE_CONTROL], "no-cache");
        }
        let other = HeaderMap::from_iter([(IF_NONE_MATCH, HeaderValue::from_static("\"0\""))]);
        assert_eq!(index(&other).status(), StatusCode::OK);
    }

    #[test]
    fn a_build_without_the_page_says_how_to_get_it() {
        let response = page(None, &HeaderMap::new());
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert_eq!(response.headers()[CONTENT_TYPE], "text/plain; charset=utf-8");
        assert!(NOT_BUILT.contains("`cargo xtask dashboard`"));
    }

    #[tokio::test]
    async fn what_is_not_there_is_a_problem_and_never_a_file_of_the_machine() {
        for path in ["nothing.js", "../../Cargo.toml", "../../src/lib.rs", "/etc/hostname"] {
            let uri = Uri::from_static("/assets/x");
            let response = asset(Path(path.to_owned()), uri, HeaderMap::new()).await;
            assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
        }
    }
}

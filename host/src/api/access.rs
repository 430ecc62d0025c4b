//! Who may use `/v1`: whoever has the token; without one, whoever is on this machine.

use std::net::{IpAddr, SocketAddr};

use axum::{
    extract::{Request, State},
    http::{
        StatusCode,
        header::{AUTHORIZATION, HOST, ORIGIN, WWW_AUTHENTICATE},
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};

use super::Problem;

/// Who may use `/v1`.
#[derive(Clone, Debug)]
pub struct Access {
    /// SHA-256 of the bearer token, if there is one.
    token: Option<[u8; 32]>,
    /// Whether only this machine can reach the server.
    local: bool,
}

impl Access {
    /// For a server at an address.
    pub fn new(address: SocketAddr, token: Option<[u8; 32]>) -> Self {
        Self { token, local: address.ip().is_loopback() }
    }

    fn check(&self, request: &Request) -> Result<(), Problem> {
        let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
        let Some(expected) = self.token else {
            if !self.local {
                let text = "the API has no token, so it answers on 127.0.0.1 alone";
                return Err(Problem::new(StatusCode::FORBIDDEN, "NO_TOKEN", text)
                    .suggest("set `http.token_sha256` to the SHA-256 of a long random token"));
            }
            // A page of another site that a browser on this machine shows may send requests too, and says where it is from.
            let foreign = request.headers().contains_key(ORIGIN)
                && header(ORIGIN).and_then(|origin| origin.split_once("://")).map(|(_, host)| host)
                    != header(HOST);
            if foreign {
                let text = "the request is of a page of another site";
                return Err(Problem::new(StatusCode::FORBIDDEN, "FOREIGN_ORIGIN", text)
                    .suggest("use the page of the host itself, or set `http.token_sha256`"));
            }
            // Or it reaches the server by that site's name.
            if header(HOST).is_some_and(is_this_machine) {
                return Ok(());
            }
            let text = "the name of the host is not one of this machine";
            return Err(Problem::new(StatusCode::FORBIDDEN, "FOREIGN_HOST", text)
                .suggest("use http://127.0.0.1, or set `http.token_sha256`"));
        };
        // Digests of what is compared take the same time whatever is wrong with it, and say nothing of the token.
        let given = header(AUTHORIZATION)
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| Sha256::digest(token.trim()));
        let differs = given.map(|given| {
            given
                .iter()
                .zip(expected)
                .fold(0, |differs, (given, expected)| differs | (given ^ expected))
        });
        if differs == Some(0) {
            return Ok(());
        }
        Err(Problem::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "the token is missing or wrong")
            .suggest("send `Authorization: Bearer TOKEN`, of the token that `http.token_sha256` was made from"))
    }
}

/// Whether a `Host` header names the machine itself.
fn is_this_machine(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Lets a request through, or says why not.
pub(super) async fn check(State(access): State<Access>, request: Request, next: Next) -> Response {
    match access.check(&request) {
        Ok(()) => next.run(request).await,
        Err(problem) => {
            let mut response = problem.into_response();
            if response.status() == StatusCode::UNAUTHORIZED {
                let scheme = "Bearer".parse().expect("it is a header's value");
                response.headers_mut().insert(WWW_AUTHENTICATE, scheme);
            }
            response
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn status(access: &Access, headers: &[(&str, &str)]) -> Option<u16> {
        let request = headers
            .iter()
            .fold(Request::builder(), |request, (name, value)| request.header(*name, *value));
        let request = request.body(Body::empty()).unwrap();
        access.check(&request).err().map(|problem| problem.into_response().status().as_u16())
    }

    #[test]
    fn without_a_token_only_this_machine_gets_in() {
        let local = Access::new("127.0.0.1:8080".parse().unwrap(), None);
        for host in ["127.0.0.1:8080", "localhost:8080", "LOCALHOST", "[::1]:8080", "127.0.0.2"] {
            assert_eq!(status(&local, &[("host", host)]), None, "{host}");
        }
        for host in ["evil.example:8080", "10.0.0.1", "localhost.evil.example", ""] {
            assert_eq!(status(&local, &[("host", host)]), Some(403), "{host}");
        }
        assert_eq!(status(&local, &[]), Some(403));
        let from = |origin| status(&local, &[("host", "127.0.0.1:8080"), ("origin", origin)]);
        assert_eq!(from("http://127.0.0.1:8080"), None);
        for origin in ["http://evil.example", "http://127.0.0.1:9", "null", ""] {
            assert_eq!(from(origin), Some(403), "{origin}");
        }
        let open = Access::new("0.0.0.0:8080".parse().unwrap(), None);
        assert_eq!(status(&open, &[("host", "127.0.0.1")]), Some(403));
    }

    #[test]
    fn with_a_token_only_its_owner_gets_in() {
        let token = Some(Sha256::digest("secret").into());
        for address in ["127.0.0.1:1", "0.0.0.0:1"] {
            let access = Access::new(address.parse().unwrap(), token);
            let with = |value| status(&access, &[("host", "h"), ("authorization", value)]);
            assert_eq!((with("Bearer secret"), with("bearer secret")), (None, None));
            for wrong in ["Bearer Secret", "Bearer ", "Bearer", "Basic secret", "secret"] {
                assert_eq!(with(wrong), Some(401), "{wrong}");
            }
            assert_eq!(status(&access, &[("host", "127.0.0.1")]), Some(401));
        }
    }
}

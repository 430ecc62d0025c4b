//! Tokens that tell the brokers who a client is (`OAUTHBEARER`): signed requests to AWS as MSK takes them, or what a file has.
//!
//! librdkafka asks for a token on the queue that the client polls, which an admin client's is not, and which a client that
//! only asks a question does not get to. So every client is given its first token before it is used, and those that live
//! long ask for the next ones.
#![expect(
    unsafe_code,
    reason = "rdkafka sets a token only when the client is polled, which an admin client never is"
)]

use std::{
    ffi::{CStr, CString, c_char},
    fs,
    path::{Path, PathBuf},
    ptr,
    sync::{OnceLock, mpsc},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_config::{BehaviorVersion, Region};
use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_msk_iam_sasl_signer::generate_auth_token_from_credentials_provider;
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use rdkafka::{
    ClientContext,
    client::{Client, OAuthToken},
};
use rdkafka_sys::{self as sys, rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR};
use serde::Deserialize;
use tokio::{
    runtime::{Builder, Runtime},
    sync::OnceCell,
};

use crate::{
    config::{Kafka, Sasl},
    fault::Fault,
};

/// A signed request counts for 15 minutes at the broker, by its clock: it is made anew long before.
const MSK_LIFETIME: Duration = Duration::from_secs(9 * 60);
/// How long AWS may take to say who this is.
const ANSWER: Duration = Duration::from_secs(30);
/// Bytes that librdkafka's reason may take.
const REASON: usize = 512;

/// Where a client's tokens come from.
#[derive(Clone, Debug)]
pub(super) enum Tokens {
    /// The client needs none.
    None,
    /// Requests that are signed for the MSK clusters of a region.
    Msk(String),
    /// A file.
    File(PathBuf),
}

impl Tokens {
    pub(super) fn of(kafka: &Kafka) -> Self {
        match &kafka.sasl {
            Some(Sasl::MskIam { region }) => Self::Msk(region.clone()),
            Some(Sasl::TokenFile(path)) => Self::File(path.clone()),
            Some(Sasl::Password { .. }) | None => Self::None,
        }
    }

    /// Gives a client its first token, if it needs one. Blocks for as long as AWS takes to answer.
    ///
    /// # Errors
    /// There is none to be had.
    pub(super) fn give<C: ClientContext>(&self, client: &Client<C>) -> Result<(), Fault> {
        if matches!(self, Self::None) {
            return Ok(());
        }
        set(client, &self.next()?)
    }

    /// A token.
    ///
    /// # Errors
    /// There is none to be had.
    pub(super) fn next(&self) -> Result<OAuthToken, Fault> {
        match self {
            Self::None => Err(Fault::bug("a token is asked for, and none is needed")),
            Self::Msk(region) => signed(region.clone()),
            Self::File(path) => read(path),
        }
    }
}

/// A request that is signed with the credentials that every AWS tool finds.
fn signed(region: String) -> Result<OAuthToken, Fault> {
    let failed = |what: String| {
        Fault::outside(format!("sign in to Kafka by AWS_MSK_IAM: {what}")).help(
            "check the credentials of this host: AWS_PROFILE or AWS_ACCESS_KEY_ID, web identity, the role of its container or instance",
        )
    };
    let (answer, answered) = mpsc::channel();
    background()?.spawn(async move {
        // Whoever asked may have given up.
        answer.send(sign(region).await).ok();
    });
    let signed = answered.recv_timeout(ANSWER);
    let signed = signed.map_err(|_| failed(format!("AWS does not answer within {ANSWER:?}")))?;
    signed.map_err(failed)
}

async fn sign(region: String) -> Result<OAuthToken, String> {
    static PROVIDER: OnceCell<Option<SharedCredentialsProvider>> = OnceCell::const_new();
    let find = || async {
        aws_config::defaults(BehaviorVersion::latest()).load().await.credentials_provider()
    };
    let provider = PROVIDER.get_or_init(find).await.as_ref();
    let provider = provider.ok_or("there is no source of credentials")?;
    let credentials =
        provider.provide_credentials().await.map_err(|error| innermost(&error).to_string())?;
    let expiry = credentials.expiry();
    let provider = SharedCredentialsProvider::new(credentials);
    let signed = generate_auth_token_from_credentials_provider(Region::new(region), provider).await;
    let (token, expires) = signed.map_err(|error| error.to_string())?;
    // The request counts no longer than the credentials that it is signed with.
    let ends = [SystemTime::now() + MSK_LIFETIME].into_iter().chain(expiry).map(millis);
    let lifetime_ms = ends.fold(expires, i64::min);
    Ok(OAuthToken { token, principal_name: "tidemill".to_owned(), lifetime_ms })
}

fn innermost(error: &dyn std::error::Error) -> &dyn std::error::Error {
    error.source().map_or(error, innermost)
}

fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Where AWS is asked: those who need a token stand on threads that must not wait for a future, or must not end it.
fn background() -> Result<&'static Runtime, Fault> {
    static BACKGROUND: OnceLock<Result<Runtime, String>> = OnceLock::new();
    let start = || {
        let mut runtime = Builder::new_multi_thread();
        let built = runtime.worker_threads(1).thread_name("aws").enable_all().build();
        built.map_err(|error| error.to_string())
    };
    BACKGROUND
        .get_or_init(start)
        .as_ref()
        .map_err(|error| Fault::outside(format!("start a thread that signs in to Kafka: {error}")))
}

/// The claims of a JSON Web Token that a client has to know (RFC 7519).
#[derive(Deserialize)]
struct Claims {
    /// When it ends, in seconds since 1970.
    exp: f64,
    /// Whose it is.
    sub: Option<String>,
}

fn read(path: &Path) -> Result<OAuthToken, Fault> {
    let shown = path.display();
    let text = fs::read_to_string(path).map_err(|error| {
        Fault { retry: true, ..Fault::config(format!("read kafka.sasl.token_file {shown}")) }
            .caused_by(error)
    })?;
    let token = text.trim().to_owned();
    let claims = claims(&token).ok_or_else(|| {
        let text =
            format!("kafka.sasl.token_file {shown} has no JSON Web Token with an end (`exp`)");
        Fault { retry: true, ..Fault::config(text) }
    })?;
    #[expect(clippy::cast_possible_truncation, reason = "the ends of tokens are near")]
    let lifetime_ms = (claims.exp * 1000.0) as i64;
    if lifetime_ms <= millis(SystemTime::now()) {
        let text = format!("the token in kafka.sasl.token_file {shown} has expired");
        let help = "see why whoever keeps it fresh does not";
        return Err(Fault { retry: true, ..Fault::config(text) }.help(help));
    }
    let principal_name = claims.sub.unwrap_or_else(|| "tidemill".to_owned());
    Ok(OAuthToken { token, principal_name, lifetime_ms })
}

fn claims(token: &str) -> Option<Claims> {
    let claims = token.split('.').nth(1)?.trim_end_matches('=');
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
}

fn set<C: ClientContext>(client: &Client<C>, token: &OAuthToken) -> Result<(), Fault> {
    let text = |text: &str| {
        CString::new(text).map_err(|_| Fault::config("a token for Kafka holds a zero byte"))
    };
    let (value, principal) = (text(&token.token)?, text(&token.principal_name)?);
    let mut reason = [0 as c_char; REASON];
    // SAFETY: the client is alive, the texts end with a zero and outlive the call, and `reason` has the room that is told.
    let code = unsafe {
        sys::rd_kafka_oauthbearer_set_token(
            client.native_ptr(),
            value.as_ptr(),
            token.lifetime_ms,
            principal.as_ptr(),
            ptr::null_mut(),
            0,
            reason.as_mut_ptr(),
            REASON,
        )
    };
    if code == RD_KAFKA_RESP_ERR_NO_ERROR {
        return Ok(());
    }
    // SAFETY: librdkafka wrote a text that ends with a zero, or nothing: then the first byte is one.
    let reason = unsafe { CStr::from_ptr(reason.as_ptr()) }.to_string_lossy();
    // It may have ended a moment ago: the next one is another.
    Err(Fault::outside(format!("sign in to Kafka by a token: {reason}")))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn file(claims: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
        writeln!(file, "{}.{}.", part(r#"{"alg":"none"}"#), part(claims)).unwrap();
        file
    }

    #[test]
    fn a_token_says_whose_it_is_and_when_it_ends() {
        let fresh = file(r#"{"sub":"mill","exp":4102444800}"#);
        let token = read(fresh.path()).unwrap();
        assert_eq!((token.principal_name.as_str(), token.lifetime_ms), ("mill", 4_102_444_800_000));
        assert!(token.token.ends_with('.'), "without the end of the line");
        let says = |path: &Path, text: &str| {
            let fault = read(path).err().unwrap();
            assert!(fault.to_string().contains(text) && fault.retry, "{fault}");
        };
        says(file(r#"{"exp":1000}"#).path(), "has expired");
        says(file(r#"{"sub":"mill"}"#).path(), "with an end");
        says(Path::new("/nowhere/token"), "/nowhere/token");
    }
}

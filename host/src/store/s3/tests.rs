//! Credentials and addresses.

use std::sync::atomic::{AtomicU32, Ordering};

use aws_credential_types::{Credentials, credential_fn::provide_credentials_fn};

use super::*;

/// Credentials that live for so long, once; then the provider fails.
fn chain(lives: Option<Duration>) -> (Chain, Arc<AtomicU32>) {
    let calls = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&calls);
    let provider = provide_credentials_fn(move || {
        let call = counter.fetch_add(1, Ordering::Relaxed);
        async move {
            match call {
                0 => {
                    let expires = lives.map(|lives| SystemTime::now() + lives);
                    Ok(Credentials::new("key", "secret", Some("token".into()), expires, "test"))
                }
                _ => Err(CredentialsError::provider_error("the metadata service sleeps")),
            }
        }
    });
    let provider = SharedCredentialsProvider::new(provider);
    (Chain { provider, current: Mutex::new(None) }, calls)
}

#[tokio::test]
async fn credentials_are_kept_while_they_live() {
    let minute = Duration::from_secs(60);
    for (lives, calls_for_two, still_there) in [
        (None, 1, true),
        (Some(60 * minute), 1, true),
        (Some(minute), 2, true),
        (Some(Duration::ZERO), 2, false),
    ] {
        let (chain, calls) = chain(lives);
        let first = chain.get_credential().await.unwrap();
        assert_eq!((first.key_id.as_str(), first.token.as_deref()), ("key", Some("token")));
        assert_eq!(chain.get_credential().await.is_ok(), still_there, "{lives:?}");
        assert_eq!(calls.load(Ordering::Relaxed), calls_for_two, "{lives:?}");
    }
}

fn settings(endpoint: &str, path_style: bool) -> config::Store {
    let endpoint = Some(endpoint.parse().unwrap());
    let url = "s3://bucket/root".parse().unwrap();
    config::Store { url, endpoint, path_style, region: None }
}

fn store(
    settings: &config::Store,
    provider: impl aws_credential_types::provider::ProvideCredentials + 'static,
) -> Result<Store, Fault> {
    let provider = SharedCredentialsProvider::new(provider);
    let credentials = Arc::new(Chain { provider, current: Mutex::new(None) });
    let retry = RetryConfig { max_retries: 0, ..RetryConfig::default() };
    connect(settings, "us-east-1", credentials, retry, LOOKS)
}

#[tokio::test]
async fn missing_credentials_say_what_to_check() {
    let settings = settings("http://127.0.0.1:1", true);
    let nothing = || async { Err(CredentialsError::not_loaded("nobody has any")) };
    let asleep = || async { Err(CredentialsError::provider_error("the metadata service sleeps")) };
    for (store, retry, said) in [
        (
            store(&settings, provide_credentials_fn(nothing)),
            false,
            "no credentials: nobody has any",
        ),
        (store(&settings, provide_credentials_fn(asleep)), true, "no credentials: the metadata"),
    ] {
        let fault = store.unwrap().get("_log/x").await.unwrap_err();
        assert!(fault.retry == retry && fault.to_string().contains(said), "{fault}");
        assert!(fault.help.unwrap().contains("profile"));
    }
}

#[tokio::test]
async fn a_bucket_cannot_stand_before_a_number() {
    let credentials = Credentials::new("key", "secret", None, None, "test");
    store(&settings("https://s3.example.com", false), credentials.clone()).unwrap();
    let fault = store(&settings("http://127.0.0.1:9000", false), credentials).unwrap_err();
    assert!(!fault.retry && fault.help.unwrap().contains("path_style"));
}

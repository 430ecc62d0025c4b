//! S3 and servers that speak its protocol, with the credentials that every AWS tool finds.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use aws_config::{
    BehaviorVersion, Region, environment::EnvironmentVariableRegionProvider,
    imds::region::ImdsRegionProvider, meta::region::RegionProviderChain,
    profile::ProfileFileRegionProvider,
};
use aws_credential_types::provider::{
    ProvideCredentials as _, SharedCredentialsProvider, error::CredentialsError,
};
use object_store::{
    BackoffConfig, ClientOptions, CredentialProvider, RetryConfig,
    aws::{AmazonS3Builder, AwsCredential, AwsCredentialProvider},
    path::Path,
    prefix::PrefixStore,
};
use tokio::sync::Mutex;

use super::{Backend, Inner, Store, faults::innermost};
use crate::{config, fault::Fault};

/// When to look again for an upload that seems gone and a file that is not there: five looks over a minute.
const LOOKS: &[Duration] = &[
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(20),
    Duration::from_secs(25),
];

/// Temporary credentials are renewed when they have less than this to live; longer than any request with its retries.
const RENEW_BEFORE: Duration = Duration::from_secs(5 * 60);

/// Where an error comes from when the credentials cannot be had for now.
pub(super) const CREDENTIALS: &str = "credentials";

/// Opens the bucket with credentials of the default chain.
pub(super) async fn open(settings: &config::Store) -> Result<Store, Fault> {
    let region = RegionProviderChain::first_try(settings.region.clone().map(Region::new))
        .or_else(EnvironmentVariableRegionProvider::new())
        .or_else(ProfileFileRegionProvider::new());
    // Other servers seldom have regions, and asking the instance for its own would cost seconds there.
    let region = match &settings.endpoint {
        Some(_) => region.or_else("us-east-1"),
        None => region.or_else(ImdsRegionProvider::builder().build()),
    };
    let found = aws_config::defaults(BehaviorVersion::latest()).region(region).load().await;
    let region = found.region().ok_or_else(|| {
        Fault::config(format!(
            "open the store {}: the region of the bucket is not known",
            settings.url
        ))
        .help("set `region` of the store, or AWS_REGION")
    })?;
    let provider = found.credentials_provider().ok_or_else(|| {
        Fault::config(format!("open the store {}: there is no source of credentials", settings.url))
    })?;
    let credentials = Arc::new(Chain { provider, current: Mutex::new(None) });
    let retry = RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(5),
            base: 2.0,
        },
        max_retries: 8,
        retry_timeout: Duration::from_secs(60),
    };
    connect(settings, region.as_ref(), credentials, retry, LOOKS)
}

/// Opens the bucket.
pub(super) fn connect(
    settings: &config::Store,
    region: &str,
    credentials: AwsCredentialProvider,
    retry: RetryConfig,
    looks: &'static [Duration],
) -> Result<Store, Fault> {
    let url = settings.url.to_string();
    let invalid = |why: String| {
        Fault::config(format!("open the store {url}: {why}"))
            .help("give a URL like `s3://bucket/prefix`")
    };
    let bucket = settings.url.host_str().ok_or_else(|| invalid("it names no bucket".into()))?;
    let prefix =
        Path::from_url_path(settings.url.path()).map_err(|error| invalid(error.to_string()))?;
    let client = ClientOptions::new()
        .with_allow_http(
            settings.endpoint.as_ref().is_some_and(|endpoint| endpoint.scheme() == "http"),
        )
        .with_connect_timeout(Duration::from_secs(5))
        .with_timeout(Duration::from_secs(60));
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_region(region)
        .with_credentials(credentials)
        .with_virtual_hosted_style_request(!settings.path_style)
        // Deletes are few, and not every server knows the bulk request.
        .with_disable_bulk_delete(true)
        .with_retry(retry)
        .with_client_options(client);
    if let Some(endpoint) = &settings.endpoint {
        let mut endpoint = endpoint.clone();
        if !settings.path_style {
            let host = endpoint.host_str().unwrap_or_default();
            let host = format!("{bucket}.{host}");
            endpoint.set_host(Some(&host)).map_err(|error| {
                invalid(format!("the bucket cannot stand before the host of {endpoint}: {error}"))
                    .help("set `path_style = true`")
            })?;
        }
        builder = builder.with_endpoint(endpoint.as_str().trim_end_matches('/'));
    }
    let bucket = builder.build().map_err(|error| invalid(error.to_string()))?;
    let prefix_bytes = prefix.as_ref().len() + 1;
    let rooted = Arc::new(PrefixStore::new(bucket, prefix));
    let multipart = Arc::clone(&rooted);
    Ok(Store(Arc::new(Inner {
        url,
        objects: rooted,
        backend: Backend::S3(multipart),
        prefix_bytes,
        looks,
    })))
}

/// The default chain of the AWS tools: environment, profile files, web identity, container, instance.
#[derive(Debug)]
struct Chain {
    provider: SharedCredentialsProvider,
    current: Mutex<Option<Current>>,
}

#[derive(Debug)]
struct Current {
    credential: Arc<AwsCredential>,
    expires: Option<SystemTime>,
}

impl Current {
    fn lives(&self, at_least: Duration) -> bool {
        self.expires.is_none_or(|expires| expires > SystemTime::now() + at_least)
    }
}

#[async_trait]
impl CredentialProvider for Chain {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        // Held while new ones are fetched, so that many requests fetch them once.
        let mut current = self.current.lock().await;
        if let Some(current) = current.as_ref().filter(|current| current.lives(RENEW_BEFORE)) {
            return Ok(Arc::clone(&current.credential));
        }
        match self.provider.provide_credentials().await {
            Ok(found) => {
                let credential = Arc::new(AwsCredential {
                    key_id: found.access_key_id().into(),
                    secret_key: found.secret_access_key().into(),
                    token: found.session_token().map(Into::into),
                });
                *current =
                    Some(Current { credential: Arc::clone(&credential), expires: found.expiry() });
                Ok(credential)
            }
            Err(error) => match current.as_ref().filter(|current| current.lives(Duration::ZERO)) {
                Some(current) => Ok(Arc::clone(&current.credential)),
                None => Err(no_credentials(&error)),
            },
        }
    }
}

fn no_credentials(error: &CredentialsError) -> object_store::Error {
    let source = format!("no credentials: {}", innermost(error)).into();
    match error {
        CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_) => {
            object_store::Error::Unauthenticated { path: String::new(), source }
        }
        _ => object_store::Error::Generic { store: CREDENTIALS, source },
    }
}

#[cfg(test)]
mod tests;

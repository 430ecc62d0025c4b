//! Errors of stores, said so that a person knows what to check.

use std::io;

use object_store::Error;

use super::{Backend, Store, s3::CREDENTIALS};
use crate::fault::{Blame, Fault};

const PERMISSIONS: &str = "check the credentials (environment, profile, web identity, container or instance role), and that they allow \
     s3:GetObject, s3:PutObject, s3:DeleteObject, s3:AbortMultipartUpload on the objects and s3:ListBucket on the bucket";
const BUCKET: &str = "check the name of the bucket, `region` and `endpoint`";
const CLOCK: &str = "set the clock of this machine: it differs from the store's";
const OPERATION: &str = "use another store: this one does not know the operation";
const NETWORK: &str = "check that the store can be reached from here; the operation is tried again";

impl Store {
    /// The fault of an operation on a key.
    pub(super) fn fault(&self, doing: &str, key: &str, error: &Error) -> Fault {
        if let Some(error) = disk_error(error) {
            return disk(&self.0.url, doing, key, error);
        }
        let answer = Answer::of(error);
        let verdict = verdict(error, &answer);
        let cause = if answer.text.is_empty() { error.to_string() } else { answer.text };
        let mut fault = Fault::new(
            verdict.blame,
            format!("{doing} {key} in the store {}: {cause}", self.0.url),
        );
        fault.retry = verdict.retry;
        if verdict.help.is_empty() { fault } else { fault.help(verdict.help) }
    }

    /// `None` for "there is no such object", which is not the same as "there is no such store".
    pub(super) fn unless_absent<T>(
        &self,
        doing: &str,
        key: &str,
        result: object_store::Result<T>,
    ) -> Result<Option<T>, Fault> {
        match result {
            Ok(found) => Ok(Some(found)),
            Err(error @ Error::NotFound { .. }) if Answer::of(&error).code != "NoSuchBucket" => {
                self.folder_stands(doing, key).map(|()| None)
            }
            Err(error) => Err(self.fault(doing, key, &error)),
        }
    }

    /// Fails if the folder of a local store is gone, as when its disk is not mounted.
    pub(super) fn folder_stands(&self, doing: &str, key: &str) -> Result<(), Fault> {
        match &self.0.backend {
            Backend::Local(root) if !root.is_dir() => Err(Fault::outside(format!(
                "{doing} {key} in the store {}: the folder is gone",
                self.0.url
            ))
            .help(format!("check that the disk of {} is mounted", root.display()))),
            Backend::Local(_) | Backend::S3(_) | Backend::Memory(_) => Ok(()),
        }
    }

    /// Whether the store says that a multipart upload does not exist, in the words of each store.
    pub(super) fn says_no_such_upload(&self, error: &Error) -> bool {
        match &self.0.backend {
            // `NotFound` alone may also be a bucket that is gone.
            Backend::S3(_) => {
                matches!(error, Error::NotFound { .. }) && Answer::of(error).code == "NoSuchUpload"
            }
            Backend::Memory(_) => {
                matches!(error, Error::Generic { .. })
                    && error.to_string().contains("Upload not found")
            }
            Backend::Local(_) => false,
        }
    }
}

/// The fault of an operation on the local disk.
pub(super) fn disk(url: &str, doing: &str, key: &str, error: &io::Error) -> Fault {
    use io::ErrorKind as Kind;
    let fault = Fault::outside(format!("{doing} {key} in the store {url}: {error}"));
    match error.kind() {
        Kind::StorageFull | Kind::QuotaExceeded => {
            fault.help(format!("free space on the disk of {url}"))
        }
        Kind::PermissionDenied | Kind::ReadOnlyFilesystem => {
            fault.permanent().help(format!("let this process write to the folder of {url}"))
        }
        Kind::NotADirectory | Kind::IsADirectory | Kind::AlreadyExists => {
            fault.permanent().help("move away what stands in the way")
        }
        Kind::CrossesDevices => {
            fault.permanent().help(format!("keep all folders below {url} on one disk"))
        }
        Kind::Unsupported => fault
            .permanent()
            .help(format!("use a disk with hard links and atomic renames; that of {url} has not")),
        Kind::InvalidFilename | Kind::InvalidInput => fault.permanent(),
        _ => fault.help(format!("check the disk of {url}; the operation is tried again")),
    }
}

struct Verdict {
    blame: Blame,
    retry: bool,
    help: &'static str,
}

fn verdict(error: &Error, answer: &Answer) -> Verdict {
    let again = |help| Verdict { blame: Blame::Outside, retry: true, help };
    let never = |help| Verdict { blame: Blame::Outside, retry: false, help };
    let config = |help| Verdict { blame: Blame::Config, retry: false, help };
    match (error, answer.code.as_str(), answer.status) {
        (_, "RequestTimeTooSkewed", _) => again(CLOCK),
        (_, "ExpiredToken" | "RequestTimeout" | "SlowDown", _)
        | (_, _, Some(408 | 409 | 429 | 500 | 502..)) => again(NETWORK),
        (_, "NoSuchBucket", _) | (_, _, Some(300..=399)) => config(BUCKET),
        (_, _, Some(501)) | (Error::NotSupported { .. } | Error::NotImplemented { .. }, _, _) => {
            config(OPERATION)
        }
        (_, _, Some(401 | 403))
        | (Error::Unauthenticated { .. } | Error::PermissionDenied { .. }, _, _) => {
            never(PERMISSIONS)
        }
        (_, _, Some(400)) => never(BUCKET),
        (_, _, Some(402..=499))
        | (
            Error::NotFound { .. } | Error::AlreadyExists { .. } | Error::Precondition { .. },
            _,
            _,
        ) => never(""),
        (Error::Generic { store: CREDENTIALS, .. }, _, _) => again(PERMISSIONS),
        _ if answer.text.contains("redirect without LOCATION") => config(BUCKET),
        _ => again(NETWORK),
    }
}

/// The disk's own error, if the local disk failed; "not found" and "exists already" are answers.
fn disk_error(error: &Error) -> Option<&io::Error> {
    let Error::Generic { store: "LocalFileSystem", source } = error else { return None };
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(&**source);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref() {
            return Some(error);
        }
        next = error.source();
    }
    None
}

/// What an S3 server said, taken from the text of the error: the client library keeps its type private.
struct Answer {
    status: Option<u16>,
    /// S3's own error code; empty if there was none.
    code: String,
    /// The innermost cause, without XML.
    text: String,
}

impl Answer {
    fn of(error: &Error) -> Self {
        let text = innermost(error).to_string();
        let status_text = text
            .split_once("status code: ")
            .map(|(_, rest)| rest.split(": ").next().unwrap_or(rest));
        let status = status_text.and_then(|status| status.get(..3)?.parse().ok());
        let tag = |name: &str| -> Option<&str> {
            let (_, rest) = text.split_once(&format!("<{name}>"))?;
            Some(rest.split_once("</")?.0)
        };
        let code = tag("Code").unwrap_or_default().to_owned();
        let message = tag("Message").unwrap_or_default().trim_end_matches('.');
        let text = match status_text {
            Some(status) if code.is_empty() => status.trim_end_matches([':', ' ']).to_owned(),
            Some(status) => format!("{status}, {code}: {message}"),
            None if !code.is_empty() => format!("{code}: {message}"),
            None => text,
        };
        Self { status, code, text }
    }
}

/// The cause of all causes: what wraps it says nothing more to a person.
pub(super) fn innermost<'a>(
    mut error: &'a (dyn std::error::Error + 'static),
) -> &'a (dyn std::error::Error + 'static) {
    while let Some(source) = error.source() {
        error = source;
    }
    error
}

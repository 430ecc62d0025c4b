//! Checks of values that hosts and pipelines share.

use std::{
    fmt::Display,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use url::Url;

use super::{Store, later, problem::Problem, raw, tree::Node};

/// Collects what is wrong with a tree.
pub(super) struct Check<'a> {
    root: &'a Node,
    pub(super) problems: Vec<Problem>,
}

impl<'a> Check<'a> {
    pub(super) fn new(root: &'a Node) -> Self {
        Self { root, problems: Vec::new() }
    }

    /// Notes a problem with the value at a path.
    pub(super) fn refuse(
        &mut self,
        path: &[&str],
        text: impl Into<String>,
        help: impl Into<String>,
    ) {
        let problem = Problem::new(self.root.locate(path), path.join("."), text).help(help);
        self.problems.push(problem);
    }

    /// The value, or a stand-in after its refusal was noted.
    pub(super) fn or<T>(
        &mut self,
        path: &[&str],
        value: Result<T, (String, String)>,
        stand_in: T,
    ) -> T {
        value.unwrap_or_else(|(text, help)| {
            self.refuse(path, text, help);
            stand_in
        })
    }

    /// Refuses a number outside of a range.
    pub(super) fn range<T: PartialOrd + Copy>(
        &mut self,
        path: &[&str],
        value: T,
        range: RangeInclusive<T>,
        show: impl Fn(T) -> String,
    ) -> T {
        if !range.contains(&value) {
            let (low, high) = (show(*range.start()), show(*range.end()));
            let size = if value < *range.start() { "small" } else { "large" };
            self.refuse(
                path,
                format!("{} is too {size}", show(value)),
                format!("write a value from {low} to {high}"),
            );
        }
        value
    }

    pub(super) fn size(&mut self, path: &[&str], bytes: u64, range: RangeInclusive<u64>) -> u64 {
        self.range(path, bytes, range, |bytes| bytesize::ByteSize(bytes).to_string())
    }

    pub(super) fn duration(
        &mut self,
        path: &[&str],
        value: Duration,
        range: RangeInclusive<Duration>,
    ) -> Duration {
        self.range(path, value, range, |duration| humantime::format_duration(duration).to_string())
    }

    /// A path, from the folder of where it was written.
    pub(super) fn path(&mut self, path: &[&str], text: &str) -> PathBuf {
        if text.is_empty() {
            self.refuse(path, "the path is empty", "write a path");
        }
        self.root.locate(path).source.base.join(text)
    }

    /// A store, whose settings stand under `store`.
    pub(super) fn store(&mut self, raw: &raw::Store) -> Store {
        let written = &self.root.locate(&["store", "url"]).source;
        let url = store_url(&raw.url, &written.base);
        let is_s3 = url.as_ref().map_or(true, |url| url.scheme() == "s3");
        // A flag that names a folder sets the endpoint of the file aside.
        let together = Arc::ptr_eq(written, &self.root.locate(&["store", "endpoint"]).source);
        let mut endpoint = None;
        match raw.endpoint.as_ref().map(|text| (text, Url::parse(text))) {
            Some(_) if !is_s3 && together => {
                let text =
                    format!("an endpoint is only for s3:// stores, and the store is `{}`", raw.url);
                self.refuse(&["store", "endpoint"], text, "remove it, or write an s3:// url");
            }
            Some((_, Ok(url))) if ["http", "https"].contains(&url.scheme()) && url.has_host() => {
                endpoint = Some(url).filter(|_| is_s3);
            }
            Some((text, _)) => {
                let help = "write http://host:port or https://host:port";
                self.refuse(&["store", "endpoint"], format!("`{text}` is not an endpoint"), help);
            }
            None => {}
        }
        let nowhere = Url::parse("memory://").expect("it is a URL");
        let is_refused = url.is_err();
        let url = self.or(&["store", "url"], url, nowhere);
        if is_refused && raw.url.contains('@') {
            // Whatever else is wrong with it: it may hold credentials, and messages end up in logs.
            let problem = self.problems.pop().expect("the refusal of the URL was noted");
            self.problems.push(problem.without_excerpt());
        }
        Store { url, endpoint, path_style: raw.path_style, region: raw.region.clone() }
    }
}

fn store_url(text: &str, base: &Path) -> Result<Url, (String, String)> {
    let refusal = |what: &dyn Display, help: &str| Err((what.to_string(), help.to_owned()));
    const FORMS: &str = "write a folder, file:///folder, s3://bucket/prefix or memory://";
    if text.trim().is_empty() {
        return refusal(&"the store is empty", FORMS);
    }
    if !text.contains("://") && !text.starts_with("file:") && !text.starts_with("memory:") {
        let folder = base.join(text);
        let wrong = |()| (format!("`{text}` is not an absolute folder"), FORMS.to_owned());
        return Url::from_directory_path(clean(&folder)).map_err(wrong);
    }
    let Ok(url) = Url::parse(text) else {
        return refusal(&"the store's URL cannot be read", FORMS);
    };
    let scheme = url.scheme();
    if later::STORES.contains(&scheme) {
        return refusal(&format_args!("{scheme}:// stores are not supported yet"), FORMS);
    }
    if !url.username().is_empty() || url.password().is_some() {
        let help = "credentials come from the usual AWS chain: variables, profiles, roles";
        return refusal(&"a store's URL must not hold credentials", help);
    }
    if url.query().is_some() || url.fragment().is_some() {
        return refusal(&"a store's URL ends after its path", "remove what follows `?` or `#`");
    }
    match scheme {
        "file" if url.has_host() => {
            let help =
                format!("write file:///{}{}", url.host_str().unwrap_or_default(), url.path());
            refusal(&format_args!("`{text}` names a host: a folder has three slashes"), &help)
        }
        "s3" if !url.has_host() => {
            refusal(&format_args!("`{text}` names no bucket"), "write s3://bucket/prefix")
        }
        "file" | "s3" | "memory" => Ok(url),
        _ => {
            let help = super::de::nearest(scheme, ["file", "s3", "memory"]);
            let help =
                help.map_or_else(|| FORMS.to_owned(), |meant| format!("did you mean {meant}://?"));
            refusal(&format_args!("there is no store `{scheme}://`"), &help)
        }
    }
}

/// A path without `.` and, where that is sure, without `..`.
fn clean(path: &Path) -> PathBuf {
    use std::path::Component;
    path.components().filter(|component| *component != Component::CurDir).collect()
}

//! What is wrong with a configuration, shown with its place.

use std::{fmt, sync::Arc};

use super::{
    Host, Pipeline,
    tree::{Mark, Node},
};
use crate::fault::Fault;

/// Words in lines that may hold a secret, and are not quoted.
const HIDDEN: [&str; 5] = ["password", "passphrase", "secret", "token", "credential"];

/// One mistake in a configuration: where it stands, what it is, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, flag (`--workers`) or variable (`TIDEMILL_WORKERS`).
    pub source: String,
    /// Line and column, from 1; none for a flag, a variable, or something that is missing from a whole file.
    pub place: Option<(usize, usize)>,
    /// The full key: `source.kafka.topics.0`; empty for a whole file.
    pub key: String,
    /// What is wrong.
    pub text: String,
    /// What to write instead.
    pub help: Option<String>,
    /// The line of the file, and the width of what is wrong in it.
    excerpt: Option<(String, usize)>,
}

impl Problem {
    /// A problem at a place.
    pub(super) fn new(at: Mark, key: impl Into<String>, text: impl Into<String>) -> Self {
        let line = at.line.checked_sub(1).and_then(|index| at.source.text.lines().nth(index));
        let place = line.map(|_| (at.line, at.column));
        // Messages end up in logs.
        let line = line.filter(|line| !HIDDEN.iter().any(|word| line.contains(word)));
        let excerpt = line.map(|line| {
            let room = (line.trim_end().chars().count() + 1).saturating_sub(at.column);
            (line.trim_end().to_owned(), at.width.clamp(1, room.max(1)))
        });
        Self {
            source: at.source.name.clone(),
            place,
            key: key.into(),
            text: text.into(),
            help: None,
            excerpt,
        }
    }

    /// A problem of the value of a key, wherever that stands.
    pub fn at_key(key: impl Into<String>, text: impl Into<String>) -> Self {
        let (source, key, text) = (String::new(), key.into(), text.into());
        Self { source, place: None, key, text, help: None, excerpt: None }
    }

    /// The same problem without the line it stands in, which holds a secret.
    #[must_use]
    pub(super) fn without_excerpt(mut self) -> Self {
        self.excerpt = None;
        self
    }

    /// The same problem with what to write instead.
    #[must_use]
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)?;
        if let Some((line, column)) = self.place {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.text)?;
        if let (Some((line, column)), Some((excerpt, width))) = (self.place, &self.excerpt) {
            let gutter = line.to_string();
            let blank = " ".repeat(gutter.len());
            let indent = " ".repeat(column.saturating_sub(1));
            write!(f, "\n  {gutter} | {excerpt}\n  {blank} | {indent}{}", "^".repeat(*width))?;
        }
        if !self.key.is_empty() {
            write!(f, "\n  key:  {}", self.key)?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n  help: {help}")?;
        }
        Ok(())
    }
}

/// The file that a pipeline was read from: what turns out to be wrong with it later is shown with its place too.
///
/// Where a pipeline is written makes no difference to what it is: all are equal.
#[derive(Clone, Debug)]
pub struct Written(Arc<Node>);

impl Written {
    pub(super) fn new(root: Node) -> Self {
        Self(Arc::new(root))
    }

    /// Its text.
    pub fn text(&self) -> &str {
        &self.0.at.source.text
    }

    /// What it says, without what must not be shown.
    pub fn value(&self) -> serde_json::Value {
        self.0.shown()
    }

    /// Secrets of the cluster that are written as they are, where they would be kept in a store for all to read.
    fn open_secrets(&self) -> Vec<Problem> {
        let Some(kafka) = self.0.entry("kafka") else { return Vec::new() };
        let problem = |(key, at)| {
            Problem::new(at, key, "a secret would be kept as it is in the store")
                .help("write `\"${TIDEMILL_SECRET_…}\"` and set the variable for the hosts, or write it into the host's settings")
                .without_excerpt()
        };
        kafka.node.open_secrets("kafka").into_iter().map(problem).collect()
    }

    /// The same fault, as one of the value at a path: with the file, the line and the full key.
    pub fn blame(&self, path: &[&str], fault: Fault) -> Fault {
        let Fault { blame, retry, code, help, .. } = fault;
        let text = Fault { help: None, code: None, ..fault }.to_string();
        let key = path.join(".");
        let problem = Problem { help, ..Problem::new(self.0.locate(path), key.clone(), text) };
        let (message, key) = (problem.to_string(), Some(key));
        Fault { blame, retry, code, message, help: None, key, source: None }
    }
}

impl Pipeline {
    /// What is wrong with a definition that somebody registers over the API, beside what is wrong with any: it neither
    /// leaves a secret in the store, nor has the host tell its own to strangers.
    pub fn over_the_api(&self, host: &Host) -> Vec<Problem> {
        let told = self.kafka.told_to_strangers(&host.kafka).into_iter().map(|(key, text)| {
            let key = format!("kafka.{key}");
            let path: Vec<&str> = key.split('.').collect();
            Problem::new(self.written.0.locate(&path), key.clone(), text).help(
                "write it into a pipeline file of the hosts, name the hosts' own brokers, or a variable TIDEMILL_SECRET_…",
            )
        });
        self.written.open_secrets().into_iter().chain(told).collect()
    }
}

impl PartialEq for Written {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// All that is wrong with a configuration; at least one problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl From<Problems> for Fault {
    fn from(problems: Problems) -> Self {
        Self::config(problems.to_string())
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

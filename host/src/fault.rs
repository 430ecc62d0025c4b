//! Errors that say whose fault it is, and whether to try again.

use std::{error::Error, fmt};

/// Whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The user's configuration or input.
    Config,
    /// A record.
    Record,
    /// A transform.
    Transform,
    /// The surroundings: brokers, store, network, disk.
    Outside,
    /// Tidemill.
    Bug,
}

/// A fault: what failed, whose fault it is, whether to try again, and what to do next.
///
/// The message is lower case, has no full stop, and reads well after "failed to".
#[derive(Debug)]
pub struct Fault {
    /// Whose fault it is.
    pub blame: Blame,
    /// Whether the same call may go through later.
    pub retry: bool,
    /// A name that stays the same when the text changes, such as `OFFSET_GAP`.
    pub code: Option<&'static str>,
    /// What failed.
    pub message: String,
    /// What to do next.
    pub help: Option<String>,
    /// The full key of the value that is at fault, in a file or a body: `source.kafka.topics`.
    pub key: Option<String>,
    /// What caused it.
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

impl Fault {
    /// A fault that trying again does not mend.
    pub fn new(blame: Blame, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { blame, retry: false, code: None, message, help: None, key: None, source: None }
    }

    /// The user's configuration is at fault.
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(Blame::Config, message)
    }

    /// A transform is at fault.
    pub fn transform(message: impl Into<String>) -> Self {
        Self::new(Blame::Transform, message)
    }

    /// The surroundings are at fault; the same call may go through later.
    pub fn outside(message: impl Into<String>) -> Self {
        Self { retry: true, ..Self::new(Blame::Outside, message) }
    }

    /// An invariant of Tidemill does not hold.
    pub fn bug(message: impl Into<String>) -> Self {
        Self::new(Blame::Bug, message)
    }

    /// The same fault with the error that caused it.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same fault with the next step.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same fault with a code.
    #[must_use]
    pub fn code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    /// The same fault once more. What caused it is a part of its text.
    #[must_use]
    pub fn copy(&self) -> Self {
        let Self { blame, retry, code, help, key, .. } = self;
        let text = self.to_string();
        let prefix = code.map_or(0, |code| format!("{code}: ").len());
        let (message, help, key) = (text[prefix..].to_owned(), help.clone(), key.clone());
        Self { blame: *blame, retry: *retry, code: *code, message, help, key, source: None }
    }

    /// The same fault, said not to be mended by trying again.
    #[must_use]
    pub fn permanent(mut self) -> Self {
        self.retry = false;
        self
    }
}

impl fmt::Display for Fault {
    /// The message and its causes, on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(code) = self.code {
            write!(f, "{code}: ")?;
        }
        f.write_str(&self.message)?;
        let mut source = self.source.as_ref().map(|source| &**source as &dyn Error);
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

// `source` stays unset on purpose: `Display` writes the causes, and a reporter would write them twice.
impl Error for Fault {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_says_the_same() {
        let fault = Fault::outside("read it").code("LOST").help("look").caused_by("no such file");
        let copy = fault.copy();
        assert_eq!(copy.to_string(), "LOST: read it: no such file");
        assert_eq!(copy.to_string(), fault.to_string());
        assert_eq!(
            (copy.help.as_deref(), copy.retry, copy.blame),
            (Some("look"), true, Blame::Outside)
        );
    }
}

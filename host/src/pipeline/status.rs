//! What people see of a pipeline: its state, its counts, where it comes from.

use serde::Serialize;

use crate::{commit::manifest::Counts, registry::Desired};

/// The state of a pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum State {
    /// Records flow, or would if there were any.
    Running,
    /// A person paused it: it has its partitions, and reads nothing.
    Paused,
    /// A person stopped it: it has left its group.
    Stopped,
    /// It starts, some lanes halted, or the whole of it waits for something outside.
    Degraded,
    /// It stopped, and does not start again by itself before something is mended.
    Failed,
}

impl State {
    /// As people read it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Paused => "PAUSED",
            Self::Stopped => "STOPPED",
            Self::Degraded => "DEGRADED",
            Self::Failed => "FAILED",
        }
    }
}

/// Where a pipeline is defined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// By a file in the folder of pipelines.
    File(String),
    /// By a request to the API: it stands in the log of the registry.
    Api,
}

/// What a pipeline is doing.
#[derive(Clone, Debug, Serialize)]
pub struct PipelineStatus {
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: State,
    /// Why it is not RUNNING.
    pub reason: Option<String>,
    /// Since when it has this state, RFC 3339.
    pub since: String,
    /// What a person wants it to do.
    pub desired: Desired,
    /// Where it is defined.
    pub origin: Origin,
    /// Why the newest definition of it is not what runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// Whether it is FAILED for what its component did, or for topics that are not its log's, or can't be prepared yet: it goes on
    /// when that is mended.
    pub awaits_mending: bool,
    /// What it runs, in order.
    pub transforms: Vec<RunningTransform>,
    /// How far it is behind, as far as it is known.
    pub lag: Option<Behind>,
    /// Seconds since the last commit, or since the start.
    pub last_commit_age_seconds: f64,
    /// Records that were processed since the start, committed or not.
    pub processed: Counts,
    /// Records that were committed since the start.
    pub committed: Counts,
    /// Files that were published since the start.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Flushes that were committed since the start.
    pub flushes: u64,
    /// Flushes that another replica fenced since the start.
    pub fenced: u64,
}

/// A definition that no pipeline runs, nor shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// Where it stands.
    pub origin: Origin,
    /// The pipeline's name, of one that was registered over the API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What is wrong with it.
    pub reason: String,
    /// Since when, RFC 3339.
    pub since: String,
}

/// How far a pipeline is behind, in the partitions that this process has.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Behind {
    /// Records between what was read and the high watermarks.
    pub records: u64,
    /// The age of the newest record that was read; 0 once all were, unknown before the first.
    pub seconds: Option<f64>,
}

/// A transform that a pipeline runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunningTransform {
    /// The component's name.
    pub component: String,
    /// SHA-256 of its file.
    pub digest: String,
    /// Its version, as it says itself.
    pub version: String,
}

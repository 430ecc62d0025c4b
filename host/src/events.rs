//! What happens to components and pipelines, for people and programs: each event has a number, a kind and its details, is
//! a line of the log, and is kept for a while, so that whoever follows may come back for what was missed.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex},
};

use chrono::{SecondsFormat, Utc};
use metrics::counter;
use serde::Serialize;
use tokio::sync::watch;

use crate::{record::Lane, telemetry as names};

/// How many events are kept.
const KEPT: usize = 1000;

/// Something that happened.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    /// Rises from event to event, from start to start too.
    pub id: u64,
    /// When, RFC 3339.
    pub ts: String,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum What {
    /// A version of a component passed all checks: it is the current one.
    Loaded {
        /// The component's name.
        component: String,
        /// SHA-256 of its file.
        digest: String,
        /// Its version, as it says itself; unknown while no pipeline uses it.
        version: Option<String>,
        /// How it came.
        road: &'static str,
    },
    /// A version of a component was refused; what ran before runs on.
    Refused {
        /// The component's name.
        component: String,
        /// SHA-256 of its file.
        digest: String,
        /// How it came.
        road: &'static str,
        /// Why.
        reason: String,
    },
    /// A person chose an earlier version.
    RolledBack {
        /// The component's name.
        component: String,
        /// The version that was the current one.
        from: Option<String>,
        /// The one that is.
        to: String,
    },
    /// A pipeline has another state.
    State {
        /// The pipeline.
        pipeline: String,
        /// RUNNING, PAUSED, STOPPED, DEGRADED or FAILED.
        state: &'static str,
        /// Why it is not RUNNING.
        reason: Option<String>,
    },
    /// A pipeline is new, or is another than it was.
    Defined {
        /// The pipeline.
        pipeline: String,
        /// What changes, key by key; empty when it is new.
        changes: Vec<String>,
    },
    /// A definition of a pipeline was refused; what ran before runs on.
    DefinitionRefused {
        /// The pipeline, or the file.
        pipeline: String,
        /// Why.
        reason: String,
    },
    /// A pipeline is no more. Its log and its files stay.
    Removed {
        /// The pipeline.
        pipeline: String,
    },
    /// All workers of a pipeline run another version.
    Swapped {
        /// The pipeline.
        pipeline: String,
        /// The component's name.
        component: String,
        /// The version that made the records before the cut.
        old: String,
        /// The version that makes those after it.
        new: String,
        /// Counts the choices of this component, in all replicas.
        generation: u64,
        /// For each lane, the first offset that the new version gets; empty when the pipeline did not run.
        cut: Vec<Cut>,
        /// The longest time that records waited for it, on any worker.
        pause_seconds: f64,
    },
}

impl fmt::Display for What {
    /// In a line, for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = |digest: &str| digest.chars().take(12).collect::<String>();
        match self {
            Self::Loaded { component, digest, version, .. } => {
                let version = version.as_deref().unwrap_or_default();
                write!(f, "component {component} {version} ({}) is loaded", short(digest))
            }
            Self::Refused { component, digest, reason, .. } => {
                write!(f, "component {component} ({}) is refused: {reason}", short(digest))
            }
            Self::RolledBack { component, to, .. } => {
                write!(f, "component {component} is rolled back to {}", short(to))
            }
            Self::State { pipeline, state, reason } => {
                let reason = reason.as_ref().map(|reason| format!(": {reason}"));
                write!(f, "pipeline {pipeline} is {state}{}", reason.unwrap_or_default())
            }
            Self::Defined { pipeline, changes } if changes.is_empty() => {
                write!(f, "pipeline {pipeline} is defined")
            }
            Self::Defined { pipeline, changes } => {
                write!(f, "pipeline {pipeline} is changed: {}", changes.join(", "))
            }
            Self::DefinitionRefused { pipeline, reason } => {
                write!(f, "the definition of {pipeline} is refused: {reason}")
            }
            Self::Removed { pipeline } => write!(f, "pipeline {pipeline} is removed"),
            Self::Swapped { pipeline, component, old, new, pause_seconds, .. } => write!(
                f,
                "pipeline {pipeline} went over from {component} {} to {} in {:.1} ms",
                short(old),
                short(new),
                pause_seconds * 1000.0
            ),
        }
    }
}

/// Where a lane goes over from one version to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cut {
    /// The lane.
    #[serde(flatten)]
    pub lane: Lane,
    /// The first offset that the new version gets.
    pub offset: i64,
}

/// The events of a host.
#[derive(Clone, Debug)]
pub struct Events(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    kept: Mutex<VecDeque<Event>>,
    newest: watch::Sender<u64>,
}

impl Default for Events {
    fn default() -> Self {
        // Milliseconds leave room for a thousand events each, so that ids rise over restarts.
        let first = u64::try_from(Utc::now().timestamp_millis()).unwrap_or_default() * 1000;
        Self(Arc::new(Inner { kept: Mutex::default(), newest: watch::Sender::new(first) }))
    }
}

impl Events {
    /// Tells of something that happened just now.
    pub fn tell(&self, what: What) {
        let mut kept = self.0.kept.lock().expect("nothing panics while it holds this lock");
        let id = *self.0.newest.borrow() + 1;
        let ts = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
        let event = Event { id, ts, what };
        event.log();
        event.count();
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(event);
        // Still locked: the next id is counted from this one.
        self.0.newest.send_replace(id);
    }

    /// The events after an id, as far as they are kept; the oldest first.
    pub fn after(&self, id: u64) -> Vec<Event> {
        let kept = self.0.kept.lock().expect("nothing panics while it holds this lock");
        kept.iter().filter(|event| event.id > id).cloned().collect()
    }

    /// Changes with each event.
    pub fn newest(&self) -> watch::Receiver<u64> {
        self.0.newest.subscribe()
    }
}

impl Event {
    fn count(&self) {
        let (component, result) = match &self.what {
            What::Loaded { component, .. } => (component, "loaded"),
            What::Refused { component, .. } => (component, "refused"),
            What::RolledBack { component, .. } => (component, "rolled_back"),
            _ => return,
        };
        counter!(names::RELOADS, "component" => component.clone(), "result" => result).increment(1);
    }

    fn log(&self) {
        let id = self.id;
        match &self.what {
            What::Loaded { component, digest, version, road } => {
                tracing::info!(id, component, digest, version, road, "component loaded");
            }
            What::Refused { component, digest, road, reason } => {
                tracing::warn!(id, component, digest, road, "component refused: {reason}");
            }
            What::RolledBack { component, from, to } => {
                tracing::info!(id, component, from, to, "component rolled back");
            }
            What::State { pipeline, state, reason } => {
                tracing::info!(id, pipeline, state, reason, "pipeline state");
            }
            What::Defined { pipeline, changes } => {
                let changes = changes.join(", ");
                tracing::info!(id, pipeline, changes, "pipeline defined");
            }
            What::DefinitionRefused { pipeline, reason } => {
                tracing::error!(id, pipeline, "pipeline definition refused: {reason}");
            }
            What::Removed { pipeline } => tracing::info!(id, pipeline, "pipeline removed"),
            What::Swapped { pipeline, component, old, new, generation, cut, pause_seconds } => {
                let cut = cut.iter().map(|cut| format!("{}:{}", cut.lane, cut.offset));
                let cut = cut.collect::<Vec<_>>().join(" ");
                tracing::info!(
                    id,
                    pipeline,
                    component,
                    old,
                    new,
                    generation,
                    cut,
                    pause_seconds,
                    "component swapped"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(n: usize) -> What {
        let (component, digest) = ("c".to_owned(), format!("{n}"));
        What::Refused { component, digest, road: "folder", reason: "bad".to_owned() }
    }

    #[test]
    fn the_newest_are_kept_and_ids_rise() {
        let events = Events::default();
        let mut newest = events.newest();
        let start = *newest.borrow_and_update();
        (0..KEPT + 10).for_each(|n| events.tell(refused(n)));
        assert!(newest.has_changed().unwrap());
        let kept = events.after(start);
        assert_eq!((kept.len(), &kept[0].what), (KEPT, &refused(10)));
        assert!(kept.windows(2).all(|pair| pair[0].id + 1 == pair[1].id));
        assert_eq!(events.after(kept[KEPT - 2].id).len(), 1);
        assert!(Events::default().after(0).is_empty());
    }

    #[test]
    fn events_of_many_threads_have_ids_of_their_own() {
        let events = Events::default();
        std::thread::scope(|scope| {
            for n in 0..8 {
                let events = &events;
                scope.spawn(move || (0..100).for_each(|_| events.tell(refused(n))));
            }
        });
        let kept = events.after(0);
        assert_eq!(kept.len(), 800);
        assert!(kept.windows(2).all(|pair| pair[0].id < pair[1].id));
    }

    #[test]
    fn an_event_is_one_flat_object() {
        let cut = vec![Cut { lane: Lane::new("t", 3), offset: 7 }];
        let what = What::Swapped {
            pipeline: "p".into(),
            component: "c".into(),
            old: "a".into(),
            new: "b".into(),
            generation: 2,
            cut,
            pause_seconds: 0.001,
        };
        let event = Event { id: 1, ts: "now".into(), what };
        let json = serde_json::to_value(&event).unwrap();
        assert_eq!(json["kind"], "swapped");
        assert_eq!(json["cut"], serde_json::json!([{ "topic": "t", "partition": 3, "offset": 7 }]));
    }
}

//! The board of a pipeline: all that its state is worked out from.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use chrono::{SecondsFormat, Utc};

use super::status::{Origin, PipelineStatus, State};
use crate::{
    commit::manifest::Counts,
    events::{Events, What},
    record::Lane,
    registry::Desired,
};

const JOINING: &str = "waits for its partitions: the group gives them out once all members have answered, or are missed (`session.timeout.ms`)";

/// What people see. Locked once a batch or a flush, never for longer than an addition.
#[derive(Debug)]
pub(super) struct Board {
    pub status: PipelineStatus,
    pub events: Events,
    /// The run whose state is shown.
    pub run: u32,
    pub at: At,
    pub last_commit: Instant,
    /// When a record was processed last, or there was none to process.
    pub last_progress: Instant,
    pub halted: BTreeMap<Lane, String>,
    /// What a person should look at, while librdkafka tries on: of lanes, and of all of them.
    pub troubles: BTreeMap<Option<Lane>, Trouble>,
    /// Why the run before failed, until this one commits something or has nothing left to read.
    pub setback: Option<String>,
    /// That nothing flows.
    pub stalled: Option<String>,
    /// Whether it failed before it could be prepared.
    pub unprepared: bool,
    /// Whether its group has given out the lanes since the run began.
    pub joined: bool,
    /// How many workers it has, and which of them read nothing, as they were told.
    pub workers: usize,
    pub resting: BTreeSet<usize>,
}

/// What a pipeline is at.
#[derive(Debug)]
pub(super) enum At {
    Starting,
    Work,
    Rest,
    /// It does not run, for this reason; whether it starts again by itself.
    Failure(String, bool),
}

#[derive(Debug)]
pub(super) struct Trouble {
    pub text: String,
    /// One that nobody has to see to is over when it is not told again.
    pub until: Option<Instant>,
}

impl Board {
    pub(super) fn new(name: &str, events: Events) -> Self {
        let status = PipelineStatus {
            name: name.to_owned(),
            state: State::Degraded,
            reason: Some("starting".to_owned()),
            since: now(),
            desired: Desired::Running,
            origin: Origin::Api,
            refused: None,
            awaits_mending: false,
            transforms: Vec::new(),
            lag: None,
            last_commit_age_seconds: 0.0,
            processed: Counts::default(),
            committed: Counts::default(),
            files: 0,
            bytes: 0,
            flushes: 0,
            fenced: 0,
        };
        Self {
            status,
            events,
            run: 0,
            at: At::Starting,
            last_commit: Instant::now(),
            last_progress: Instant::now(),
            halted: BTreeMap::new(),
            troubles: BTreeMap::new(),
            setback: None,
            stalled: None,
            unprepared: false,
            joined: false,
            workers: 0,
            resting: BTreeSet::new(),
        }
    }

    /// Works out the state, and tells of it when it is another.
    pub(super) fn show(&mut self) {
        let (state, reason) = self.judge();
        let differs = self.status.state != state;
        (self.status.state, self.status.reason) = (state, reason.clone());
        if differs {
            self.status.since = now();
            let pipeline = self.status.name.clone();
            self.events.tell(What::State { pipeline, state: state.name(), reason });
        }
    }

    pub(super) fn judge(&self) -> (State, Option<String>) {
        let halted = self.halted.iter().map(|(lane, reason)| format!("{lane}: {reason}"));
        let reasons: Vec<_> = self
            .setback
            .iter()
            .chain(self.troubles.values().map(|trouble| &trouble.text))
            .chain(&self.stalled)
            .cloned()
            .chain(halted)
            .collect();
        let reason = (!reasons.is_empty()).then(|| reasons.join("; "));
        match &self.at {
            At::Failure(reason, true) => (State::Degraded, Some(reason.clone())),
            At::Failure(reason, false) => (State::Failed, Some(reason.clone())),
            At::Starting => (State::Degraded, Some(reason.unwrap_or_else(|| "starting".into()))),
            At::Rest => (State::Stopped, None),
            At::Work if self.is_paused() => (State::Paused, reason),
            At::Work if reason.is_some() => (State::Degraded, reason),
            At::Work if !self.joined => (State::Degraded, Some(JOINING.to_owned())),
            At::Work => (State::Running, None),
        }
    }
}

impl Board {
    /// Whether no worker reads any more, since a person wants that.
    pub(super) fn is_paused(&self) -> bool {
        self.status.desired == Desired::Paused && self.resting.len() >= self.workers
    }
}

fn now() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true)
}

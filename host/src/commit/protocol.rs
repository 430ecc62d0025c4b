//! The commit protocol of one writer, without I/O: `step(state, event) -> commands`.
//!
//! ```text
//!            Commit, its turn           Created(true)
//!    Idle ────────────────────► Creating ───────────► in the log: publish its files, Idle
//!     ▲ ▲                        ▲   │ Created(false)
//!     │ │ Read: nothing: the same│   ▼
//!     │ │ bytes, the same number └─ ReadingBack ─ Read: mine ──► in the log: publish its files, Idle
//!     │ │                            │ Read: foreign ─┬─ no lane of mine moved ──► Creating, the next number
//!     │ │                                             └─ a lane of mine moved ───► discard, Done(Fenced), Idle
//!     │ └── Read: nothing ── Following ◄─ Follow       (Read: a manifest ──► fold it, read the next)
//!     └── all published ──── Recovering ◄─ Recover     (the same, then publishes what nobody claims)
//! ```
//!
//! Publishing goes on beside all of this; `Done(Committed)` comes when the last file of an append is visible.
//!
//! The model (`model.rs`) shows each of these rules to be necessary, by a variant that breaks it:
//!
//! 1. After any result of a Create but Ok, read the key back and compare the nonce.
//! 2. Move on to the next number only after having read a foreign manifest, never on an ambiguous answer; until then it
//!    is the same bytes at the same number.
//! 3. Rebase only if none of the flush's lanes moved: fenced on one lane means that the whole flush goes.
//! 4. Recovery publishes every manifest that nobody claims; a checkpoint reaches only to the first unpublished one.
//! 5. `published` claims what this writer did or read as claimed, never what it assumes.
//! 6. Manifest before publish.
//! 7. Publishing goes on past files that exist already.
//! 8. Discard own stages only before the first Create, or after having read a foreign manifest that fences.
//! 9. Create is put-if-absent (the store's part).
//! 10. A file whose publishing has an unknown result is published again until the result is known.
//! 11. Nothing follows a seal, and no checkpoint reaches past it.

mod append;
#[cfg(test)]
pub mod mutant;
mod publish;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{
    log::{Checkpoint, Log},
    manifest::{Counts, File, Handover, InputRange, Kind, Manifest, TransformId},
};
use crate::record::Lane;

/// What a writer appends to the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Append {
    /// Unique to this attempt.
    pub nonce: String,
    /// Which worker of the process it is from: once it is fenced, what the same worker queued behind it is fenced as well.
    pub worker: usize,
    /// What the manifest says: start, data, claim …
    pub kind: Kind,
    /// The offsets that it covers.
    pub inputs: Vec<InputRange>,
    /// The transforms that made the rows.
    pub transforms: Vec<TransformId>,
    /// Files, staged.
    pub files: Vec<File>,
    /// What became of the records, by lane.
    pub counts: Vec<Counts>,
    /// Of a seal, or of the first manifest after one.
    pub handover: Option<Handover>,
    /// When, RFC 3339.
    pub ts: String,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The process starts: read the log up to its end and publish what nobody claims. The first event of a writer.
    Recover,
    /// Read the log up to its end.
    Follow,
    /// Append this. Appends take turns in the order in which they come.
    Commit(Append),
    /// A Create ended: `true` is Ok, anything else is `false`.
    Created(bool),
    /// A manifest was read, or there is none of this number.
    Read(u64, Option<Manifest>),
    /// Publishing a file ended.
    Published(u64, String, Outcome),
    /// Publish these manifests, which nobody claims.
    Help(Vec<u64>),
}

/// How publishing a file ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It is visible: by this call, or an earlier one of anybody.
    Visible,
    /// Nobody knows.
    Unknown,
    /// It is not visible and its stage is gone.
    Lost,
}

/// What is to be done. Commands may be carried out in any order and at the same time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Create this manifest, put-if-absent. Answer: `Created`.
    Create(Manifest),
    /// Read the manifest of this number. Answer: `Read`.
    Read(u64),
    /// Publish a file of a manifest. Answer: `Published`.
    Publish(u64, File),
    /// Throw staged files away. No answer.
    Discard(Vec<File>),
    /// The log was read up to its end; after `Recover`, what had to be published is.
    Followed,
    /// An append ended.
    Done(String, Done),
    /// The pipeline must stop.
    Halt(Halt),
}

/// How an append ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Done {
    /// It is manifest `seq`, and its files are visible.
    Committed(u64),
    /// Another writer moved this lane: nothing of it is in the log, nor ever will be.
    Fenced(Lane),
    /// The log says all of it already: a start of lanes that are known, a claim where nothing is left to claim.
    Needless,
    /// The epoch is sealed: nothing of it is in the log, nor ever will be.
    Sealed,
    /// It does not continue the log, whatever others do: its maker is wrong. Nothing of it is in the log.
    Refused(String),
}

/// Why a pipeline must stop.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Halt {
    /// A file of a manifest is gone before it was published.
    StageLost(u64, String),
    /// The log can't be continued.
    Fork(String),
}

/// A writer of a pipeline's log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Writer {
    pipeline: String,
    epoch: u16,
    name: String,
    log: Log,
    phase: Phase,
    /// Whether the log is to be read up to its end next.
    follow: bool,
    /// Appends that wait for their turn.
    waiting: VecDeque<Append>,
    /// Manifests that are being published, with the files that are not known to be visible.
    publishing: BTreeMap<u64, BTreeSet<String>>,
    /// Which of them are appends of this writer: their nonces.
    own: BTreeMap<u64, String>,
    #[cfg(test)]
    mutant: Option<mutant::Mutant>,
}

/// What happens at the end of the log: one thing at a time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Idle,
    /// Reading the log up to its end; `recover`: then publish what nobody claims.
    Following {
        recover: bool,
    },
    /// Publishing what nobody claims.
    Recovering,
    /// This manifest, from that worker, is being created.
    Creating(Manifest, usize),
    /// Its Create had another answer than Ok.
    ReadingBack(Manifest, usize),
}

impl Writer {
    /// A writer that knows the log as far as a checkpoint says. Its first event is `Recover`.
    pub fn new(pipeline: &str, epoch: u16, name: &str, log: Log) -> Self {
        Self {
            pipeline: pipeline.to_owned(),
            epoch,
            name: name.to_owned(),
            log,
            phase: Phase::Idle,
            follow: false,
            waiting: VecDeque::new(),
            publishing: BTreeMap::new(),
            own: BTreeMap::new(),
            #[cfg(test)]
            mutant: None,
        }
    }

    /// What the writer knows of the log.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Where a process may start next time: rule 4.
    pub fn checkpoint(&self) -> Checkpoint {
        #[cfg(test)]
        if let Some(checkpoint) = self.mutate_checkpoint() {
            return checkpoint;
        }
        self.log.checkpoint()
    }

    /// Whether nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.phase == Phase::Idle && !self.is_publishing()
    }

    /// Whether files are being published.
    pub fn is_publishing(&self) -> bool {
        !self.publishing.is_empty()
    }

    /// Whether the log is being read up to its end, or was and recovery is not done.
    pub fn is_following(&self) -> bool {
        matches!(self.phase, Phase::Following { .. } | Phase::Recovering)
    }

    /// Takes an event, gives commands. Events that answer nothing that was asked are left alone.
    pub fn step(&mut self, event: Event) -> Vec<Command> {
        let mut commands = Vec::new();
        if let Err(halt) = self.take(event, &mut commands) {
            commands.push(Command::Halt(halt));
        }
        commands
    }

    fn take(&mut self, event: Event, commands: &mut Vec<Command>) -> Result<(), Halt> {
        match event {
            Event::Recover => self.read_on(Phase::Following { recover: true }, commands),
            Event::Follow => self.follow = true,
            Event::Commit(append) => self.waiting.push_back(append),
            Event::Created(ok) => self.created(ok, commands)?,
            Event::Read(seq, manifest) if seq == self.log.next() => {
                self.read(manifest, commands)?;
            }
            Event::Read(..) => {}
            Event::Published(seq, key, outcome) => self.published(seq, key, outcome, commands)?,
            Event::Help(seqs) => seqs.into_iter().for_each(|seq| self.publish(seq, commands)),
        }
        self.next(commands);
        Ok(())
    }

    /// Begins what comes next, if the end of the log is free.
    fn next(&mut self, commands: &mut Vec<Command>) {
        while self.phase == Phase::Idle {
            if std::mem::take(&mut self.follow) {
                self.read_on(Phase::Following { recover: false }, commands);
            } else if let Some(append) = self.waiting.pop_front() {
                let worker = append.worker;
                self.attempt(self.draft(append), worker, commands);
            } else {
                return;
            }
        }
    }

    fn read_on(&mut self, phase: Phase, commands: &mut Vec<Command>) {
        commands.push(Command::Read(self.log.next()));
        self.phase = phase;
    }
}

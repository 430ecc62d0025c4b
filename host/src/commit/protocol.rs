//! The commit protocol of one writer, without I/O: `step(state, event) -> commands`.
//!
//! ```text
//!            Commit                Created(ok)               all Published
//!   Idle ──────────────► Creating ─────────────► Publishing ───────────────► Idle, Done(Committed)
//!    ▲ │                  │  ▲ ▲
//!    │ │ Follow   not ok  │  │ │ Read: nothing -> the same bytes at the same number (rule 2)
//!    │ └──► Following     ▼  │ │ Read: foreign, no lane of mine moved -> the next number
//!    │         │        ReadingBack ── Read: mine ──► Publishing
//!    └─────────┘             └──────── Read: foreign, a lane of mine moved ──► Idle, Done(Fenced)
//! ```
//!
//! Rules that the model (`model.rs`) shows to be necessary, each by a mutant that leaves it out:
//!
//! 1. After any result of a Create but Ok, read the key back and compare the nonce.
//! 2. Move on to the next number only after having read a foreign manifest, never on an ambiguous answer.
//! 3. Rebase only if none of the flush's lanes moved: fenced on one lane means that the whole flush goes.
//! 4. Recovery publishes every manifest that nobody claims as published.
//! 5. `published` claims what this writer did or read as claimed, never what it assumes.
//! 6. Manifest before publish.
//! 7. Publishing goes on past files that exist already.
//! 8. Discard own stages only before the first Create, or after having read a foreign manifest that fences.
//! 9. Create is put-if-absent (the store's part).
//! 10. A file whose publishing has an unknown result is published again until the result is known.

#[cfg(any(test, feature = "mutants"))]
mod mutations;

use std::collections::{BTreeSet, VecDeque};

use super::{
    log::Log,
    manifest::{Counts, File, InputRange, Kind, Manifest, TransformId},
};
use crate::{fault::Fault, record::Lane};

/// What a writer appends to the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Append {
    /// Unique to this attempt.
    pub nonce: String,
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
    /// When, RFC 3339.
    pub ts: String,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Read the log up to its end.
    Follow,
    /// Append this. Taken when the writer is idle; asked for earlier, it waits its turn.
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

/// What is to be done.
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
    /// The log was read up to its end, and what had to be published is.
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
    /// Files that are being published.
    publishing: BTreeSet<(u64, String)>,
    #[cfg(any(test, feature = "mutants"))]
    mutant: Option<super::mutant::Mutant>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Idle,
    /// Reading the log up to its end; `true` publishes what nobody claims.
    Following(bool),
    Creating(Append),
    ReadingBack(Append),
    /// An append is in the log; its files are being published.
    Publishing(String, u64),
}

impl Writer {
    /// A writer that knows the log as far as a checkpoint says. Its first event is `Follow`: recovery.
    pub fn new(pipeline: &str, epoch: u16, name: &str, log: Log) -> Self {
        Self {
            pipeline: pipeline.to_owned(),
            epoch,
            name: name.to_owned(),
            log,
            phase: Phase::Idle,
            follow: false,
            waiting: VecDeque::new(),
            publishing: BTreeSet::new(),
            #[cfg(any(test, feature = "mutants"))]
            mutant: None,
        }
    }

    /// What the writer knows of the log.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Whether nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.phase == Phase::Idle
            && !self.follow
            && self.waiting.is_empty()
            && self.publishing.is_empty()
    }

    /// Whether the log is being read up to its end, as `Follow` asks.
    pub fn is_following(&self) -> bool {
        matches!(self.phase, Phase::Following(_))
    }

    /// Takes an event, gives commands. Events that answer nothing that was asked are left alone.
    pub fn step(&mut self, event: Event) -> Vec<Command> {
        let mut commands = Vec::new();
        if let Err(halt) = self.take(event, &mut commands) {
            commands.push(Command::Halt(halt));
        }
        commands
    }

    /// Recovery: reads the log up to its end and publishes what nobody claims (rule 4).
    pub fn recover(&mut self) -> Vec<Command> {
        self.phase = Phase::Following(true);
        vec![Command::Read(self.log.next())]
    }

    fn take(&mut self, event: Event, commands: &mut Vec<Command>) -> Result<(), Halt> {
        match event {
            Event::Follow => {
                self.follow = true;
                self.next(commands);
            }
            Event::Commit(append) => {
                self.waiting.push_back(append);
                self.next(commands);
            }
            Event::Created(ok) => self.created(ok, commands)?,
            Event::Read(seq, manifest) if seq == self.log.next() => {
                self.read(manifest, commands)?
            }
            Event::Read(..) => {}
            Event::Published(seq, key, outcome) => self.published(seq, key, outcome, commands)?,
            Event::Help(seqs) => seqs.into_iter().for_each(|seq| self.publish(seq, commands)),
        }
        Ok(())
    }

    /// Begins what comes next, if nothing is under way.
    fn next(&mut self, commands: &mut Vec<Command>) {
        while self.phase == Phase::Idle {
            if std::mem::take(&mut self.follow) {
                self.phase = Phase::Following(false);
                commands.push(Command::Read(self.log.next()));
                return;
            }
            let Some(append) = self.waiting.pop_front() else { return };
            self.create(append, commands);
        }
    }

    /// Tries an append at the next number, unless a lane of it moved.
    fn create(&mut self, append: Append, commands: &mut Vec<Command>) {
        // Rule 3; and a start gives way lane by lane to a writer that was faster.
        let append = if append.kind == Kind::Start { self.unknown_lanes(append) } else { append };
        if let Some(lane) = self.moved_lane(&append) {
            self.phase = Phase::Idle;
            commands.push(Command::Discard(append.files));
            commands.push(Command::Done(append.nonce, Done::Fenced(lane)));
            return;
        }
        let needless = match append.kind {
            Kind::Genesis => self.log.next() > 0,
            Kind::Start => append.inputs.is_empty(),
            Kind::Claim => !self.log.has_unclaimed(),
            _ => false,
        };
        if needless {
            self.phase = Phase::Idle;
            commands.push(Command::Done(append.nonce, Done::Committed(self.log.next())));
            return;
        }
        let manifest = self.manifest(&append);
        #[cfg(any(test, feature = "mutants"))]
        self.mutate_create(&manifest, commands);
        commands.push(Command::Create(manifest));
        self.phase = Phase::Creating(append);
    }

    fn manifest(&self, append: &Append) -> Manifest {
        let Append { nonce, kind, inputs, transforms, files, counts, ts } = append.clone();
        #[cfg_attr(
            not(any(test, feature = "mutants")),
            expect(unused_mut, reason = "a mutant claims too much")
        )]
        let mut published = self.log.published();
        #[cfg(any(test, feature = "mutants"))]
        self.mutate_claim(&mut published);
        Manifest {
            v: 1,
            pipeline: self.pipeline.clone(),
            epoch: self.epoch,
            seq: self.log.next(),
            nonce,
            prev: self.log.prev().to_owned(),
            kind,
            inputs,
            transforms,
            files,
            counts,
            published,
            writer: self.name.clone(),
            ts,
        }
    }

    fn unknown_lanes(&self, mut start: Append) -> Append {
        start.inputs.retain(|input| self.log.position(&input.lane).is_none());
        start
    }

    /// A lane whose position is not where the append starts.
    fn moved_lane(&self, append: &Append) -> Option<Lane> {
        #[cfg(any(test, feature = "mutants"))]
        if self.is(super::mutant::Mutant::RebaseMovedLanes) {
            return None;
        }
        if append.kind == Kind::Start {
            return None;
        }
        let moved = |input: &&InputRange| self.log.position(&input.lane) != Some(input.start);
        append.inputs.iter().find(moved).map(|input| input.lane.clone())
    }

    fn created(&mut self, ok: bool, commands: &mut Vec<Command>) -> Result<(), Halt> {
        let Phase::Creating(append) = std::mem::replace(&mut self.phase, Phase::Idle) else {
            return Ok(());
        };
        if ok {
            return self.committed(append, commands);
        }
        #[cfg(any(test, feature = "mutants"))]
        let Some(append) = self.mutate_not_created(append, commands) else { return Ok(()) };
        // Rule 1: it may be there all the same, or may come to be there.
        commands.push(Command::Read(self.log.next()));
        self.phase = Phase::ReadingBack(append);
        Ok(())
    }

    /// The append is manifest `next`: publish it (rule 6: not before).
    fn committed(&mut self, append: Append, commands: &mut Vec<Command>) -> Result<(), Halt> {
        let seq = self.log.next();
        let manifest = self.manifest(&append);
        self.fold(&manifest)?;
        self.phase = Phase::Publishing(append.nonce, seq);
        self.publish(seq, commands);
        self.finish(commands);
        Ok(())
    }

    fn fold(&mut self, manifest: &Manifest) -> Result<(), Halt> {
        self.log.fold(manifest).map_err(|fault: Fault| Halt::Fork(fault.to_string()))
    }

    /// What is at the next number.
    fn read(
        &mut self,
        manifest: Option<Manifest>,
        commands: &mut Vec<Command>,
    ) -> Result<(), Halt> {
        match (std::mem::replace(&mut self.phase, Phase::Idle), manifest) {
            (Phase::Following(recovering), Some(manifest)) => {
                self.fold(&manifest)?;
                commands.push(Command::Read(self.log.next()));
                self.phase = Phase::Following(recovering);
            }
            (Phase::Following(recovering), None) => {
                if recovering {
                    self.publish_unclaimed(commands);
                }
                self.phase = Phase::Idle;
                commands.push(Command::Followed);
                self.next(commands);
            }
            (Phase::ReadingBack(append), Some(manifest)) if self.is_mine(&manifest, &append) => {
                // Mine after all. What is in the log counts, not what would be written now.
                let seq = self.log.next();
                self.fold(&manifest)?;
                self.phase = Phase::Publishing(append.nonce, seq);
                self.publish(seq, commands);
                self.finish(commands);
            }
            (Phase::ReadingBack(append), Some(manifest)) => {
                self.fold(&manifest)?;
                self.create(append, commands);
                self.next(commands);
            }
            // Rule 2: the same bytes at the same number.
            (Phase::ReadingBack(append), None) => {
                commands.push(Command::Create(self.manifest(&append)));
                self.phase = Phase::Creating(append);
            }
            (phase, _) => self.phase = phase,
        }
        Ok(())
    }

    fn is_mine(&self, manifest: &Manifest, append: &Append) -> bool {
        #[cfg(any(test, feature = "mutants"))]
        if self.is(super::mutant::Mutant::IgnoreTheNonce) {
            return false;
        }
        manifest.nonce == append.nonce
    }

    fn publish_unclaimed(&mut self, commands: &mut Vec<Command>) {
        let unclaimed: Vec<u64> = self.log.unpublished().keys().copied().collect();
        #[cfg(any(test, feature = "mutants"))]
        if self.is(super::mutant::Mutant::RecoverWithoutPublishing) {
            return unclaimed.into_iter().for_each(|seq| self.log.mark_published(seq));
        }
        unclaimed.into_iter().for_each(|seq| self.publish(seq, commands));
    }

    /// Publishes all files of a manifest, each on its own.
    fn publish(&mut self, seq: u64, commands: &mut Vec<Command>) {
        for file in self.log.unpublished().get(&seq).into_iter().flatten() {
            if self.publishing.insert((seq, file.key.clone())) {
                commands.push(Command::Publish(seq, file.clone()));
            }
        }
    }

    fn published(
        &mut self,
        seq: u64,
        key: String,
        outcome: Outcome,
        commands: &mut Vec<Command>,
    ) -> Result<(), Halt> {
        #[cfg(any(test, feature = "mutants"))]
        let outcome = self.mutate_published(seq, outcome);
        match outcome {
            Outcome::Visible => {}
            // Rule 10: once more.
            Outcome::Unknown => {
                let files = self.log.unpublished().get(&seq);
                commands.extend(
                    files
                        .and_then(|files| files.iter().find(|file| file.key == key))
                        .map(|file| Command::Publish(seq, file.clone())),
                );
                return Ok(());
            }
            Outcome::Lost => return Err(Halt::StageLost(seq, key)),
        }
        self.publishing.remove(&(seq, key));
        if !self.publishing.iter().any(|(other, _)| *other == seq) {
            // Rule 5: all of its files are visible, and this writer saw it.
            self.log.mark_published(seq);
            self.finish(commands);
        }
        Ok(())
    }

    /// Ends the append that is being published, if all of its files are visible, and begins the next.
    fn finish(&mut self, commands: &mut Vec<Command>) {
        if let Phase::Publishing(nonce, seq) = &self.phase
            && !self.publishing.iter().any(|(publishing, _)| publishing == seq)
        {
            commands.push(Command::Done(nonce.clone(), Done::Committed(*seq)));
            self.phase = Phase::Idle;
            self.next(commands);
        }
    }
}

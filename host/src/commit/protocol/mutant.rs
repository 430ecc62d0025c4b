//! Wrong variants of the protocol, one a rule and more: compiled in for the model alone, which must catch each of them.

use super::{Command, Outcome, Phase, Writer};
use crate::commit::{
    log::Checkpoint,
    manifest::{Manifest, Published},
};

/// A rule that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mutant {
    /// Rule 1: what is read back after an error is taken for another writer's without a look at its nonce.
    IgnoreTheNonce,
    /// Rule 2: after an ambiguous answer the next number is tried.
    MoveOnUnread,
    /// Rule 2: what is folded after a Create is made anew, and is not what was sent.
    FoldOtherBytes,
    /// Rule 3: a flush is rebased though a lane of it moved.
    RebaseMovedLanes,
    /// Rule 3: what a worker queued behind a fenced flush is kept.
    KeepLaterFlushes,
    /// Rule 4: recovery takes what nobody claims for published.
    RecoverWithoutPublishing,
    /// Rule 4: a checkpoint reaches past what is not published.
    CheckpointUnpublished,
    /// Rule 5: a manifest claims itself to be published.
    ClaimWhatIsAssumed,
    /// Rule 6: files are published before their manifest is there.
    PublishBeforeManifest,
    /// Rule 7: publishing stops at the first file that is visible.
    StopAtTheFirst,
    /// Rule 8: stages are discarded after an ambiguous answer.
    DiscardOnError,
    /// Rule 9: Create overwrites (the store's part).
    CreateOverwrites,
    /// Rule 10: an unknown result counts as visible.
    TakeUnknownForVisible,
    /// Rule 11: appends go on after a seal.
    AppendPastASeal,
    /// Rule 11: a checkpoint reaches past a seal.
    CheckpointASeal,
}

impl Writer {
    /// The same writer with one rule broken.
    pub fn mutated(mut self, mutant: Option<Mutant>) -> Self {
        self.mutant = mutant;
        self
    }

    pub(super) fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    pub(super) fn mutate_checkpoint(&self) -> Option<Checkpoint> {
        let all = |(lane, position): (&crate::record::Lane, &i64)| (lane.clone(), *position);
        let past = self.is(Mutant::CheckpointASeal) && self.log.is_sealed();
        (past || self.is(Mutant::CheckpointUnpublished)).then(|| Checkpoint {
            v: 1,
            seq: self.log.next(),
            prev: self.log.prev().to_owned(),
            positions: self.log.positions().iter().map(all).collect(),
            given_up: self.log.given_up().clone(),
        })
    }

    pub(super) fn mutate_claim(&self) -> Option<Published> {
        self.is(Mutant::ClaimWhatIsAssumed)
            .then(|| Published { through: self.log.next() + 1, also: vec![] })
    }

    pub(super) fn mutate_attempt(&self, manifest: &Manifest, commands: &mut Vec<Command>) {
        if self.is(Mutant::PublishBeforeManifest) {
            let publish =
                |file: &crate::commit::manifest::File| Command::Publish(manifest.seq, file.clone());
            commands.extend(manifest.files.iter().map(publish));
        }
    }

    pub(super) fn mutate_created(&self, mut sent: Manifest) -> Manifest {
        if self.is(Mutant::FoldOtherBytes) {
            sent.published = self.log.published();
        }
        sent
    }

    /// Of whom waiting appends are fenced.
    pub(super) fn mutate_fence(&self, worker: usize) -> usize {
        if self.is(Mutant::KeepLaterFlushes) { usize::MAX } else { worker }
    }

    pub(super) fn mutate_not_created(
        &mut self,
        mut manifest: Manifest,
        worker: usize,
        commands: &mut Vec<Command>,
    ) -> Option<Manifest> {
        if self.is(Mutant::MoveOnUnread) {
            manifest.seq += 1;
            commands.push(Command::Create(manifest.clone()));
            self.phase = Phase::Creating(manifest, worker);
            return None;
        }
        if self.is(Mutant::DiscardOnError) {
            commands.push(Command::Discard(manifest.files.clone()));
        }
        Some(manifest)
    }

    pub(super) fn mutate_published(&mut self, seq: u64, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Unknown if self.is(Mutant::TakeUnknownForVisible) => Outcome::Visible,
            Outcome::Visible if self.is(Mutant::StopAtTheFirst) => {
                self.publishing.entry(seq).and_modify(|files| files.clear());
                outcome
            }
            _ => outcome,
        }
    }
}

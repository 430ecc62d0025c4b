//! Where the writer goes wrong on purpose: one place a mutant.

use super::{Append, Command, Manifest, Outcome, Phase, Writer};
use crate::commit::{manifest::Published, mutant::Mutant};

impl Writer {
    /// The same writer with one rule broken.
    pub fn mutated(mut self, mutant: Option<Mutant>) -> Self {
        self.mutant = mutant;
        self
    }

    pub(super) fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    pub(super) fn mutate_create(&mut self, manifest: &Manifest, commands: &mut Vec<Command>) {
        if self.is(Mutant::PublishBeforeManifest) {
            commands.extend(
                manifest.files.iter().map(|file| Command::Publish(manifest.seq, file.clone())),
            );
        }
    }

    pub(super) fn mutate_claim(&self, published: &mut Published) {
        if self.is(Mutant::ClaimWhatIsAssumed) {
            published.through = self.log.next() + 1;
        }
    }

    pub(super) fn mutate_not_created(
        &mut self,
        append: Append,
        commands: &mut Vec<Command>,
    ) -> Option<Append> {
        if self.is(Mutant::MoveOnUnread) {
            let mut manifest = self.manifest(&append);
            manifest.seq += 1;
            commands.push(Command::Create(manifest));
            self.phase = Phase::Creating(append);
            return None;
        }
        if self.is(Mutant::DiscardOnError) {
            commands.push(Command::Discard(append.files.clone()));
        }
        Some(append)
    }

    pub(super) fn mutate_published(&mut self, seq: u64, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Unknown if self.is(Mutant::TakeUnknownForVisible) => Outcome::Visible,
            Outcome::Visible if self.is(Mutant::StopAtTheFirst) => {
                self.publishing.retain(|(other, _)| *other != seq);
                outcome
            }
            _ => outcome,
        }
    }
}

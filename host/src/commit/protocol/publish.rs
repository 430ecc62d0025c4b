//! Making the files of manifests visible: own ones, and those of writers that died before they did.

#[cfg(test)]
use super::mutant::Mutant;
use super::{Command, Done, Halt, Outcome, Phase, Writer};

impl Writer {
    /// Rule 4.
    pub(super) fn publish_unclaimed(&mut self, commands: &mut Vec<Command>) {
        let unclaimed: Vec<u64> = self.log.unpublished().keys().copied().collect();
        #[cfg(test)]
        if self.is(Mutant::RecoverWithoutPublishing) {
            return unclaimed.into_iter().for_each(|seq| self.log.mark_published(seq));
        }
        unclaimed.into_iter().for_each(|seq| self.publish(seq, commands));
    }

    /// Rule 7: publishes all files of a manifest, each on its own.
    pub(super) fn publish(&mut self, seq: u64, commands: &mut Vec<Command>) {
        let Some(files) = self.log.unpublished().get(&seq) else { return };
        if self.publishing.contains_key(&seq) {
            return;
        }
        self.publishing.insert(seq, files.iter().map(|file| file.key.clone()).collect());
        commands.extend(files.iter().map(|file| Command::Publish(seq, file.clone())));
    }

    pub(super) fn published(
        &mut self,
        seq: u64,
        key: String,
        outcome: Outcome,
        commands: &mut Vec<Command>,
    ) -> Result<(), Halt> {
        #[cfg(test)]
        let outcome = self.mutate_published(seq, outcome);
        let Some(files) = self.publishing.get_mut(&seq) else { return Ok(()) };
        // A claim that was read since says more than this answer: the file was visible, whatever became of it.
        if let Some(unpublished) = self.log.unpublished().get(&seq) {
            match outcome {
                Outcome::Visible => {}
                // Rule 10: once more.
                Outcome::Unknown => {
                    let file = unpublished.iter().find(|file| file.key == key);
                    commands.extend(file.map(|file| Command::Publish(seq, file.clone())));
                    return Ok(());
                }
                Outcome::Lost => return Err(Halt::StageLost(seq, key)),
            }
        }
        files.remove(&key);
        if files.is_empty() {
            // Rule 5: all of its files are visible, and this writer saw it.
            self.publishing.remove(&seq);
            self.log.mark_published(seq);
            self.finish(seq, commands);
            self.end_recovery(commands);
        }
        Ok(())
    }

    /// Ends an own append, if all of its files are visible.
    pub(super) fn finish(&mut self, seq: u64, commands: &mut Vec<Command>) {
        if !self.publishing.contains_key(&seq)
            && let Some(nonce) = self.own.remove(&seq)
        {
            commands.push(Command::Done(nonce, Done::Committed(seq)));
        }
    }

    pub(super) fn end_recovery(&mut self, commands: &mut Vec<Command>) {
        if self.phase == Phase::Recovering && self.publishing.is_empty() {
            self.phase = Phase::Idle;
            commands.push(Command::Followed);
        }
    }
}

//! The end of the log: whose turn it is, creating, and reading what is there instead.

#[cfg(test)]
use super::mutant::Mutant;
use super::{Append, Command, Done, Halt, Phase, Writer};
use crate::{
    commit::manifest::{InputRange, Kind, Manifest, Published},
    record::Lane,
};

impl Writer {
    /// The manifest of an append, but for its place in the log.
    pub(super) fn draft(&self, append: Append) -> Manifest {
        let Append { nonce, worker: _, kind, inputs, transforms, files, counts, handover, ts } =
            append;
        Manifest {
            v: 1,
            pipeline: self.pipeline.clone(),
            epoch: self.epoch,
            seq: 0,
            nonce,
            prev: String::new(),
            kind,
            inputs,
            transforms,
            files,
            counts,
            handover,
            voids: vec![],
            published: Published::default(),
            writer: self.name.clone(),
            ts,
        }
    }

    /// Creates a manifest at the next number, unless a lane of it moved. Nothing of it is in the log, for sure.
    pub(super) fn attempt(
        &mut self,
        mut manifest: Manifest,
        worker: usize,
        commands: &mut Vec<Command>,
    ) {
        self.phase = Phase::Idle;
        if self.is_sealed() {
            commands.push(Command::Discard(manifest.files));
            return commands.push(Command::Done(manifest.nonce, Done::Sealed));
        }
        if manifest.kind == Kind::Start {
            // It gives way lane by lane to a writer that was faster.
            manifest.inputs.retain(|input| self.log.position(&input.lane).is_none());
        } else if let Some(lane) = self.moved_lane(&manifest) {
            return self.fence(manifest, worker, &lane, commands);
        }
        if self.is_needless(&manifest) {
            return commands.push(Command::Done(manifest.nonce, Done::Needless));
        }
        manifest.seq = self.log.next();
        manifest.prev = self.log.prev().to_owned();
        manifest.published = self.claim();
        if let Err(why) = self.check(&manifest) {
            commands.push(Command::Discard(manifest.files));
            return commands.push(Command::Done(manifest.nonce, Done::Refused(why)));
        }
        #[cfg(test)]
        self.mutate_attempt(&manifest, commands);
        commands.push(Command::Create(manifest.clone()));
        self.phase = Phase::Creating(manifest, worker);
    }

    /// Rule 11.
    fn is_sealed(&self) -> bool {
        #[cfg(test)]
        if self.is(Mutant::AppendPastASeal) {
            return false;
        }
        self.log.is_sealed()
    }

    fn is_needless(&self, manifest: &Manifest) -> bool {
        match manifest.kind {
            Kind::Genesis => self.log.next() > 0,
            Kind::Start => manifest.inputs.is_empty(),
            Kind::Claim => !self.log.has_unclaimed(),
            _ => false,
        }
    }

    /// Rule 5.
    fn claim(&self) -> Published {
        #[cfg(test)]
        if let Some(claim) = self.mutate_claim() {
            return claim;
        }
        self.log.published()
    }

    /// A manifest that does not continue the log would stop every writer for good.
    fn check(&self, manifest: &Manifest) -> Result<(), String> {
        #[cfg(test)]
        if self.mutant.is_some() {
            return Ok(());
        }
        self.log.check(manifest).map_err(|fault| fault.to_string())
    }

    /// Rule 3: a lane whose position is not where the manifest starts.
    fn moved_lane(&self, manifest: &Manifest) -> Option<Lane> {
        #[cfg(test)]
        if self.is(Mutant::RebaseMovedLanes) {
            return None;
        }
        if manifest.kind == Kind::Genesis {
            // There is none yet.
            return None;
        }
        let moved = |input: &&InputRange| self.log.position(&input.lane) != Some(input.start);
        manifest.inputs.iter().find(moved).map(|input| input.lane.clone())
    }

    /// Rule 8: it was never tried, or at the number where it was tried stands another; so the stages can go. The same
    /// worker's later appends build on this one, and go with it.
    fn fence(
        &mut self,
        manifest: Manifest,
        worker: usize,
        lane: &Lane,
        commands: &mut Vec<Command>,
    ) {
        #[cfg(test)]
        let worker = self.mutate_fence(worker);
        let waiting = std::mem::take(&mut self.waiting);
        let (later, others): (std::collections::VecDeque<_>, _) = waiting
            .into_iter()
            .partition(|append| append.worker == worker && append.kind == Kind::Data);
        self.waiting = others;
        let later = later.into_iter().map(|append| (append.nonce, append.files));
        for (nonce, files) in std::iter::once((manifest.nonce, manifest.files)).chain(later) {
            commands.push(Command::Discard(files));
            commands.push(Command::Done(nonce, Done::Fenced(lane.clone())));
        }
    }

    pub(super) fn created(&mut self, ok: bool, commands: &mut Vec<Command>) -> Result<(), Halt> {
        match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Creating(manifest, _) if ok => {
                #[cfg(test)]
                let manifest = self.mutate_created(manifest);
                self.committed(&manifest, commands)?;
            }
            Phase::Creating(manifest, worker) => {
                #[cfg(test)]
                let Some(manifest) = self.mutate_not_created(manifest, worker, commands) else {
                    return Ok(());
                };
                // Rule 1: it may be there all the same, or may come to be there.
                self.read_on(Phase::ReadingBack(manifest, worker), commands);
            }
            phase => self.phase = phase,
        }
        Ok(())
    }

    /// Rule 6: an own manifest is in the log, and now its files may be seen.
    pub(super) fn committed(
        &mut self,
        manifest: &Manifest,
        commands: &mut Vec<Command>,
    ) -> Result<(), Halt> {
        self.fold(manifest)?;
        self.own.insert(manifest.seq, manifest.nonce.clone());
        self.publish(manifest.seq, commands);
        self.finish(manifest.seq, commands);
        Ok(())
    }

    /// What is at the next number.
    pub(super) fn read(
        &mut self,
        found: Option<Manifest>,
        commands: &mut Vec<Command>,
    ) -> Result<(), Halt> {
        match (std::mem::replace(&mut self.phase, Phase::Idle), found) {
            (phase @ Phase::Following { .. }, Some(manifest)) => {
                self.fold(&manifest)?;
                self.read_on(phase, commands);
            }
            (Phase::Following { recover: false }, None) => commands.push(Command::Followed),
            (Phase::Following { recover: true }, None) => {
                self.phase = Phase::Recovering;
                self.publish_unclaimed(commands);
                self.end_recovery(commands);
            }
            // Rule 1: mine after all.
            (Phase::ReadingBack(mine, _), Some(found)) if self.is_same(&found, &mine) => {
                self.committed(&found, commands)?;
            }
            // Rule 2: this number is another's for good, so mine is not there and never will be.
            (Phase::ReadingBack(mine, worker), Some(found)) => {
                self.fold(&found)?;
                self.attempt(mine, worker, commands);
            }
            // Rule 2: the same bytes at the same number, since the first try may still land.
            (Phase::ReadingBack(mine, worker), None) => {
                commands.push(Command::Create(mine.clone()));
                self.phase = Phase::Creating(mine, worker);
            }
            (phase, _) => self.phase = phase,
        }
        Ok(())
    }

    fn is_same(&self, found: &Manifest, mine: &Manifest) -> bool {
        #[cfg(test)]
        if self.is(Mutant::IgnoreTheNonce) {
            return false;
        }
        found.nonce == mine.nonce
    }

    fn fold(&mut self, manifest: &Manifest) -> Result<(), Halt> {
        self.log.fold(manifest).map_err(|fault| Halt::Fork(fault.to_string()))
    }
}

//! What must hold in every state.

use stateright::Property;

use super::{Hashed, Process, Protocol, State};
use crate::commit::manifest::{File, Published};

/// Every offset is covered by one manifest: positions move without gap and overlap, and `prev` is of the very bytes before.
pub(super) const ONCE: &str = "every offset is committed once, in order, without a gap";
/// A reader that globs sees committed rows only.
pub(super) const NO_GHOST: &str = "nothing is visible that is not committed";
/// Whoever starts from a claim does not look again.
pub(super) const CLAIMS: &str = "what is claimed to be published is visible";
/// Committed rows can be made visible at any time.
pub(super) const NO_LOSS: &str = "no committed file is ever lost";
/// The protocol never stops by itself, and never commits what was read past a fence.
pub(super) const NO_HALT: &str = "no writer comes to a halt";
/// With `NO_LOSS` and since every path ends: all that is committed becomes visible, and every append is answered.
pub(super) const END: &str =
    "when nothing is left to do, all is answered and all that is committed is visible";

impl State {
    fn is_at_its_end(&self) -> bool {
        let done = |process: &Hashed<Process>| {
            process.commands.is_empty() && !Protocol::is_due(self, process)
        };
        self.store.late.is_empty() && self.processes.iter().all(done)
    }

    fn files(&self) -> impl Iterator<Item = &File> {
        self.store.log.values().flat_map(|manifest| &manifest.files)
    }

    fn is_visible(&self, file: &File) -> bool {
        self.store.visible.contains(&file.key)
    }

    fn is_true(&self, claim: &Published) -> bool {
        let is_there = |seq: u64| match self.store.log.get(&seq) {
            Some(manifest) => manifest.files.iter().all(|file| self.is_visible(file)),
            None => false,
        };
        (0..claim.through).chain(claim.also.iter().copied()).all(is_there)
    }
}

pub(super) fn all() -> Vec<Property<Protocol>> {
    vec![
        Property::always(ONCE, |_, state: &State| state.store.truth.0.is_ok()),
        Property::always(NO_GHOST, |_, state: &State| !state.store.ghost),
        Property::always(CLAIMS, |_, state: &State| {
            state.store.log.values().all(|manifest| state.is_true(&manifest.published))
        }),
        Property::always(NO_LOSS, |_, state: &State| {
            let staged = |file: &File| state.store.staged.contains(&file.key);
            state.files().all(|file| staged(file) || state.is_visible(file))
        }),
        Property::always(NO_HALT, |_, state: &State| {
            state.processes.iter().all(|process| process.wrong.is_none())
        }),
        Property::always(END, |_, state: &State| {
            let answered = |process: &Hashed<Process>| process.is_idle() && process.open.is_empty();
            !state.is_at_its_end()
                || state.processes.iter().all(answered)
                    && state.files().all(|file| state.is_visible(file))
        }),
        // What must come to pass somewhere: a model in which it doesn't proves nothing.
        Property::sometimes("two flushes are committed", |_, state: &State| {
            state.store.visible.len() >= 4
        }),
        Property::sometimes("a flush is fenced", |_, state: &State| {
            state.processes.iter().any(|process| process.fenced.is_some())
                || state.store.staged.len() + state.store.visible.len()
                    < 2 * usize::from(state.flushes)
        }),
    ]
}

//! The store: what it holds, and what it answers when it answers truly.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{Hash, Hasher},
};

use super::{Hashed, Mutant};
use crate::commit::{
    log::Log,
    manifest::{File, Manifest},
    protocol::Outcome,
};

/// The store, and Creates that may still land.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Store {
    pub(super) log: BTreeMap<u64, Hashed<Manifest>>,
    pub(super) late: Vec<Hashed<Manifest>>,
    pub(super) staged: BTreeSet<String>,
    pub(super) visible: BTreeSet<String>,
    /// Something became visible that no manifest named at that moment.
    pub(super) ghost: bool,
    pub(super) truth: Truth,
}

/// The fold of the log by somebody who sees every Create, or why it can't be folded. It follows from the log, so states
/// are not told apart by it.
#[derive(Clone, Debug)]
pub(super) struct Truth(pub(super) Result<Log, String>);

impl Store {
    pub(super) fn create(&mut self, manifest: Hashed<Manifest>, mutant: Option<Mutant>) -> bool {
        // Rule 9.
        if mutant != Some(Mutant::CreateOverwrites) && self.log.contains_key(&manifest.seq) {
            return false;
        }
        if let Ok(log) = &mut self.truth.0
            && let Err(fault) = log.fold(&manifest)
        {
            self.truth.0 = Err(fault.to_string());
        }
        self.log.insert(manifest.seq, manifest);
        true
    }

    pub(super) fn publish(&mut self, file: &File) -> Outcome {
        if self.staged.remove(&file.key) {
            self.visible.insert(file.key.clone());
            self.ghost |= !self.log.values().any(|manifest| manifest.files.contains(file));
            return Outcome::Visible;
        }
        if self.visible.contains(&file.key) { Outcome::Visible } else { Outcome::Lost }
    }
}

impl Default for Truth {
    fn default() -> Self {
        Self(Ok(Log::default()))
    }
}

impl PartialEq for Truth {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Truth {}

impl Hash for Truth {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

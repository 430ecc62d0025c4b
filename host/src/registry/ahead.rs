//! Compiling ahead of the road: a build takes its time with the compiler while others may change something.

use std::{
    collections::BTreeMap,
    fs,
    sync::{Arc, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::{Registry, road::RoadWorks};
use crate::{engine::Component, fault::Fault};

/// How long it is known that a build can't be compiled: whoever is about to ask does not have it compiled once more.
const KEPT: Duration = Duration::from_secs(60);

/// What was compiled ahead, by name and digest.
#[derive(Debug, Default)]
pub(super) struct Ahead(BTreeMap<(String, String), (Loaded, Instant)>);

/// What came of a build.
type Loaded = Result<Arc<Component>, Fault>;

impl Ahead {
    /// What came of a build.
    pub(super) fn get(&self, name: &str, digest: &str) -> Option<&Loaded> {
        self.0.get(&(name.to_owned(), digest.to_owned())).map(|(loaded, _)| loaded)
    }

    /// Forgets what nobody needs: builds that were compiled are in the cache.
    pub(super) fn clear(&mut self) {
        let is_lasting = |loaded: &Loaded| matches!(loaded, Err(fault) if !fault.retry);
        self.0.retain(|_, (loaded, at)| is_lasting(loaded) && at.elapsed() < KEPT);
    }
}

impl Registry {
    /// Compiles a build, and takes the registry in hand with it.
    pub(super) fn compile_ahead(&self, name: &str, wasm: &[u8]) -> MutexGuard<'_, RoadWorks> {
        let digest = hex::encode(Sha256::digest(wasm));
        let loaded = self.engine.load(name, wasm);
        let mut works = self.works();
        works.ahead.0.insert((name.to_owned(), digest), (loaded, Instant::now()));
        works
    }

    /// Compiles what somebody is about to use of components: of each the build that is pinned; else the current one, and the
    /// file that lies in the folder. Blocks: not for the I/O runtime.
    pub fn compile_for<'a>(&self, components: impl Iterator<Item = (&'a str, Option<&'a str>)>) {
        for (name, pin) in components {
            if self.works().uncompiled(name, pin).is_empty() {
                continue;
            }
            // Pipelines that start together use the same component more often than not.
            let _turn = self.preparing.lock().unwrap_or_else(PoisonError::into_inner);
            let builds = self.works().uncompiled(name, pin);
            for wasm in builds {
                drop(self.compile_ahead(name, &wasm));
            }
        }
    }

    /// Compiles an accepted version, and takes the registry in hand with it.
    pub(super) fn compile_version(&self, name: &str, digest: &str) -> MutexGuard<'_, RoadWorks> {
        let works = self.works();
        match works.uncompiled(name, Some(digest)).pop() {
            Some(wasm) => {
                drop(works);
                self.compile_ahead(name, &wasm)
            }
            None => works,
        }
    }
}

impl RoadWorks {
    /// Builds that were never compiled here: those that are wanted of a component, as far as they are there.
    fn uncompiled(&self, name: &str, pin: Option<&str>) -> Vec<Bytes> {
        let is_new = |digest: &str| !self.is_compiled(name, digest);
        let wanted =
            pin.or_else(|| self.journal.log().current(name)).filter(|digest| is_new(digest));
        let mut builds: Vec<_> =
            wanted.and_then(|digest| self.bytes(name, digest).ok()).into_iter().collect();
        let lies_there = fs::read(self.folder.file(name)).ok().filter(|_| pin.is_none());
        builds.extend(lies_there.map(Bytes::from).filter(|wasm| {
            let digest = hex::encode(Sha256::digest(wasm));
            is_new(&digest) && wanted != Some(&digest)
        }));
        builds
    }

    /// Whether the compiler has nothing to do for a build.
    pub(super) fn is_compiled(&self, name: &str, digest: &str) -> bool {
        self.engine.has(digest) || self.ahead.get(name, digest).is_some()
    }
}

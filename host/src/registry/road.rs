//! The road of a version: from its bytes to the pipelines. One at a time.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, Mutex},
    time::Instant,
};

use bytes::Bytes;
use metrics::histogram;
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;

use super::{
    Checked, Objection, Outcome, Users,
    ahead::Ahead,
    folder::{Candidate, Folder},
    journal::Journal,
    log::{Change, Log, Road},
};
use crate::{
    engine::{Component, Engine},
    events::{Events, What},
    fault::{Blame, Fault},
    schema::Output,
    telemetry::COMPILE_SECONDS,
};

/// All that a version meets on its way.
#[derive(Debug)]
pub(super) struct RoadWorks {
    pub journal: Journal,
    pub folder: Folder,
    pub engine: Arc<Engine>,
    pub events: Events,
    pub runtime: Handle,
    /// The versions that the users of each name run in this process.
    pub running: BTreeMap<String, Arc<Component>>,
    /// Versions that other replicas accepted and this one can't run, by name: the digest, and the pipelines that it was
    /// tried for.
    pub stuck: BTreeMap<String, (String, String)>,
    /// What is to be compiled while nobody holds this: a name and its file.
    pub wanted: Option<(String, Bytes)>,
    /// What was compiled so.
    pub ahead: Ahead,
    /// What was told last of the surroundings: told again only when it changes.
    pub trouble: Option<String>,
    pub shown: Arc<Mutex<Log>>,
}

/// When to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// At once: more is waiting.
    Now,
    /// When `wanted` is compiled.
    Compiled,
    /// Soon: a file is being written.
    Soon,
    /// When something happens.
    Later,
}

/// A version that can run.
pub(super) struct Good {
    pub component: Arc<Component>,
    checked: Option<Checked>,
}

impl Good {
    /// What it writes, by pipeline.
    pub(super) fn outputs(&self) -> BTreeMap<String, Vec<Output>> {
        self.checked.as_ref().map(|checked| checked.outputs.clone()).unwrap_or_default()
    }
}

impl RoadWorks {
    /// One look at everything: what other replicas chose, then the folder. One file a turn, those of used names first.
    pub(super) fn turn(&mut self, users: &dyn Users, renamed: &BTreeSet<String>) -> Next {
        self.wanted = None;
        match self.look(users, renamed) {
            Ok(next) => {
                self.trouble = None;
                if matches!(next, Next::Soon | Next::Later) {
                    // What has changed since it was compiled is of no use.
                    self.ahead.clear();
                }
                next
            }
            Err(fault) => {
                let text = fault.to_string();
                if self.trouble.as_ref() != Some(&text) {
                    tracing::warn!(help = fault.help, "components wait, trying on: {text}");
                    self.trouble = Some(text);
                }
                // What is in trouble keeps nothing else from being compiled.
                if self.wanted.is_some() {
                    return Next::Compiled;
                }
                self.ahead.clear();
                Next::Later
            }
        }
    }

    fn look(&mut self, users: &dyn Users, renamed: &BTreeSet<String>) -> Result<Next, Fault> {
        let scanned = self.folder.scan(renamed, Instant::now(), |name| users.against(name));
        self.runtime.block_on(self.journal.follow())?;
        self.show();
        let mut first = self.converge(users);
        let (mut candidates, soon) = match scanned {
            Ok(scanned) => scanned,
            // A folder that is gone changes nothing, nor one that was never there.
            Err(error) if error.kind() == io::ErrorKind::NotFound => (Vec::new(), false),
            Err(error) => {
                let text = format!("look into {}", self.folder.path().display());
                return Err(Fault::outside(text).caused_by(error));
            }
        };
        candidates.sort_by_key(|candidate| users.against(&candidate.name).is_empty());
        let mut next = if soon || !candidates.is_empty() { Next::Soon } else { Next::Later };
        // One that is not whole, or that the surroundings keep from being tried, holds up nobody behind it.
        for (place, candidate) in candidates.iter().enumerate() {
            match self.candidate(users, candidate) {
                Ok(true) if place + 1 < candidates.len() => {
                    next = Next::Now;
                    break;
                }
                Ok(_) if self.wanted.is_some() => break,
                Ok(_) => {}
                Err(fault) => first = first.and(Err(fault)),
            }
        }
        if self.wanted.is_some() {
            next = Next::Compiled;
        }
        first.map(|()| next)
    }

    /// Tries a file; whether that was the last word on it.
    fn candidate(&mut self, users: &dyn Users, candidate: &Candidate) -> Result<bool, Fault> {
        let name = &candidate.name;
        let against = users.against(name);
        let wasm = match self.folder.read(candidate) {
            Ok(Some(wasm)) => wasm,
            Ok(None) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => {
                let path = self.folder.file(name);
                tracing::warn!(path = %path.display(), "component can't be read: {error}");
                self.folder.tried(candidate, against);
                return Ok(true);
            }
        };
        let digest = hex::encode(Sha256::digest(&wasm));
        if !self.knows(name, &digest, &against) {
            if self.compiles_first(name, &digest, &wasm) {
                return Ok(false);
            }
            match self.try_out(users, name, &wasm, true)? {
                Ok(good) => self.accept(users, good, wasm.into(), Road::Folder)?,
                // It may be wrong only because it is not whole yet.
                Err(_) if !candidate.whole => return Ok(false),
                Err(objection) => {
                    self.refuse(users, name, &digest, objection.reason, Road::Folder)?;
                }
            }
        }
        self.folder.tried(candidate, against);
        Ok(true)
    }

    pub(super) fn upload(
        &mut self,
        users: &dyn Users,
        name: &str,
        wasm: Bytes,
    ) -> Result<Outcome, Fault> {
        self.runtime.block_on(self.journal.follow())?;
        let digest = hex::encode(Sha256::digest(&wasm));
        let history = self.journal.log().component(name);
        if history.is_some_and(|history| history.version(&digest).is_some()) {
            // They may have been lost since.
            self.runtime.block_on(self.journal.keep(&digest, wasm))?;
            return self.roll_back(users, name, &digest);
        }
        match self.try_out(users, name, &wasm, true)? {
            Ok(good) => {
                self.accept(users, good, wasm, Road::Upload)?;
                Ok(Outcome::Accepted)
            }
            Err(Objection { reason, .. }) => {
                self.refuse(users, name, &digest, reason.clone(), Road::Upload)?;
                Ok(Outcome::Refused(reason))
            }
        }
    }

    /// Whether a digest says nothing new.
    pub(super) fn knows(&self, name: &str, digest: &str, against: &str) -> bool {
        let history = self.journal.log().component(name);
        history.is_some_and(|history| history.knows(digest, against))
    }

    /// Loads a version and tries it for whoever uses its name. One that nobody uses only says what it is.
    ///
    /// # Errors
    /// The surroundings' fault, or ours: it says nothing of the version.
    pub(super) fn try_out(
        &mut self,
        users: &dyn Users,
        name: &str,
        wasm: &[u8],
        comparing: bool,
    ) -> Result<Result<Good, Objection>, Fault> {
        let tried = (|| {
            let blame = |fault| Objection::new(fault, |fault| users.blame(name, fault));
            let component = self.load(name, wasm).map_err(blame)?;
            let checked = if users.against(name).is_empty() {
                component.look().map_err(blame)?;
                None
            } else {
                Some(users.check(&component, comparing, self)?)
            };
            Ok(Good { component, checked })
        })();
        match tried {
            Err(Objection { fault, .. }) if matches!(fault.blame, Blame::Outside | Blame::Bug) => {
                Err(*fault)
            }
            tried => Ok(tried),
        }
    }

    /// Whether a component is to be compiled before it can be tried: then others may change something meanwhile.
    fn compiles_first(&mut self, name: &str, digest: &str, wasm: &[u8]) -> bool {
        let compiled = self.is_compiled(name, digest);
        if !compiled {
            self.wanted = Some((name.to_owned(), Bytes::copy_from_slice(wasm)));
        }
        !compiled
    }

    pub(super) fn load(&mut self, name: &str, wasm: &[u8]) -> Result<Arc<Component>, Fault> {
        let digest = hex::encode(Sha256::digest(wasm));
        let component = match self.ahead.get(name, &digest) {
            Some(Ok(component)) => Arc::clone(component),
            Some(Err(fault)) => return Err(fault.copy()),
            None => self.engine.load(name, wasm)?,
        };
        if let Some(took) = component.compiled_in() {
            histogram!(COMPILE_SECONDS, "component" => name.to_owned()).record(took);
        }
        Ok(component)
    }

    /// Keeps a version, makes it the current one, and has it run.
    pub(super) fn accept(
        &mut self,
        users: &dyn Users,
        good: Good,
        wasm: Bytes,
        road: Road,
    ) -> Result<(), Fault> {
        let (name, digest) = (good.component.name().to_owned(), good.component.digest().to_owned());
        let (bytes, against) = (wasm.len() as u64, users.against(&name));
        let version = good.checked.as_ref().and_then(|checked| checked.version.clone());
        let outputs = good.outputs();
        self.runtime.block_on(self.journal.keep(&digest, wasm))?;
        let accept = |log: &Log| {
            // Another replica may have been faster, and a person may have gone on from there.
            let known = log.component(&name).and_then(|history| history.version(&digest)).is_some();
            let (component, digest, version) = (name.clone(), digest.clone(), version.clone());
            let outputs = outputs.clone();
            (!known).then_some(Change::Accept { component, digest, version, bytes, road, outputs })
        };
        if self.runtime.block_on(self.journal.append(accept))? {
            let (component, version, road) = (name.clone(), version.clone(), road.name());
            self.events.tell(What::Loaded { component, digest: digest.clone(), version, road });
        }
        if self.journal.log().current(&name) == Some(&digest) && !against.is_empty() {
            self.run(good);
        }
        self.show();
        Ok(())
    }

    pub(super) fn refuse(
        &mut self,
        users: &dyn Users,
        name: &str,
        digest: &str,
        reason: String,
        road: Road,
    ) -> Result<(), Fault> {
        let against = users.against(name);
        let refuse = |log: &Log| {
            let known = log.component(name).is_some_and(|history| history.knows(digest, &against));
            let (component, digest) = (name.to_owned(), digest.to_owned());
            let (reason, against) = (reason.clone(), against.clone());
            (!known).then_some(Change::Refuse { component, digest, reason, against, road })
        };
        self.runtime.block_on(self.journal.append(refuse))?;
        self.show();
        let (component, digest) = (name.to_owned(), digest.to_owned());
        self.events.tell(What::Refused { component, digest, road: road.name(), reason });
        Ok(())
    }

    /// Has the users of a name run the version that the log says they do.
    fn converge(&mut self, users: &dyn Users) -> Result<(), Fault> {
        let log = self.journal.log();
        let is_behind = |(name, running): &(&String, &Arc<Component>)| {
            let current = log.current(name);
            let stuck = self.stuck.get(*name);
            current.is_some_and(|digest| {
                let is_stuck = |(stuck, against): &(String, String)| {
                    stuck == digest && *against == users.against(name)
                };
                digest != running.digest() && !stuck.is_some_and(is_stuck)
            })
        };
        let behind: Vec<String> =
            self.running.iter().filter(is_behind).map(|(name, _)| name.clone()).collect();
        let mut first = Ok(());
        for name in behind {
            if let Err(fault) = self.catch_up(users, name) {
                first = first.and(Err(fault));
            }
        }
        first
    }

    /// Has the users of one name run the version that the log says they do.
    fn catch_up(&mut self, users: &dyn Users, name: String) -> Result<(), Fault> {
        let Some(digest) = self.journal.log().current(&name).map(str::to_owned) else {
            return Ok(());
        };
        let wasm = self.bytes(&name, &digest)?;
        if self.compiles_first(&name, &digest, &wasm) {
            return Ok(());
        }
        match self.try_out(users, &name, &wasm, false)? {
            Ok(good) => self.run(good),
            Err(Objection { reason, .. }) => {
                let (component, road) = (name.clone(), "replica");
                let against = users.against(&name);
                self.stuck.insert(name, (digest.clone(), against));
                self.events.tell(What::Refused { component, digest, road, reason });
            }
        }
        Ok(())
    }

    pub(super) fn run(&mut self, good: Good) {
        let Good { component, checked } = good;
        let name = component.name().to_owned();
        self.show();
        let generation =
            self.journal.log().component(&name).map_or(0, |history| history.generation);
        self.stuck.remove(&name);
        self.running.insert(name, component);
        if let Some(Checked { swap, .. }) = checked {
            swap(generation);
        }
    }

    /// Appends a change that a pipeline makes, unless the log says so already.
    pub(super) fn append(
        &mut self,
        decide: impl Fn(&Log) -> Option<Change>,
    ) -> Result<bool, Fault> {
        let appended = self.runtime.block_on(self.journal.append(decide))?;
        self.show();
        Ok(appended)
    }

    pub(super) fn show(&self) {
        let (log, mut shown) = (
            self.journal.log(),
            self.shown.lock().expect("nothing panics while it holds this lock"),
        );
        if shown.next != log.next {
            *shown = log.clone();
        }
    }
}

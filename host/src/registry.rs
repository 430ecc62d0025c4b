//! Components: which version of each runs. A file that is dropped into the transforms folder and one that is uploaded take
//! the same road: compiled, checked, tried for every pipeline that uses it, written to the log in the store, swapped in.
//!
//! ```text
//!  folder ─► still? ─► new digest? ─► load ─► try for each pipeline ─► store ─► log ─► swap
//!  upload ──────────────────┘           └── refused: kept in the log with its reason, the old one runs on
//! ```
//!
//! The log is the truth: every replica of the host that has the same store reads it, and runs the same versions. A file
//! counts only if its digest is new to the history of its name. So a restart changes nothing, and never undoes a rollback;
//! a file that is deleted changes nothing either.

mod ahead;
mod choices;
mod find;
mod folder;
mod held;
mod journal;
mod log;
mod road;
mod settle;
mod watch;

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::runtime::Handle;

use self::{ahead::Ahead, folder::Folder, journal::Journal, log::Log, road::RoadWorks};
pub use self::{
    held::Held,
    log::{Desired, History, Refusal, Registered, Road, Version, Wish},
    watch::Watch,
};
use crate::{
    engine::{Component, Engine},
    events::Events,
    fault::Fault,
    schema::Output,
    store::Store,
};

/// The components of a host, and of all replicas that have the same store.
#[derive(Debug)]
pub struct Registry {
    /// Held while a version is tried and taken: one at a time. It is compiled before.
    works: Mutex<RoadWorks>,
    engine: Arc<Engine>,
    /// Held by whoever has the components of a pipeline compiled.
    preparing: Mutex<()>,
    /// For whoever only wants to know: as of the newest change.
    shown: Arc<Mutex<Log>>,
}

/// Where a registry lies, and what it works with.
#[derive(Debug)]
pub struct Place {
    /// The watched folder.
    pub folder: PathBuf,
    /// The store of the log and of the components' bytes.
    pub store: Store,
    /// Who this process is, for people who read the log.
    pub writer: String,
    /// What loads components.
    pub engine: Arc<Engine>,
    /// Where it tells what happens.
    pub events: Events,
    /// The runtime for the store.
    pub runtime: Handle,
}

/// Makes the users of a component run a version that they checked. The number counts the choices of a version.
pub type Swap = Box<dyn FnOnce(u64) + Send>;

/// Whoever uses components: the pipelines.
pub trait Users: Send + Sync {
    /// What a version is tried for: differs when its users, or what they ask of it, differ. Empty when nobody uses it.
    fn against(&self, component: &str) -> String;

    /// Tries a version for all who use its name, and compares its rows with those that they write, if `comparing`.
    ///
    /// # Errors
    /// What the first of them has against it; the surroundings' fault when it could not be tried.
    fn check(
        &self,
        component: &Arc<Component>,
        comparing: bool,
        known: &mut dyn Known,
    ) -> Result<Checked, Objection>;

    /// The names of all that use a component, whichever version.
    fn users(&self, component: &str) -> Vec<String>;

    /// A fault of a component, as one of the first pipeline that names it.
    fn blame(&self, component: &str, fault: Fault) -> Fault;
}

/// What users may ask of the registry while a version is tried.
pub trait Known {
    /// The version of a component that a pipeline is to run: the current one, or the one that it pins.
    ///
    /// # Errors
    /// There is no such component or version; or the store does not answer.
    fn pick(&mut self, name: &str, pin: Option<&str>) -> Result<Arc<Component>, Fault>;

    /// What a pipeline writes, as far as it ran before.
    fn written(&self, pipeline: &str) -> Option<Vec<Output>>;
}

/// A version that all users take.
pub struct Checked {
    /// Its version, as it says itself; unknown when none of them can run yet.
    pub version: Option<String>,
    /// What it writes for each of them, by name.
    pub outputs: BTreeMap<String, Vec<Output>>,
    /// Makes them run it.
    pub swap: Swap,
}

impl fmt::Debug for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checked").field("version", &self.version).finish_non_exhaustive()
    }
}

/// Why a version is not taken.
#[derive(Debug)]
pub struct Objection {
    /// In a line, for the log.
    pub reason: String,
    /// The fault, with the place in the file of whoever objects.
    pub fault: Box<Fault>,
}

/// What became of a version that was offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was the current one already.
    Unchanged,
    /// It is the current one now.
    Accepted,
    /// It was refused, for this reason.
    Refused(String),
}

impl Registry {
    /// Reads the log. Writes nothing. Blocks: not for the I/O runtime.
    ///
    /// # Errors
    /// The store does not answer, or the log can't be continued (`REGISTRY_FORK`).
    pub fn open(place: Place) -> Result<Self, Fault> {
        let Place { folder, store, writer, engine, events, runtime } = place;
        let journal = runtime.block_on(Journal::open(store, writer))?;
        let shown = Arc::new(Mutex::new(journal.log().clone()));
        let works = RoadWorks {
            journal,
            folder: Folder::new(folder),
            engine: Arc::clone(&engine),
            events,
            runtime,
            running: BTreeMap::new(),
            stuck: BTreeMap::new(),
            wanted: None,
            ahead: Ahead::default(),
            trouble: None,
            shown: Arc::clone(&shown),
        };
        Ok(Self { works: Mutex::new(works), engine, preparing: Mutex::default(), shown })
    }

    /// Takes it in hand: nothing of it changes until the answer is dropped.
    pub fn hold(&self) -> Held<'_> {
        Held::new(self.works())
    }

    /// All components, by name.
    pub fn components(&self) -> BTreeMap<String, History> {
        self.shown().components.clone()
    }

    /// What is known of pipelines, by name.
    pub fn pipelines(&self) -> BTreeMap<String, Registered> {
        self.shown().pipelines.clone()
    }

    fn shown(&self) -> MutexGuard<'_, Log> {
        self.shown.lock().expect("nothing panics while it holds this lock")
    }

    /// Takes an uploaded file in. One that was accepted before is chosen again; one that was refused is tried again.
    /// Blocks: not for the I/O runtime.
    ///
    /// # Errors
    /// The surroundings' fault: then nothing has changed.
    pub fn upload(&self, users: &dyn Users, name: &str, wasm: Bytes) -> Result<Outcome, Fault> {
        self.compile_ahead(name, &wasm).upload(users, name, wasm)
    }

    /// Makes an accepted version the current one again. Its schema is not compared: its files are in the store already.
    /// Blocks: not for the I/O runtime.
    ///
    /// # Errors
    /// There is no such version, a pipeline objects to it, or the store does not answer: then nothing has changed.
    pub fn roll_back(&self, users: &dyn Users, name: &str, digest: &str) -> Result<Outcome, Fault> {
        self.compile_version(name, digest).roll_back(users, name, digest)
    }

    /// Forgets a component that nobody uses, and deletes its file. With `force`, also one that a pipeline of another host is
    /// known to have used.
    ///
    /// # Errors
    /// Somebody uses it, its file can't be deleted, or the store does not answer.
    pub fn remove(&self, users: &dyn Users, name: &str, force: bool) -> Result<bool, Fault> {
        self.works().remove(users, name, force)
    }

    fn works(&self) -> MutexGuard<'_, RoadWorks> {
        // A component that makes the host panic must not keep the others: each step ends before the next begins.
        self.works.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pipelines that were registered over the API with a store, by name, with their texts. Writes nothing.
///
/// # Errors
/// The store does not answer, or the log can't be continued (`REGISTRY_FORK`).
pub async fn registered(store: Store) -> Result<BTreeMap<String, String>, Fault> {
    let journal = Journal::open(store, String::new()).await?;
    let defined =
        |(name, known): (&String, &Registered)| Some((name.clone(), known.definition.clone()?));
    Ok(journal.log().pipelines.iter().filter_map(defined).collect())
}

impl Objection {
    /// `fault` is what is wrong, `shown` makes it the fault of a place in a file.
    pub fn new(fault: Fault, shown: impl FnOnce(Fault) -> Fault) -> Self {
        let help = fault.help.as_ref().map(|help| format!("; {help}")).unwrap_or_default();
        Self { reason: format!("{fault}{help}"), fault: Box::new(shown(fault)) }
    }
}

/// The fault of a component that has neither a version nor a file; `others` are there.
fn missing<'a>(folder: &Folder, name: &str, others: impl Iterator<Item = &'a String>) -> Fault {
    let path = folder.file(name);
    let Err(error) = fs::metadata(&path) else {
        return Fault::outside(format!("component {} was not there a moment ago", path.display()));
    };
    let others: Vec<_> = others.map(String::as_str).collect();
    let known = match &others[..] {
        [] => String::new(),
        others => format!("; the components are: {}", others.join(", ")),
    };
    let help = match fs::read_dir(folder.path()) {
        Ok(entries) => {
            let mut names: Vec<_> = entries
                .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
                .filter(|name| name.ends_with(".wasm"))
                .collect();
            names.sort();
            let found =
                if names.is_empty() { "no .wasm file".to_owned() } else { names.join(", ") };
            format!("the folder has: {found}{known}")
        }
        Err(_) => {
            format!("make the folder, or name another one with `transforms` (--transforms){known}")
        }
    };
    Fault::config(format!("read component {}", path.display())).caused_by(error).help(help)
}

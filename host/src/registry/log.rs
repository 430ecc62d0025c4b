//! The log of the registry: numbered entries in the store, created once, never changed. Folding them gives the versions of
//! every component, what was refused, which version is the current one, and the pipelines that were registered over the
//! API, on every replica alike.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{fault::Fault, schema::Output};

/// The version of the format of entries.
const FORMAT: u32 = 1;

/// Refusals that are kept of a component: the newest. A file that was refused before is tried again.
const MAX_REFUSALS: usize = 50;

/// The key of an entry.
pub(super) fn key(seq: u64) -> String {
    format!("_registry/log/{seq:020}.json")
}

/// The key of a component's bytes.
pub(super) fn component_key(digest: &str) -> String {
    format!("_registry/components/{digest}.wasm")
}

/// A numbered entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub v: u32,
    pub seq: u64,
    /// Tells one attempt to write from every other.
    pub nonce: String,
    /// SHA-256 of the entry before; empty for the first.
    pub prev: String,
    pub change: Change,
    /// Which process wrote it; shown to people.
    pub writer: String,
    /// When, RFC 3339; shown to people, never compared.
    pub ts: String,
}

/// What an entry changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Change {
    /// A version passed all checks and is the current one.
    Accept {
        component: String,
        digest: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<String>,
        bytes: u64,
        road: Road,
        /// What it writes, by pipeline: what the next one is compared with.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        outputs: BTreeMap<String, Vec<Output>>,
    },
    /// A version was refused.
    Refuse {
        component: String,
        digest: String,
        reason: String,
        /// Of the pipelines that it was tried for: for others, it is tried again.
        against: String,
        road: Road,
    },
    /// An accepted version is the current one again.
    Choose {
        component: String,
        digest: String,
        /// What it writes, by pipeline.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        outputs: BTreeMap<String, Vec<Output>>,
    },
    /// The component is forgotten.
    Remove { component: String },
    /// A pipeline writes other rows from now on, or by other components, since it is new or was changed.
    Write {
        pipeline: String,
        outputs: Vec<Output>,
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        components: BTreeSet<String>,
    },
    /// A pipeline was registered over the API, or changed.
    Define {
        pipeline: String,
        /// As it was sent: YAML or JSON.
        definition: String,
    },
    /// A pipeline that was registered over the API is no more. Its log and its files stay.
    Forget { pipeline: String },
    /// A person wants a pipeline to do this.
    Desire { pipeline: String, desired: Desired },
}

/// What a person wants a pipeline to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Desired {
    /// To run.
    #[default]
    Running,
    /// To stay in its group, and to read nothing.
    Paused,
    /// To leave its group, and to do nothing.
    Stopped,
}

/// What a pipeline is to do, as of the newest of so many wishes: that it runs may be wished again when it has failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// What.
    pub desired: Desired,
    /// How many there were.
    pub count: u64,
}

/// What the log has of a pipeline.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Registered {
    /// Its text, if it was registered over the API rather than by a file.
    pub definition: Option<String>,
    /// What it is to do.
    pub wish: Wish,
    /// What it writes; unknown before it ran.
    pub outputs: Option<Vec<Output>>,
    /// The components that it uses, whichever host runs it; as far as it is known whether it is still there.
    pub components: BTreeSet<String>,
}

/// How a file came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Road {
    /// It appeared in the transforms folder.
    Folder,
    /// It was uploaded.
    Upload,
}

impl Road {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Folder => "folder",
            Self::Upload => "upload",
        }
    }
}

impl Entry {
    pub(super) fn new(log: &Log, nonce: String, change: Change, writer: &str, ts: String) -> Self {
        let (seq, prev, writer) = (log.next, log.newest.clone(), writer.to_owned());
        Self { v: FORMAT, seq, nonce, prev, change, writer, ts }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an entry is JSON")
    }

    pub(super) fn decode(key: &str, bytes: &[u8]) -> Result<Self, Fault> {
        let help = "it was edited by hand, or a newer Tidemill wrote it: restore it from the bucket's versions, or update";
        let entry: Self = serde_json::from_slice(bytes).map_err(|error| {
            let text = format!("{key} is no entry of the registry, of this version");
            Fault::outside(text).permanent().caused_by(error).code("REGISTRY_FORK").help(help)
        })?;
        if entry.v != FORMAT || entry.encode() != bytes {
            let text = format!("{key} is not what this Tidemill writes");
            return Err(Fault::outside(text).permanent().code("REGISTRY_FORK").help(help));
        }
        Ok(entry)
    }
}

/// A version that was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Version {
    /// SHA-256 of its file.
    pub digest: String,
    /// Its version, as it says itself; unknown when no pipeline used it.
    pub version: Option<String>,
    /// The size of its file.
    pub bytes: u64,
    /// How it came.
    pub road: Road,
    /// When, RFC 3339.
    pub since: String,
    /// Which process took it in.
    pub writer: String,
}

/// A version that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// SHA-256 of its file.
    pub digest: String,
    /// Why.
    pub reason: String,
    /// When, RFC 3339.
    pub at: String,
    /// How it came.
    pub road: Road,
    /// Of the pipelines that it was tried for.
    #[serde(skip)]
    pub against: String,
    /// The choices of a version that there had been. A later one is newer than this file: it is not tried again.
    #[serde(skip)]
    pub generation: u64,
}

/// All that is known of a component.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Accepted versions, the oldest first.
    pub versions: Vec<Version>,
    /// Refused ones, the oldest first.
    pub refused: Vec<Refusal>,
    /// The digest of the version that runs.
    pub current: Option<String>,
    /// Counts choices of a current version.
    pub generation: u64,
    /// When the current version was chosen, RFC 3339.
    pub since: String,
}

impl History {
    /// The version of a digest.
    pub fn version(&self, digest: &str) -> Option<&Version> {
        self.versions.iter().find(|version| version.digest == digest)
    }

    /// Whether a file of this digest says nothing new: it was accepted once, or refused for the same pipelines, or refused
    /// before the current version was chosen: then a person has gone on from there.
    pub(super) fn knows(&self, digest: &str, against: &str) -> bool {
        let refused = |refusal: &Refusal| {
            let overtaken = refusal.generation < self.generation;
            refusal.digest == digest && (overtaken || refusal.against == against)
        };
        self.version(digest).is_some() || self.refused.iter().any(refused)
    }

    fn choose(&mut self, digest: String, ts: String) {
        (self.current, self.since) = (Some(digest), ts);
        self.generation += 1;
    }
}

/// The fold of all entries.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Log {
    /// The number of the next entry.
    pub next: u64,
    /// SHA-256 of the newest entry; empty before the first.
    newest: String,
    /// By name.
    pub components: BTreeMap<String, History>,
    /// By name.
    pub pipelines: BTreeMap<String, Registered>,
}

impl Log {
    pub(super) fn component(&self, name: &str) -> Option<&History> {
        self.components.get(name)
    }

    /// What a pipeline writes, as far as it ran before.
    pub(super) fn written(&self, pipeline: &str) -> Option<&Vec<Output>> {
        self.pipelines.get(pipeline)?.outputs.as_ref()
    }

    /// The pipelines that use a component, as far as hosts have noted it.
    pub(super) fn users(&self, component: &str) -> impl Iterator<Item = &String> {
        let uses = move |known: &Registered| known.components.contains(component);
        self.pipelines.iter().filter(move |(_, known)| uses(known)).map(|(name, _)| name)
    }

    fn pipeline(&mut self, name: String) -> &mut Registered {
        self.pipelines.entry(name).or_default()
    }

    /// The digest of a component's current version.
    pub(super) fn current(&self, name: &str) -> Option<&str> {
        self.component(name)?.current.as_deref()
    }

    /// Takes the next entry in.
    pub(super) fn fold(&mut self, entry: Entry) -> Result<(), Fault> {
        if entry.seq != self.next || entry.prev != self.newest {
            let text =
                format!("entry {} of the registry does not follow the one before", entry.seq);
            let help = "it was edited or deleted by hand: restore it from the bucket's versions";
            return Err(Fault::outside(text).permanent().code("REGISTRY_FORK").help(help));
        }
        self.newest = hex::encode(Sha256::digest(entry.encode()));
        self.next += 1;
        let Entry { change, writer, ts, .. } = entry;
        match change {
            Change::Accept { component, digest, version, bytes, road, outputs } => {
                let history = self.components.entry(component).or_default();
                history.refused.retain(|refusal| refusal.digest != digest);
                if history.version(&digest).is_none() {
                    let (digest, since) = (digest.clone(), ts.clone());
                    let version = Version { digest, version, bytes, road, since, writer };
                    history.versions.push(version);
                }
                history.choose(digest, ts);
                self.write(outputs);
            }
            Change::Refuse { component, digest, reason, against, road } => {
                let history = self.components.entry(component).or_default();
                history.refused.retain(|refusal| refusal.digest != digest);
                let generation = history.generation;
                history.refused.push(Refusal { digest, reason, at: ts, road, against, generation });
                let too_many = history.refused.len().saturating_sub(MAX_REFUSALS);
                history.refused.drain(..too_many);
            }
            Change::Choose { component, digest, outputs } => {
                self.components.entry(component).or_default().choose(digest, ts);
                self.write(outputs);
            }
            Change::Remove { component } => drop(self.components.remove(&component)),
            Change::Write { pipeline, outputs, components } => {
                self.pipeline(pipeline.clone()).components = components;
                self.write([(pipeline, outputs)].into());
            }
            Change::Define { pipeline, definition } => {
                self.pipeline(pipeline).definition = Some(definition);
            }
            // What it wrote is still there: one of the same name goes on from that.
            Change::Forget { pipeline } => {
                let registered = self.pipeline(pipeline);
                (registered.definition, registered.wish.desired) = (None, Desired::default());
                registered.components.clear();
            }
            Change::Desire { pipeline, desired } => {
                let wish = &mut self.pipeline(pipeline).wish;
                *wish = Wish { desired, count: wish.count + 1 };
            }
        }
        Ok(())
    }

    fn write(&mut self, outputs: BTreeMap<String, Vec<Output>>) {
        for (pipeline, outputs) in outputs {
            self.pipeline(pipeline).outputs = Some(outputs);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(digest: &str) -> Change {
        let (component, digest) = ("c".to_owned(), digest.to_owned());
        Change::Accept {
            component,
            digest,
            version: None,
            bytes: 1,
            road: Road::Folder,
            outputs: BTreeMap::new(),
        }
    }

    fn refuse(digest: &str, against: &str) -> Change {
        let (component, digest, against) = ("c".to_owned(), digest.to_owned(), against.to_owned());
        Change::Refuse { component, digest, reason: "bad".into(), against, road: Road::Upload }
    }

    fn folded(changes: impl IntoIterator<Item = Change>) -> Log {
        let mut log = Log::default();
        for change in changes {
            let entry = Entry::new(&log, "nonce".into(), change, "w", format!("t{}", log.next));
            let read = Entry::decode("key", &entry.encode()).unwrap();
            assert_eq!(read, entry);
            log.fold(entry).unwrap();
        }
        log
    }

    #[test]
    fn the_newest_choice_is_the_current_one() {
        let outputs = BTreeMap::new();
        let choose = Change::Choose { component: "c".into(), digest: "a".into(), outputs };
        let log = folded([accept("a"), accept("b"), choose, refuse("x", "p")]);
        let history = log.component("c").unwrap();
        assert_eq!((log.current("c"), history.generation), (Some("a"), 3));
        assert_eq!((history.since.as_str(), history.versions.len()), ("t2", 2));
        assert_eq!((log.current("d"), log.next), (None, 4));
        for (digest, against, known) in [
            ("a", "", true),
            ("b", "p", true),
            ("x", "p", true),
            ("x", "q", false),
            ("y", "p", false),
        ] {
            assert_eq!(history.knows(digest, against), known, "{digest} {against}");
        }
    }

    #[test]
    fn a_refused_version_that_was_overtaken_does_not_come_back() {
        let refused = [accept("a"), refuse("x", "p")];
        assert!(!folded(refused.clone()).component("c").unwrap().knows("x", "q"));
        let log = folded(refused.into_iter().chain([accept("b")]));
        assert!(log.component("c").unwrap().knows("x", "q"));
    }

    #[test]
    fn a_refused_version_may_be_accepted_later_and_a_component_forgotten() {
        let log = folded([accept("a"), refuse("b", "p"), refuse("b", "q"), accept("b")]);
        let history = log.component("c").unwrap();
        assert!(history.refused.is_empty() && log.current("c") == Some("b"));
        let log = folded([accept("a"), Change::Remove { component: "c".into() }]);
        assert_eq!(log.component("c"), None);
    }

    #[test]
    fn a_pipeline_is_what_was_registered_last_and_what_it_wrote_outlives_it() {
        let (pipeline, output) = ("p".to_owned(), Output { name: "o".into(), fields: vec![] });
        let define = |definition: &str| Change::Define {
            pipeline: pipeline.clone(),
            definition: definition.to_owned(),
        };
        let (outputs, components) = (vec![output.clone()], BTreeSet::from(["c".to_owned()]));
        let write = Change::Write { pipeline: pipeline.clone(), outputs, components };
        let pause = Change::Desire { pipeline: pipeline.clone(), desired: Desired::Paused };
        let forget = Change::Forget { pipeline: pipeline.clone() };
        let changes = [define("1"), write, pause, define("2"), forget];
        let found = |count: usize| {
            let log = folded(changes[..count].iter().cloned());
            let found = log.pipelines["p"].clone();
            (found.definition, found.wish.desired, found.outputs.map(|outputs| outputs.len()))
        };
        assert_eq!(found(1), (Some("1".into()), Desired::Running, None));
        assert_eq!(found(4), (Some("2".into()), Desired::Paused, Some(1)));
        assert_eq!(found(5), (None, Desired::Running, Some(1)));
        let accept = |outputs| Change::Accept {
            component: "c".into(),
            digest: "a".into(),
            version: None,
            bytes: 1,
            road: Road::Folder,
            outputs,
        };
        let log = folded([accept([(pipeline, vec![output])].into())]);
        assert_eq!(log.written("p").map(Vec::len), Some(1));
    }

    #[test]
    fn what_was_edited_by_hand_is_told() {
        let mut log = folded([accept("a")]);
        let entry = Entry::new(&log, "n".into(), accept("b"), "w", "t".into());
        let text = String::from_utf8(entry.encode()).unwrap();
        for edited in
            [text.replace("\"b\"", "\"b\" "), text.replace("{\"v\":1", "{\"v\":2"), "{".into()]
        {
            let fault = Entry::decode("key", edited.as_bytes()).unwrap_err();
            assert_eq!((fault.code, fault.retry), (Some("REGISTRY_FORK"), false), "{edited}");
        }
        for other in
            [Entry { seq: 2, ..entry.clone() }, Entry { prev: "x".into(), ..entry.clone() }]
        {
            assert_eq!(log.fold(other).unwrap_err().code, Some("REGISTRY_FORK"));
        }
        log.fold(entry).unwrap();
    }
}

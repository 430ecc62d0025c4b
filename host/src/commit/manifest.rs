//! Manifests: what the log of a pipeline is made of.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{fault::Fault, record::Lane};

/// A numbered entry of a pipeline's log, as JSON. Created once, never changed, never deleted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The version of this format: 1.
    pub v: u32,
    /// The pipeline.
    pub pipeline: String,
    /// The epoch of the log.
    pub epoch: u16,
    /// Its number.
    pub seq: u64,
    /// Which flush attempt wrote it: 32 hexadecimal digits.
    pub nonce: String,
    /// SHA-256 of manifest `seq - 1` (64 hexadecimal digits); empty for the first.
    pub prev: String,
    /// What it says.
    pub kind: Kind,
    /// The offsets that it covers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<InputRange>,
    /// The transforms that made the rows, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transforms: Vec<TransformId>,
    /// The files that it makes visible.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<File>,
    /// What became of the records, by lane, in the order of `inputs`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub counts: Vec<Counts>,
    /// What a seal hands over to the next epoch; the first manifest of that one repeats it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handover: Option<Handover>,
    /// The manifests whose lost files nobody is to look for any more; of a void alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub voids: Vec<u64>,
    /// What its writer knows to be visible.
    pub published: Published,
    /// Which process wrote it; shown to people.
    pub writer: String,
    /// When, RFC 3339; shown to people, never compared.
    pub ts: String,
}

impl Manifest {
    /// Its bytes in the store.
    ///
    /// # Panics
    /// Never: there is nothing in a manifest that JSON has no form for.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a manifest is JSON")
    }

    /// SHA-256 of its bytes: what the next manifest names.
    pub fn digest(&self) -> String {
        hex::encode(Sha256::digest(self.encode()))
    }

    /// A manifest from its bytes.
    ///
    /// # Errors
    /// `LOG_FORK` when they are no manifest: Tidemill wrote them whole or not at all.
    pub fn decode(key: &str, bytes: &[u8]) -> Result<Self, Fault> {
        let manifest: Self = serde_json::from_slice(bytes).map_err(|error| {
            Fault::outside(format!("{key} is no manifest of this version"))
                .permanent()
                .caused_by(error)
                .code("LOG_FORK")
                .help("it was edited by hand, or a newer Tidemill wrote it: restore it from the bucket's versions, or update")
        })?;
        if manifest.v != 1 {
            let text = format!("{key} has version {} of its format, known is 1", manifest.v);
            return Err(Fault::outside(text).permanent().code("LOG_FORK").help("update Tidemill"));
        }
        if manifest.encode() != bytes {
            let text = format!("{key} is not what Tidemill wrote: it was edited by hand");
            return Err(Fault::outside(text)
                .permanent()
                .code("LOG_FORK")
                .help("restore it from the bucket's versions"));
        }
        Ok(manifest)
    }
}

/// What a manifest says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The first of an epoch. In a later one, it fixes the positions that the epoch before was sealed at (`start == end`).
    Genesis,
    /// Fixes the first offsets of lanes (`start == end`).
    Start,
    /// Records were read and their rows are in `files`.
    Data,
    /// Says only what is published.
    Claim,
    /// Moves positions forward over records that nobody can read.
    Skip,
    /// Says that files of other manifests are lost, and that this is known: a person decided so.
    Void,
    /// Ends the epoch: nothing follows it. All positions are handed over to the next one.
    Seal,
}

/// What the next epoch does with topics of which the sealed one has positions. Those it does not name are read on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Handover {
    /// It keeps their positions, and does not read them: the epoch after it may.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub given_up: BTreeSet<String>,
    /// They were created anew: it begins them, and their positions are gone.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub renewed: BTreeSet<String>,
}

/// Offsets `start <= offset < end` of a lane.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct InputRange {
    /// The lane.
    #[serde(flatten)]
    pub lane: Lane,
    /// The first offset.
    pub start: i64,
    /// The next offset to fetch.
    pub end: i64,
}

/// Which transform ran.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransformId {
    /// The component's name.
    pub name: String,
    /// Digest of the component.
    pub sha256: String,
    /// Its version, as it says itself.
    pub version: String,
    /// Digest of its configuration.
    pub config_sha256: String,
}

/// A file of a flush.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// The output.
    pub output: String,
    /// Where it is visible once published, relative to the store's root.
    pub key: String,
    /// Rows in it.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// Its digest.
    pub sha256: String,
    /// Where its bytes wait.
    pub stage: Stage,
}

/// Where the bytes of a file wait until they are published.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Stage {
    /// An open multipart upload of the file's key.
    Multipart {
        /// The upload.
        id: String,
        /// Its parts, in order.
        parts: Vec<String>,
    },
    /// A local file.
    Rename {
        /// Relative to the store's root.
        id: String,
    },
}

/// What became of the records of a lane. `records = emitted + dropped + rejected + broken`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Records that were read: `end - start` less the gaps.
    pub records: u64,
    /// At least one row came out.
    pub emitted: u64,
    /// No row came out, by the transform's will.
    pub dropped: u64,
    /// Rejected by the transform or refused by the sink.
    pub rejected: u64,
    /// Not decodable.
    pub broken: u64,
    /// Rows by output.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rows: BTreeMap<String, u64>,
}

impl Counts {
    /// Adds other counts to these.
    pub fn add(&mut self, other: &Self) {
        self.records += other.records;
        self.emitted += other.emitted;
        self.dropped += other.dropped;
        self.rejected += other.rejected;
        self.broken += other.broken;
        for (output, rows) in &other.rows {
            *self.rows.entry(output.clone()).or_default() += rows;
        }
    }
}

/// What a writer knows to be visible.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// Every manifest below this number.
    pub through: u64,
    /// And these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<u64>,
}

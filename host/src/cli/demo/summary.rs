//! What came of a demo: what the commit log says, held against what the files hold.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::{
    cli::footer, commit::manifest::Counts, fault::Fault, pipeline::PipelineStatus, store::Store,
};

/// The output of dead letters, by its folder.
const DEAD_LETTERS: &str = "dead_letters";

/// The demo's result, as its last line shows it with `--json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Summary {
    pub(super) records: u64,
    pub(super) emitted: u64,
    pub(super) dropped: u64,
    pub(super) rejected: u64,
    pub(super) broken: u64,
    pub(super) dead_letters: u64,
    pub(super) rows: BTreeMap<String, u64>,
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) seconds: f64,
    pub(super) data_dir: String,
}

impl Summary {
    /// What the commit log says.
    pub(super) fn new(status: &PipelineStatus, seconds: f64, data_dir: String) -> Self {
        let Counts { records, emitted, dropped, rejected, broken, rows } = status.committed.clone();
        let rows = rows.into_iter().filter(|(output, _)| output != DEAD_LETTERS).collect();
        let (files, bytes) = (status.files, status.bytes);
        let dead_letters = rejected + broken;
        Self {
            records,
            emitted,
            dropped,
            rejected,
            broken,
            dead_letters,
            rows,
            files,
            bytes,
            seconds,
            data_dir,
        }
    }

    /// What does not add up, of the counts themselves and against what the files hold.
    pub(super) fn mistakes(&self, sent: u64, held: &Held) -> Vec<String> {
        let parts = self.emitted + self.dropped + self.rejected + self.broken;
        let dead_letters = held.rows.get(DEAD_LETTERS).copied().unwrap_or(0);
        let mut pairs = vec![
            ("records that were sent and records that were committed", sent, self.records),
            ("records, and emitted + dropped + rejected + broken", self.records, parts),
            ("dead letters and rows in their files", self.dead_letters, dead_letters),
            ("files in the log and files in the folder", self.files, held.files),
            ("bytes in the log and bytes in the folder", self.bytes, held.bytes),
        ];
        let outputs: BTreeSet<_> = self.rows.keys().chain(held.rows.keys()).collect();
        let outputs = outputs.into_iter().filter(|output| *output != DEAD_LETTERS);
        for output in outputs {
            let of = |rows: &BTreeMap<String, u64>| rows.get(output).copied().unwrap_or(0);
            pairs.push(("rows in the log and rows in the files", of(&self.rows), of(&held.rows)));
        }
        let wrong = pairs.into_iter().filter(|(_, a, b)| a != b);
        wrong.map(|(what, a, b)| format!("{what}: {a} and {b}")).collect()
    }
}

/// What the files of a pipeline hold, by their footers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) rows: BTreeMap<String, u64>,
    pub(super) files: u64,
    pub(super) bytes: u64,
}

impl Held {
    /// Reads the footer of every file of a pipeline.
    pub(super) async fn read(store: &Store, pipeline: &str) -> Result<Self, Fault> {
        let root = format!("data/{pipeline}/");
        let mut held = Self::default();
        for object in store.list(&root, None).await? {
            let output = object
                .key
                .strip_prefix(&root)
                .and_then(|rest| rest.split('/').next())
                .unwrap_or_default();
            let footer = footer::read(store, &object.key, object.bytes).await?;
            *held.rows.entry(output.to_owned()).or_default() += footer.rows;
            held.files += 1;
            held.bytes += object.bytes;
        }
        Ok(held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> Summary {
        Summary {
            records: 10,
            emitted: 6,
            dropped: 1,
            rejected: 2,
            broken: 1,
            dead_letters: 3,
            rows: BTreeMap::from([("clean".into(), 6)]),
            files: 2,
            bytes: 100,
            seconds: 1.0,
            data_dir: "d".into(),
        }
    }

    fn held() -> Held {
        Held {
            rows: BTreeMap::from([("clean".into(), 6), (DEAD_LETTERS.into(), 3)]),
            files: 2,
            bytes: 100,
        }
    }

    #[test]
    fn counts_that_add_up_are_silent() {
        assert_eq!(summary().mistakes(10, &held()), Vec::<String>::new());
    }

    #[test]
    fn every_difference_is_told() {
        assert_eq!(summary().mistakes(11, &held()).len(), 1);
        assert_eq!(Summary { dropped: 2, ..summary() }.mistakes(10, &held()).len(), 1);
        assert_eq!(Summary { rejected: 1, ..summary() }.mistakes(10, &held()).len(), 1);
        assert_eq!(summary().mistakes(10, &Held { files: 3, bytes: 101, ..held() }).len(), 2);
        let rows =
            BTreeMap::from([("clean".into(), 5), (DEAD_LETTERS.into(), 2), ("ghost".into(), 1)]);
        assert_eq!(summary().mistakes(10, &Held { rows, ..held() }).len(), 3);
    }
}

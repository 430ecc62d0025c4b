//! What a case is: `expected.toml` of its folder, read strictly.

use std::{collections::BTreeMap, fs};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::folders;

/// How many records a case has, unless it says otherwise.
const RECORDS: usize = 40;

/// A case.
#[derive(Debug)]
pub(crate) struct Case {
    /// The name of its folder.
    pub name: String,
    pub expected: Expected,
    pub outcome: Outcome,
}

/// `expected.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expected {
    /// The folder whose crate is the component: by default the case's own, unless it has a `component.wasm` or a
    /// `component.wat`.
    pub component: Option<String>,
    /// Settings of the transform, as a pipeline file has them.
    #[serde(default)]
    transform: BTreeMap<String, Value>,
    /// Of the pipeline.
    max_failure_ratio: Option<f64>,
    /// How many records there are.
    #[serde(default = "usual")]
    pub count: usize,
    /// Records that differ from `{"act":"fine N"}`, where N is the offset. Only these do anything but come out as a row.
    #[serde(default, rename = "record")]
    pub records: Vec<Record>,
    failed: Option<Failed>,
    refused: Option<Refused>,
    /// What the host's log has.
    #[serde(default)]
    pub log: Log,
}

/// A record that is not fine.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    /// Where it lies.
    pub offset: usize,
    /// The last of several in a row.
    through: Option<usize>,
    /// What it tells the component to do.
    act: String,
    /// What becomes of it; by default a row.
    pub class: Option<String>,
    /// What the reason of its dead letter contains.
    #[serde(default)]
    pub says: Vec<String>,
    /// It leaves nothing behind: neither a row nor a dead letter.
    #[serde(default)]
    pub gone: bool,
}

/// The pipeline stops.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Failed {
    /// The code of its fault, if it has one.
    pub code: Option<String>,
    /// What its reason contains; `TOPIC` stands for the name of the topic.
    pub says: Vec<String>,
}

/// The component is refused before it sees a record.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refused {
    /// What the reason contains.
    pub says: Vec<String>,
}

/// Lines of the host's log.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Log {
    /// Texts that stand in it.
    #[serde(default)]
    pub says: Vec<String>,
    /// Texts that stand in so many lines at most.
    #[serde(default)]
    pub at_most: BTreeMap<String, usize>,
}

/// What must come of a case.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Each record becomes what is said of it.
    Runs,
    Failed(Failed),
    Refused(Refused),
}

const fn usual() -> usize {
    RECORDS
}

impl Record {
    fn each(&self) -> impl Iterator<Item = Self> {
        let through = self.through.unwrap_or(self.offset);
        (self.offset..=through).map(|offset| Self { offset, through: None, ..self.clone() })
    }
}

impl Case {
    /// Reads a case from its folder.
    pub(crate) fn read(name: &str) -> Self {
        let path = folders::folder(name).join(folders::EXPECTED);
        let text = fs::read_to_string(&path).expect("a case has an expectation");
        Self::parse(name, &text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    fn parse(name: &str, text: &str) -> Result<Self, String> {
        let mut expected: Expected = toml::from_str(text).map_err(|error| error.to_string())?;
        expected.records = expected.records.iter().flat_map(Record::each).collect();
        let outcome = match (expected.refused.take(), expected.failed.take()) {
            (Some(_), Some(_)) => return Err("it is either refused or failed".to_owned()),
            (Some(refused), None) => Outcome::Refused(refused),
            (None, Some(failed)) => Outcome::Failed(failed),
            (None, None) => Outcome::Runs,
        };
        let says = match &outcome {
            Outcome::Refused(Refused { says }) | Outcome::Failed(Failed { says, .. }) => {
                !says.is_empty() && says.iter().all(|text| !text.is_empty())
            }
            Outcome::Runs => !expected.records.is_empty(),
        };
        if !says {
            return Err("it expects nothing: say what its reason contains".to_owned());
        }
        if matches!(outcome, Outcome::Refused(_)) && !expected.records.is_empty() {
            return Err("a component that is refused sees no record".to_owned());
        }
        for (place, record) in expected.records.iter().enumerate() {
            let before = place.checked_sub(1).map(|before| expected.records[before].offset);
            let count = expected.count;
            if record.offset >= count || before >= Some(record.offset) {
                return Err(format!("offset {}: they rise, up to {count}", record.offset));
            }
            let is_letter = record.class.is_some();
            let stops = matches!(outcome, Outcome::Failed(_));
            if is_letter == record.says.is_empty() || (is_letter && (record.gone || stops)) {
                let offset = record.offset;
                return Err(format!("offset {offset}: a dead letter has a class and says why"));
            }
        }
        Ok(Self { name: name.to_owned(), expected, outcome })
    }

    /// What is at an offset, if it is not fine.
    pub(crate) fn record(&self, offset: usize) -> Option<&Record> {
        let records = &self.expected.records;
        let place = records.binary_search_by_key(&offset, |record| record.offset).ok()?;
        Some(&records[place])
    }

    /// What the record at an offset tells the component to do.
    pub(crate) fn act(&self, offset: usize) -> String {
        self.record(offset).map_or_else(|| format!("fine {offset}"), |record| record.act.clone())
    }

    /// Its pipeline file. YAML reads JSON.
    pub(crate) fn pipeline(&self, topic: &str) -> Value {
        let mut transform = json!({ "component": self.name });
        for (key, value) in &self.expected.transform {
            transform[key] = value.clone();
        }
        let mut pipeline = json!({
            "name": self.name,
            "source": { "kafka": { "topics": [topic], "group_id": topic, "format": "json" } },
            "transforms": [transform],
            "outputs": { "done": { "parquet": {} } },
            "flush": { "every": "1s", "idle": "300ms" },
        });
        if let Some(ratio) = self.expected.max_failure_ratio {
            pipeline["max_failure_ratio"] = json!(ratio);
        }
        pipeline
    }
}

/// An expectation is not taken for less than it says, and says something.
pub(crate) fn nonsense_is_refused() {
    let panic = "[[record]]\noffset = 7\nact = \"panic\"\n";
    let letter = format!("{panic}class = \"TRAP\"\nsays = [\"told to\"]\n");
    for right in [&letter, &format!("{panic}gone = true\n"), panic, "[refused]\nsays = [\"empty\"]"]
    {
        Case::parse("right", right).unwrap_or_else(|error| panic!("{right}: {error}"));
    }
    for (wrong, says) in [
        ("", "expects nothing"),
        ("[refused]\nsays = []", "expects nothing"),
        ("[refused]\nsays = [\"\"]", "expects nothing"),
        ("[refused]\nsays = [\"a\"]\n[failed]\nsays = [\"b\"]", "either"),
        ("[refused]\nsays = [\"a\"]\nclass = \"TRAP\"", "unknown field `class`"),
        (&format!("[refused]\nsays = [\"a\"]\n{letter}"), "sees no record"),
        (&format!("[failed]\nsays = [\"a\"]\n{letter}"), "a dead letter"),
        (&format!("{letter}{letter}"), "they rise"),
        (&letter.replace('7', "40"), "they rise"),
        (&letter.replace('7', "7\nthrough = 40"), "they rise"),
        (&format!("{letter}gone = true\n"), "a dead letter"),
        (&format!("{panic}class = \"TRAP\"\n"), "says why"),
        (&format!("{panic}says = [\"told to\"]\n"), "says why"),
        (&format!("{letter}dropped = true\n"), "unknown field `dropped`"),
        (&format!("limits = {{}}\n{letter}"), "unknown field `limits`"),
        (&format!("{letter}[log]\nhas = []\n"), "unknown field `has`"),
    ] {
        let error = Case::parse("wrong", wrong).expect_err("it is nonsense");
        assert!(error.contains(says), "{wrong}: {error}");
    }
}

//! How two definitions of a pipeline differ, and whether the later one may take the place of the other.

use std::{collections::BTreeSet, fmt};

use serde::Serialize;
use serde_json::Value;

use super::committer::Standing;
use crate::{config, fault::Fault};

/// The code of a definition that does not go with the log of its pipeline.
pub(super) const OTHER_LOG: &str = "OTHER_LOG";

/// A key whose value differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The full key: `flush.every`.
    pub key: String,
    /// What was there; `null` for nothing.
    pub from: Value,
    /// What is there.
    pub to: Value,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, from, to } = self;
        write!(f, "{key}: {from} -> {to}")
    }
}

/// What differs between two definitions, as they are written. One that says the same in other words has no changes.
pub(super) fn between(before: &config::Pipeline, after: &config::Pipeline) -> Vec<Change> {
    if before == after {
        return Vec::new();
    }
    let mut changes = Vec::new();
    differences("", &before.written.value(), &after.written.value(), &mut changes);
    if changes.is_empty() {
        // A value that must not be shown, or a setting of the host that the text relies on.
        let (key, from, to) = ("(not shown)".to_owned(), Value::Null, Value::Null);
        changes.push(Change { key, from, to });
    }
    changes
}

fn differences(key: &str, before: &Value, after: &Value, changes: &mut Vec<Change>) {
    let inner = |name: &str| {
        if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") }
    };
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            let added = after.keys().filter(|name| !before.contains_key(*name));
            for name in before.keys().chain(added) {
                let of = |map: &serde_json::Map<String, Value>| {
                    map.get(name).cloned().unwrap_or_default()
                };
                differences(&inner(name), &of(before), &of(after), changes);
            }
        }
        (Value::Array(before), Value::Array(after)) if before.len() == after.len() => {
            for (place, (before, after)) in before.iter().zip(after).enumerate() {
                differences(&inner(&place.to_string()), before, after, changes);
            }
        }
        (before, after) if before == after => {}
        (from, to) => {
            let (key, from, to) = (key.to_owned(), from.clone(), to.clone());
            changes.push(Change { key, from, to });
        }
    }
}

/// What a person should know of changes that are possible, and have a price.
pub(super) fn warnings(before: &config::Pipeline, after: &config::Pipeline) -> Vec<String> {
    let is_other = |(name, output): &(&String, &config::Parquet)| {
        before.outputs.get(*name).is_some_and(|before| before.partition_by != output.partition_by)
    };
    let warn = |(name, _)| {
        format!(
            "outputs.{name}.parquet.partition_by: files of the layout before and of this one lie in one folder, and readers \
             that take the folders for columns refuse to read both at once: a pipeline of another name has a folder of its own"
        )
    };
    after.outputs.iter().filter(is_other).map(warn).collect()
}

/// Whether a pipeline that ran stays where its log and its files are.
///
/// # Errors
/// What would break the promise, and what to do instead.
pub(super) fn stays(before: &config::Pipeline, after: &config::Pipeline) -> Result<(), Fault> {
    let url = &before.store.url;
    if *url == after.store.url {
        return Ok(());
    }
    let text = format!("the log and the files of pipeline {} are at {url}", before.name);
    let help = "name it again, or give the pipeline another name: that begins a new log, and a new folder of files";
    Err(breaks(after, &["store", "url"], text, help.to_owned()))
}

/// The topics that a new epoch of a pipeline's log gives up: those of the log that the pipeline does not name.
pub(super) fn given_up(pipeline: &config::Pipeline, log: &Standing) -> BTreeSet<String> {
    let topics = log.lanes.iter().map(|(lane, _)| lane.topic.to_string());
    topics.filter(|topic| !pipeline.source.topics.contains(topic)).collect()
}

/// Whether a pipeline names all topics that the epoch of its log reads, and none that it gave up.
///
/// # Errors
/// What would break the promise, and what to do instead.
pub(super) fn fits(pipeline: &config::Pipeline, log: &Standing) -> Result<(), Fault> {
    let (name, given_up) = (&pipeline.name, given_up(pipeline, log));
    let text = if let Some(topic) = given_up.difference(&log.given_up).next() {
        format!("the log of pipeline {name} has positions of topic {topic}")
    } else if let Some(topic) = log.given_up.difference(&given_up).next() {
        format!("epoch {} of the log of pipeline {name} gave topic {topic} up", log.epoch)
    } else {
        return Ok(());
    };
    let help = format!(
        "name the topics that the log reads (others may be added); or begin a new epoch of the log with the topics that are \
         named now: `tidemill repair {name} --new-epoch`, or PUT with ?new_epoch=true; or give the pipeline another name: \
         that begins a new log, and a new folder of files"
    );
    Err(breaks(pipeline, &["source", "kafka", "topics"], text, help))
}

fn breaks(pipeline: &config::Pipeline, path: &[&str], text: String, help: String) -> Fault {
    let fault = Fault::config(text).help(help);
    pipeline.written.blame(path, fault).code(OTHER_LOG)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::record::Lane;

    fn pipeline(text: &str) -> config::Pipeline {
        let host = config::host(None, &[], Path::new("/"), 2).unwrap();
        let file = config::PipelineFile { name: "p.yaml".into(), text: text.to_owned() };
        config::pipelines(&[file], Path::new("/"), &host).unwrap().remove(0)
    }

    const TEXT: &str = "name: p\nsource: { kafka: { topics: [a, b], format: raw } }\ntransforms: [{ component: c }]\noutputs: { o: {} }\n";

    fn changed(text: &str) -> Vec<String> {
        between(&pipeline(TEXT), &pipeline(text)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_differs_is_told_key_by_key() {
        assert_eq!(changed(TEXT), [""; 0]);
        assert_eq!(changed(&format!("# the same\n{TEXT}")), [""; 0]);
        assert_eq!(
            changed(&format!("{TEXT}flush: {{ every: 5s }}\n")),
            ["flush: null -> {\"every\":\"5s\"}"]
        );
        let text = TEXT.replace("c }", "d, limits: { memory: 32MiB } }");
        let component = "transforms.0.component: \"c\" -> \"d\"";
        let limits = "transforms.0.limits: null -> {\"memory\":\"32MiB\"}";
        assert_eq!(changed(&text), [component, limits]);
        let text = TEXT.replace("[a, b]", "[a, b, c]");
        assert_eq!(changed(&text), ["source.kafka.topics: [\"a\",\"b\"] -> [\"a\",\"b\",\"c\"]"]);
    }

    #[test]
    fn another_layout_of_folders_is_warned_of() {
        let warned = |text: &str| warnings(&pipeline(TEXT), &pipeline(text));
        let text = TEXT.replace("{ o: {} }", "{ o: { parquet: { partition_by: [day] } } }");
        let found = warned(&text);
        assert!(found.len() == 1 && found[0].starts_with("outputs.o.parquet"), "{found:?}");
        assert_eq!(warned(&format!("{TEXT}flush: {{ every: 5s }}\n")), [""; 0]);
    }

    #[test]
    fn a_secret_is_not_shown() {
        let with = |password: &str| {
            format!(
                "{TEXT}kafka: {{ brokers: ['b:1'], options: {{ ssl.keystore.password: {password} }} }}\n"
            )
        };
        let (before, after) = (pipeline(&with("first")), pipeline(&with("other")));
        let changes = between(&before, &after);
        assert_eq!(changes.len(), 1);
        let shown = format!("{} {}", changes[0], before.written.value());
        assert!(!shown.contains("first") && !shown.contains("other"), "{shown}");
    }

    #[test]
    fn topics_may_be_added_and_others_need_a_new_epoch() {
        let lanes: Vec<_> = ["a", "b"].map(|topic| (Lane::new(topic, 0), 7)).into();
        let mut log = Standing { epoch: 1, next: 3, lanes, given_up: BTreeSet::new() };
        let check = |text: &str, log: &Standing| {
            fits(&pipeline(text), log).map_err(|fault| fault.to_string())
        };
        check(&TEXT.replace("[a, b]", "[b, a, c]"), &log).unwrap();
        let refused = check(&TEXT.replace("[a, b]", "[b]"), &log).unwrap_err();
        assert!(refused.starts_with("OTHER_LOG: p.yaml:2:"), "{refused}");
        assert!(refused.contains("positions of topic a"), "{refused}");
        for way in ["another name", "tidemill repair p --new-epoch", "?new_epoch=true"] {
            assert!(refused.contains(way), "{refused}");
        }
        let given_up = given_up(&pipeline(&TEXT.replace("[a, b]", "[b]")), &log);
        assert_eq!(given_up, BTreeSet::from(["a".to_owned()]));
        // The definition before the new epoch is not to read on in it.
        (log.epoch, log.given_up) = (2, given_up);
        check(&TEXT.replace("[a, b]", "[b, c]"), &log).unwrap();
        let refused = check(TEXT, &log).unwrap_err();
        assert!(refused.contains("epoch 2") && refused.contains("gave topic a up"), "{refused}");
    }

    #[test]
    fn a_log_stays_where_it_is() {
        let elsewhere = pipeline(&format!("{TEXT}store: {{ url: 'file:///elsewhere' }}\n"));
        let moved = stays(&pipeline(TEXT), &elsewhere).unwrap_err().to_string();
        assert!(moved.contains("the log and the files"), "{moved}");
    }
}

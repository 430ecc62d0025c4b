//! How two definitions of a pipeline differ, and whether the later one may take the place of the other.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use crate::{config, fault::Fault, record::Lane};

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
    Err(breaks(after, &["store", "url"], text))
}

/// Whether a pipeline names all topics of which its log has positions.
///
/// # Errors
/// What would break the promise, and what to do instead.
pub(super) fn has_topics(pipeline: &config::Pipeline, lanes: &[(Lane, i64)]) -> Result<(), Fault> {
    let topics = &pipeline.source.topics;
    let other = lanes.iter().find(|(lane, _)| !topics.iter().any(|topic| **topic == *lane.topic));
    let Some((lane, _)) = other else { return Ok(()) };
    let text =
        format!("the log of pipeline {} has positions of topic {}", pipeline.name, lane.topic);
    Err(breaks(pipeline, &["source", "kafka", "topics"], text))
}

fn breaks(pipeline: &config::Pipeline, path: &[&str], text: String) -> Fault {
    let help = "name it again (topics may be added), or give the pipeline another name: that begins a new log, and a new folder of files";
    let fault = Fault::config(text).help(help);
    let fault = pipeline.written.blame(path, fault);
    fault.code("OTHER_LOG")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

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
    fn a_secret_is_not_shown() {
        let with = |password: &str| {
            format!(
                "{TEXT}kafka: {{ brokers: ['b:1'], options: {{ ssl.key.password: {password} }} }}\n"
            )
        };
        let (before, after) = (pipeline(&with("first")), pipeline(&with("other")));
        let changes = between(&before, &after);
        assert_eq!(changes.len(), 1);
        let shown = format!("{} {}", changes[0], before.written.value());
        assert!(!shown.contains("first") && !shown.contains("other"), "{shown}");
    }

    #[test]
    fn topics_may_be_added_and_a_log_stays_with_its_own() {
        let lanes: Vec<_> = ["a", "b"].map(|topic| (Lane::new(topic, 0), 7)).into();
        let check =
            |text: &str| has_topics(&pipeline(text), &lanes).map_err(|fault| fault.to_string());
        check(&TEXT.replace("[a, b]", "[b, a, c]")).unwrap();
        let refused = check(&TEXT.replace("[a, b]", "[b]")).unwrap_err();
        assert!(refused.starts_with("OTHER_LOG: p.yaml:2:"), "{refused}");
        assert!(refused.contains("positions of topic a"), "{refused}");
        assert!(refused.contains("another name"), "{refused}");
        let elsewhere = pipeline(&format!("{TEXT}store: {{ url: 'file:///elsewhere' }}\n"));
        let moved = stays(&pipeline(TEXT), &elsewhere).unwrap_err().to_string();
        assert!(moved.contains("the log and the files"), "{moved}");
    }
}

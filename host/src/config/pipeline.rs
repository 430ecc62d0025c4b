//! Pipeline files, read and checked.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::Duration,
};

use super::{
    Compression, Flush, Format, Host, Limits, OnError, Parquet, PartitionBy, Pipeline, Start,
    Transform,
    check::Check,
    de, expression, later,
    problem::{Problem, Problems, Written},
    raw,
    tree::{Node, Source},
};

/// What is not read from a pipeline file, but has the name of one.
const DEAD_LETTERS: &str = "dead_letters";

/// The text of a pipeline file, YAML or JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PipelineFile {
    /// Its name, as it is shown.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// Reads pipeline files. Relative paths in them start at `folder`, which is absolute.
///
/// # Errors
/// All that is wrong with them.
pub fn pipelines(
    files: &[PipelineFile],
    folder: &Path,
    host: &Host,
) -> Result<Vec<Pipeline>, Problems> {
    let mut problems = Vec::new();
    let mut pipelines: Vec<Pipeline> = Vec::new();
    let mut homes: BTreeMap<String, &str> = BTreeMap::new();
    for file in files {
        let source = Source {
            name: file.name.clone(),
            text: file.text.clone(),
            base: folder.to_owned(),
            given: false,
        };
        let read = Node::yaml(&Arc::new(source)).and_then(|root| {
            let pipeline = pipeline(&root, host)?;
            if let Some(other) = homes.get(&pipeline.name) {
                let text = format!("a pipeline `{}` stands in {other} already", pipeline.name);
                return Err(Problem::new(root.locate(&["name"]), "name", text)
                    .help("give one of them another name")
                    .into());
            }
            Ok(pipeline)
        });
        match read {
            Ok(pipeline) => {
                homes.insert(pipeline.name.clone(), &file.name);
                pipelines.push(pipeline);
            }
            Err(Problems(more)) => problems.extend(more),
        }
    }
    if problems.is_empty() { Ok(pipelines) } else { Err(Problems(problems)) }
}

fn pipeline(root: &Node, host: &Host) -> Result<Pipeline, Problems> {
    let refused = later::refused(root, later::PIPELINE);
    if !refused.is_empty() {
        return Err(Problems(refused));
    }
    let raw: raw::Pipeline = de::read(root)?;
    let mut check = Check::new(root);
    name(&mut check, &["name"], &raw.name, "a pipeline");
    if raw.transforms.is_empty() {
        check.refuse(&["transforms"], "no transform is named", "write `- component: NAME`");
    }
    let transforms = raw
        .transforms
        .iter()
        .enumerate()
        .map(|(index, raw)| transform(&mut check, index, raw))
        .collect();
    if raw.outputs.is_empty() {
        check.refuse(
            &["outputs"],
            "no output is named",
            "name an output of the transform, such as `clean: { parquet: {} }`",
        );
    }
    for output in raw.outputs.keys() {
        if output == DEAD_LETTERS {
            let help =
                "the folder of that name is for dead letters; rename the output in the component";
            check.refuse(&["outputs", output], "no output can be called `dead_letters`", help);
        } else if !expression::is_word(output) {
            let help = "write letters, digits, `_` and `-`, at most 63";
            check.refuse(
                &["outputs", output],
                format!("`{output}` cannot be the name of an output"),
                help,
            );
        }
    }
    let outputs = raw.outputs.iter().map(|(name, sink)| {
        (name.clone(), parquet(&mut check, &["outputs", name, "parquet"], &sink.parquet))
    });
    let outputs = outputs.collect();
    let dead_letters = parquet(&mut check, &[DEAD_LETTERS, "parquet"], &raw.dead_letters.parquet);
    let pipeline = Pipeline {
        source: source(&mut check, &raw),
        transforms,
        outputs,
        dead_letters,
        max_failure_ratio: max_failure_ratio(&mut check, raw.max_failure_ratio),
        flush: flush(&mut check, &raw.flush),
        kafka: raw.kafka.as_ref().map_or_else(|| host.kafka.clone(), |raw| check.kafka(raw)),
        store: raw.store.as_ref().map_or_else(|| host.store.clone(), |raw| check.store(raw)),
        name: raw.name,
        written: Written::new(root.clone()),
    };
    if check.problems.is_empty() { Ok(pipeline) } else { Err(Problems(check.problems)) }
}

/// Whether it can be the name of a pipeline or a component: `[a-z0-9-]{1,63}`.
pub fn is_name(name: &str) -> bool {
    (1..=63).contains(&name.len()) && name.bytes().all(legal)
}

fn legal(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'
}

fn name(check: &mut Check<'_>, path: &[&str], name: &str, whose: &str) {
    if !is_name(name) {
        let better: String = name
            .to_lowercase()
            .chars()
            .map(|c| if legal(u8::try_from(c).unwrap_or(b'-')) { c } else { '-' })
            .take(63)
            .collect();
        let better = better.trim_matches('-');
        let help = if better.is_empty() { String::new() } else { format!(": `{better}`") };
        let help = format!("write lower-case letters, digits and `-`, at most 63{help}");
        check.refuse(path, format!("`{name}` cannot be the name of {whose}"), help);
    }
}

fn source(check: &mut Check<'_>, raw: &raw::Pipeline) -> super::Source {
    let kafka = &raw.source.kafka;
    if kafka.topics.is_empty() {
        check.refuse(&["source", "kafka", "topics"], "no topic is named", "write `topics: [NAME]`");
    }
    let mut seen = BTreeSet::new();
    for (index, topic) in kafka.topics.iter().enumerate() {
        let path = ["source", "kafka", "topics", &index.to_string()];
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        if topic.is_empty()
            || topic.len() > 249
            || topic == "."
            || topic == ".."
            || !topic.bytes().all(legal)
        {
            let help = "write letters, digits, `.`, `_` and `-`, at most 249";
            check.refuse(&path, format!("`{topic}` cannot be the name of a topic"), help);
        }
        if !seen.insert(topic) {
            check.refuse(&path, format!("topic `{topic}` is named twice"), "remove one of them");
        }
    }
    if kafka.group_id.as_ref().is_some_and(|group| group.trim().is_empty()) {
        check.refuse(
            &["source", "kafka", "group_id"],
            "the group's name is empty",
            "write a name, or remove the key",
        );
    }
    let start = kafka.start.as_ref().map_or(Start::Earliest, |start| start.0.clone());
    if let Start::Offsets(topics) = &start {
        for (topic, offsets) in topics {
            if !kafka.topics.contains(topic) {
                let help = de::nearest(topic, kafka.topics.iter().map(String::as_str)).map_or_else(
                    || "name it under `topics` too".into(),
                    |meant| format!("did you mean `{meant}`?"),
                );
                let text = format!("topic `{topic}` is not read by this pipeline");
                check.refuse(&["source", "kafka", "start", topic], text, help);
            }
            for (partition, offset) in
                offsets.iter().filter(|(partition, offset)| **partition < 0 || **offset < 0)
            {
                let path = ["source", "kafka", "start", topic, &partition.to_string()];
                check.refuse(
                    &path,
                    format!("{partition}: {offset} is below 0"),
                    "write a partition and an offset",
                );
            }
        }
    }
    super::Source {
        topics: kafka.topics.clone(),
        group_id: kafka.group_id.clone().unwrap_or_else(|| format!("tidemill-{}", raw.name)),
        start,
        format: match kafka.format {
            raw::Format::Raw => Format::Raw,
            raw::Format::Json => Format::Json,
        },
    }
}

fn transform(check: &mut Check<'_>, index: usize, raw: &raw::Transform) -> Transform {
    let index = index.to_string();
    let at = |key: &'static str| ["transforms", &index, key];
    let limit = |key: &'static str| ["transforms", &index, "limits", key];
    let (component, digest) = match raw.component.split_once('@') {
        Some((component, pin)) => (component, Some(pin)),
        None => (raw.component.as_str(), None),
    };
    match component.strip_suffix(".wasm") {
        Some(bare) => {
            let text = format!("`{component}` is a file: a component is named without `.wasm`");
            check.refuse(&at("component"), text, format!("write `{bare}`"));
        }
        None => name(check, &at("component"), component, "a component"),
    }
    let digest = digest.map(|pin| {
        let hex = pin
            .strip_prefix("sha256:")
            .filter(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()));
        if hex.is_none() {
            let help = format!(
                "write {component}@sha256: and the 64 hexadecimal digits that `sha256sum` shows"
            );
            check.refuse(&at("component"), format!("`{pin}` is not a digest"), help);
        }
        hex.unwrap_or_default().to_ascii_lowercase()
    });
    let config =
        raw.config.clone().unwrap_or_else(|| serde_json::Value::Object(serde_json::Map::new()));
    let (limits, default) = (&raw.limits, Limits::default());
    Transform {
        component: component.to_owned(),
        digest,
        config,
        on_error: match raw.on_error {
            raw::OnError::DeadLetter => OnError::DeadLetter,
            raw::OnError::Skip => OnError::Skip,
            raw::OnError::Fail => OnError::Fail,
        },
        limits: Limits {
            memory: check.size(
                &limit("memory"),
                limits.memory.map_or(default.memory, |size| size.0),
                1 << 20..=1 << 30,
            ),
            call_timeout: check.duration(
                &limit("call_timeout"),
                limits.call_timeout.map_or(default.call_timeout, |span| span.0),
                Duration::from_millis(10)..=Duration::from_secs(600),
            ),
            output: check.size(
                &limit("output"),
                limits.output.map_or(default.output, |size| size.0),
                64 << 10..=1 << 30,
            ),
            log_lines: limits.log_lines.unwrap_or(default.log_lines),
        },
    }
}

fn parquet(check: &mut Check<'_>, path: &[&str], raw: &raw::Parquet) -> Parquet {
    let mut partition_by: Vec<PartitionBy> = Vec::new();
    for (index, text) in raw.partition_by.iter().enumerate() {
        let index = index.to_string();
        let path = [path, &["partition_by", &index]].concat();
        match expression::partition_by(text) {
            Ok(new) if partition_by.iter().any(|old| old.key.eq_ignore_ascii_case(&new.key)) => {
                check.refuse(
                    &path,
                    format!("the folder key `{}` is there twice", new.key),
                    "give it another key: `KEY = …`",
                );
            }
            Ok(new) => partition_by.push(new),
            Err((text, help)) => check.refuse(&path, text, help),
        }
    }
    let compression =
        raw.compression.as_deref().map_or(Ok(Compression::Zstd(1)), expression::compression);
    let bytes = raw.max_file_bytes.map_or(128 << 20, |size| size.0);
    Parquet {
        partition_by,
        compression: check.or(&[path, &["compression"]].concat(), compression, Compression::None),
        max_file_bytes: check.size(
            &[path, &["max_file_bytes"]].concat(),
            bytes,
            64 << 10..=16 << 30,
        ),
        max_partitions: usize::from(check.range(
            &[path, &["max_partitions"]].concat(),
            raw.max_partitions.unwrap_or(256),
            1..=u16::MAX,
            |count| count.to_string(),
        )),
        kafka_columns: raw.kafka_columns,
    }
}

fn max_failure_ratio(check: &mut Check<'_>, given: Option<f64>) -> f64 {
    let ratio = given.unwrap_or(0.5);
    if !(0.0..=1.0).contains(&ratio) {
        let help = "write a share, such as 0.1 for a tenth; with 1 the pipeline never stops for it";
        check.refuse(&["max_failure_ratio"], format!("{ratio} is not between 0 and 1"), help);
    }
    ratio
}

fn flush(check: &mut Check<'_>, raw: &raw::Flush) -> Flush {
    // Staged files are kept for hours, not for days.
    let range = Duration::from_millis(100)..=Duration::from_secs(6 * 3600);
    let every = raw.every.map_or(Duration::from_secs(60), |span| span.0);
    let idle = raw.idle.map_or(Duration::from_secs(10), |span| span.0);
    Flush {
        every: check.duration(&["flush", "every"], every, range.clone()),
        idle: check.duration(&["flush", "idle"], idle, range),
    }
}

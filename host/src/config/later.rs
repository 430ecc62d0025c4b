//! What this version refuses by name: keys and values of features that come later, and `${ENV}`.

use super::{
    problem::Problem,
    tree::{Mark, Node, Value},
};

/// A key (`*` stands for any name or place in a list), the values that are refused (all, if none is named), and what to do.
type Later = (&'static str, &'static [&'static str], &'static str);

/// Of a host's settings.
pub(super) const HOST: &[Later] = &[
    (
        "http.token",
        &[],
        "write `token_sha256`: the SHA-256 of the token, so that no file has it in clear",
    ),
    ("http.tokens", &[], "write `token_sha256`, of the one token"),
    ("http.tls", &[], "remove it: put a proxy before the server"),
];

/// Of a pipeline.
pub(super) const PIPELINE: &[Later] = &[
    ("source.kafka.topics_regex", &[], "list the topics by name under `topics`"),
    ("source.kafka.format", &["avro", "protobuf"], "write raw or json"),
    ("source.kafka.registry", &[], "remove it: raw and json need no schema registry"),
    ("source.kafka.schema", &[], "remove it: raw and json need no schema"),
    ("transforms.*.grants", &[], "remove it: a transform has no access to the network or to files"),
    ("transforms.*.http", &[], "remove it: a transform has no access to the network or to files"),
    ("outputs.*.kafka", &[], "write `parquet: {}`"),
    ("outputs.*.iceberg", &[], "write `parquet: {}`"),
    ("dead_letters.kafka", &[], "write `parquet: {}`"),
];

/// Keys whose values may be taken from the environment of the host.
const SECRETS: [&str; 2] = ["kafka.sasl.password", "kafka.key_password"];

/// Whether a text is `${NAME}`.
fn is_variable(text: &str) -> bool {
    let name = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    name.is_some_and(|name| !name.is_empty() && name.bytes().all(legal))
}

/// Stores of later versions, by the scheme of their URLs.
pub(super) const STORES: &[&str] = &["gs", "az", "abfs", "abfss"];

/// All that is refused by name in a tree.
pub(super) fn refused(root: &Node, later: &[Later]) -> Vec<Problem> {
    let mut problems = Vec::new();
    walk(root, &root.at, &mut Vec::new(), &mut |path, key_at, node| {
        let key = path.join(".");
        for (pattern, values, help) in later {
            let text = match &node.value {
                Value::Text(text) => text.as_str(),
                _ => "",
            };
            if !matches(pattern, path) {
                continue;
            }
            if values.is_empty() {
                let name = path.last().map_or("", String::as_str);
                let text = format!("`{name}` is not supported yet");
                problems.push(Problem::new(key_at.clone(), key.clone(), text).help(*help));
            } else if values.contains(&text) {
                let text = format!("`{text}` is not supported yet");
                problems.push(Problem::new(node.at.clone(), key.clone(), text).help(*help));
            }
        }
        if let Value::Text(text) = &node.value
            && text.contains("${")
            && !matches("transforms.*.config", path.get(..3).unwrap_or_default())
            && !(SECRETS.contains(&key.as_str()) && is_variable(text))
        {
            let text =
                "`${…}` is not replaced here: only secrets take variables, and nothing but one";
            let help = "write the value itself (kafka.sasl.password and kafka.key_password may be `${NAME}`); host settings can be given as TIDEMILL_… variables";
            problems.push(Problem::new(node.at.clone(), key, text).help(help));
        }
    });
    problems
}

fn matches(pattern: &str, path: &[String]) -> bool {
    let mut segments = pattern.split('.');
    path.iter().all(|key| segments.next().is_some_and(|segment| segment == "*" || segment == key))
        && segments.next().is_none()
}

fn walk(
    node: &Node,
    key_at: &Mark,
    path: &mut Vec<String>,
    visit: &mut dyn FnMut(&[String], &Mark, &Node),
) {
    visit(path, key_at, node);
    match &node.value {
        Value::Map(entries) => {
            for entry in entries {
                path.push(entry.key.clone());
                walk(&entry.node, &entry.at, path, visit);
                path.pop();
            }
        }
        Value::List(items) => {
            for (index, item) in items.iter().enumerate() {
                path.push(index.to_string());
                walk(item, &item.at, path, visit);
                path.pop();
            }
        }
        _ => {}
    }
}

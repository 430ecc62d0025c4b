//! A configuration as a tree in which every key and value knows where it was written.

use std::{path::PathBuf, sync::Arc};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::{Location, Spanned};
use toml::de::{DeTable, DeValue};

use super::problem::{Problem, Problems};

/// What a tree was read from.
#[derive(Debug)]
pub(super) struct Source {
    /// A file's name, or `--workers`, or `TIDEMILL_WORKERS`.
    pub(super) name: String,
    /// The text; empty for a flag or variable.
    pub(super) text: String,
    /// Paths that are written in it start here.
    pub(super) base: PathBuf,
    /// Whether it is a flag or variable: one text, to be read as the type that is wanted.
    pub(super) given: bool,
}

/// A place in a source. `line` is 0 where only the source is known.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    pub(super) source: Arc<Source>,
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) width: usize,
}

impl Mark {
    /// A source as a whole.
    pub(super) fn whole(source: &Arc<Source>) -> Self {
        Self { source: Arc::clone(source), line: 0, column: 0, width: 0 }
    }

    /// Byte offsets of the source's text.
    fn bytes(source: &Arc<Source>, span: std::ops::Range<usize>) -> Self {
        let before = source.text.get(..span.start).unwrap_or(&source.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Self {
            source: Arc::clone(source),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            width: source.text.get(span).map_or(0, |text| text.chars().count()),
        }
    }

    fn yaml(source: &Arc<Source>, location: Location) -> Self {
        let place = |number: u64| usize::try_from(number).unwrap_or(0);
        Self {
            source: Arc::clone(source),
            line: place(location.line()),
            column: place(location.column()),
            width: place(location.span().len()),
        }
    }
}

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) at: Mark,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key of a map, where it was written, and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) at: Mark,
    pub(super) node: Node,
}

/// Words in the keys of secrets, librdkafka's among them.
const SECRETS: [&str; 6] = ["password", "passphrase", "secret", "token", "pem", "credential"];

/// Whether a key says that its value is a secret: not where it only says where one lies.
pub fn is_secret(key: &str) -> bool {
    SECRETS.iter().any(|word| key.contains(word)) && !key.ends_with("_file")
}

impl Node {
    /// Reads TOML.
    pub(super) fn toml(source: &Arc<Source>) -> Result<Self, Problems> {
        let table = DeTable::parse(&source.text).map_err(|error| {
            let at =
                error.span().map_or_else(|| Mark::whole(source), |span| Mark::bytes(source, span));
            Problem::new(at, "", format!("not TOML: {}", error.message().replace('\n', ", ")))
                .help("write `key = value` a line, each key once, text in quotes: `url = \"s3://bucket\"`")
        })?;
        let at = Mark::whole(source);
        Ok(Self { value: from_table(source, table.into_inner()), at })
    }

    /// Reads YAML or JSON.
    pub(super) fn yaml(source: &Arc<Source>) -> Result<Self, Problems> {
        let options = serde_saphyr::options! { strict_booleans: true };
        let value: Spanned<Plain> = serde_saphyr::from_str_with_options(&source.text, options)
            .map_err(|error| {
                let at = error
                    .location()
                    .map_or_else(|| Mark::whole(source), |location| Mark::yaml(source, location));
                let text = error.without_snippet().to_string();
                // The report tells the place; and what a programmer could set is nothing for a user.
                let cut = [" at line ", ", set "]
                    .iter()
                    .filter_map(|end| text.find(end))
                    .min()
                    .unwrap_or(text.len());
                let text = text[..cut].replace('\n', ", ");
                Problem::new(at, "", format!("not YAML: {text}"))
                    .help("look at the quotes, brackets and indentation of this line and the one before; a key stands once")
            })?;
        let Value::Map(entries) = from_plain(source, value.value) else {
            let text = "a pipeline file must hold keys and values";
            return Err(Problem::new(Mark::whole(source), "", text)
                .help("start with `name: my-pipeline`")
                .into());
        };
        Ok(Self { value: Value::Map(entries), at: Mark::whole(source) })
    }

    /// The same as JSON. Where the key says that the value is a secret, it is left out.
    pub(super) fn shown(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(value) => (*value).into(),
            Value::Int(value) => serde_json::Number::from_i128(*value)
                .map_or_else(|| value.to_string().into(), Json::Number),
            Value::Float(value) => (*value).into(),
            Value::Text(text) => text.as_str().into(),
            Value::List(items) => items.iter().map(Self::shown).collect(),
            Value::Map(entries) => {
                let shown = |entry: &Entry| {
                    let value = if is_secret(&entry.key) {
                        "(not shown)".into()
                    } else {
                        entry.node.shown()
                    };
                    (entry.key.clone(), value)
                };
                Json::Object(entries.iter().map(shown).collect())
            }
        }
    }

    /// The places of secrets in it that are written as they are, with the paths to them.
    pub(super) fn open_secrets(&self, path: &str) -> Vec<(String, Mark)> {
        let Value::Map(entries) = &self.value else { return Vec::new() };
        let is_variable =
            |value: &Value| matches!(value, Value::Text(text) if text.starts_with("${"));
        let find = |entry: &Entry| {
            let path = format!("{path}.{}", entry.key);
            match &entry.node.value {
                Value::Map(_) => entry.node.open_secrets(&path),
                value if is_secret(&entry.key) && !is_variable(value) => {
                    vec![(path, entry.at.clone())]
                }
                _ => Vec::new(),
            }
        };
        entries.iter().flat_map(find).collect()
    }

    /// The entry of a map.
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    /// The place of the value at a path, or of the deepest key on the way. The place of a map is its key.
    pub(super) fn locate(&self, path: &[&str]) -> Mark {
        let mut node = self;
        let mut at = &self.at;
        for segment in path {
            let next = match &node.value {
                Value::Map(_) => node.entry(segment).map(|entry| (&entry.node, &entry.at)),
                Value::List(items) => segment
                    .parse()
                    .ok()
                    .and_then(|i: usize| items.get(i))
                    .map(|item| (item, &item.at)),
                _ => None,
            };
            let Some((found, found_at)) = next else { return at.clone() };
            (node, at) = (found, found_at);
        }
        match node.value {
            Value::Map(_) => at.clone(),
            _ => node.at.clone(),
        }
    }

    /// Lays `over` on top: maps are merged key by key, anything else is replaced.
    pub(super) fn overlay(&mut self, over: Self) {
        match (&mut self.value, over.value) {
            (Value::Map(entries), Value::Map(news)) => {
                for new in news {
                    match entries.iter_mut().find(|entry| entry.key == new.key) {
                        Some(entry) => {
                            entry.at = new.at;
                            entry.node.overlay(new.node);
                        }
                        None => entries.push(new),
                    }
                }
                self.at = over.at;
            }
            (value, new) => {
                *value = new;
                self.at = over.at;
            }
        }
    }

    /// A tree with one leaf, at a dotted path.
    pub(super) fn leaf(path: &str, value: Value, at: &Mark) -> Self {
        path.rsplit('.').fold(Self { value, at: at.clone() }, |node, key| {
            let entry = Entry { key: key.to_owned(), at: at.clone(), node };
            Self { value: Value::Map(vec![entry]), at: at.clone() }
        })
    }
}

fn from_table(source: &Arc<Source>, table: DeTable<'_>) -> Value {
    let entries = table.into_iter().map(|(key, value)| {
        let at = Mark::bytes(source, value.span());
        let node = Node { value: from_toml(source, value.into_inner()), at };
        Entry { at: Mark::bytes(source, key.span()), key: key.into_inner().into_owned(), node }
    });
    Value::Map(entries.collect())
}

fn from_toml(source: &Arc<Source>, value: DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Boolean(value) => Value::Bool(value),
        DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| Value::Text(number.as_str().to_owned()), Value::Int),
        DeValue::Float(number) => number
            .as_str()
            .parse()
            .map_or_else(|_| Value::Text(number.as_str().to_owned()), Value::Float),
        DeValue::Datetime(time) => Value::Text(time.to_string()),
        DeValue::Array(items) => Value::List(
            items
                .into_iter()
                .map(|item| {
                    let at = Mark::bytes(source, item.span());
                    Node { value: from_toml(source, item.into_inner()), at }
                })
                .collect(),
        ),
        DeValue::Table(table) => from_table(source, table),
    }
}

/// What serde hands over of a YAML document, before the places get their source.
enum Plain {
    Leaf(Value),
    List(Vec<Spanned<Self>>),
    Map(Vec<(Spanned<String>, Spanned<Self>)>),
}

fn from_plain(source: &Arc<Source>, plain: Plain) -> Value {
    let node = |plain: Spanned<Plain>| {
        let at = Mark::yaml(source, plain.referenced);
        Node { value: from_plain(source, plain.value), at }
    };
    match plain {
        Plain::Leaf(value) => value,
        Plain::List(items) => Value::List(items.into_iter().map(node).collect()),
        Plain::Map(entries) => Value::Map(
            entries
                .into_iter()
                .map(|(key, value)| Entry {
                    at: Mark::yaml(source, key.referenced),
                    key: key.value,
                    node: node(value),
                })
                .collect(),
        ),
    }
}

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PlainVisitor;

        impl<'de> Visitor<'de> for PlainVisitor {
            type Value = Plain;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a value")
            }
            fn visit_unit<E>(self) -> Result<Plain, E> {
                Ok(Plain::Leaf(Value::Null))
            }
            fn visit_none<E>(self) -> Result<Plain, E> {
                Ok(Plain::Leaf(Value::Null))
            }
            fn visit_bool<E>(self, value: bool) -> Result<Plain, E> {
                Ok(Plain::Leaf(Value::Bool(value)))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Plain, E> {
                Ok(Plain::Leaf(Value::Int(value.into())))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Plain, E> {
                Ok(Plain::Leaf(Value::Int(value.into())))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Plain, E> {
                Ok(Plain::Leaf(Value::Float(value)))
            }
            fn visit_str<E>(self, value: &str) -> Result<Plain, E> {
                Ok(Plain::Leaf(Value::Text(value.to_owned())))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Plain, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(Plain::List(list))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Plain, A::Error> {
                let mut map = Vec::new();
                while let Some(entry) = entries.next_entry()? {
                    map.push(entry);
                }
                Ok(Plain::Map(map))
            }
        }
        deserializer.deserialize_any(PlainVisitor)
    }
}

//! Reads serde types from a tree; what they refuse is reported with its full key and place.

use std::fmt::{self, Display};

use serde::{
    Deserialize,
    de::{
        self, DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess, Unexpected, Visitor,
        value::StrDeserializer,
    },
    forward_to_deserialize_any,
};

use super::{
    problem::{Problem, Problems},
    tree::{Entry, Mark, Node, Value, is_secret},
};

/// Reads a value from a tree.
pub(super) fn read<T: for<'de> Deserialize<'de>>(root: &Node) -> Result<T, Problems> {
    T::deserialize(root).map_err(|refusal| {
        let key = refusal.path.iter().rev().cloned().collect::<Vec<_>>().join(".");
        let at = refusal.at.unwrap_or_else(|| root.at.clone());
        if !refusal.missing && refusal.path.iter().any(|key| is_secret(key)) {
            // What was found there is not repeated.
            let problem = Problem::new(at, key, "expected text").help("put it into quotes");
            return problem.into();
        }
        let problem = Problem::new(at, key, refusal.text);
        match refusal.help {
            Some(help) => problem.help(help).into(),
            None => problem.into(),
        }
    })
}

/// An error of a `Deserialize` implementation that says what to write instead.
pub(super) fn refuse<E: de::Error>(text: impl Display, help: impl Display) -> E {
    E::custom(format_args!("{text}\n{help}"))
}

/// The word that was probably meant.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let close = |candidate: &&str| {
        strsim::jaro_winkler(word, candidate) > 0.8
            || strsim::damerau_levenshtein(word, candidate) <= 1
    };
    let score = |candidate: &str| strsim::jaro_winkler(word, candidate);
    known.into_iter().filter(close).max_by(|a, b| score(a).total_cmp(&score(b)))
}

/// What a type refused, on its way up through the tree.
#[derive(Debug)]
pub(super) struct Refusal {
    text: String,
    help: Option<String>,
    /// Innermost key first.
    path: Vec<String>,
    at: Option<Mark>,
    /// Something is missing: the place is the key that it is missing under.
    missing: bool,
}

impl Refusal {
    fn new(text: String, help: Option<String>) -> Self {
        Self { text, help, path: Vec::new(), at: None, missing: false }
    }

    /// The same refusal, one floor up.
    fn under(mut self, key: &str, key_at: &Mark, value_at: &Mark) -> Self {
        self.path.push(key.to_owned());
        let here = if self.missing { key_at } else { value_at };
        self.at.get_or_insert_with(|| here.clone());
        self
    }
}

/// serde's words for what a derived type wants, for people.
fn plain(wanted: &str) -> &str {
    match wanted {
        "a string" => "text",
        "a sequence" => "a list",
        "a map" => "keys and values",
        "a boolean" => "true or false",
        "u32" | "u64" => "a whole number from 0 up",
        "i32" | "i64" => "a whole number",
        "f64" => "a number",
        wanted if wanted.starts_with("struct ") => "keys and values",
        wanted => wanted,
    }
}

impl Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Refusal {}

impl de::Error for Refusal {
    fn custom<T: Display>(text: T) -> Self {
        let text = text.to_string();
        match text.split_once('\n') {
            Some((text, help)) => Self::new(text.to_owned(), Some(help.to_owned())),
            None => Self::new(text, None),
        }
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let help = match unexpected {
            Unexpected::Bool(value) => {
                Some(format!("put it into quotes if it is meant as text: \"{value}\""))
            }
            Unexpected::Signed(value) => {
                Some(format!("put it into quotes if it is meant as text: \"{value}\""))
            }
            Unexpected::Unsigned(value) => {
                Some(format!("put it into quotes if it is meant as text: \"{value}\""))
            }
            _ => None,
        };
        let found = match unexpected {
            Unexpected::Bool(value) => format!("`{value}`"),
            Unexpected::Signed(value) => format!("the number {value}"),
            Unexpected::Unsigned(value) => format!("the number {value}"),
            Unexpected::Float(value) => format!("the number {value}"),
            Unexpected::Str(value) => format!("the text `{value}`"),
            Unexpected::Unit | Unexpected::Option => "nothing".into(),
            Unexpected::Seq => "a list".into(),
            Unexpected::Map => "keys and values".into(),
            other => other.to_string(),
        };
        let wanted = expected.to_string();
        let help = match (wanted.as_str(), unexpected) {
            ("a string" | "text", _) => help,
            ("a sequence", Unexpected::Str(value)) => Some(format!("write [\"{value}\"]")),
            ("u32" | "u64", Unexpected::Str(value)) if value.parse::<u64>().is_ok() => {
                Some(format!("write {value}, without quotes"))
            }
            (wanted, _) => Some(format!("write {}", plain(wanted))),
        };
        Self::new(format!("expected {}, found {found}", plain(&wanted)), help)
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let number = match unexpected {
            Unexpected::Signed(number) => number.to_string(),
            Unexpected::Unsigned(number) => number.to_string(),
            other => other.to_string(),
        };
        Self::new(
            format!("{number} is out of range"),
            Some(format!("write {}", plain(&expected.to_string()))),
        )
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let help = match nearest(field, expected.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("the keys here are {}", expected.join(", ")),
        };
        Self::new(format!("unknown key `{field}`"), Some(help))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let help = match nearest(variant, expected.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("write one of {}", expected.join(", ")),
        };
        Self::new(format!("`{variant}` is not known here"), Some(help))
    }

    fn missing_field(field: &'static str) -> Self {
        let mut refusal =
            Self::new(format!("`{field}` is missing"), Some(format!("add `{field}` here")));
        refusal.missing = true;
        refusal.path.push(field.to_owned());
        refusal
    }
}

impl<'de> de::Deserializer<'de> for &'de Node {
    type Error = Refusal;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match &self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Int(number) => match (u64::try_from(*number), i64::try_from(*number)) {
                (Ok(number), _) => visitor.visit_u64(number),
                (_, Ok(number)) => visitor.visit_i64(number),
                _ => Err(refuse(
                    format_args!("the number {number} is too large"),
                    "write it in quotes if it is meant as text",
                )),
            },
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Text(text) => visitor.visit_str(text),
            Value::List(items) => visitor.visit_seq(Items { items: items.iter(), index: 0 }),
            Value::Map(entries) => {
                visitor.visit_map(Entries { entries: entries.iter(), current: None })
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match self.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        match self.value {
            // `flush:` with nothing after it: all defaults.
            Value::Null => visitor.visit_map(Entries { entries: [].iter(), current: None }),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        match &self.value {
            Value::Text(text) => visitor.visit_enum(StrDeserializer::new(text)),
            _ => {
                Err(refuse("expected a word", format_args!("write one of {}", variants.join(", "))))
            }
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match &self.value {
            Value::Text(text) if self.at.source.given => match text.as_str() {
                "true" | "1" | "yes" => visitor.visit_bool(true),
                "false" | "0" | "no" => visitor.visit_bool(false),
                _ => Err(refuse(
                    format_args!("`{text}` is neither true nor false"),
                    "write true or false",
                )),
            },
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match &self.value {
            Value::Text(text) if self.at.source.given => match text.parse() {
                Ok(number) => visitor.visit_u64(number),
                Err(_) => {
                    Err(refuse(format_args!("`{text}` is not a whole number"), "write digits"))
                }
            },
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match &self.value {
            Value::Text(text) if self.at.source.given => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                visitor.visit_seq(de::value::SeqDeserializer::new(items))
            }
            _ => self.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct tuple tuple_struct map identifier ignored_any
    }
}

struct Items<'de> {
    items: std::slice::Iter<'de, Node>,
    index: usize,
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Refusal;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Refusal> {
        let Some(item) = self.items.next() else { return Ok(None) };
        let index = self.index.to_string();
        self.index += 1;
        seed.deserialize(item)
            .map(Some)
            .map_err(|refusal| refusal.under(&index, &item.at, &item.at))
    }
}

struct Entries<'de> {
    entries: std::slice::Iter<'de, Entry>,
    current: Option<&'de Entry>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Refusal;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Refusal> {
        self.current = self.entries.next();
        let Some(entry) = self.current else { return Ok(None) };
        let key: StrDeserializer<'_, Refusal> = entry.key.as_str().into_deserializer();
        seed.deserialize(Key(key))
            .map(Some)
            .map_err(|refusal| refusal.under(&entry.key, &entry.at, &entry.at))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Refusal> {
        let entry = self.current.take().expect("serde asks for a value after its key");
        seed.deserialize(&entry.node)
            .map_err(|refusal| refusal.under(&entry.key, &entry.at, &entry.node.at))
    }
}

/// A key: text, or a number where the map is keyed by numbers (partitions).
struct Key<'de>(StrDeserializer<'de, Refusal>);

impl<'de> de::Deserializer<'de> for Key<'de> {
    type Error = Refusal;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        self.0.deserialize_any(visitor)
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        let text = String::deserialize(self.0)?;
        match text.parse() {
            Ok(number) => visitor.visit_i32(number),
            Err(_) => Err(refuse(
                format_args!("`{text}` is not a partition"),
                "write its number: 0, 1, 2 …",
            )),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

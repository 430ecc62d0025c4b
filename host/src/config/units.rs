//! Values with units, as people write them.

use std::{borrow::Cow, fmt, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor},
};

use super::{Start, de::refuse};

/// A size: `64MiB`, or a number of bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size(pub(super) u64);

/// A duration: `1m`, `1m 30s`, `500ms`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span(pub(super) Duration);

/// Where lanes start: `earliest`, `latest`, a time, or offsets by topic and partition.
#[derive(Clone, Debug)]
pub(super) struct StartAt(pub(super) Start);

/// Text that may be written as a number or a word of YAML: the value of a librdkafka option.
#[derive(Clone, Debug)]
pub(super) struct AnyText(pub(super) String);

struct SizeVisitor;

impl Visitor<'_> for SizeVisitor {
    type Value = Size;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size such as 64MiB")
    }

    fn visit_u64<E>(self, bytes: u64) -> Result<Size, E> {
        Ok(Size(bytes))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Size, E> {
        match text.parse::<bytesize::ByteSize>() {
            Ok(size) => Ok(Size(size.0)),
            Err(_) => Err(refuse(
                format_args!("`{text}` is not a size"),
                "write a number and a unit, such as 64MiB",
            )),
        }
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SizeVisitor)
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A number and a unit, such as 64MiB; a number alone counts bytes.",
            "type": ["string", "integer"],
            "pattern": r"^[0-9.]+ ?([kKmMgGtT]?i?[bB]?)$",
            "minimum": 0,
        })
    }
}

struct SpanVisitor;

impl Visitor<'_> for SpanVisitor {
    type Value = Span;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as 10s")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Span, E> {
        Err(refuse(
            format_args!("{number} has no unit"),
            format_args!("write {number}s or {number}ms"),
        ))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Span, E> {
        match humantime::parse_duration(text) {
            Ok(duration) => Ok(Span(duration)),
            Err(_) => Err(refuse(
                format_args!("`{text}` is not a duration"),
                "write a number and a unit: 500ms, 10s, 1m, 2h",
            )),
        }
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SpanVisitor)
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "description": "A number and a unit: 500ms, 10s, 1m, 2h.", "type": "string" })
    }
}

struct StartVisitor;

/// What `start` may be, for people.
const START: &str = "write earliest, latest, a time such as 2026-11-22T00:00:00Z, or offsets such as {clicks: {0: 42}}";

impl<'de> Visitor<'de> for StartVisitor {
    type Value = StartAt;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("earliest, latest, a time, or offsets by topic and partition")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<StartAt, E> {
        let start = match text {
            "earliest" => Start::Earliest,
            "latest" => Start::Latest,
            _ => match chrono::DateTime::parse_from_rfc3339(text) {
                Ok(time) => Start::Timestamp(time.timestamp_millis()),
                Err(_) => {
                    return Err(refuse(format_args!("`{text}` is not a place to start at"), START));
                }
            },
        };
        Ok(StartAt(start))
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<StartAt, A::Error> {
        let offsets =
            Deserialize::deserialize(serde::de::value::MapAccessDeserializer::new(entries))?;
        Ok(StartAt(Start::Offsets(offsets)))
    }
}

impl<'de> Deserialize<'de> for StartAt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StartVisitor)
    }
}

impl JsonSchema for StartAt {
    fn schema_name() -> Cow<'static, str> {
        "Start".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Where a partition starts that the pipeline has not read yet.",
            "oneOf": [
                { "enum": ["earliest", "latest"] },
                { "type": "string", "format": "date-time" },
                {
                    "description": "Offsets by topic and partition.",
                    "type": "object",
                    "additionalProperties": {
                        "type": "object",
                        "propertyNames": { "pattern": "^[0-9]+$" },
                        "additionalProperties": { "type": "integer", "minimum": 0 },
                    },
                },
            ],
        })
    }
}

struct AnyTextVisitor;

impl Visitor<'_> for AnyTextVisitor {
    type Value = AnyText;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text")
    }

    fn visit_bool<E>(self, value: bool) -> Result<AnyText, E> {
        Ok(AnyText(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<AnyText, E> {
        Ok(AnyText(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<AnyText, E> {
        Ok(AnyText(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<AnyText, E> {
        Ok(AnyText(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<AnyText, E> {
        Ok(AnyText(value.to_owned()))
    }
}

impl<'de> Deserialize<'de> for AnyText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyTextVisitor)
    }
}

impl JsonSchema for AnyText {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Text".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "number", "boolean"] })
    }
}

//! `serde_json` says what is JSON and what its values are; the decoder must say the same of any text.

use std::collections::BTreeMap;

use arrow_array::{
    Array, ArrayRef,
    cast::AsArray,
    types::{Float64Type, Int32Type, Int64Type},
};
use proptest::{collection::vec, prelude::*};
use serde_json::{Value, value::RawValue};

use super::{Decoder, tests};
use crate::schema::{DataType, Field};

type Object<'a> = BTreeMap<String, &'a RawValue>;

/// `a` to `d` at the top and in the struct `s`, and a list, a map and JSON: names that the generated objects use.
fn fields() -> Vec<Field> {
    let flat = || {
        vec![
            Field::new("a", DataType::Int64, true),
            Field::new("b", DataType::Float64, true),
            Field::new("c", DataType::Utf8, true),
            Field::new("d", DataType::Boolean, true),
        ]
    };
    let mut fields = flat();
    let mut add = |name: &str, data_type, children| {
        let mut field = Field::new(name, data_type, true);
        field.children = children;
        fields.push(field);
    };
    add("s", DataType::Struct, flat());
    add("l", DataType::List, vec![Field::new("element", DataType::Int32, false)]);
    add(
        "m",
        DataType::Map,
        vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Utf8, true)],
    );
    add("j", DataType::Json, vec![]);
    fields
}

/// What `serde_json` makes of a value for a field: its text, in one spelling; an error where it does not fit.
fn expected(field: &Field, raw: Option<&&RawValue>) -> Result<String, ()> {
    let text = raw.map_or("null", |raw| raw.get());
    if text == "null" {
        return if field.nullable { Ok("null".into()) } else { Err(()) };
    }
    // Not a float, as serde_json has it: no digit of `-0` is lost in an integer.
    let integer = if text == "-0" { "0" } else { text };
    match field.data_type {
        DataType::Int64 => {
            serde_json::from_str::<i64>(integer).map(|value| value.to_string()).map_err(drop)
        }
        DataType::Int32 => {
            serde_json::from_str::<i32>(integer).map(|value| value.to_string()).map_err(drop)
        }
        DataType::Float64 => {
            // Not by serde_json, which rounds some numbers the wrong way without its feature `float_roundtrip`.
            let number = text.starts_with(|first: char| first == '-' || first.is_ascii_digit());
            let value = text.parse::<f64>().ok().filter(|value| number && value.is_finite());
            value.map(|value| value.to_bits().to_string()).ok_or(())
        }
        DataType::Utf8 => {
            serde_json::from_str::<String>(text).map(|value| format!("{value:?}")).map_err(drop)
        }
        DataType::Boolean => {
            serde_json::from_str::<bool>(text).map(|value| value.to_string()).map_err(drop)
        }
        DataType::Json => Ok(format!("{text:?}")),
        DataType::Struct => {
            let object: Object<'_> = serde_json::from_str(text).map_err(drop)?;
            object_of(&field.children, &object)
        }
        DataType::List => {
            let list: Vec<&RawValue> = serde_json::from_str(text).map_err(drop)?;
            let values = list
                .iter()
                .map(|raw| expected(&field.children[0], Some(raw)))
                .collect::<Result<Vec<_>, _>>()?;
            Ok(format!("[{}]", values.join(",")))
        }
        DataType::Map => {
            let object: Object<'_> = serde_json::from_str(text).map_err(drop)?;
            let entries = object.iter().map(|(key, raw)| {
                Ok(format!("{key:?}:{}", expected(&field.children[1], Some(raw))?))
            });
            Ok(format!("{{{}}}", entries.collect::<Result<Vec<_>, ()>>()?.join(",")))
        }
        other => unreachable!("no field of type {other:?}"),
    }
}

fn object_of(fields: &[Field], object: &Object<'_>) -> Result<String, ()> {
    let values = fields
        .iter()
        .map(|field| expected(field, object.get(&field.name)))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(format!("({})", values.join(",")))
}

/// A decoded value in the same spelling.
fn found(array: &ArrayRef, field: &Field, row: usize) -> String {
    if array.is_null(row) {
        return "null".into();
    }
    match field.data_type {
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).to_string(),
        DataType::Float64 => array.as_primitive::<Float64Type>().value(row).to_bits().to_string(),
        DataType::Utf8 | DataType::Json => format!("{:?}", array.as_string::<i32>().value(row)),
        DataType::Boolean => array.as_boolean().value(row).to_string(),
        DataType::Struct => row_of(array.as_struct().columns(), &field.children, row),
        DataType::List => {
            let list = array.as_list::<i32>().value(row);
            let values: Vec<_> =
                (0..list.len()).map(|row| found(&list, &field.children[0], row)).collect();
            format!("[{}]", values.join(","))
        }
        DataType::Map => {
            let entries = array.as_map().value(row);
            let keys = entries.column(0).as_string::<i32>();
            let entry = |row| {
                format!(
                    "{:?}:{}",
                    keys.value(row),
                    found(entries.column(1), &field.children[1], row)
                )
            };
            let entries: BTreeMap<_, _> =
                (0..entries.len()).map(|row| (keys.value(row), entry(row))).collect();
            assert_eq!(entries.len(), keys.len(), "keys are there once");
            format!("{{{}}}", entries.into_values().collect::<Vec<_>>().join(","))
        }
        other => unreachable!("no field of type {other:?}"),
    }
}

fn row_of(columns: &[ArrayRef], fields: &[Field], row: usize) -> String {
    let values: Vec<_> =
        columns.iter().zip(fields).map(|(array, field)| found(array, field, row)).collect();
    format!("({})", values.join(","))
}

/// Decodes all records as one batch, by a decoder that has decoded another batch before, and compares each with `serde_json`.
fn compare(records: &[Vec<u8>]) {
    let fields = fields();
    let mut decoder = Decoder::json(&fields).unwrap();
    decoder.decode(&tests::batch([Some(&br#"{"x":1,"c":"y","a":2}"#[..]), Some(b"{")]));
    let batch = tests::batch(records.iter().map(|record| Some(record.as_slice())));
    let (rows, decoded) = tests::decode(&mut decoder, &fields, &batch);
    let mut row = 0;
    for (index, record) in (0_u32..).zip(records) {
        let shown = String::from_utf8_lossy(record);
        let broken = decoded.broken.iter().find(|broken| broken.index == index);
        let expected = match serde_json::from_slice::<Value>(record) {
            Ok(Value::Object(_)) => {
                let object: Object<'_> = serde_json::from_slice(record).unwrap();
                object_of(&fields, &object).map_err(|()| "a field")
            }
            Ok(_) => Err("NOT_OBJECT"),
            // A limit of its numbers, not of JSON's: see the module `decode`.
            Err(error) if error.to_string().starts_with("number out of range") => {
                row += usize::from(broken.is_none());
                continue;
            }
            Err(error) if error.to_string().starts_with("recursion limit") => Err("DEPTH"),
            Err(_) if std::str::from_utf8(record).is_err() => Err("UTF8"),
            Err(_) => Err("NOT_JSON"),
        };
        match (broken, expected) {
            (None, Ok(expected)) => {
                assert_eq!(decoded.rows[row], index);
                assert_eq!(row_of(rows.columns(), &fields, row), expected, "{shown}");
                row += 1;
            }
            (Some(broken), Err("a field")) => {
                assert!(broken.field.is_some(), "{shown}: {broken:?}")
            }
            (Some(broken), Err(class)) => assert_eq!(broken.class, class, "{shown}: {broken:?}"),
            (None, Err(class)) => panic!("{shown}: decoded, although {class}"),
            (Some(broken), Ok(_)) => panic!("{shown}: {broken:?}"),
        }
    }
}

fn space() -> impl Strategy<Value = String> {
    prop_oneof![8 => Just(String::new()), 1 => "[ \t\r\n]{1,3}"]
}

fn string() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        6 => "[a-d ]{0,12}",
        2 => "[^\"\\\\\\x00-\\x1f]{0,6}",
        1 => r#"\\["\\/bfnrt]"#,
        1 => r"\\u[0-9a-fA-F]{4}",
        1 => r"\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}",
    ];
    vec(part, 0..4).prop_map(|parts| format!("\"{}\"", parts.concat()))
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => any::<i32>().prop_map(|value| value.to_string()),
        1 => any::<i64>().prop_map(|value| value.to_string()),
        1 => "-?(0|[1-9][0-9]{0,25})",
        3 => r"-?(0|[1-9][0-9]{0,8})\.[0-9]{1,12}",
        2 => r"-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?",
        1 => any::<f64>().prop_filter("JSON has no others", |value| value.is_finite()).prop_map(|value| format!("{value:e}")),
    ]
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![12 => r#""[abcdslmj]""#, 2 => r#""\\u006[1-4acd]""#, 2 => string()]
}

fn value() -> impl Strategy<Value = String> {
    let leaf =
        prop_oneof![4 => number(), 4 => string(), 1 => Just("null".into()), 2 => "true|false"];
    leaf.prop_recursive(4, 24, 6, |inner| {
        prop_oneof![
            2 => vec(inner.clone(), 0..5).prop_map(|items| format!("[{}]", items.join(","))),
            1 => vec(any::<i32>(), 0..5).prop_map(|items| format!("{items:?}")),
            3 => members(inner),
        ]
    })
}

fn members(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let member = (space(), name(), space(), space(), value, space());
    vec(member.prop_map(|(a, name, b, c, value, d)| format!("{a}{name}{b}:{c}{value}{d}")), 0..8)
        .prop_map(|members| format!("{{{}}}", members.join(",")))
}

/// Objects whose fields have mostly the right type, so that most of them are decoded.
fn record() -> impl Strategy<Value = String> {
    let integer = || any::<i64>().prop_map(|value| value.to_string());
    let flat = || {
        prop_oneof![
            integer().prop_map(|value| format!("\"a\":{value}")),
            number().prop_map(|value| format!("\"b\":{value}")),
            string().prop_map(|value| format!("\"c\":{value}")),
            "\"d\":(true|false|null)",
        ]
    };
    let flats = || vec(flat(), 0..5).prop_map(|members| format!("{{{}}}", members.join(",")));
    let map = vec((name(), string()), 0..6).prop_map(|entries| {
        entries
            .into_iter()
            .map(|(key, value)| format!("{key}:{value}"))
            .collect::<Vec<_>>()
            .join(",")
    });
    let member = prop_oneof![
        6 => flat(),
        1 => flats().prop_map(|value| format!("\"s\":{value}")),
        1 => vec(any::<i32>(), 0..5).prop_map(|value| format!("\"l\":{value:?}")),
        1 => map.prop_map(|value| format!("\"m\":{{{value}}}")),
        1 => value().prop_map(|value| format!("\"j\":{value}")),
        1 => (string(), value()).prop_map(|(name, value)| format!("{name}:{value}")),
    ];
    (vec(member, 0..9), space())
        .prop_map(|(members, space)| format!("{space}{{{}{space}}}", members.join(",")))
}

/// Bytes that matter to JSON, and any others.
fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![4 => prop::sample::select(&b"{}[]\",:\\u0123456789.eE+-tfn \n\x00\x1f\x7f\xc3"[..]), 1 => any::<u8>()]
}

/// The text with some bytes replaced, put in or taken out.
fn mutated(text: impl Strategy<Value = String>) -> impl Strategy<Value = Vec<u8>> {
    let edits = vec((any::<prop::sample::Index>(), byte(), 0..4_u8), 1..4);
    (text, edits).prop_map(|(text, edits)| {
        let mut bytes = text.into_bytes();
        for (index, byte, edit) in edits {
            let at = index.index(bytes.len() + 1);
            match edit {
                0 => bytes.insert(at, byte),
                1 => bytes.truncate(at),
                _ if at == bytes.len() => bytes.push(byte),
                2 => drop(bytes.remove(at)),
                _ => bytes[at] = byte,
            }
        }
        bytes
    })
}

proptest! {
    #[test]
    fn records_are_decoded_as_by_serde_json(records in vec(record(), 1..12)) {
        compare(&records.into_iter().map(String::into_bytes).collect::<Vec<_>>());
    }

    #[test]
    fn any_json_is_judged_as_by_serde_json(records in vec(prop_oneof![1 => value(), 4 => members(value())], 1..8)) {
        compare(&records.into_iter().map(String::into_bytes).collect::<Vec<_>>());
    }

    #[test]
    fn broken_json_is_judged_as_by_serde_json(records in vec(mutated(prop_oneof![record(), members(value())]), 1..12)) {
        compare(&records);
    }

    #[test]
    fn arbitrary_bytes_are_judged_as_by_serde_json(records in vec(vec(byte(), 0..24), 1..12)) {
        compare(&records);
    }
}

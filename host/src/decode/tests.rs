//! The decoder against `serde_json`, and its rules one by one.

use arrow_array::{
    cast::AsArray,
    types::{Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType},
};
use proptest::{collection, prelude::*};
use serde_json::Value;

use super::*;
use crate::{record::Lane, schema::DataType};

fn batch<'a>(values: impl IntoIterator<Item = Option<&'a [u8]>>) -> Batch {
    let mut batch = Batch::new(Lane::new("t", 0), 1);
    for (offset, value) in (0..).zip(values) {
        batch.offsets.push(offset);
        batch.timestamps.push(-1);
        batch.keys.push(None);
        batch.values.push(value);
    }
    batch
}

fn decode(fields: &[Field], values: &[&str]) -> Decoded {
    Decoder::json(fields).unwrap().decode(&batch(values.iter().map(|value| Some(value.as_bytes()))))
}

fn nullable(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, true)
}

/// The class of the flaw that one value of one required field has.
fn class(data_type: DataType, value: &str) -> &'static str {
    let decoded = decode(&[Field::new("f", data_type, false)], &[&format!(r#"{{"f":{value}}}"#)]);
    decoded.broken.first().map_or("", |broken| broken.class)
}

#[test]
fn every_flaw_has_its_class_and_its_neighbours_survive() {
    let fields = [Field::new("a", DataType::Int32, false), nullable("b", DataType::Utf8)];
    let deep = format!(r#"{{"a":1,"x":{}1{}}}"#, "[".repeat(200), "]".repeat(200));
    let cases: [(&[u8], &str); 16] = [
        (br#"{"a":1,"b":"x"}"#, ""),
        (b"", "NOT_JSON"),
        (b"{\"a\":1} x", "NOT_JSON"),
        (b"{\"a\":1,}", "NOT_JSON"),
        (b"{\"a\":01}", "NOT_JSON"),
        (b"{\"a\":1,\"x\":tru}", "NOT_JSON"),
        (b"{\"a\":1,\"x\":\"\\ud800\"}", "NOT_JSON"),
        (b"{\"a\":1,\"x\":\"\x01\"}", "NOT_JSON"),
        (b"\xff", "UTF8"),
        (b"[1]", "NOT_OBJECT"),
        (b"{}", "MISSING"),
        (b"{\"a\":null}", "NULL"),
        (b"{\"a\":\"1\"}", "WRONG_TYPE"),
        (b"{\"a\":3000000000}", "OVERFLOW"),
        (deep.as_bytes(), "DEPTH"),
        (br#" {"b":null,"a":2,"a":3} "#, ""),
    ];
    let mut decoder = Decoder::json(&fields).unwrap();
    // Twice with one decoder: what a batch leaves behind must not be seen by the next.
    for _ in 0..2 {
        let decoded = decoder.decode(&batch(cases.iter().map(|(value, _)| Some(*value)).chain([None])));
        for (place, (value, class)) in (0_u32..).zip(cases) {
            let broken = decoded.broken.iter().find(|broken| broken.index == place);
            assert_eq!(broken.map_or("", |broken| broken.class), class, "{}", String::from_utf8_lossy(value));
        }
        assert_eq!(decoded.broken.last().map(|broken| broken.class), Some("TOMBSTONE"));
        assert_eq!(decoded.rows, [0, 15]);
        assert_eq!(decoded.columns[0].as_primitive::<Int32Type>().values(), &[1, 3]);
        assert_eq!(decoded.columns[1].as_string::<i32>().iter().collect::<Vec<_>>(), [Some("x"), None]);
    }
}

#[test]
fn numbers_fit_or_are_refused() {
    assert_eq!(class(DataType::Int64, "9223372036854775807"), "");
    assert_eq!(class(DataType::Int64, "9223372036854775808"), "OVERFLOW");
    assert_eq!(class(DataType::Int64, "1.0"), "WRONG_TYPE");
    assert_eq!(class(DataType::Float64, "1e400"), "OVERFLOW");
    assert_eq!(class(DataType::Float64, "1e308"), "");
    assert_eq!(class(DataType::Float32, "1e39"), "OVERFLOW");
    assert_eq!(class(DataType::Decimal(5, 2), "123.45"), "");
    assert_eq!(class(DataType::Decimal(5, 2), "\"123.45\""), "");
    assert_eq!(class(DataType::Decimal(5, 2), "1234.5"), "OVERFLOW");
    assert_eq!(class(DataType::Decimal(5, 2), &"9".repeat(5000)), "OVERFLOW");
    assert_eq!(class(DataType::Boolean, "1"), "WRONG_TYPE");
}

#[test]
fn every_type_has_its_values() {
    let list = Field { children: vec![nullable("e", DataType::Int32)], ..nullable("l", DataType::List) };
    let members = vec![Field::new("x", DataType::Float64, false), nullable("y", DataType::Utf8)];
    let structs = Field { children: members, ..nullable("s", DataType::Struct) };
    let entries = vec![Field::new("key", DataType::Utf8, false), nullable("value", DataType::Int64)];
    let map = Field { children: entries, ..nullable("m", DataType::Map) };
    let fields = [
        nullable("d", DataType::Date),
        nullable("t", DataType::TimestampMicros),
        nullable("n", DataType::Decimal(10, 2)),
        nullable("b", DataType::Binary),
        nullable("j", DataType::Json),
        list,
        structs,
        map,
        nullable("o", DataType::Boolean),
    ];
    let decoded = decode(
        &fields,
        &[
            r#"{"d":"1970-01-02","t":"1970-01-01T01:00:00.5+01:00","n":-12.3,"b":"aGk=","j":{"k": [1]},"l":[1,null,3],"s":{"y":"q\u00fc","x":1},"m":{"a":1,"b":null},"o":true}"#,
            "{}",
            r#"{"d":3,"t":1700000000123,"s":{},"l":[]}"#,
            r#"{"l":[],"m":{},"s":null,"j":null,"o":false}"#,
        ],
    );
    assert_eq!(decoded.rows, [0, 1, 3], "a struct without its required member breaks the record");
    assert_eq!(decoded.broken[0].field.as_deref(), Some("s.x"));
    let columns = &decoded.columns;
    assert_eq!(columns[0].as_primitive::<Date32Type>().value(0), 1);
    assert_eq!(columns[1].as_primitive::<TimestampMicrosecondType>().value(0), 500_000);
    assert_eq!(columns[2].as_primitive::<Decimal128Type>().value(0), -1230);
    assert_eq!(columns[3].as_binary::<i32>().value(0), b"hi");
    assert_eq!(columns[4].as_string::<i32>().iter().collect::<Vec<_>>(), [Some(r#"{"k": [1]}"#), None, None]);
    let lists = columns[5].as_list::<i32>();
    assert_eq!(lists.value(0).as_primitive::<Int32Type>().iter().collect::<Vec<_>>(), [Some(1), None, Some(3)]);
    assert_eq!((lists.is_null(1), lists.value(2).len()), (true, 0));
    let structs = columns[6].as_struct();
    assert_eq!(structs.column(0).as_primitive::<Float64Type>().value(0), 1.0);
    assert_eq!(structs.column(1).as_string::<i32>().value(0), "qü");
    assert!(structs.is_null(1) && structs.is_null(2));
    let maps = columns[7].as_map();
    assert_eq!(maps.value(0).column(1).as_primitive::<Int64Type>().iter().collect::<Vec<_>>(), [Some(1), None]);
    assert_eq!(maps.value_length(2), 0);
    for (field, column) in fields.iter().zip(columns) {
        assert_eq!(field.to_arrow().data_type(), column.data_type());
    }
    assert_eq!(decode(&fields[7..8], &[r#"{"m":{"a":1,"\u0061":2}}"#]).broken[0].class, "DUPLICATE_KEY");
}

#[test]
fn a_flaw_says_the_field_and_the_byte() {
    let decoded = decode(&[nullable("amount", DataType::Float64)], &[r#"{"amount": "12"}"#]);
    let broken = &decoded.broken[0];
    assert_eq!(broken.field.as_deref(), Some("amount"));
    assert_eq!(broken.text, "field amount at byte 11: \"12\" is not a number");
}

/// JSON of any shape.
fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            collection::btree_map("[a-e]", inner, 0..6).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn record() -> impl Strategy<Value = Value> {
    collection::btree_map("[a-e]", json(), 0..6).prop_map(|map| Value::Object(map.into_iter().collect()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    /// Whatever serde_json takes, the scanner takes, and the other way round; also where bytes were changed at random.
    #[test]
    fn accepts_what_serde_json_accepts(value in record(), changes in collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3)) {
        let mut text = serde_json::to_vec(&value).unwrap();
        for (at, byte) in changes {
            let at = at.index(text.len());
            text[at] = byte;
        }
        let decoded = Decoder::json(&[nullable("nothing", DataType::Json)]).unwrap().decode(&batch([Some(&text[..])]));
        // A `Value` has no room for numbers beyond f64, which JSON allows.
        let accepted = match serde_json::from_slice::<Value>(&text) {
            Ok(value) => value.is_object(),
            Err(error) => error.to_string().starts_with("number out of range"),
        };
        prop_assert_eq!(decoded.broken.is_empty(), accepted, "{:?} {:?}", String::from_utf8_lossy(&text), decoded.broken);
    }

    /// The values are serde_json's, as JSON, text and numbers.
    #[test]
    fn reads_what_serde_json_reads(value in record(), pretty in any::<bool>()) {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        let fields = ["a", "b", "c", "d", "e"].map(|name| nullable(name, DataType::Json));
        let decoded = decode(&fields, &[&text]);
        prop_assert_eq!(&decoded.broken, &[]);
        for (field, column) in fields.iter().zip(&decoded.columns) {
            let column = column.as_string::<i32>();
            let found = if column.is_null(0) { Value::Null } else { serde_json::from_str(column.value(0)).unwrap() };
            let expected: Value = serde_json::from_str::<Value>(&text).unwrap()[&field.name].clone();
            prop_assert_eq!(found, expected);
        }
        for (name, expected) in value.as_object().unwrap() {
            let number = decode(&[nullable(name, DataType::Float64)], &[&text]);
            let string = decode(&[nullable(name, DataType::Utf8)], &[&text]);
            match expected {
                Value::String(expected) => prop_assert_eq!(string.columns[0].as_string::<i32>().value(0), expected),
                Value::Number(expected) => {
                    let exact: f64 = expected.to_string().parse().unwrap();
                    prop_assert_eq!(number.columns[0].as_primitive::<Float64Type>().value(0).to_bits(), exact.to_bits());
                }
                _ => {}
            }
        }
    }
}

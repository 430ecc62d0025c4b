//! The rules of `decode`, one by one.

use arrow_array::{
    RecordBatch,
    cast::AsArray,
    types::{
        Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type,
        TimestampMicrosecondType,
    },
};
use serde_json::Value;

mod nested;

use super::{Broken, Decoded, Decoder};
use crate::{
    record::{Batch, Lane},
    schema::{self, DataType, Field},
};

pub(super) fn batch<'a>(values: impl IntoIterator<Item = Option<&'a [u8]>>) -> Batch {
    let mut batch = Batch::new(Lane::new("clicks", 0), 1);
    for (offset, value) in (0..).zip(values) {
        batch.offsets.push(offset);
        batch.timestamps.push(-1);
        batch.keys.push(None);
        batch.values.push(value);
    }
    batch
}

/// Decodes, and checks that the columns are a record batch of the schema.
pub(super) fn decode(
    decoder: &mut Decoder,
    fields: &[Field],
    batch: &Batch,
) -> (RecordBatch, Decoded) {
    let decoded = decoder.decode(batch);
    let rows = RecordBatch::try_new(schema::to_arrow(fields), decoded.columns.clone()).unwrap();
    assert_eq!(rows.num_rows(), decoded.rows.len());
    assert_eq!(decoded.rows.len() + decoded.broken.len(), batch.len());
    (rows, decoded)
}

/// Decodes `{"v": <text>}` for each text, with one field `v`.
fn values(field: Field, texts: &[&str]) -> (RecordBatch, Decoded) {
    let records: Vec<String> = texts.iter().map(|text| format!(r#"{{"v": {text}}}"#)).collect();
    let fields = [field];
    decode(
        &mut Decoder::json(&fields).unwrap(),
        &fields,
        &batch(records.iter().map(|record| Some(record.as_bytes()))),
    )
}

fn v(data_type: DataType) -> Field {
    Field::new("v", data_type, true)
}

fn with(mut field: Field, children: Vec<Field>) -> Field {
    field.children = children;
    field
}

/// The class of the only record, in fields `a` (int32, required) and `b` (utf8, nullable).
fn broken(value: &[u8]) -> Broken {
    let fields = [Field::new("a", DataType::Int32, false), Field::new("b", DataType::Utf8, true)];
    let good = &br#"{"a":1,"b":"x"}"#[..];
    let (rows, mut decoded) = decode(
        &mut Decoder::json(&fields).unwrap(),
        &fields,
        &batch([Some(good), Some(value), Some(good)]),
    );
    assert_eq!(decoded.rows, [0, 2], "{value:?}");
    assert_eq!(rows.column(0).as_primitive::<Int32Type>().values()[..], [1, 1]);
    assert!(rows.column(1).as_string::<i32>().iter().all(|b| b == Some("x")));
    decoded.broken.remove(0)
}

#[test]
fn every_broken_record_says_why_and_leaves_its_neighbours_alone() {
    let deep =
        |levels: usize| format!(r#"{{"a":1,"x":{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
    for (value, class, text) in [
        (&b""[..], "NOT_JSON", "not JSON at byte 0: expected a value, found the end"),
        (b" \n ", "NOT_JSON", "not JSON at byte 3: expected a value, found the end"),
        (b"hello", "NOT_JSON", "not JSON at byte 0: expected a value"),
        (br#"{"a":1"#, "NOT_JSON", "not JSON at byte 6: expected `,` or `}`"),
        (br#"{"a":1,}"#, "NOT_JSON", "not JSON at byte 7: expected a name in double quotes"),
        (br#"{"a" 1}"#, "NOT_JSON", "not JSON at byte 5: expected `:`"),
        (br#"{"a":1} x"#, "NOT_JSON", "not JSON at byte 8: expected the end"),
        (br#"{"a":01}"#, "NOT_JSON", "not JSON at byte 6: a number has no leading zero"),
        (br#"{"a":1,"x":[1 2]}"#, "NOT_JSON", "not JSON at byte 14: expected `,` or `]`"),
        (br#"{"a":1,"x":nul}"#, "NOT_JSON", "not JSON at byte 11: expected a value"),
        (br#"{"a":1,"x":"\ud800"}"#, "NOT_JSON", "not JSON at byte 12: half of a surrogate pair"),
        (br#"{"a":1,"x":"\q"}"#, "NOT_JSON", "not JSON at byte 12: not an escape"),
        (
            b"{\"a\":1,\"x\":\"a\nb\"}",
            "NOT_JSON",
            "not JSON at byte 13: control characters in strings must be escaped",
        ),
        (br#"{"a":1,"x":"abc"#, "NOT_JSON", "not JSON at byte 15: the string does not end"),
        (b"\xef\xbb\xbf{\"a\":1}", "NOT_JSON", "not JSON at byte 0: expected a value"),
        (b"{\"a\":1,\"x\":\"\xff\"}", "UTF8", "not UTF-8 at byte 12"),
        (b"[1]", "NOT_OBJECT", "expected an object at byte 0, found an array"),
        (b"null", "NOT_OBJECT", "expected an object at byte 0, found null"),
        (b"[1", "NOT_JSON", "not JSON at byte 2: expected `,` or `]`"),
        (
            deep(127).as_bytes(),
            "DEPTH",
            "more than 127 arrays and objects in one another at byte 137",
        ),
    ] {
        let broken = broken(value);
        assert_eq!(
            (broken.class, &*broken.text, broken.field),
            (class, text, None),
            "{}",
            String::from_utf8_lossy(value)
        );
    }
    for (value, field, class, text) in [
        ("{}", "a", "MISSING", "field `a`: missing"),
        (r#"{"a":null}"#, "a", "NULL", "field `a`: null at byte 5, which the schema rules out"),
        (r#"{"a":"1"}"#, "a", "WRONG_TYPE", "field `a`: expected int32 at byte 5, found a string"),
        (
            r#"{"a":3.0}"#,
            "a",
            "WRONG_TYPE",
            "field `a`: expected int32 at byte 5, found a number with a fraction or an exponent",
        ),
        (
            r#"{"a":3000000000}"#,
            "a",
            "OVERFLOW",
            "field `a`: expected int32 at byte 5, found a number outside of its range",
        ),
        (
            r#"{"b":{"c":[]},"a":1}"#,
            "b",
            "WRONG_TYPE",
            "field `b`: expected utf8 at byte 5, found an object",
        ),
        (
            r#"{"a":[],"b":1}"#,
            "a",
            "WRONG_TYPE",
            "field `a`: expected int32 at byte 5, found an array",
        ),
    ] {
        let broken = broken(value.as_bytes());
        assert_eq!(
            (broken.class, &*broken.text, broken.field.as_deref()),
            (class, text, Some(field)),
            "{value}"
        );
    }
    // What is not JSON is that first, whatever its fields hold.
    assert_eq!(broken(br#"{"a":"x","#).class, "NOT_JSON");
    assert_eq!(broken(br#"{"a":"x"} "#).class, "WRONG_TYPE");
}

#[test]
fn tombstones_are_broken_at_their_place() {
    let fields = [v(DataType::Int32)];
    let (_, decoded) = decode(
        &mut Decoder::json(&fields).unwrap(),
        &fields,
        &batch([None, Some(&b"{}"[..]), None]),
    );
    assert_eq!(decoded.rows, [1]);
    assert!(
        decoded
            .broken
            .iter()
            .map(|broken| (broken.index, broken.class))
            .eq([(0, "TOMBSTONE"), (2, "TOMBSTONE")])
    );
}

#[test]
fn depth_is_bounded_where_serde_json_bounds_it() {
    let fields = [v(DataType::Json)];
    for levels in [126, 127] {
        let value = format!(r#"{{"v":{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
        let (_, decoded) =
            decode(&mut Decoder::json(&fields).unwrap(), &fields, &batch([Some(value.as_bytes())]));
        assert_eq!(decoded.rows.len() == 1, levels == 126);
        assert_eq!(serde_json::from_str::<Value>(&value).is_ok(), levels == 126);
    }
}

#[test]
fn the_last_of_equal_names_counts() {
    let fields = [Field::new("a", DataType::Int32, false), v(DataType::Utf8)];
    let records = [
        r#"{"a":1,"v":"x","a":2}"#,
        r#"{"a":"wrong","a":3}"#,
        r#"{"v":"x","a":4,"v":null}"#,
        r#"{"a":5,"a":"wrong"}"#,
        r#"{"a":"wrong","v":1,"\u0061":6,"v":"x"}"#,
    ];
    let (rows, decoded) = decode(
        &mut Decoder::json(&fields).unwrap(),
        &fields,
        &batch(records.map(|record| Some(record.as_bytes()))),
    );
    assert_eq!(decoded.rows, [0, 1, 2, 4]);
    assert_eq!(rows.column(0).as_primitive::<Int32Type>().values()[..], [2, 3, 4, 6]);
    assert!(rows.column(1).as_string::<i32>().iter().eq([Some("x"), None, None, Some("x")]));
}

#[test]
fn members_in_any_order_and_spelling_are_found() {
    let fields = [
        Field::new("a", DataType::Int64, false),
        Field::new("b \"", DataType::Int64, false),
        v(DataType::Int64),
    ];
    let records = [
        r#"{"a":1,"b \"":2,"v":3}"#,
        "{ \"v\" : 3 ,\n\t\"b \\u0022\" : 2 , \"x\" : {} , \"a\" : 1 }\r\n",
        r#"{"x":0,"y":[],"a":1,"z":"","v":3,"b \"":2}"#,
        r#"{"b \"":2,"a":1,"v":3}"#,
    ];
    let (rows, decoded) = decode(
        &mut Decoder::json(&fields).unwrap(),
        &fields,
        &batch(records.map(|record| Some(record.as_bytes()))),
    );
    assert_eq!(decoded.broken, []);
    for (column, value) in rows.columns().iter().zip([1, 2, 3]) {
        assert_eq!(column.as_primitive::<Int64Type>().values()[..], [value; 4]);
    }
}

#[test]
fn many_and_long_names_are_found() {
    let long = "a_name_that_is_longer_than_a_word";
    let fields = [Field::new(long, DataType::Int64, false), v(DataType::Int64)];
    let records: Vec<String> = (0..1500)
        .map(|n| {
            format!(
                r#"{{"{long}":1,"{long}er":0,"x{n}":0,"v":2,"y{}":0,"{}":0}}"#,
                n % 7,
                "z".repeat(n)
            )
        })
        .collect();
    let batch = batch(records.iter().map(|record| Some(record.as_bytes())));
    let mut decoder = Decoder::json(&fields).unwrap();
    for _ in 0..2 {
        let (rows, decoded) = decode(&mut decoder, &fields, &batch);
        assert_eq!(decoded.broken, []);
        for (column, value) in rows.columns().iter().zip([1, 2]) {
            assert_eq!(column.as_primitive::<Int64Type>().values()[..], [value; 1500]);
        }
    }
}

#[test]
fn flat_types() {
    let (rows, decoded) = values(v(DataType::Boolean), &["true", "false", "null", "1"]);
    assert!(rows.column(0).as_boolean().iter().eq([Some(true), Some(false), None]));
    assert_eq!(decoded.broken[0].class, "WRONG_TYPE");

    let (rows, decoded) =
        values(v(DataType::Int64), &["-9223372036854775808", "9223372036854775808", "-0", "true"]);
    assert_eq!(rows.column(0).as_primitive::<Int64Type>().values()[..], [i64::MIN, 0]);
    assert!(decoded.broken.iter().map(|broken| broken.class).eq(["OVERFLOW", "WRONG_TYPE"]));

    let (rows, decoded) =
        values(v(DataType::Float64), &["0.1", "1e400", "-0", "12345678901234567890", "\"1\""]);
    assert_eq!(
        rows.column(0).as_primitive::<Float64Type>().values()[..],
        [0.1, -0.0, 12_345_678_901_234_567_890.0]
    );
    assert!(decoded.broken.iter().map(|broken| broken.class).eq(["OVERFLOW", "WRONG_TYPE"]));

    let (rows, decoded) =
        values(v(DataType::Float32), &["0.1", "1e39", "1.00000017881393432617187499"]);
    assert_eq!(rows.column(0).as_primitive::<Float32Type>().values()[..], [0.1, 1.000_000_1]);
    assert_eq!(decoded.broken[0].class, "OVERFLOW");

    let (rows, decoded) = values(
        v(DataType::Decimal(6, 2)),
        &["12.3", r#""-9999.990""#, "1e3", "10000", "0.001", r#"" 1""#, "{}"],
    );
    assert_eq!(
        rows.column(0).as_primitive::<Decimal128Type>().values()[..],
        [1230, -999_999, 100_000]
    );
    assert!(decoded.broken.iter().map(|b| b.class).eq([
        "OVERFLOW",
        "OVERFLOW",
        "FORMAT",
        "WRONG_TYPE"
    ]));

    let (rows, decoded) =
        values(v(DataType::Utf8), &[r#""é\u00e9\ud83d\ude00\n\"\\\/""#, r#""""#, "1"]);
    assert!(rows.column(0).as_string::<i32>().iter().eq([Some("éé😀\n\"\\/"), Some("")]));
    assert_eq!(decoded.broken[0].class, "WRONG_TYPE");

    let (rows, decoded) = values(
        v(DataType::Binary),
        &[r#""AP8=""#, r#""""#, r#""AP8""#, r#""\u0041P8=""#, r#""AP-_""#],
    );
    assert!(rows.column(0).as_binary::<i32>().iter().eq([
        Some(&b"\0\xff"[..]),
        Some(b""),
        Some(b"\0\xff")
    ]));
    assert!(decoded.broken.iter().map(|b| (b.index, b.class)).eq([(2, "FORMAT"), (4, "FORMAT")]));

    let (rows, decoded) = values(
        v(DataType::Json),
        &[r#"{"a" : [1e400, "\u00e9"]}"#, "true", "null", "[1,]", "  -0.10 "],
    );
    assert!(rows.column(0).as_string::<i32>().iter().eq([
        Some(r#"{"a" : [1e400, "\u00e9"]}"#),
        Some("true"),
        None,
        Some("-0.10")
    ]));
    assert_eq!(decoded.broken[0].class, "NOT_JSON");
}

#[test]
fn dates_and_times() {
    let (rows, decoded) = values(
        v(DataType::Date),
        &[r#""1970-01-02""#, "-1", r#""2026-02-29""#, "1e3", "3000000000"],
    );
    assert_eq!(rows.column(0).as_primitive::<Date32Type>().values()[..], [1, -1]);
    assert!(decoded.broken.iter().map(|broken| broken.class).eq([
        "FORMAT",
        "WRONG_TYPE",
        "OVERFLOW"
    ]));

    let (rows, decoded) = values(
        v(DataType::TimestampMicros),
        &[
            r#""1970-01-01T00:00:00.123456789Z""#,
            r#""1970-01-01T01:00:00+01:00""#,
            "1700000000123",
            r#""1970-01-01T00:00:00""#,
            "9223372036854775807",
            "1.5",
        ],
    );
    let micros = rows.column(0).as_primitive::<TimestampMicrosecondType>();
    assert_eq!(micros.values()[..], [123_456, 0, 1_700_000_000_123_000]);
    assert!(decoded.broken.iter().map(|broken| broken.class).eq([
        "FORMAT",
        "OVERFLOW",
        "WRONG_TYPE"
    ]));
}

#[test]
fn schemas_that_json_cannot_fill_are_refused() {
    let bad_map = with(
        v(DataType::Map),
        vec![Field::new("key", DataType::Int32, false), Field::new("value", DataType::Int32, true)],
    );
    for (fields, text) in [
        (vec![v(DataType::Utf8), v(DataType::Int32)], "field `v` is declared twice"),
        (vec![v(DataType::List)], "field `v` of type list has 0 child fields"),
        (vec![v(DataType::Decimal(39, 0))], "field `v` is a decimal(39, 0)"),
        (vec![v(DataType::Decimal(4, -1))], "field `v` is a decimal(4, -1)"),
        (vec![bad_map], "the keys of map `v` are not text"),
    ] {
        assert_eq!(Decoder::json(&fields).unwrap_err().to_string(), text);
    }
}

#[test]
fn no_fields_still_check_the_records() {
    let decoded =
        Decoder::json(&[]).unwrap().decode(&batch([&b"{}"[..], b"{\"a\":1}", b"x"].map(Some)));
    assert!(decoded.columns.is_empty());
    assert_eq!(decoded.rows, [0, 1]);
}

//! Lists, structs and maps.

use arrow_array::{Array, cast::AsArray, types::Int32Type};

use super::{v, values, with};
use crate::schema::{DataType, Field};

#[test]
fn nested_types() {
    let line = with(
        Field::new("element", DataType::Struct, false),
        vec![Field::new("sku", DataType::Utf8, false), Field::new("tags", DataType::List, true)],
    );
    let mut lines = with(v(DataType::List), vec![line]);
    lines.children[0].children[1].children = vec![Field::new("element", DataType::Int32, true)];
    let (rows, decoded) = values(
        lines,
        &[
            r#"[{"sku":"a","tags":[1,null]},{"sku":"b"}]"#,
            r#"[{"sku":"c"},{"tags":[1]}]"#,
            r#"[{"sku":"c","tags":[1,2,"x",{}]}]"#,
            r#"[{"sku":"d","tags":[1,"x"],"tags":[7]},{"sku":1,"sku":"e","tags":[]}]"#,
            "null",
            "[null]",
            "[]",
        ],
    );
    assert_eq!(decoded.rows, [0, 3, 4, 6]);
    let failures =
        decoded.broken.iter().map(|broken| (broken.class, broken.field.as_deref().unwrap()));
    assert!(failures.eq([("MISSING", "v[].sku"), ("WRONG_TYPE", "v[].tags[]"), ("NULL", "v[]")]));
    let lists = rows.column(0).as_list::<i32>();
    assert_eq!(lists.offsets()[..], [0, 2, 4, 4, 4]);
    assert!(lists.is_null(2) && lists.is_valid(3));
    let lines = lists.values().as_struct();
    assert!(lines.column(0).as_string::<i32>().iter().eq([
        Some("a"),
        Some("b"),
        Some("d"),
        Some("e")
    ]));
    let tags = lines.column(1).as_list::<i32>();
    assert_eq!(tags.offsets()[..], [0, 2, 2, 3, 3]);
    assert!(tags.is_null(1) && tags.is_valid(3));
    assert!(tags.values().as_primitive::<Int32Type>().iter().eq([Some(1), None, Some(7)]));
}

#[test]
fn a_null_struct_hides_what_its_members_may_not_be() {
    let inner = with(
        Field::new("i", DataType::Struct, false),
        vec![Field::new("n", DataType::Int32, false)],
    );
    let (rows, decoded) = values(
        with(v(DataType::Struct), vec![inner]),
        &[r#"{"i":{"n":1}}"#, "null", r#"{"i":null}"#, "{}"],
    );
    assert_eq!(decoded.rows, [0, 1]);
    assert!(rows.column(0).is_null(1));
    assert!(
        decoded
            .broken
            .iter()
            .map(|b| (b.class, b.field.as_deref()))
            .eq([("NULL", Some("v.i")), ("MISSING", Some("v.i"))])
    );
}

#[test]
fn maps_keep_the_last_of_equal_keys() {
    let map = with(
        v(DataType::Map),
        vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Int32, true)],
    );
    let (rows, decoded) = values(
        map,
        &[
            r#"{"b":1,"a":null}"#,
            r#"{"a":"x","b":2,"a":3,"\u0061":4,"c":5}"#,
            r#"{"a":1,"b":"x"}"#,
            "{}",
            "null",
        ],
    );
    assert_eq!(decoded.rows, [0, 1, 3, 4]);
    assert_eq!(decoded.broken[0].field.as_deref(), Some("v{}"));
    let maps = rows.column(0).as_map();
    assert_eq!(maps.offsets()[..], [0, 2, 5, 5, 5]);
    assert!(maps.keys().as_string::<i32>().iter().eq([
        Some("b"),
        Some("a"),
        Some("b"),
        Some("a"),
        Some("c")
    ]));
    assert!(maps.values().as_primitive::<Int32Type>().iter().eq([
        Some(1),
        None,
        Some(2),
        Some(4),
        Some(5)
    ]));
    assert!(maps.is_null(3));
}

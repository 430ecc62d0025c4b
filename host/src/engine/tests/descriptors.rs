//! Descriptors: what a guest says that it is.

use super::super::{
    descriptor::check,
    v0_1::{
        exports::tidemill::transform::transform::Descriptor as Described,
        tidemill::transform::types::{self as wit, Origin as WitOrigin, Usage as WitUsage},
    },
};
use crate::schema::{DataType, Field, Input, Origin, Usage};

fn field(name: &str, data_type: wit::DataType, nullable: bool, children: u32) -> wit::Field {
    wit::Field { name: name.to_owned(), data_type, nullable, children }
}

fn text(name: &str) -> wit::Field {
    field(name, wit::DataType::Utf8, false, 0)
}

fn output(name: &str, fields: Vec<wit::Field>, origins: Vec<WitOrigin>) -> wit::OutputSchema {
    wit::OutputSchema { name: name.to_owned(), fields, origins }
}

/// Reads `a` (text) and `b` (a list of nullable numbers), and gives `out` as it is given.
fn described(outputs: Vec<wit::OutputSchema>) -> Described {
    let fields = vec![
        text("a"),
        field("b", wit::DataType::ListOf, true, 1),
        field("item", wit::DataType::Int64, true, 0),
    ];
    Described {
        name: "t".to_owned(),
        version: "1.0.0".to_owned(),
        input: wit::Input::Rows(wit::InputSchema {
            fields,
            usages: vec![WitUsage::Read, WitUsage::Carry],
        }),
        outputs,
        config_schema: None,
    }
}

#[test]
fn lists_in_pre_order_become_trees() {
    let fields = vec![
        field("c", wit::DataType::StructOf, false, 2),
        text("x"),
        field("m", wit::DataType::MapOf, true, 2),
        text("key"),
        field("value", wit::DataType::Decimal((38, 0)), true, 0),
        field("b", wit::DataType::ListOf, true, 1),
        field("item", wit::DataType::Int64, true, 0),
    ];
    let checked = check(described(vec![output(
        "out",
        fields,
        vec![WitOrigin::Computed, WitOrigin::Input("b".to_owned())],
    )]))
    .unwrap();
    let Input::Rows(input) = checked.input else { panic!("rows") };
    assert_eq!(
        input.iter().map(|(field, usage)| (field.name.as_str(), *usage)).collect::<Vec<_>>(),
        [("a", Usage::Read), ("b", Usage::Carry)]
    );
    let [(c, computed), (b, carried)] = &checked.outputs[0].fields[..] else {
        panic!("two fields")
    };
    assert_eq!((computed, carried), (&Origin::Computed, &Origin::Input(1)));
    assert_eq!(b.children, [Field::new("item", DataType::Int64, true)]);
    let names: Vec<_> =
        c.children.iter().map(|child| (child.name.as_str(), child.children.len())).collect();
    assert_eq!(names, [("x", 0), ("m", 2)]);
}

#[test]
fn descriptors_that_can_not_be_are_refused() {
    let computed = |fields: Vec<wit::Field>| vec![output("out", fields, vec![WitOrigin::Computed])];
    let from = |field: wit::Field, input: &str| {
        vec![output("out", vec![field], vec![WitOrigin::Input(input.to_owned())])]
    };
    let decimal =
        |precision, scale| field("d", wit::DataType::Decimal((precision, scale)), false, 0);
    let map = |key: wit::Field| {
        computed(vec![field("m", wit::DataType::MapOf, false, 2), key, text("v")])
    };
    let out = |name: &str| vec![output(name, vec![text("x")], vec![WitOrigin::Computed])];
    let deep =
        (0..40).map(|_| field("l", wit::DataType::ListOf, false, 1)).chain([text("end")]).collect();
    for (outputs, says) in [
        (vec![], "no output"),
        (out(""), "names are"),
        (out("Out"), "names are"),
        (out("dead_letters"), "names are"),
        (out(&"x".repeat(64)), "names are"),
        ([out("out"), out("out")].concat(), "two outputs"),
        (computed(vec![]), "0 fields"),
        (vec![output("out", vec![text("x")], vec![])], "0 origins"),
        (vec![output("out", vec![text("x"), text("x")], vec![WitOrigin::Computed; 2])], "x twice"),
        (computed(vec![text("")]), "field name"),
        (computed(vec![text("a\nb")]), "field name"),
        (computed(vec![text(&"x".repeat(1000))]), "field name"),
        (computed(vec![decimal(0, 0)]), "decimal(0, 0)"),
        (computed(vec![decimal(39, 0)]), "decimal(39, 0)"),
        (computed(vec![decimal(5, 6)]), "decimal(5, 6)"),
        (computed(vec![decimal(5, -1)]), "decimal(5, -1)"),
        (computed(vec![field("x", wit::DataType::Utf8, false, 1), text("y")]), "1 children"),
        (computed(vec![field("l", wit::DataType::ListOf, false, 0)]), "0 children"),
        (computed(vec![field("s", wit::DataType::StructOf, false, 0)]), "0 children"),
        (
            computed(vec![field("s", wit::DataType::StructOf, false, u32::MAX), text("x")]),
            "without its last child",
        ),
        (
            computed(vec![field("s", wit::DataType::StructOf, false, 2), text("x"), text("x")]),
            "x twice",
        ),
        (map(field("k", wit::DataType::Utf8, true, 0)), "keys may be null"),
        (computed(deep), "at depth 33"),
        (from(text("x"), "nowhere"), "does not declare"),
        (from(field("x", wit::DataType::Binary, false, 0), "a"), "another type"),
        (from(field("x", wit::DataType::ListOf, false, 1), "b"), "without its last child"),
    ] {
        let error = check(described(outputs)).unwrap_err();
        assert!(error.contains(says), "{says}: {error}");
    }
    let narrowed = vec![
        field("x", wit::DataType::ListOf, false, 1),
        field("item", wit::DataType::Int64, true, 0),
    ];
    let narrowed = vec![output("out", narrowed, vec![WitOrigin::Input("b".to_owned())])];
    assert!(check(described(narrowed)).unwrap_err().contains("may be null"));
    let raw = Described { input: wit::Input::Raw, ..described(from(text("x"), "a")) };
    assert!(check(raw).unwrap_err().contains("raw records"));
}

#[test]
fn descriptors_have_bounds() {
    let fields = |count: usize| (0..count).map(|n| text(&format!("f{n}"))).collect::<Vec<_>>();
    let of = |count| vec![output("out", fields(count), vec![WitOrigin::Computed; count])];
    check(described(of(4096))).unwrap();
    let error = check(described(of(4097))).unwrap_err();
    assert_eq!(error, "output out with 4097 fields: 4096 at most");
    let wide = wit::InputSchema { fields: fields(4097), usages: vec![WitUsage::Read; 4097] };
    let wide = Described { input: wit::Input::Rows(wide), ..described(of(1)) };
    assert_eq!(check(wide).unwrap_err(), "an input with 4097 fields: 4096 at most");
    let outputs = |count: usize| {
        let one = |n| output(&format!("out{n}"), fields(1), vec![WitOrigin::Computed]);
        described((0..count).map(one).collect())
    };
    check(outputs(64)).unwrap();
    assert_eq!(check(outputs(65)).unwrap_err(), "65 outputs: 64 at most");
    let named = |name: &str| Described { name: name.to_owned(), ..described(of(1)) };
    check(named(&"x".repeat(255))).unwrap();
    assert!(check(named(&"x".repeat(256))).unwrap_err().contains("255 bytes at most"));
    let error = check(Described { version: "1\n0".to_owned(), ..described(of(1)) }).unwrap_err();
    assert!(error.starts_with("itself by the version \"1\\n0\""), "{error}");
}

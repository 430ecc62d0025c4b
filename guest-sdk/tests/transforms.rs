//! What transforms declare, and what they may do.

use tidemill_sdk::{
    __private::describe,
    bindings::tidemill::transform::types::{DataType, Field, Input, InputSchema, Origin, Usage},
    log::Level,
    prelude::*,
};

#[derive(Row)]
struct Order<'a> {
    id: &'a str,
    #[row(rename = "line-items")]
    items: Vec<Item>,
    note: Carry<Option<String>>,
}

#[derive(Row)]
struct Item {
    price: Option<Decimal<9, 2>>,
}

#[derive(Row)]
struct Kept {
    id: Carry<String>,
    #[row(from = "ts")]
    time: Carry<Timestamp>,
    count: i32,
}

#[derive(Row)]
struct Noted {
    ts: Carry<Option<Timestamp>>,
    note: Carry<Option<String>>,
    count: i64,
}

fn count(order: &Order<'_>) -> i32 {
    order.items.iter().filter(|item| item.price.is_some()).map(|_| 1).sum()
}

#[transform]
fn two_ways(
    order: Order<'_>,
    record: Record<'_>,
    kept: &mut Output<Kept>,
    noted: &mut Output<Noted>,
) -> Result<(), String> {
    let count = count(&order);
    match order.id {
        "log" => log::warn!("offset {} of {}", record.offset, record.topic),
        "count" => metrics::gauge("items", &[("kind", "priced")], f64::from(count)),
        "reject" => return Err("as asked".to_owned()),
        _ => {}
    }
    kept.emit(Kept { id: Carry, time: Carry, count });
    noted.emit(Noted { ts: Carry, note: Carry, count: count.into() });
    Ok(())
}

fn field(name: &str, data_type: DataType, nullable: bool, children: u32) -> Field {
    Field { name: name.to_owned(), data_type, nullable, children }
}

#[test]
fn a_descriptor_lists_what_is_read_and_what_is_carried() {
    let descriptor = describe::<two_ways>().unwrap();
    assert_eq!(
        (&*descriptor.name, &*descriptor.version),
        (env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
    );
    let fields = vec![
        field("id", DataType::Utf8, false, 0),
        field("line-items", DataType::ListOf, false, 1),
        field("element", DataType::StructOf, false, 1),
        field("price", DataType::Decimal((9, 2)), true, 0),
        field("note", DataType::Utf8, true, 0),
        // One output can't take a null, so the input has none.
        field("ts", DataType::TimestampMicros, false, 0),
    ];
    let usages = vec![Usage::Read, Usage::Read, Usage::Carry, Usage::Carry];
    assert_eq!(descriptor.input, Input::Rows(InputSchema { fields, usages }));

    let [kept, noted] = &descriptor.outputs[..] else { panic!("two outputs") };
    assert_eq!((&*kept.name, &*noted.name), ("kept", "noted"));
    let time = field("time", DataType::TimestampMicros, false, 0);
    assert_eq!(
        kept.fields,
        [field("id", DataType::Utf8, false, 0), time, field("count", DataType::Int32, false, 0)]
    );
    assert_eq!(
        kept.origins,
        [Origin::Input("id".into()), Origin::Input("ts".into()), Origin::Computed]
    );
}

#[derive(Row)]
struct Mistaken {
    id: Carry<i64>,
}

#[transform]
fn mistaken_type(_order: Order<'_>, out: &mut Output<Mistaken>) {
    out.emit(Mistaken { id: Carry });
}

#[derive(Row)]
struct Strict {
    note: Carry<String>,
}

#[transform]
fn mistaken_null(_order: Order<'_>, out: &mut Output<Strict>) {
    out.emit(Strict { note: Carry });
}

#[test]
fn a_descriptor_that_contradicts_itself_is_refused() {
    let error = describe::<mistaken_type>().unwrap_err();
    assert_eq!(error, "`id` carries input field `id`, but their types differ");
    let error = describe::<mistaken_null>().unwrap_err();
    assert_eq!(error, "`note` carries `note`, which may be null: make it `Carry<Option<…>>`");
}

#[test]
fn a_run_tells_what_was_said_to_the_host() {
    let order = |id| Order {
        id,
        items: vec![Item { price: Some(Decimal(1)) }, Item { price: None }],
        note: Carry,
    };
    let run = two_ways::test(["log", "reject", "count"].map(order));
    assert_eq!(run.logs(), [(Level::Warn, "offset 0 of test".to_owned())]);
    assert_eq!((run.metrics()[0].name.as_str(), run.metrics()[0].value), ("items", 1.0));
    assert_eq!(run.rejected(), [(1, "as asked".to_owned())]);
    assert_eq!(run.lineage("kept"), [0, 2]);
    assert_eq!(run.rows::<Noted>("noted")[1].count, 1);
}

#[test]
fn a_transform_without_settings_takes_none() {
    assert_eq!(two_ways::configure(" { } "), Ok(()));
    assert_eq!(two_ways::configure("null"), Ok(()));
    assert!(two_ways::configure(r#"{"table": 1}"#).unwrap_err().contains("takes no configuration"));
}

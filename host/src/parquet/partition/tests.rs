use std::collections::BTreeMap;

use arrow_array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array,
    StringArray, TimestampMicrosecondArray,
};
use chrono::{DateTime, Datelike, NaiveDate, Timelike};
use proptest::prelude::*;

use super::*;
use crate::{
    commit::names::hive_segment,
    config::Expression,
    parquet::bucket::{bucket, decimal, whole},
    schema::{self, DataType, Field},
};

/// Field names of [`Row`], which are also the keys of the partitions here.
const FIELDS: [(&str, DataType); 9] = [
    ("row", DataType::Int64),
    ("text", DataType::Utf8),
    ("small", DataType::Int32),
    ("large", DataType::Int64),
    ("flag", DataType::Boolean),
    ("real", DataType::Float64),
    ("price", DataType::Decimal(20, 3)),
    ("day", DataType::Date),
    ("at", DataType::TimestampMicros),
];

#[derive(Clone, Debug)]
struct Row {
    text: Option<String>,
    number: Option<i32>,
    flag: Option<bool>,
    at: Option<i64>,
}

fn schema() -> arrow_schema::SchemaRef {
    schema::to_arrow(&FIELDS.map(|(name, data_type)| Field::new(name, data_type, true)))
}

fn batch(rows: &[Row]) -> RecordBatch {
    let numbers = || rows.iter().map(|row| row.number);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(0..i64::try_from(rows.len()).unwrap())),
        Arc::new(StringArray::from_iter(rows.iter().map(|row| row.text.as_deref()))),
        Arc::new(Int32Array::from_iter(numbers())),
        Arc::new(Int64Array::from_iter(numbers().map(|n| n.map(i64::from)))),
        Arc::new(BooleanArray::from_iter(rows.iter().map(|row| row.flag))),
        Arc::new(Float64Array::from_iter(numbers().map(|n| n.map(|n| f64::from(n) / 2.0)))),
        Arc::new(
            Decimal128Array::from_iter(numbers().map(|n| n.map(i128::from)))
                .with_precision_and_scale(20, 3)
                .unwrap(),
        ),
        Arc::new(Date32Array::from_iter(numbers())),
        Arc::new(
            TimestampMicrosecondArray::from_iter(rows.iter().map(|row| row.at))
                .with_timezone("UTC"),
        ),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

fn by(expression: Expression) -> PartitionBy {
    PartitionBy { key: expression.field().into(), expression }
}

/// What a row's value of an expression is, said once more and one row at a time.
fn value(row: &Row, expression: &Expression) -> Option<String> {
    let at = |at: i64| DateTime::from_timestamp_micros(at).unwrap();
    let date = |days: i32| NaiveDate::from_epoch_days(days).unwrap();
    Some(match expression {
        Expression::Field(field) => match field.as_str() {
            "text" => row.text.clone()?,
            "flag" => String::from(if row.flag? { "true" } else { "false" }),
            "real" => format!("{}", f64::from(row.number?) / 2.0),
            "price" => {
                let n = row.number?;
                format!("{}{}.{:03}", if n < 0 { "-" } else { "" }, n.abs() / 1000, n.abs() % 1000)
            }
            "day" => format!("{}", date(row.number?)),
            "at" => {
                let text = at(row.at?).to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true);
                assert!(text.ends_with('Z'));
                text
            }
            _ => row.number?.to_string(),
        },
        Expression::Date(field) if field == "day" => format!("{}", date(row.number?)),
        Expression::Date(_) => format!("{}", at(row.at?).date_naive()),
        Expression::Hour(_) => {
            let at = at(row.at?);
            format!("{}T{:02}", at.date_naive(), at.hour())
        }
        Expression::Year(_) => at(row.at?).year().to_string(),
        Expression::Month(_) => format!("{:02}", at(row.at?).month()),
        Expression::Day(_) => format!("{:02}", at(row.at?).day()),
        Expression::Bucket(count, field) => match field.as_str() {
            "text" => bucket(*count, row.text.as_ref()?.as_bytes()),
            "at" => bucket(*count, &whole(row.at?)),
            "price" => {
                let (bytes, start) = decimal(row.number?.into());
                bucket(*count, &bytes[start..])
            }
            _ => bucket(*count, &whole(row.number?.into())),
        }
        .to_string(),
    })
}

fn expressions() -> impl Strategy<Value = Expression> {
    use Expression::{Bucket, Date, Day, Field, Hour, Month, Year};
    let field = |name: &str| name.to_owned();
    prop_oneof![
        prop::sample::select(&["text", "small", "large", "flag", "real", "price", "day", "at"][..])
            .prop_map(move |name| Field(field(name))),
        prop::sample::select(&["day", "at"][..]).prop_map(move |name| Date(field(name))),
        (1_u32..9, prop::sample::select(&["text", "small", "large", "price", "day", "at"][..]))
            .prop_map(move |(count, name)| Bucket(count, field(name))),
        prop::sample::select(vec![
            Hour(field("at")),
            Year(field("at")),
            Month(field("at")),
            Day(field("at"))
        ]),
    ]
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let text = prop_oneof![
        4 => prop::sample::select(vec!["DE", "FR", "a b", "é/=%", "", ".", ".."]).prop_map(String::from),
        1 => Just("x".repeat(256)),
        1 => ".{0,4}",
    ];
    let at =
        prop_oneof![0_i64..3 * 86_400_000_000, -4_000_000_000_000_000_i64..4_000_000_000_000_000]
            .prop_map(|at| at / 500 * 500);
    let row = (
        prop::option::of(text),
        prop::option::of(prop_oneof![-3..3, -70_000..70_000]),
        any::<Option<bool>>(),
        prop::option::of(at),
    );
    prop::collection::vec(
        row.prop_map(|(text, number, flag, at)| Row { text, number, flag, at }),
        0..60,
    )
}

proptest! {
    #[test]
    fn splits_as_row_by_row(batches in prop::collection::vec(rows(), 1..4), by in prop::collection::vec(expressions().prop_map(by), 0..3)) {
        let mut splitter = Splitter::new(&by, &schema(), 300).unwrap();
        for rows in batches {
            let mut expected: BTreeMap<String, Vec<i64>> = BTreeMap::new();
            let mut refused = Vec::new();
            for (place, row) in rows.iter().enumerate() {
                let path: Result<Vec<_>, _> =
                    by.iter().map(|by| hive_segment(&by.key, value(row, &by.expression).as_deref())).collect();
                match path.map(|path| path.join("/")) {
                    Ok(path) if path.len() <= 300 => expected.entry(path).or_default().push(i64::try_from(place).unwrap()),
                    _ => refused.push(place),
                }
            }
            let split = splitter.split(&batch(&rows)).unwrap();
            let paths = split.parts.len();
            let parts: BTreeMap<_, _> = split.parts.into_iter().filter(|part| part.rows.num_rows() > 0).map(|Part { path, rows, .. }| {
                let places = rows.column_by_name("row").unwrap().as_any().downcast_ref::<Int64Array>().unwrap().values().to_vec();
                (path.to_string(), places)
            }).collect();
            prop_assert!(paths == parts.len(), "a path comes once");
            prop_assert_eq!(parts, expected);
            prop_assert_eq!(split.refused.iter().map(|refused| refused.row).collect::<Vec<_>>(), refused);
        }
    }
}

fn paths(by_key: &[PartitionBy], rows: &[Row]) -> Vec<String> {
    let split = Splitter::new(by_key, &schema(), 747).unwrap().split(&batch(rows)).unwrap();
    split.parts.into_iter().map(|part| part.path.to_string()).collect()
}

const NOTHING: Row = Row { text: None, number: None, flag: None, at: None };

#[test]
fn paths_are_those_of_hive() {
    let at = DateTime::parse_from_rfc3339("2026-11-22T07:08:09.250Z").unwrap().timestamp_micros();
    let row = Row { text: Some("a b".into()), number: Some(-1234), flag: Some(true), at: Some(at) };
    let fields = ["text", "small", "flag", "real", "price", "day", "at"]
        .map(|name| by(Expression::Field(name.into())));
    assert_eq!(
        paths(&fields, std::slice::from_ref(&row)),
        [
            "text=a%20b/small=-1234/flag=true/real=-617/price=-1.234/day=1966-08-16/at=2026-11-22T07%3A08%3A09.250Z"
        ]
    );
    let times =
        [Expression::Date, Expression::Hour, Expression::Year, Expression::Month, Expression::Day]
            .map(|of| by(of("at".into())));
    assert_eq!(paths(&times, &[row]), ["at=2026-11-22/at=2026-11-22T07/at=2026/at=11/at=22"]);
    let before = Row { at: Some(-1), ..NOTHING };
    assert_eq!(paths(&times[..2], &[before]), ["at=1969-12-31/at=1969-12-31T23"]);
    assert_eq!(
        paths(&fields[..2], &[NOTHING]),
        ["text=__HIVE_DEFAULT_PARTITION__/small=__HIVE_DEFAULT_PARTITION__"]
    );
}

#[test]
fn refusals_say_which_partition_and_why() {
    let row = |text: &str, at| Row { text: Some(text.into()), at, ..NOTHING };
    let rows = [
        row(".", Some(0)),
        row(&"x".repeat(256), Some(0)),
        row("ok", Some(i64::MAX)),
        row("ok", Some(0)),
        row(&"x".repeat(60), Some(0)),
    ];
    let by = [by(Expression::Field("text".into())), by(Expression::Date("at".into()))];
    let split = Splitter::new(&by, &schema(), 60).unwrap().split(&batch(&rows)).unwrap();
    assert_eq!(
        split.parts.iter().map(|part| &*part.path).collect::<Vec<_>>(),
        ["text=ok/at=1970-01-01"]
    );
    let reasons: Vec<_> =
        split.refused.iter().map(|refused| (refused.row, refused.reason.as_str())).collect();
    assert_eq!(reasons.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [0, 1, 2, 4]);
    for (reason, needle) in
        reasons.iter().map(|(_, reason)| reason).zip(["text", "255", "`at`", "room for 60"])
    {
        assert!(reason.contains(needle), "{reason}");
    }
}

#[test]
fn forgets_before_it_grows_without_bound() {
    let mut splitter =
        Splitter::new(&[by(Expression::Field("small".into()))], &schema(), 300).unwrap();
    let mut most = 0;
    for chunk in 0..40 {
        let rows: Vec<_> =
            (0..5000).map(|n| Row { number: Some(chunk * 5000 + n), ..NOTHING }).collect();
        let split = splitter.split(&batch(&rows)).unwrap();
        assert_eq!(split.parts.len(), 5000);
        assert_eq!(&*split.parts[7].path, format!("small={}", chunk * 5000 + 7));
        most = most.max(splitter.levels[0].paths.len());
    }
    assert!(most <= MAX_REMEMBERED, "{most}");
}

#[test]
fn an_expression_must_fit_the_schema() {
    let wrong = |expression| Splitter::new(&[by(expression)], &schema(), 300).unwrap_err();
    assert!(wrong(Expression::Field("country".into())).contains("`country`"), "the field is named");
    assert!(
        wrong(Expression::Field("country".into())).contains("`text`"),
        "and those that are there"
    );
    assert!(wrong(Expression::Hour("day".into())).contains("a timestamp"));
    assert!(wrong(Expression::Date("text".into())).contains("a date or a timestamp"));
    assert!(wrong(Expression::Bucket(4, "real".into())).contains("`real`"));
    assert!(wrong(Expression::Bucket(0, "text".into())).contains("one bucket"));
}

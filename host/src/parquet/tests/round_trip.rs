//! What is written is what is read, and it is written as it should be.

use arrow_array::{
    BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array,
    Int32Array, ListArray, MapArray, StructArray,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use parquet::{
    basic::{Encoding, LogicalType, TimeUnit},
    file::metadata::ColumnChunkMetaData,
};

use super::*;

use crate::{budget::Budget, fault::Blame, parquet::footer};

/// A field of every type, nested ones included; all but the first may be null.
fn every_type() -> Vec<Field> {
    let of =
        |name: &str, data_type, children| Field { children, ..Field::new(name, data_type, true) };
    let leaf = |name: &str, data_type| Field::new(name, data_type, true);
    vec![
        Field::new("n", DataType::Int64, false),
        leaf("boolean", DataType::Boolean),
        leaf("int32", DataType::Int32),
        leaf("float32", DataType::Float32),
        leaf("float64", DataType::Float64),
        leaf("small_decimal", DataType::Decimal(9, 2)),
        leaf("decimal", DataType::Decimal(38, 10)),
        leaf("text", DataType::Utf8),
        leaf("binary", DataType::Binary),
        leaf("json", DataType::Json),
        leaf("date", DataType::Date),
        leaf("at", DataType::TimestampMicros),
        of("list", DataType::List, vec![leaf("item", DataType::Int32)]),
        of(
            "struct",
            DataType::Struct,
            vec![
                leaf("a", DataType::Utf8),
                of("b", DataType::List, vec![leaf("item", DataType::Date)]),
            ],
        ),
        of(
            "map",
            DataType::Map,
            vec![Field::new("key", DataType::Utf8, false), leaf("value", DataType::Float64)],
        ),
    ]
}

/// 300 rows in which one value in seven of each column is null.
fn every_value(fields: &[Field]) -> RecordBatch {
    let schema = schema::to_arrow(fields);
    let some = |shift: i32| (0..300).map(move |n| (n % 7 != shift % 7).then_some(n - 100));
    let nulls = |shift: i32| Some(NullBuffer::from_iter((0..300).map(move |n| n % 7 != shift % 7)));
    // Lists of 0 to 4 elements, 600 in all; those under a null are there as well.
    let offsets = || OffsetBuffer::from_lengths((0..300).map(|n| n % 5));
    let elements = || (0..600).map(|n| (n % 11 != 0).then_some(n));
    let of = |column: usize| match schema.field(column).data_type() {
        arrow_schema::DataType::List(element) | arrow_schema::DataType::Map(element, _) => {
            Arc::clone(element)
        }
        other => panic!("{other} has no elements"),
    };
    let dates: ArrayRef = Arc::new(ListArray::new(
        match schema.field(13).data_type() {
            arrow_schema::DataType::Struct(members) => match members[1].data_type() {
                arrow_schema::DataType::List(element) => Arc::clone(element),
                other => panic!("{other}"),
            },
            other => panic!("{other}"),
        },
        offsets(),
        Arc::new(Date32Array::from_iter(elements())),
        nulls(3),
    ));
    let members = match schema.field(13).data_type() {
        arrow_schema::DataType::Struct(members) => members.clone(),
        other => panic!("{other}"),
    };
    let entries = StructArray::new(
        match of(14).data_type() {
            arrow_schema::DataType::Struct(members) => members.clone(),
            other => panic!("{other}"),
        },
        vec![
            Arc::new(StringArray::from_iter_values((0..600).map(|n| format!("k{n}")))),
            Arc::new(Float64Array::from_iter(elements().map(|n| n.map(f64::from)))),
        ],
        None,
    );
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(0..300)),
        Arc::new(BooleanArray::from_iter(some(1).map(|n| n.map(|n| n % 2 == 0)))),
        Arc::new(Int32Array::from_iter(some(2))),
        Arc::new(Float32Array::from_iter(some(3).map(|n| n.map(|_| 0.25)))),
        Arc::new(Float64Array::from_iter(some(4).map(|n| n.map(|n| f64::from(n) / 3.0)))),
        Arc::new(
            Decimal128Array::from_iter(some(5).map(|n| n.map(i128::from)))
                .with_precision_and_scale(9, 2)
                .unwrap(),
        ),
        Arc::new(
            Decimal128Array::from_iter(some(6).map(|n| n.map(|n| i128::from(n) * 10_i128.pow(30))))
                .with_precision_and_scale(38, 10)
                .unwrap(),
        ),
        Arc::new(StringArray::from_iter(some(0).map(|n| n.map(|n| format!("é{}", n % 20))))),
        Arc::new(BinaryArray::from_iter(some(1).map(|n| n.map(|n| n.to_be_bytes())))),
        Arc::new(StringArray::from_iter(some(2).map(|n| n.map(|n| format!("{{\"n\":{n}}}"))))),
        Arc::new(Date32Array::from_iter(some(3))),
        Arc::new(
            TimestampMicrosecondArray::from_iter(
                some(4).map(|n| n.map(|n| i64::from(n) * 1_000_003)),
            )
            .with_timezone("UTC"),
        ),
        Arc::new(ListArray::new(
            of(12),
            offsets(),
            Arc::new(Int32Array::from_iter(elements())),
            nulls(5),
        )),
        Arc::new(StructArray::new(
            members,
            vec![
                Arc::new(StringArray::from_iter(some(6).map(|n| n.map(|n| n.to_string())))),
                dates,
            ],
            nulls(0),
        )),
        Arc::new(MapArray::new(of(14), offsets(), entries, nulls(1), false)),
    ];
    RecordBatch::try_new(schema, columns).unwrap()
}

#[test]
fn every_type_comes_back() {
    let fields = every_type();
    let rows = every_value(&fields);
    for compression in [Compression::Zstd(3), Compression::Snappy, Compression::None] {
        let folder = tempfile::tempdir().unwrap();
        let budget = Budget::new(64 << 20);
        let settings = config::Parquet {
            compression,
            ..settings(&[("flag", Expression::Field("boolean".into()))])
        };
        let mut files = files(spec(&fields, settings), &budget, folder.path(), 8);
        for first in (0..300).step_by(20) {
            assert_eq!(write(&mut files, &rows.slice(first, 20)), []);
        }
        assert_eq!(files.rows(), 300);
        let finished: Vec<_> = files.seal().into_iter().map(close).collect();
        let paths: Vec<_> = finished.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["flag=__HIVE_DEFAULT_PARTITION__", "flag=false", "flag=true"]);
        for file in finished {
            let read = file.read();
            let places = arrow_array::UInt32Array::from_iter_values(
                file.numbers().into_iter().map(|n| u32::try_from(n).unwrap()),
            );
            let expected = arrow_select::take::take_record_batch(&rows, &places).unwrap();
            // The reader names elements as Parquet does; compare values, row by row, in a form that shows no names.
            for (read, expected) in read.columns().iter().zip(expected.columns()) {
                assert_eq!(
                    arrow_cast::cast(read, expected.data_type()).unwrap().to_data(),
                    expected.to_data()
                );
            }
        }
    }
}

fn chunk<'a>(
    metadata: &'a parquet::file::metadata::ParquetMetaData,
    column: &str,
) -> &'a ColumnChunkMetaData {
    metadata
        .row_group(0)
        .columns()
        .iter()
        .find(|chunk| chunk.column_path().string() == column)
        .unwrap()
}

#[test]
fn columns_are_encoded_by_what_they_hold() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = files(numbered(128 << 20), &Budget::new(256 << 20), folder.path(), 8);
    for first in (0..30_000).step_by(3000) {
        write(&mut files, &numbers(first, 3000, 1));
    }
    let file = close(files.seal().remove(0));
    let metadata = Arc::clone(file.reader().metadata());
    let encodings = |column| chunk(&metadata, column).encodings().collect::<Vec<_>>();
    assert!(encodings("n").contains(&Encoding::DELTA_BINARY_PACKED));
    assert!(encodings("at").contains(&Encoding::DELTA_BINARY_PACKED));
    assert!(encodings("part").contains(&Encoding::RLE_DICTIONARY));
    assert!(chunk(&metadata, "part").dictionary_page_offset().is_some());
    assert!(
        encodings("text").contains(&Encoding::PLAIN)
            && chunk(&metadata, "text").dictionary_page_offset().is_none()
    );
    for column in metadata.row_group(0).columns() {
        assert!(column.statistics().is_some(), "{}", column.column_path());
        assert!(column.column_index_offset().is_some() && column.offset_index_offset().is_some());
    }
    let at = chunk(&metadata, "at").column_descr().logical_type_ref().cloned();
    assert!(
        matches!(
            at,
            Some(LogicalType::Timestamp(ref of)) if of.is_adjusted_to_u_t_c && of.unit == TimeUnit::MICROS
        ),
        "microseconds, UTC: {at:?}"
    );
}

#[test]
fn encodings_are_chosen_anew_after_a_flush() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = files(numbered(128 << 20), &Budget::new(256 << 20), folder.path(), 8);
    let mut has_dictionary = |texts: usize| {
        let rows = numbers(0, 2000, 1);
        let text = StringArray::from_iter_values((0..2000).map(|n| (n % texts).to_string()));
        let columns =
            rows.columns().iter().take(3).cloned().chain([Arc::new(text) as ArrayRef]).collect();
        write(&mut files, &RecordBatch::try_new(rows.schema(), columns).unwrap());
        let file = close(files.seal().remove(0));
        chunk(file.reader().metadata(), "text").dictionary_page_offset().is_some()
    };
    assert!(has_dictionary(3));
    assert!(!has_dictionary(2000));
    assert!(has_dictionary(3));
}

fn indices(range: std::ops::Range<u64>) -> std::ops::Range<usize> {
    usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()
}

#[test]
fn the_footer_says_what_it_was_told() {
    let folder = tempfile::tempdir().unwrap();
    let budget = Budget::new(256 << 20);
    let mut files = files(numbered(128 << 20), &budget, folder.path(), 8);
    write(&mut files, &numbers(0, 500, 1));
    let sealed = files.seal().remove(0);
    // A footer that the first read does not get whole.
    let long = ("long".to_owned(), "x".repeat(100_000));
    let bytes = Bytes::from(
        sealed.close(vec![("lanes".into(), "clicks-3 10..20".into()), long.clone()]).unwrap(),
    );
    let mut reads = Vec::new();
    let footer = footer(bytes.len() as u64, |range| {
        reads.push(range.clone());
        Ok(bytes.slice(indices(range)))
    })
    .unwrap();
    assert_eq!(reads.len(), 2, "{reads:?}");
    assert_eq!(footer.metadata, [("lanes".into(), "clicks-3 10..20".into()), long]);
    assert_eq!(
        footer.created_by.as_deref(),
        Some(concat!("tidemill version ", env!("CARGO_PKG_VERSION")))
    );
    assert_eq!((footer.rows, footer.row_groups.len(), footer.row_groups[0].rows), (500, 1, 500));
    assert!(
        footer.schema.contains("REQUIRED INT64 at (TIMESTAMP(MICROS,true))"),
        "{}",
        footer.schema
    );
    assert_eq!(budget.used(), 0, "what is closed counts no more");
}

#[test]
fn what_is_no_parquet_has_no_footer() {
    for bytes in [
        &b""[..],
        b"PAR1",
        b"not a parquet file at all",
        b"\xff\xff\xff\x7fPAR1",
        b"\x08\x00\x00\x00PAR1",
    ] {
        let read = |range: std::ops::Range<u64>| Ok(Bytes::copy_from_slice(&bytes[indices(range)]));
        assert_eq!(footer(bytes.len() as u64, read).unwrap_err().blame, Blame::Config);
    }
}

#[test]
fn lists_and_maps_have_the_names_of_the_format() {
    let fields = every_type();
    let folder = tempfile::tempdir().unwrap();
    let mut files = files(spec(&fields, settings(&[])), &Budget::new(64 << 20), folder.path(), 8);
    write(&mut files, &every_value(&fields));
    let file = close(files.seal().remove(0));
    assert_eq!(file.path, "");
    let metadata = Arc::clone(file.reader().metadata());
    let paths: Vec<_> = metadata
        .row_group(0)
        .columns()
        .iter()
        .map(|column| column.column_path().string())
        .collect();
    for path in
        ["list.list.element", "struct.b.list.element", "map.key_value.key", "map.key_value.value"]
    {
        assert!(paths.iter().any(|found| found == path), "{paths:?}");
    }
    assert_eq!(file.read().column_by_name("map").unwrap().len(), 300);
}

//! Columns: there and back, and everything that is no column refused.

use arrow_array::{Array, ArrayRef, cast::AsArray};
use proptest::{collection::vec, prelude::*};

use super::super::{
    lift, lower,
    v0_1::tidemill::transform::types::{
        BytesResult, ColumnParam, ColumnResult, ValuesParam, ValuesResult,
    },
};
use crate::schema::{DataType, Field};

pub(super) fn column(values: ValuesResult) -> ColumnResult {
    ColumnResult { validity: Vec::new(), values }
}

pub(super) fn bytes(ends: &[u32], data: &[u8]) -> ValuesResult {
    ValuesResult::Bytes(BytesResult { ends: ends.to_vec(), data: data.to_vec() })
}

fn lift(field: &Field, len: usize, columns: Vec<ColumnResult>) -> Result<ArrayRef, String> {
    lift::lift(field, len, &mut columns.into_iter())
}

#[test]
fn columns_that_can_not_be_are_refused() {
    let text = Field::new("t", DataType::Utf8, false);
    assert!(lift(&text, 2, vec![column(bytes(&[1, 3], "aé".as_bytes()))]).is_ok());
    for (wrong, says) in [
        (bytes(&[1], b"a"), "1 values"),
        (bytes(&[2, 3], "aé".as_bytes()), "not UTF-8"),
        (bytes(&[1, 2], b"a\xff"), "not UTF-8"),
        (bytes(&[2, 1], b"ab"), "fall"),
        (bytes(&[1, 2], b"abc"), "last end"),
        (bytes(&[1, u32::MAX], b"ab"), "2 GiB"),
        (ValuesResult::Int32(vec![1, 2]), "another type"),
    ] {
        let error = lift(&text, 2, vec![column(wrong)]).unwrap_err();
        assert!(error.contains(says), "{error}");
    }
    let null = ColumnResult { validity: vec![1], values: bytes(&[1, 2], b"ab") };
    assert!(lift(&text, 2, vec![null]).unwrap_err().contains("may not be null"));
    let short = ColumnResult { validity: vec![255], values: ValuesResult::Int64(vec![0; 9]) };
    assert!(
        lift(&Field::new("n", DataType::Int64, true), 9, vec![short])
            .unwrap_err()
            .contains("too short")
    );
    let decimal = Field::new("d", DataType::Decimal(3, 0), false);
    assert!(
        lift(&decimal, 1, vec![column(ValuesResult::Decimal128(vec![u64::MAX - 4, u64::MAX]))])
            .is_ok()
    );
    assert!(
        lift(&decimal, 1, vec![column(ValuesResult::Decimal128(vec![1000, 0]))])
            .unwrap_err()
            .contains("does not fit")
    );
    let list = Field {
        children: vec![Field::new("e", DataType::Int32, false)],
        ..Field::new("l", DataType::List, false)
    };
    let elements = |n| column(ValuesResult::Int32(vec![7; n]));
    let ends = |ends: &[u32]| column(ValuesResult::Lists(ends.to_vec()));
    assert_eq!(
        lift(&list, 2, vec![ends(&[0, 3]), elements(3)]).unwrap().as_list::<i32>().value_length(1),
        3
    );
    assert!(lift(&list, 2, vec![ends(&[0, 3]), elements(2)]).is_err());
    assert!(lift(&list, 2, vec![ends(&[0, 3])]).unwrap_err().contains("no column"));
}

/// Bytes that decide what is made, so that a failure shrinks with them; zeros follow the last one.
struct Tape(std::vec::IntoIter<u8>);

impl Tape {
    fn next(&mut self) -> u8 {
        self.0.next().unwrap_or_default()
    }

    fn below(&mut self, end: usize) -> usize {
        usize::from(self.next()) % end.max(1)
    }
}

fn any_field() -> impl Strategy<Value = Field> {
    use DataType::{
        Binary, Boolean, Date, Decimal, Float32, Float64, Int32, Int64, Json, List, Map, Struct,
        TimestampMicros, Utf8,
    };
    let plain = [
        Boolean,
        Int32,
        Int64,
        Float32,
        Float64,
        Decimal(5, 2),
        Utf8,
        Binary,
        Json,
        Date,
        TimestampMicros,
    ];
    let leaf = (prop::sample::select(plain.to_vec()), any::<bool>())
        .prop_map(|(ty, nullable)| Field::new("f", ty, nullable));
    leaf.prop_recursive(3, 12, 3, |inner| {
        let named = |children: Vec<Field>| {
            children
                .into_iter()
                .enumerate()
                .map(|(n, child)| Field { name: format!("c{n}"), ..child })
        };
        (0..3_usize, vec(inner, 2..4), any::<bool>()).prop_map(move |(kind, children, nullable)| {
            let mut children: Vec<_> = named(children).collect();
            let data_type = [List, Struct, Map][kind];
            match data_type {
                List => children.truncate(1),
                Map => {
                    children.truncate(2);
                    children[0].nullable = false;
                }
                _ => {}
            }
            Field { children, ..Field::new("f", data_type, nullable) }
        })
    })
}

/// Columns that a field may have.
fn columns(field: &Field, len: usize, tape: &mut Tape, into: &mut Vec<ColumnResult>) {
    let validity: Vec<u8> = if field.nullable && tape.next() > 64 {
        (0..len.div_ceil(8)).map(|_| tape.next()).collect()
    } else {
        Vec::new()
    };
    let mut integers = |n: usize| (0..n).map(|_| i32::from(tape.next()) - 128).collect::<Vec<_>>();
    let mut elements = 0;
    let values = match field.data_type {
        DataType::Boolean => {
            ValuesResult::Bits((0..len.div_ceil(8)).map(|_| tape.next()).collect())
        }
        DataType::Int32 | DataType::Date => ValuesResult::Int32(integers(len)),
        DataType::Int64 | DataType::TimestampMicros => {
            ValuesResult::Int64(integers(len).into_iter().map(i64::from).collect())
        }
        DataType::Float32 => {
            ValuesResult::Float32((0..len).map(|_| f32::from(tape.next())).collect())
        }
        DataType::Float64 => {
            ValuesResult::Float64(integers(len).into_iter().map(f64::from).collect())
        }
        DataType::Decimal(..) => {
            let words = |value: i32| {
                [i64::from(value).cast_unsigned(), if value < 0 { u64::MAX } else { 0 }]
            };
            ValuesResult::Decimal128(integers(len).into_iter().flat_map(words).collect())
        }
        DataType::Utf8 | DataType::Json | DataType::Binary => {
            let texts = (0..len)
                .map(|_| ["", "a", "é", "\u{1f30a}", "long text"][tape.below(5)])
                .collect::<Vec<_>>();
            let ends = texts.iter().scan(0, |end, text| {
                *end += u32::try_from(text.len()).unwrap();
                Some(*end)
            });
            bytes(&ends.collect::<Vec<_>>(), texts.concat().as_bytes())
        }
        DataType::List | DataType::Map => ValuesResult::Lists(
            (0..len)
                .map(|_| {
                    elements += tape.below(4);
                    u32::try_from(elements).unwrap()
                })
                .collect(),
        ),
        DataType::Struct => {
            elements = len;
            ValuesResult::Structs
        }
    };
    into.push(ColumnResult { validity, values });
    field.children.iter().for_each(|child| columns(child, elements, tape, into));
}

/// What the host hands a guest, as if the guest handed it back.
fn returned(column: ColumnParam<'_>) -> ColumnResult {
    let values = match column.values {
        ValuesParam::Bits(bits) => ValuesResult::Bits(bits.to_vec()),
        ValuesParam::Int32(values) => ValuesResult::Int32(values.to_vec()),
        ValuesParam::Int64(values) => ValuesResult::Int64(values.to_vec()),
        ValuesParam::Float32(values) => ValuesResult::Float32(values.to_vec()),
        ValuesParam::Float64(values) => ValuesResult::Float64(values.to_vec()),
        ValuesParam::Decimal128(words) => ValuesResult::Decimal128(words.to_vec()),
        ValuesParam::Bytes(values) => bytes(values.ends, values.data),
        ValuesParam::Lists(ends) => ValuesResult::Lists(ends.to_vec()),
        ValuesParam::Structs => ValuesResult::Structs,
    };
    ColumnResult { validity: column.validity.to_vec(), values }
}

/// Spoils something of a column.
fn spoil(column: &mut ColumnResult, tape: &mut Tape) {
    fn list<T: Clone>(values: &mut Vec<T>, any: T, tape: &mut Tape) {
        let at = tape.below(values.len() + 1);
        match tape.below(3) {
            0 => values.truncate(at),
            1 => values.insert(at, any),
            _ => values.iter_mut().skip(at).take(1).for_each(|value| *value = any.clone()),
        }
    }
    let byte = tape.next();
    let end = [u32::from(byte), u32::MAX, 1 << 31][tape.below(3)];
    match (tape.below(3), &mut column.values) {
        (0, _) => list(&mut column.validity, byte, tape),
        (1, values) => {
            *values = [
                ValuesResult::Structs,
                ValuesResult::Lists(vec![end]),
                ValuesResult::Bits(vec![byte]),
            ][tape.below(3)]
            .clone()
        }
        (_, ValuesResult::Bits(bits)) => list(bits, byte, tape),
        (_, ValuesResult::Int32(values)) => list(values, 7, tape),
        (_, ValuesResult::Int64(values)) => list(values, 7, tape),
        (_, ValuesResult::Float32(values)) => list(values, f32::NAN, tape),
        (_, ValuesResult::Float64(values)) => list(values, f64::NAN, tape),
        (_, ValuesResult::Decimal128(words)) => list(words, u64::MAX / 2, tape),
        (_, ValuesResult::Bytes(bytes)) if byte < 128 => list(&mut bytes.ends, end, tape),
        (_, ValuesResult::Bytes(bytes)) => list(&mut bytes.data, byte, tape),
        (_, ValuesResult::Lists(ends)) => list(ends, end, tape),
        (_, ValuesResult::Structs) => column.validity.push(byte),
    }
}

proptest! {
    #[test]
    fn any_part_of_an_array_comes_back_as_it_went_in(
        field in any_field(), len in 0_usize..20, part in any::<(u8, u8)>(), tape in vec(any::<u8>(), 0..300),
    ) {
        let mut made = Vec::new();
        columns(&field, len, &mut Tape(tape.into_iter()), &mut made);
        let array = lift(&field, len, made).unwrap();
        let expected = field.to_arrow();
        prop_assert_eq!(array.data_type(), expected.data_type());
        let start = usize::from(part.0) % (len + 1);
        let part = array.slice(start, usize::from(part.1) % (len - start + 1));
        let mut lowered = Vec::new();
        lower::lower(&field, &part, &mut lowered);
        let back = lift(&field, part.len(), lowered.iter().map(|column| returned(column.param())).collect()).unwrap();
        prop_assert_eq!(&back, &part);
    }

    #[test]
    fn spoiled_columns_are_refused_or_still_make_a_valid_array(
        field in any_field(), len in 0_usize..20, tape in vec(any::<u8>(), 0..300), spoils in vec(any::<u8>(), 8..30),
    ) {
        let mut made = Vec::new();
        columns(&field, len, &mut Tape(tape.into_iter()), &mut made);
        let mut spoils = Tape(spoils.into_iter());
        for _ in 0..=spoils.below(2) {
            let which = spoils.below(made.len());
            spoil(&mut made[which], &mut spoils);
        }
        if let Ok(array) = lift(&field, len, made) {
            prop_assert_eq!(array.len(), len);
            array.to_data().validate_full().unwrap();
        }
    }
}

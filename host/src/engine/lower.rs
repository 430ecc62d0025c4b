//! From Arrow arrays to the columns of the contract: values go in as slices, nothing is copied here but what Arrow stores otherwise.

use std::{borrow::Cow, ops::Range};

use arrow_array::{
    Array, ArrayRef,
    cast::AsArray,
    types::{
        Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type,
        TimestampMicrosecondType,
    },
};
use arrow_buffer::BooleanBuffer;

use super::v0_1::tidemill::transform::types::{BytesParam, ColumnParam, ValuesParam};
use crate::{
    record::PackedBytes,
    schema::{DataType, Field},
};

/// A column, owned as far as Arrow has it in another form.
#[derive(Debug)]
pub(super) struct Lowered<'a> {
    pub validity: Vec<u8>,
    pub values: Values<'a>,
}

#[derive(Debug)]
pub(super) enum Values<'a> {
    Bits(Vec<u8>),
    Int32(&'a [i32]),
    Int64(&'a [i64]),
    Float32(&'a [f32]),
    Float64(&'a [f64]),
    Decimal(Vec<u64>),
    Bytes(Cow<'a, [u32]>, &'a [u8]),
    Lists(Vec<u32>),
    Structs,
}

impl Lowered<'_> {
    /// The same, as the bindings take it.
    pub(super) fn param(&self) -> ColumnParam<'_> {
        let values = match &self.values {
            Values::Bits(bits) => ValuesParam::Bits(bits),
            Values::Int32(values) => ValuesParam::Int32(values),
            Values::Int64(values) => ValuesParam::Int64(values),
            Values::Float32(values) => ValuesParam::Float32(values),
            Values::Float64(values) => ValuesParam::Float64(values),
            Values::Decimal(words) => ValuesParam::Decimal128(words),
            Values::Bytes(ends, data) => ValuesParam::Bytes(BytesParam { ends, data }),
            Values::Lists(ends) => ValuesParam::Lists(ends),
            Values::Structs => ValuesParam::Structs,
        };
        ColumnParam { validity: &self.validity, values }
    }
}

/// Appends the columns of an array and of its children, in pre-order.
pub(super) fn lower<'a>(field: &Field, array: &'a ArrayRef, into: &mut Vec<Lowered<'a>>) {
    lower_range(field, array, 0..array.len(), into);
}

/// Children of a sliced list hold more than the list shows: every column is that of a range.
fn lower_range<'a>(
    field: &Field,
    array: &'a ArrayRef,
    range: Range<usize>,
    into: &mut Vec<Lowered<'a>>,
) {
    let nulls = array.nulls().map(|nulls| nulls.slice(range.start, range.len()));
    let validity = nulls
        .filter(|nulls| nulls.null_count() > 0)
        .map(|nulls| bits(nulls.inner()))
        .unwrap_or_default();
    let push = |values| into.push(Lowered { validity, values });
    match field.data_type {
        DataType::Boolean => {
            push(Values::Bits(bits(&array.as_boolean().values().slice(range.start, range.len()))))
        }
        DataType::Int32 => push(Values::Int32(&array.as_primitive::<Int32Type>().values()[range])),
        DataType::Date => push(Values::Int32(&array.as_primitive::<Date32Type>().values()[range])),
        DataType::Int64 => push(Values::Int64(&array.as_primitive::<Int64Type>().values()[range])),
        DataType::TimestampMicros => {
            push(Values::Int64(&array.as_primitive::<TimestampMicrosecondType>().values()[range]))
        }
        DataType::Float32 => {
            push(Values::Float32(&array.as_primitive::<Float32Type>().values()[range]))
        }
        DataType::Float64 => {
            push(Values::Float64(&array.as_primitive::<Float64Type>().values()[range]))
        }
        DataType::Decimal(..) => {
            let values = &array.as_primitive::<Decimal128Type>().values()[range];
            push(Values::Decimal(values.iter().flat_map(|value| words(*value)).collect()));
        }
        DataType::Utf8 | DataType::Json => {
            let array = array.as_string::<i32>();
            let (ends, bytes) = ends(array.value_offsets(), range);
            push(Values::Bytes(ends.into(), &array.value_data()[bytes]));
        }
        DataType::Binary => {
            let array = array.as_binary::<i32>();
            let (ends, bytes) = ends(array.value_offsets(), range);
            push(Values::Bytes(ends.into(), &array.value_data()[bytes]));
        }
        DataType::List => {
            let list = array.as_list::<i32>();
            let (ends, elements) = ends(list.value_offsets(), range);
            push(Values::Lists(ends));
            lower_range(&field.children[0], list.values(), elements, into);
        }
        DataType::Struct => {
            push(Values::Structs);
            for (child, column) in field.children.iter().zip(array.as_struct().columns()) {
                lower_range(child, column, range.clone(), into);
            }
        }
        DataType::Map => {
            let map = array.as_map();
            let (ends, entries) = ends(map.value_offsets(), range);
            push(Values::Lists(ends));
            lower_range(&field.children[0], map.keys(), entries.clone(), into);
            lower_range(&field.children[1], map.values(), entries, into);
        }
    }
}

/// Keys, values or headers as they came from Kafka.
pub(super) fn packed(bytes: &PackedBytes) -> Lowered<'_> {
    let validity = bytes
        .validity()
        .map(|valid| bits(&valid.iter().copied().collect::<BooleanBuffer>()))
        .unwrap_or_default();
    Lowered { validity, values: Values::Bytes(bytes.ends().into(), bytes.data()) }
}

/// A bitmap that starts at a byte.
fn bits(buffer: &BooleanBuffer) -> Vec<u8> {
    buffer.sliced().as_slice()[..buffer.len().div_ceil(8)].to_vec()
}

fn words(value: i128) -> [u64; 2] {
    let bytes = value.to_le_bytes();
    let word = |at: usize| {
        u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes are a word"))
    };
    [word(0), word(8)]
}

/// The end of each value of a range, counted from where the first one starts, and the range of what the values hold.
fn ends(offsets: &[i32], range: Range<usize>) -> (Vec<u32>, Range<usize>) {
    let first = offsets[range.start];
    let end = |offset: &i32| u32::try_from(offset - first).expect("Arrow's offsets never fall");
    let place = |offset: i32| usize::try_from(offset).expect("Arrow's offsets are never negative");
    let held = place(first)..place(offsets[range.end]);
    (offsets[range.start + 1..=range.end].iter().map(end).collect(), held)
}

//! From Arrow arrays to the columns of the contract: values go in as slices, nothing is copied here but what Arrow stores otherwise.

use arrow_array::{
    Array, ArrayRef,
    cast::AsArray,
    types::{
        Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type,
        TimestampMicrosecondType,
    },
};
use arrow_buffer::{BooleanBuffer, NullBuffer};

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
    Bytes(Vec<u32>, &'a [u8]),
    Lists(Vec<u32>),
    Structs,
}

/// Appends the columns of an array and of its children, in pre-order.
pub(super) fn lower<'a>(field: &Field, array: &'a ArrayRef, into: &mut Vec<Lowered<'a>>) {
    let validity = array
        .nulls()
        .filter(|nulls| nulls.null_count() > 0)
        .map(|nulls| bits(nulls.inner()))
        .unwrap_or_default();
    let push = |values| into.push(Lowered { validity, values });
    match field.data_type {
        DataType::Boolean => push(Values::Bits(bits(array.as_boolean().values()))),
        DataType::Int32 => push(Values::Int32(array.as_primitive::<Int32Type>().values())),
        DataType::Date => push(Values::Int32(array.as_primitive::<Date32Type>().values())),
        DataType::Int64 => push(Values::Int64(array.as_primitive::<Int64Type>().values())),
        DataType::TimestampMicros => {
            push(Values::Int64(array.as_primitive::<TimestampMicrosecondType>().values()))
        }
        DataType::Float32 => push(Values::Float32(array.as_primitive::<Float32Type>().values())),
        DataType::Float64 => push(Values::Float64(array.as_primitive::<Float64Type>().values())),
        DataType::Decimal(..) => {
            let values = array.as_primitive::<Decimal128Type>().values();
            push(Values::Decimal(values.iter().flat_map(|value| words(*value)).collect()));
        }
        DataType::Utf8 | DataType::Json => {
            let array = array.as_string::<i32>();
            let (ends, range) = ends(array.value_offsets());
            push(Values::Bytes(ends, &array.value_data()[range]));
        }
        DataType::Binary => {
            let array = array.as_binary::<i32>();
            let (ends, range) = ends(array.value_offsets());
            push(Values::Bytes(ends, &array.value_data()[range]));
        }
        DataType::List => {
            let list = array.as_list::<i32>();
            push(Values::Lists(ends(list.value_offsets()).0));
            lower(&field.children[0], list.values(), into);
        }
        DataType::Struct => {
            push(Values::Structs);
            for (child, column) in field.children.iter().zip(array.as_struct().columns()) {
                lower(child, column, into);
            }
        }
        DataType::Map => {
            let map = array.as_map();
            push(Values::Lists(ends(map.value_offsets()).0));
            lower(&field.children[0], map.keys(), into);
            lower(&field.children[1], map.values(), into);
        }
    }
}

/// Keys, values or headers as they came from Kafka.
pub(super) fn packed(bytes: &PackedBytes) -> Lowered<'_> {
    let validity = bytes
        .validity()
        .map(|valid| bits(&valid.iter().copied().collect::<NullBuffer>().into_inner()))
        .unwrap_or_default();
    Lowered { validity, values: Values::Bytes(bytes.ends().to_vec(), bytes.data()) }
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

/// The end of each value, from the first one's start on, and the range of the values' bytes.
fn ends(offsets: &[i32]) -> (Vec<u32>, std::ops::Range<usize>) {
    let first = offsets[0];
    let end = |offset: &i32| u32::try_from(offset - first).expect("Arrow's offsets never fall");
    let place = |offset: i32| usize::try_from(offset).expect("Arrow's offsets are never negative");
    (offsets[1..].iter().map(end).collect(), place(first)..place(offsets[offsets.len() - 1]))
}

//! From the columns of the contract to Arrow arrays. Nothing of a guest is believed: every length, end, bitmap and text is checked.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array,
    Int32Array, Int64Array, ListArray, MapArray, StringArray, StructArray,
    TimestampMicrosecondArray,
};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema as arrow;

use super::v0_1::exports::tidemill::transform::transform as export;
use super::v0_1::tidemill::transform::types as wit;
use crate::schema::{DataType, Field};

pub(super) type Column = wit::ColumnResult;
type Values = wit::ValuesResult;
pub(super) type Processed = export::Processed;

/// The array of a field from its column and those of its children; the text of an error follows "gives".
pub(super) fn lift(
    field: &Field,
    len: usize,
    columns: &mut dyn Iterator<Item = Column>,
) -> Result<ArrayRef, String> {
    let name = &field.name;
    let column = columns.next().ok_or_else(|| format!("no column for field {name}"))?;
    let nulls = nulls(field, len, column.validity)?;
    let count = |found: usize| {
        if found == len {
            Ok(())
        } else {
            Err(format!("{found} values of field {name} for {len} rows"))
        }
    };
    Ok(match (field.data_type, column.values) {
        (DataType::Boolean, Values::Bits(bits)) => {
            let values = bitmap(bits, len)
                .ok_or_else(|| format!("too few bits of field {name} for {len} rows"))?;
            Arc::new(BooleanArray::new(values, nulls))
        }
        (DataType::Int32, Values::Int32(values)) => {
            count(values.len())?;
            Arc::new(Int32Array::new(values.into(), nulls))
        }
        (DataType::Date, Values::Int32(values)) => {
            count(values.len())?;
            Arc::new(Date32Array::new(values.into(), nulls))
        }
        (DataType::Int64, Values::Int64(values)) => {
            count(values.len())?;
            Arc::new(Int64Array::new(values.into(), nulls))
        }
        (DataType::TimestampMicros, Values::Int64(values)) => {
            count(values.len())?;
            Arc::new(TimestampMicrosecondArray::new(values.into(), nulls).with_timezone("UTC"))
        }
        (DataType::Float32, Values::Float32(values)) => {
            count(values.len())?;
            Arc::new(Float32Array::new(values.into(), nulls))
        }
        (DataType::Float64, Values::Float64(values)) => {
            count(values.len())?;
            Arc::new(Float64Array::new(values.into(), nulls))
        }
        (DataType::Decimal(precision, scale), Values::Decimal128(words)) => {
            let (pairs, rest) = words.as_chunks::<2>();
            count(pairs.len())?;
            if !rest.is_empty() {
                return Err(format!("half a decimal of field {name}"));
            }
            let values: Vec<i128> = pairs
                .iter()
                .map(|[low, high]| (i128::from(high.cast_signed()) << 64) | i128::from(*low))
                .collect();
            let array = Decimal128Array::new(values.into(), nulls)
                .with_data_type(arrow::DataType::Decimal128(precision, scale));
            array
                .validate_decimal_precision(precision)
                .map_err(|error| format!("a decimal of field {name} that does not fit: {error}"))?;
            Arc::new(array)
        }
        (DataType::Utf8 | DataType::Json, Values::Bytes(bytes)) => {
            count(bytes.ends.len())?;
            let offsets = offsets(name, bytes.ends, bytes.data.len())?;
            let array = StringArray::try_new(offsets, Buffer::from_vec(bytes.data), nulls);
            Arc::new(
                array
                    .map_err(|error| format!("text of field {name} that is not UTF-8: {error}"))?,
            )
        }
        (DataType::Binary, Values::Bytes(bytes)) => {
            count(bytes.ends.len())?;
            let offsets = offsets(name, bytes.ends, bytes.data.len())?;
            Arc::new(BinaryArray::new(offsets, Buffer::from_vec(bytes.data), nulls))
        }
        (DataType::List, Values::Lists(ends)) => {
            count(ends.len())?;
            let elements = last(&ends)?;
            let values = lift(&field.children[0], elements, columns)?;
            let child = Arc::new(field.children[0].to_arrow());
            Arc::new(ListArray::new(child, offsets(name, ends, elements)?, values, nulls))
        }
        (DataType::Map, Values::Lists(ends)) => {
            count(ends.len())?;
            let entries = last(&ends)?;
            let offsets = offsets(name, ends, entries)?;
            let arrays = field
                .children
                .iter()
                .map(|child| lift(child, entries, columns))
                .collect::<Result<Vec<_>, _>>()?;
            let arrow = field.to_arrow();
            let arrow::DataType::Map(entry, _) = arrow.data_type() else {
                unreachable!("a map field is a map in Arrow")
            };
            let arrow::DataType::Struct(fields) = entry.data_type() else {
                unreachable!("a map's entries are a struct")
            };
            let structs = StructArray::new(fields.clone(), arrays, None);
            Arc::new(MapArray::new(Arc::clone(entry), offsets, structs, nulls, false))
        }
        (DataType::Struct, Values::Structs) => {
            let arrays = field
                .children
                .iter()
                .map(|child| lift(child, len, columns))
                .collect::<Result<Vec<_>, _>>()?;
            let arrow = field.to_arrow();
            let arrow::DataType::Struct(fields) = arrow.data_type() else {
                unreachable!("a struct field is a struct in Arrow")
            };
            let structs = StructArray::try_new(fields.clone(), arrays, nulls);
            Arc::new(
                structs
                    .map_err(|error| format!("a struct of field {name} that can't be: {error}"))?,
            )
        }
        (data_type, _) => {
            return Err(format!("values of another type than {data_type:?} for field {name}"));
        }
    })
}

fn nulls(field: &Field, len: usize, validity: Vec<u8>) -> Result<Option<NullBuffer>, String> {
    let name = &field.name;
    if validity.is_empty() {
        return Ok(None);
    }
    let bits = bitmap(validity, len)
        .ok_or_else(|| format!("too short a validity of field {name} for {len} rows"))?;
    let nulls = NullBuffer::new(bits);
    if nulls.null_count() > 0 && !field.nullable {
        return Err(format!("a null in field {name}, which may not be null"));
    }
    Ok((nulls.null_count() > 0).then_some(nulls))
}

fn bitmap(bytes: Vec<u8>, len: usize) -> Option<BooleanBuffer> {
    (bytes.len() >= len.div_ceil(8)).then(|| BooleanBuffer::new(Buffer::from_vec(bytes), 0, len))
}

fn last(ends: &[u32]) -> Result<usize, String> {
    usize::try_from(ends.last().copied().unwrap_or_default()).map_err(|error| error.to_string())
}

/// Arrow's offsets of values that end where the guest says.
fn offsets(name: &str, ends: Vec<u32>, len: usize) -> Result<OffsetBuffer<i32>, String> {
    let mut offsets = Vec::with_capacity(ends.len() + 1);
    offsets.push(0);
    let mut previous = 0;
    for end in ends {
        let end = i32::try_from(end).map_err(|_| format!("an end of field {name} past 2 GiB"))?;
        if end < previous {
            return Err(format!("ends of field {name} that fall"));
        }
        previous = end;
        offsets.push(end);
    }
    if usize::try_from(previous).ok() != Some(len) {
        return Err(format!("{len} bytes or elements of field {name}, its last end is {previous}"));
    }
    Ok(OffsetBuffer::new(ScalarBuffer::from(offsets)))
}

/// The bytes of all columns together, as the guest gave them.
pub(super) fn size(processed: &Processed) -> u64 {
    let column = |column: &Column| {
        let values = match &column.values {
            Values::Bits(bits) => bits.len(),
            Values::Int32(values) => 4 * values.len(),
            Values::Int64(values) => 8 * values.len(),
            Values::Float32(values) => 4 * values.len(),
            Values::Float64(values) => 8 * values.len(),
            Values::Decimal128(words) => 8 * words.len(),
            Values::Bytes(bytes) => 4 * bytes.ends.len() + bytes.data.len(),
            Values::Lists(ends) => 4 * ends.len(),
            Values::Structs => 0,
        };
        column.validity.len() + values
    };
    let outputs = processed
        .outputs
        .iter()
        .map(|output| 4 * output.lineage.len() + output.columns.iter().map(column).sum::<usize>());
    let rejections = processed.rejections.iter().map(|rejection| 32 + rejection.reason.len());
    outputs.chain(rejections).sum::<usize>() as u64
}

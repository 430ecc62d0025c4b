//! Columns that grow by one value at a time, and shrink again when a record turns out to be broken.

use std::{mem, sync::Arc};

use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array,
    Int32Array, Int64Array, ListArray, MapArray, StringArray, StructArray,
    TimestampMicrosecondArray,
};
use arrow_buffer::{BooleanBufferBuilder, Buffer, NullBufferBuilder, OffsetBuffer};
use arrow_schema::{DataType as ArrowType, FieldRef};

use super::json::Names;
use crate::{
    fault::Fault,
    schema::{DataType, Field},
};

/// The column of a field.
#[derive(Debug)]
pub(super) struct Column {
    /// The way to the field from the top, for people.
    pub(super) path: String,
    pub(super) data_type: DataType,
    pub(super) nullable: bool,
    valid: NullBufferBuilder,
    /// The number of values.
    pub(super) len: usize,
    pub(super) values: Values,
    arrow: FieldRef,
}

/// The values of a column; what is null has a value too.
#[derive(Debug)]
pub(super) enum Values {
    Boolean(BooleanBufferBuilder),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Float32(Vec<f32>),
    Float64(Vec<f64>),
    Decimal(Vec<i128>, u8, i8),
    Utf8(Packed),
    Binary(Packed),
    Json(Packed),
    Date(Vec<i32>),
    Timestamp(Vec<i64>),
    List(Offsets, Box<Column>),
    Struct(Members),
    Map(Offsets, Box<Entries>),
}

/// The columns of an object's members.
#[derive(Debug)]
pub(super) struct Members {
    pub(super) columns: Vec<Column>,
    pub(super) names: Names,
}

/// The columns of a map.
#[derive(Debug)]
pub(super) struct Entries {
    pub(super) keys: Packed,
    pub(super) values: Column,
}

/// Byte strings, in Arrow's layout.
#[derive(Debug, Default)]
pub(super) struct Packed {
    offsets: Offsets,
    data: Vec<u8>,
}

/// Where values end in what they share, in Arrow's layout: one more than there are values, the first is 0.
#[derive(Debug)]
pub(super) struct Offsets(Vec<i32>);

impl Column {
    /// The column of a field that stands below `parent` (a path, empty at the top).
    fn new(field: &Field, path: String) -> Result<Self, Fault> {
        let count = match field.data_type {
            DataType::List => 1..=1,
            DataType::Struct => 1..=usize::MAX,
            DataType::Map => 2..=2,
            _ => 0..=0,
        };
        if !count.contains(&field.children.len()) {
            let (name, children) = (type_name(field.data_type), field.children.len());
            return Err(Fault::transform(format!(
                "field `{path}` of type {name} has {children} child fields"
            )));
        }
        let values = match field.data_type {
            DataType::Boolean => Values::Boolean(BooleanBufferBuilder::new(0)),
            DataType::Int32 => Values::Int32(Vec::new()),
            DataType::Int64 => Values::Int64(Vec::new()),
            DataType::Float32 => Values::Float32(Vec::new()),
            DataType::Float64 => Values::Float64(Vec::new()),
            DataType::Decimal(precision, scale) => {
                if !(1..=38).contains(&precision)
                    || !u8::try_from(scale).is_ok_and(|scale| scale <= precision)
                {
                    return Err(Fault::transform(format!(
                        "field `{path}` is a decimal({precision}, {scale})"
                    ))
                    .help("precision goes from 1 to 38, scale from 0 to precision"));
                }
                Values::Decimal(Vec::new(), precision, scale)
            }
            DataType::Utf8 => Values::Utf8(Packed::default()),
            DataType::Binary => Values::Binary(Packed::default()),
            DataType::Json => Values::Json(Packed::default()),
            DataType::Date => Values::Date(Vec::new()),
            DataType::TimestampMicros => Values::Timestamp(Vec::new()),
            DataType::List => Values::List(
                Offsets::default(),
                Box::new(Self::new(&field.children[0], format!("{path}[]"))?),
            ),
            DataType::Struct => Values::Struct(Members::new(&field.children, &format!("{path}."))?),
            DataType::Map => {
                let (key, value) = (&field.children[0], &field.children[1]);
                if key.data_type != DataType::Utf8 || key.nullable {
                    return Err(Fault::transform(format!("the keys of map `{path}` are not text"))
                        .help("names of JSON members are text: declare the keys as utf8, not nullable"));
                }
                let values = Self::new(value, format!("{path}{{}}"))?;
                Values::Map(
                    Offsets::default(),
                    Box::new(Entries { keys: Packed::default(), values }),
                )
            }
        };
        Ok(Self {
            path,
            data_type: field.data_type,
            nullable: field.nullable,
            valid: NullBufferBuilder::new(0),
            len: 0,
            values,
            arrow: Arc::new(field.to_arrow()),
        })
    }

    /// Counts a value that was appended to `values`.
    #[inline]
    pub(super) fn appended(&mut self) {
        self.valid.append_non_null();
        self.len += 1;
    }

    /// Appends a null, also where the field is not nullable: then one above it is null too.
    pub(super) fn push_null(&mut self) {
        match &mut self.values {
            Values::Boolean(values) => values.append(false),
            Values::Int32(values) | Values::Date(values) => values.push(0),
            Values::Int64(values) | Values::Timestamp(values) => values.push(0),
            Values::Float32(values) => values.push(0.0),
            Values::Float64(values) => values.push(0.0),
            Values::Decimal(values, ..) => values.push(0),
            Values::Utf8(values) | Values::Binary(values) | Values::Json(values) => {
                values.push(|_| ())
            }
            Values::List(offsets, _) | Values::Map(offsets, _) => offsets.push(offsets.end()),
            Values::Struct(members) => members.columns.iter_mut().for_each(Self::push_null),
        }
        self.valid.append_null();
        self.len += 1;
    }

    /// Takes back all values from a place on, and what an unfinished value has left behind.
    pub(super) fn truncate(&mut self, len: usize) {
        match &mut self.values {
            Values::Boolean(values) => values.truncate(len),
            Values::Int32(values) | Values::Date(values) => values.truncate(len),
            Values::Int64(values) | Values::Timestamp(values) => values.truncate(len),
            Values::Float32(values) => values.truncate(len),
            Values::Float64(values) => values.truncate(len),
            Values::Decimal(values, ..) => values.truncate(len),
            Values::Utf8(values) | Values::Binary(values) | Values::Json(values) => {
                values.truncate(len)
            }
            Values::List(offsets, element) => {
                offsets.truncate(len);
                element.truncate(offsets.end());
            }
            Values::Struct(members) => members.truncate(len),
            Values::Map(offsets, entries) => {
                offsets.truncate(len);
                entries.truncate(offsets.end());
            }
        }
        self.valid.truncate(len);
        self.len = self.len.min(len);
    }

    /// The values as an array. Leaves the column empty, with room for as many.
    fn finish(&mut self) -> ArrayRef {
        let rows = mem::take(&mut self.len);
        let valid = self.valid.finish().filter(|valid| valid.null_count() > 0);
        self.valid = NullBufferBuilder::new(rows);
        match &mut self.values {
            Values::Boolean(values) => {
                let bits = mem::replace(values, BooleanBufferBuilder::new(rows)).build();
                Arc::new(BooleanArray::new(bits, valid))
            }
            Values::Int32(values) => Arc::new(Int32Array::new(take(values).into(), valid)),
            Values::Int64(values) => Arc::new(Int64Array::new(take(values).into(), valid)),
            Values::Float32(values) => Arc::new(Float32Array::new(take(values).into(), valid)),
            Values::Float64(values) => Arc::new(Float64Array::new(take(values).into(), valid)),
            Values::Decimal(values, ..) => Arc::new(
                Decimal128Array::new(take(values).into(), valid)
                    .with_data_type(self.arrow.data_type().clone()),
            ),
            // This reads the text once more; without `unsafe` Arrow has no other way in for buffers that can be cut back.
            Values::Utf8(values) | Values::Json(values) => {
                let (offsets, data) = values.finish();
                Arc::new(StringArray::new(offsets, data, valid))
            }
            Values::Binary(values) => {
                let (offsets, data) = values.finish();
                Arc::new(BinaryArray::new(offsets, data, valid))
            }
            Values::Date(values) => Arc::new(Date32Array::new(take(values).into(), valid)),
            Values::Timestamp(values) => Arc::new(
                TimestampMicrosecondArray::new(take(values).into(), valid).with_timezone("UTC"),
            ),
            Values::List(offsets, element) => {
                let array = element.finish();
                Arc::new(ListArray::new(Arc::clone(&element.arrow), offsets.finish(), array, valid))
            }
            Values::Struct(members) => {
                let ArrowType::Struct(fields) = self.arrow.data_type() else {
                    unreachable!("a struct is a struct in Arrow")
                };
                Arc::new(StructArray::new(fields.clone(), members.finish(), valid))
            }
            Values::Map(offsets, entries) => {
                let ArrowType::Map(field, ordered) = self.arrow.data_type() else {
                    unreachable!("a map is a map in Arrow")
                };
                let ArrowType::Struct(fields) = field.data_type() else {
                    unreachable!("a map's entries are a struct")
                };
                let (ends, data) = entries.keys.finish();
                let columns =
                    vec![Arc::new(StringArray::new(ends, data, None)), entries.values.finish()];
                let entries = StructArray::new(fields.clone(), columns, None);
                Arc::new(MapArray::new(
                    Arc::clone(field),
                    offsets.finish(),
                    entries,
                    valid,
                    *ordered,
                ))
            }
        }
    }
}

impl Members {
    /// The columns of fields whose paths start with `prefix`.
    pub(super) fn new(fields: &[Field], prefix: &str) -> Result<Self, Fault> {
        let columns = fields
            .iter()
            .map(|field| Column::new(field, format!("{prefix}{}", field.name)))
            .collect::<Result<_, _>>()?;
        let names = Names::new(fields.iter().map(|field| &*field.name)).map_err(|name| {
            Fault::transform(format!("field `{prefix}{name}` is declared twice"))
        })?;
        Ok(Self { columns, names })
    }

    /// Takes back all rows from a place on, and what an unfinished row has left behind.
    pub(super) fn truncate(&mut self, rows: usize) {
        self.columns.iter_mut().for_each(|column| column.truncate(rows));
    }

    /// One array a column. Leaves the columns empty.
    pub(super) fn finish(&mut self) -> Vec<ArrayRef> {
        self.columns.iter_mut().map(Column::finish).collect()
    }
}

impl Entries {
    /// Takes back all entries from a place on.
    pub(super) fn truncate(&mut self, len: usize) {
        self.keys.truncate(len);
        self.values.truncate(len);
    }
}

impl Packed {
    /// Appends a value: what `append` appends.
    #[inline]
    pub(super) fn push<T>(&mut self, append: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let result = append(&mut self.data);
        self.offsets.push(self.data.len());
        result
    }

    /// The value at a place.
    pub(super) fn get(&self, index: usize) -> &[u8] {
        &self.data[self.offsets.at(index)..self.offsets.at(index + 1)]
    }

    fn truncate(&mut self, len: usize) {
        self.offsets.truncate(len);
        self.data.truncate(self.offsets.end());
    }

    fn finish(&mut self) -> (OffsetBuffer<i32>, Buffer) {
        (self.offsets.finish(), Buffer::from_vec(take(&mut self.data)))
    }
}

impl Offsets {
    /// Appends the end of a value.
    #[inline]
    pub(super) fn push(&mut self, end: usize) {
        self.0.push(i32::try_from(end).expect("a batch holds less than 2 GiB"));
    }

    /// The end of the last value.
    #[inline]
    pub(super) fn end(&self) -> usize {
        self.at(self.0.len() - 1)
    }

    #[inline]
    fn at(&self, index: usize) -> usize {
        usize::try_from(self.0[index]).expect("offsets are pushed as lengths")
    }

    fn truncate(&mut self, len: usize) {
        self.0.truncate(len + 1);
    }

    fn finish(&mut self) -> OffsetBuffer<i32> {
        let offsets = take(&mut self.0);
        self.0.push(0);
        OffsetBuffer::new(offsets.into())
    }
}

impl Default for Offsets {
    fn default() -> Self {
        Self(vec![0])
    }
}

/// What a type is called in the contract.
pub(super) fn type_name(data_type: DataType) -> String {
    match data_type {
        DataType::Boolean => "boolean".into(),
        DataType::Int32 => "int32".into(),
        DataType::Int64 => "int64".into(),
        DataType::Float32 => "float32".into(),
        DataType::Float64 => "float64".into(),
        DataType::Decimal(precision, scale) => format!("decimal({precision}, {scale})"),
        DataType::Utf8 => "utf8".into(),
        DataType::Binary => "binary".into(),
        DataType::Json => "json".into(),
        DataType::Date => "date".into(),
        DataType::TimestampMicros => "timestamp-micros".into(),
        DataType::List => "list".into(),
        DataType::Struct => "struct".into(),
        DataType::Map => "map".into(),
    }
}

/// The vector; an empty one with room for as many takes its place.
fn take<T>(values: &mut Vec<T>) -> Vec<T> {
    let capacity = values.len();
    mem::replace(values, Vec::with_capacity(capacity))
}

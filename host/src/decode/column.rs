//! A column that grows value by value and can be cut back, so that a broken record leaves no trace.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int32Array, Int64Array, ListArray,
    MapArray, StringArray, StructArray, TimestampMicrosecondArray,
};
use arrow_buffer::{BooleanBufferBuilder, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema as arrow;

use super::{
    scan::{Flaw, Scanner, Text, resolve},
    text,
};
use crate::{
    fault::Fault,
    schema::{DataType, Field},
};

/// A column of a field.
#[derive(Debug)]
pub(super) struct Column {
    name: String,
    /// The name with the names of the fields around it.
    path: String,
    data_type: DataType,
    nullable: bool,
    valid: BooleanBufferBuilder,
    nulls: bool,
    data: Data,
    arrow: arrow::DataType,
}

#[derive(Debug)]
enum Data {
    Bits(BooleanBufferBuilder),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Float32(Vec<f32>),
    Float64(Vec<f64>),
    Decimal(Vec<i128>),
    Bytes { ends: Vec<i32>, data: Vec<u8> },
    List { ends: Vec<i32>, element: Box<Column> },
    Struct { members: Vec<Column>, seen: Vec<bool> },
    Map { ends: Vec<i32>, key: Box<Column>, value: Box<Column> },
}

impl Column {
    pub(super) fn new(field: &Field, parent: &str) -> Result<Self, Fault> {
        let path = if parent.is_empty() { field.name.clone() } else { format!("{parent}.{}", field.name) };
        let ends = || vec![0];
        let child = |place: usize| Self::new(&field.children[place], &path).map(Box::new);
        let data = match field.data_type {
            DataType::Boolean => Data::Bits(BooleanBufferBuilder::new(0)),
            DataType::Int32 | DataType::Date => Data::Int32(Vec::new()),
            DataType::Int64 | DataType::TimestampMicros => Data::Int64(Vec::new()),
            DataType::Float32 => Data::Float32(Vec::new()),
            DataType::Float64 => Data::Float64(Vec::new()),
            DataType::Decimal(..) => Data::Decimal(Vec::new()),
            DataType::Utf8 | DataType::Binary | DataType::Json => Data::Bytes { ends: ends(), data: Vec::new() },
            DataType::List => Data::List { ends: ends(), element: child(0)? },
            DataType::Struct => {
                let members = field.children.iter().map(|child| Self::new(child, &path)).collect::<Result<Vec<_>, _>>()?;
                Data::Struct { seen: vec![false; members.len()], members }
            }
            DataType::Map if field.children[0].data_type != DataType::Utf8 => {
                let text = format!("field {path}: the keys of a JSON object are text, the transform wants {:?}", field.children[0].data_type);
                return Err(Fault::config(text).help("declare the map's key as utf8, or read raw records"));
            }
            DataType::Map => Data::Map { ends: ends(), key: child(0)?, value: child(1)? },
        };
        Ok(Self {
            name: field.name.clone(),
            path,
            data_type: field.data_type,
            nullable: field.nullable,
            valid: BooleanBufferBuilder::new(0),
            nulls: false,
            data,
            arrow: field.to_arrow().data_type().clone(),
        })
    }

    /// The number of values.
    pub(super) fn len(&self) -> usize {
        self.valid.len()
    }

    /// Cuts back to a number of values.
    pub(super) fn truncate(&mut self, len: usize) {
        if len >= self.len() && !matches!(self.data, Data::List { .. } | Data::Struct { .. } | Data::Map { .. } | Data::Bytes { .. }) {
            return;
        }
        self.valid.truncate(len);
        match &mut self.data {
            Data::Bits(bits) => bits.truncate(len),
            Data::Int32(values) => values.truncate(len),
            Data::Int64(values) => values.truncate(len),
            Data::Float32(values) => values.truncate(len),
            Data::Float64(values) => values.truncate(len),
            Data::Decimal(values) => values.truncate(len),
            Data::Bytes { ends, data } => {
                ends.truncate(len + 1);
                data.truncate(place(ends));
            }
            Data::List { ends, element } => {
                ends.truncate(len + 1);
                element.truncate(place(ends));
            }
            Data::Struct { members, .. } => members.iter_mut().for_each(|member| member.truncate(len)),
            Data::Map { ends, key, value } => {
                ends.truncate(len + 1);
                key.truncate(place(ends));
                value.truncate(place(ends));
            }
        }
    }

    /// Appends a null, or refuses it.
    fn null(&mut self, class: &'static str, what: &str) -> Result<(), Flaw> {
        if !self.nullable {
            return Err(Flaw::new(class, format!("field {} {what}", self.path)).of(&self.path));
        }
        self.blank();
        Ok(())
    }

    /// Appends a place that holds nothing: a null, or what is below one.
    fn blank(&mut self) {
        self.valid.append(!self.nullable);
        self.nulls |= self.nullable;
        match &mut self.data {
            Data::Bits(bits) => bits.append(false),
            Data::Int32(values) => values.push(0),
            Data::Int64(values) => values.push(0),
            Data::Float32(values) => values.push(0.0),
            Data::Float64(values) => values.push(0.0),
            Data::Decimal(values) => values.push(0),
            Data::Bytes { ends, .. } | Data::List { ends, .. } | Data::Map { ends, .. } => ends.push(ends[ends.len() - 1]),
            Data::Struct { members, .. } => members.iter_mut().for_each(Self::blank),
        }
    }

    fn wrong_type(&self, wanted: &str, scanner: &mut Scanner<'_>) -> Flaw {
        // The text may be no JSON at all, which says more.
        let at = scanner.at();
        match scanner.skip() {
            Err(flaw) => flaw,
            Ok(()) => {
                let found: String = scanner.since(at).chars().take(40).collect();
                Flaw::new("WRONG_TYPE", format!("field {} at byte {at}: {found} is not {wanted}", self.path)).of(&self.path)
            }
        }
    }

    fn overflow(&self, found: &str, at: usize) -> Flaw {
        let found: String = found.chars().take(40).collect();
        Flaw::new("OVERFLOW", format!("field {} at byte {at}: {found} does not fit {:?}", self.path, self.data_type)).of(&self.path)
    }

    /// Appends the value that starts at the scanner's place.
    pub(super) fn read(&mut self, scanner: &mut Scanner<'_>, scratch: &mut String) -> Result<(), Flaw> {
        let (next, at) = (scanner.peek(), scanner.at());
        if next == Some(b'n') && self.data_type != DataType::Json {
            scanner.word("null")?;
            return self.null("NULL", "is null");
        }
        let number = matches!(next, Some(b'-' | b'0'..=b'9'));
        match (self.data_type, next) {
            (DataType::Json, _) if next == Some(b'n') && self.nullable => {
                scanner.word("null")?;
                return self.null("NULL", "is null");
            }
            (DataType::Json, _) => {
                scanner.skip()?;
                self.bytes(scanner.since(at).as_bytes())?;
            }
            (DataType::Boolean, Some(b't' | b'f')) => {
                let value = next == Some(b't');
                scanner.word(if value { "true" } else { "false" })?;
                if let Data::Bits(bits) = &mut self.data {
                    bits.append(value);
                }
            }
            (DataType::Utf8, Some(b'"')) => match scanner.string()? {
                Text::Plain(text) => self.bytes(text.as_bytes())?,
                Text::Escaped(text) => {
                    scratch.clear();
                    resolve(text, scratch);
                    self.bytes(scratch.as_bytes())?;
                }
            },
            (DataType::Binary | DataType::Date | DataType::TimestampMicros | DataType::Decimal(..), Some(b'"')) => {
                let text = match scanner.string()? {
                    Text::Plain(text) => text,
                    Text::Escaped(text) => {
                        scratch.clear();
                        resolve(text, scratch);
                        scratch.as_str()
                    }
                };
                self.text(text, at)?;
            }
            (DataType::Float32 | DataType::Float64 | DataType::Decimal(..), _) if number => {
                let text = scanner.number()?;
                self.number(text, at)?;
            }
            (DataType::Int32 | DataType::Int64 | DataType::Date | DataType::TimestampMicros, _) if number => {
                let text = scanner.number()?;
                if text.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E')) {
                    let text = format!("field {} at byte {at}: {text} is no whole number", self.path);
                    return Err(Flaw::new("WRONG_TYPE", text).of(&self.path));
                }
                self.number(text, at)?;
            }
            (DataType::List, Some(b'[')) => {
                let Data::List { ends, element } = &mut self.data else { unreachable!("a list column holds lists") };
                scanner.array(|scanner| element.read(scanner, scratch))?;
                ends.push(end(element.len())?);
            }
            (DataType::Struct, Some(b'{')) => {
                let Data::Struct { members, seen } = &mut self.data else { unreachable!("a struct column holds members") };
                let rows = self.valid.len();
                object(members, seen, rows, scanner, scratch)?;
            }
            (DataType::Map, Some(b'{')) => {
                let Data::Map { ends, key, value } = &mut self.data else { unreachable!("a map column holds entries") };
                let first = place(ends);
                scanner.object(|scanner, name| entry(key, value, name, scanner, scratch))?;
                key.distinct(first, at)?;
                ends.push(end(key.len())?);
            }
            _ => return Err(self.wrong_type(wanted(self.data_type), scanner)),
        }
        self.valid.append(true);
        Ok(())
    }

    fn bytes(&mut self, value: &[u8]) -> Result<(), Flaw> {
        if let Data::Bytes { ends, data } = &mut self.data {
            data.extend_from_slice(value);
            ends.push(end(data.len())?);
        }
        Ok(())
    }

    /// Refuses a map that has a key twice: readers of Parquet disagree on what that means.
    fn distinct(&self, first: usize, at: usize) -> Result<(), Flaw> {
        let Data::Bytes { ends, data } = &self.data else { unreachable!("the keys of a map are text") };
        let byte = |end: i32| usize::try_from(end).expect("ends are never negative");
        let mut keys: Vec<_> = (first..self.len()).map(|key| &data[byte(ends[key])..byte(ends[key + 1])]).collect();
        keys.sort_unstable();
        if keys.windows(2).any(|pair| pair[0] == pair[1]) {
            let text = format!("field {} at byte {at}: a key twice in a map", self.path);
            return Err(Flaw::new("DUPLICATE_KEY", text).of(&self.path));
        }
        Ok(())
    }

    /// Appends a value that is spelled as a string.
    fn text(&mut self, spelled: &str, at: usize) -> Result<(), Flaw> {
        let appended = match (&mut self.data, self.data_type) {
            (Data::Bytes { ends, data }, _) => {
                let decoded = text::base64(spelled, data);
                ends.push(end(data.len())?);
                decoded
            }
            (Data::Int32(values), _) => text::date(spelled).map(|value| values.push(value)),
            (Data::Int64(values), _) => text::timestamp(spelled).map(|value| values.push(value)),
            (Data::Decimal(values), DataType::Decimal(precision, scale)) => {
                text::decimal(spelled, precision, scale).map(|value| values.push(value))
            }
            _ => None,
        };
        appended.ok_or_else(|| {
            let found: String = spelled.chars().take(40).collect();
            let text = format!("field {} at byte {at}: {found:?} is not {}", self.path, wanted(self.data_type));
            Flaw::new("WRONG_TYPE", text).of(&self.path)
        })
    }

    /// Appends a value that is spelled as a number.
    fn number(&mut self, text: &str, at: usize) -> Result<(), Flaw> {
        let appended = match (&mut self.data, self.data_type) {
            (Data::Int32(values), _) => text.parse().ok().map(|value| values.push(value)),
            (Data::Int64(values), DataType::TimestampMicros) => {
                text.parse().ok().and_then(|millis: i64| millis.checked_mul(1000)).map(|value| values.push(value))
            }
            (Data::Int64(values), _) => text.parse().ok().map(|value| values.push(value)),
            (Data::Float32(values), _) => {
                text.parse().ok().filter(|value: &f32| value.is_finite()).map(|value| values.push(value))
            }
            (Data::Float64(values), _) => {
                text.parse().ok().filter(|value: &f64| value.is_finite()).map(|value| values.push(value))
            }
            (Data::Decimal(values), DataType::Decimal(precision, scale)) => {
                text::decimal(text, precision, scale).map(|value| values.push(value))
            }
            _ => None,
        };
        appended.ok_or_else(|| self.overflow(text, at))
    }

    /// The values as an Arrow array; the column is empty afterwards.
    pub(super) fn finish(&mut self) -> ArrayRef {
        let valid = std::mem::replace(&mut self.valid, BooleanBufferBuilder::new(0)).finish();
        let nulls = std::mem::take(&mut self.nulls).then(|| NullBuffer::new(valid)).filter(|nulls| nulls.null_count() > 0);
        let offsets = |ends: &mut Vec<i32>| {
            let capacity = ends.len();
            let mut next = Vec::with_capacity(capacity);
            next.push(0);
            OffsetBuffer::new(ScalarBuffer::from(std::mem::replace(ends, next)))
        };
        match &mut self.data {
            Data::Bits(bits) => Arc::new(BooleanArray::new(std::mem::replace(bits, BooleanBufferBuilder::new(0)).finish(), nulls)),
            Data::Int32(values) if self.data_type == DataType::Date => Arc::new(Date32Array::new(next(values).into(), nulls)),
            Data::Int32(values) => Arc::new(Int32Array::new(next(values).into(), nulls)),
            Data::Int64(values) if self.data_type == DataType::TimestampMicros => {
                Arc::new(TimestampMicrosecondArray::new(next(values).into(), nulls).with_timezone("UTC"))
            }
            Data::Int64(values) => Arc::new(Int64Array::new(next(values).into(), nulls)),
            Data::Float32(values) => Arc::new(Float32Array::new(next(values).into(), nulls)),
            Data::Float64(values) => Arc::new(Float64Array::new(next(values).into(), nulls)),
            Data::Decimal(values) => {
                Arc::new(Decimal128Array::new(next(values).into(), nulls).with_data_type(self.arrow.clone()))
            }
            Data::Bytes { ends, data } if self.data_type == DataType::Binary => {
                Arc::new(BinaryArray::new(offsets(ends), Buffer::from_vec(next(data)), nulls))
            }
            Data::Bytes { ends, data } => Arc::new(StringArray::new(offsets(ends), Buffer::from_vec(next(data)), nulls)),
            Data::List { ends, element } => {
                let arrow::DataType::List(field) = &self.arrow else { unreachable!("a list field is a list in Arrow") };
                Arc::new(ListArray::new(Arc::clone(field), offsets(ends), element.finish(), nulls))
            }
            Data::Struct { members, .. } => {
                let arrow::DataType::Struct(fields) = &self.arrow else { unreachable!("a struct field is a struct in Arrow") };
                Arc::new(StructArray::new(fields.clone(), members.iter_mut().map(Self::finish).collect(), nulls))
            }
            Data::Map { ends, key, value } => {
                let arrow::DataType::Map(field, _) = &self.arrow else { unreachable!("a map field is a map in Arrow") };
                let arrow::DataType::Struct(fields) = field.data_type() else { unreachable!("a map's entries are a struct") };
                let entries = StructArray::new(fields.clone(), vec![key.finish(), value.finish()], None);
                Arc::new(MapArray::new(Arc::clone(field), offsets(ends), entries, nulls, false))
            }
        }
    }
}

/// Takes a buffer, and leaves one of the same capacity: the next batch is about as large.
fn next<T>(buffer: &mut Vec<T>) -> Vec<T> {
    let capacity = buffer.len();
    std::mem::replace(buffer, Vec::with_capacity(capacity))
}

fn place(ends: &[i32]) -> usize {
    usize::try_from(ends[ends.len() - 1]).expect("ends are never negative")
}

fn end(len: usize) -> Result<i32, Flaw> {
    i32::try_from(len).map_err(|_| Flaw::new("OVERFLOW", "the values of the batch pass 2 GiB".to_owned()))
}

fn wanted(data_type: DataType) -> &'static str {
    match data_type {
        DataType::Boolean => "true or false",
        DataType::Int32 | DataType::Int64 => "a whole number",
        DataType::Float32 | DataType::Float64 => "a number",
        DataType::Decimal(..) => "a decimal that fits",
        DataType::Utf8 => "a string",
        DataType::Binary => "a string of base64",
        DataType::Json => "JSON",
        DataType::Date => "a date (2026-11-22)",
        DataType::TimestampMicros => "a timestamp (RFC 3339, or milliseconds since 1970)",
        DataType::List => "an array",
        DataType::Struct | DataType::Map => "an object",
    }
}

/// Appends the members of an object to columns: one value to each.
pub(super) fn object(
    columns: &mut [Column],
    seen: &mut [bool],
    rows: usize,
    scanner: &mut Scanner<'_>,
    scratch: &mut String,
) -> Result<(), Flaw> {
    seen.fill(false);
    // Producers write the members of every record in the same order: the next one is usually the next column's.
    let mut expected = 0;
    let mut key = String::new();
    scanner.object(|scanner, name| {
        let name = match name {
            Text::Plain(name) => name,
            Text::Escaped(name) => {
                key.clear();
                resolve(name, &mut key);
                key.as_str()
            }
        };
        let ahead = || (expected..columns.len()).chain(0..expected);
        let Some(place) = ahead().find(|&place| columns[place].name == name) else {
            return scanner.skip();
        };
        expected = if place + 1 == columns.len() { 0 } else { place + 1 };
        if std::mem::replace(&mut seen[place], true) {
            columns[place].truncate(rows);
        }
        columns[place].read(scanner, scratch)
    })?;
    for (column, _) in columns.iter_mut().zip(seen).filter(|(_, seen)| !**seen) {
        column.null("MISSING", "is missing")?;
    }
    Ok(())
}

/// Appends an entry of a map.
fn entry(
    keys: &mut Column,
    values: &mut Column,
    name: Text<'_>,
    scanner: &mut Scanner<'_>,
    scratch: &mut String,
) -> Result<(), Flaw> {
    let name = match name {
        Text::Plain(name) => name,
        Text::Escaped(name) => {
            scratch.clear();
            resolve(name, scratch);
            scratch.as_str()
        }
    };
    keys.bytes(name.as_bytes())?;
    keys.valid.append(true);
    values.read(scanner, scratch)
}

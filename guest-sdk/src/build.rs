//! Columns that grow, packed as `wit/v0.1/types.wit` says.

use crate::bindings::tidemill::transform::types::{Bytes, Column, Values};

/// A column that grows.
pub trait Build: Default {
    /// Appends a place without a value.
    fn append_null(&mut self);
    /// Forgets all but the first `len` values.
    fn truncate(&mut self, len: usize);
    /// Gives the column, and those of its children after it.
    fn finish(self, columns: &mut Vec<Column>);
}

/// The columns of a row's fields are a tree of pairs.
impl<A: Build, B: Build> Build for (A, B) {
    fn append_null(&mut self) {
        self.0.append_null();
        self.1.append_null();
    }

    fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
        self.1.truncate(len);
    }

    fn finish(self, columns: &mut Vec<Column>) {
        self.0.finish(columns);
        self.1.finish(columns);
    }
}

/// A number that a column holds as it is.
pub trait Number: Copy + Default {
    /// How the contract spells a column of them.
    fn values(values: Vec<Self>) -> Values;
}

/// A column of numbers.
#[derive(Debug, Default)]
pub struct Numbers<T>(Vec<T>);

impl<T: Number> Numbers<T> {
    pub(crate) fn append(&mut self, value: T) {
        self.0.push(value);
    }
}

impl<T: Number> Build for Numbers<T> {
    fn append_null(&mut self) {
        self.0.push(T::default());
    }

    fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    fn finish(self, columns: &mut Vec<Column>) {
        columns.push(Column { validity: Vec::new(), values: T::values(self.0) });
    }
}

/// A column of 128-bit numbers.
#[derive(Debug, Default)]
pub struct Wide(Vec<u64>);

impl Wide {
    pub(crate) fn append(&mut self, value: i128) {
        self.0
            .extend(value.to_le_bytes().as_chunks().0.iter().map(|half| u64::from_le_bytes(*half)));
    }
}

impl Build for Wide {
    fn append_null(&mut self) {
        self.append(0);
    }

    fn truncate(&mut self, len: usize) {
        self.0.truncate(len * 2);
    }

    fn finish(self, columns: &mut Vec<Column>) {
        columns.push(Column { validity: Vec::new(), values: Values::Decimal128(self.0) });
    }
}

/// A column of bits.
#[derive(Debug, Default)]
pub struct Bits {
    bits: Vec<u8>,
    len: usize,
}

impl Bits {
    pub(crate) fn append(&mut self, value: bool) {
        if self.len.is_multiple_of(8) {
            self.bits.push(0);
        }
        self.bits[self.len / 8] |= u8::from(value) << (self.len % 8);
        self.len += 1;
    }
}

impl Build for Bits {
    fn append_null(&mut self) {
        self.append(false);
    }

    fn truncate(&mut self, len: usize) {
        if len < self.len {
            self.len = len;
            self.bits.truncate(len.div_ceil(8));
            if let (Some(last), 1..) = (self.bits.last_mut(), len % 8) {
                *last &= !(u8::MAX << (len % 8));
            }
        }
    }

    fn finish(self, columns: &mut Vec<Column>) {
        columns.push(Column { validity: Vec::new(), values: Values::Bits(self.bits) });
    }
}

/// A column of byte strings.
#[derive(Debug, Default)]
pub struct Strings {
    ends: Vec<u32>,
    data: Vec<u8>,
}

impl Strings {
    pub(crate) fn append(&mut self, value: &[u8]) {
        self.data.extend_from_slice(value);
        self.append_null();
    }

    /// Appends text in lower case; without an allocation for it where it is ASCII.
    pub(crate) fn append_lower(&mut self, text: &str) {
        if !text.is_ascii() {
            return self.append(text.to_lowercase().as_bytes());
        }
        self.data.extend(text.bytes().map(|byte| byte.to_ascii_lowercase()));
        self.append_null();
    }
}

impl Build for Strings {
    fn append_null(&mut self) {
        self.ends.push(end(self.data.len()));
    }

    fn truncate(&mut self, len: usize) {
        self.ends.truncate(len);
        self.data.truncate(self.ends.last().map_or(0, |&end| end as usize));
    }

    fn finish(self, columns: &mut Vec<Column>) {
        columns.push(Column {
            validity: Vec::new(),
            values: Values::Bytes(Bytes { ends: self.ends, data: self.data }),
        });
    }
}

/// A column of lists or maps; `C` are the columns of their elements.
#[derive(Debug, Default)]
pub struct Lists<C> {
    ends: Vec<u32>,
    elements: usize,
    columns: C,
}

impl<C: Build> Lists<C> {
    pub(crate) fn append<T>(
        &mut self,
        elements: impl IntoIterator<Item = T>,
        mut append: impl FnMut(T, &mut C),
    ) {
        for element in elements {
            append(element, &mut self.columns);
            self.elements += 1;
        }
        self.append_null();
    }
}

impl<C: Build> Build for Lists<C> {
    fn append_null(&mut self) {
        self.ends.push(end(self.elements));
    }

    fn truncate(&mut self, len: usize) {
        self.ends.truncate(len);
        self.elements = self.ends.last().map_or(0, |&end| end as usize);
        self.columns.truncate(self.elements);
    }

    fn finish(self, columns: &mut Vec<Column>) {
        columns.push(Column { validity: Vec::new(), values: Values::Lists(self.ends) });
        self.columns.finish(columns);
    }
}

/// The end of a packed value.
fn end(len: usize) -> u32 {
    u32::try_from(len).expect("a batch gives less than 4 GiB a column")
}

/// A column of nested rows; `C` are the columns of their fields.
#[derive(Debug, Default)]
pub struct Struct<C>(pub C);

impl<C: Build> Build for Struct<C> {
    fn append_null(&mut self) {
        self.0.append_null();
    }

    fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    fn finish(self, columns: &mut Vec<Column>) {
        columns.push(Column { validity: Vec::new(), values: Values::Structs });
        self.0.finish(columns);
    }
}

/// A column that may hold nulls.
#[derive(Debug, Default)]
pub struct Nullable<C> {
    /// Which values are there; empty while all are.
    validity: Bits,
    len: usize,
    column: C,
}

impl<C: Build> Nullable<C> {
    pub(crate) fn append<T>(&mut self, value: Option<T>, append: impl FnOnce(T, &mut C)) {
        let Some(value) = value else { return self.append_null() };
        append(value, &mut self.column);
        if self.validity.len > 0 {
            self.validity.append(true);
        }
        self.len += 1;
    }
}

impl<C: Build> Build for Nullable<C> {
    fn append_null(&mut self) {
        while self.validity.len < self.len {
            self.validity.append(true);
        }
        self.column.append_null();
        self.validity.append(false);
        self.len += 1;
    }

    fn truncate(&mut self, len: usize) {
        self.column.truncate(len);
        self.validity.truncate(len);
        self.len = self.len.min(len);
    }

    fn finish(self, columns: &mut Vec<Column>) {
        let own = columns.len();
        self.column.finish(columns);
        columns[own].validity = self.validity.bits;
    }
}

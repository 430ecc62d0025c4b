//! Packed columns, read in place. The layout is that of `wit/v0.1/types.wit`.

use std::slice::Iter;

use crate::{
    bindings::tidemill::transform::types::{Column, Values},
    value::Decode,
};

/// The columns of a batch, taken one after the other in the schema's order.
#[derive(Debug)]
pub struct Columns<'a> {
    /// Whether the row itself is next: it is read like a nested row, but has no column.
    root: bool,
    rest: Iter<'a, Column>,
}

/// What stands for the column of the row itself.
static ROOT: Column = Column { validity: Vec::new(), values: Values::Structs };

impl<'a> Columns<'a> {
    /// The columns of values, as they stand.
    pub(crate) fn of_values(columns: &'a [Column]) -> Self {
        Self { root: false, rest: columns.iter() }
    }

    /// The columns of a row's fields.
    pub(crate) fn of_row(columns: &'a [Column]) -> Self {
        Self { root: true, rest: columns.iter() }
    }

    /// The reader of a field.
    ///
    /// # Errors
    /// When the columns are not those of the field; the text names it.
    pub fn field<T: Decode<'a>>(&mut self, name: &str, len: usize) -> Result<T::Reader, String> {
        T::reader(self, len).map_err(|error| format!("`{name}`: {error}"))
    }

    /// The next column's values.
    pub(crate) fn take(&mut self) -> Result<&'a Values, String> {
        if std::mem::take(&mut self.root) {
            return Ok(&ROOT.values);
        }
        self.rest
            .next()
            .map(|column| &column.values)
            .ok_or_else(|| "the column is missing".to_owned())
    }

    /// Which of the next column's `len` values are there; `None` if all are.
    pub(crate) fn validity(&self, len: usize) -> Result<Option<&'a [u8]>, String> {
        match self.rest.as_slice() {
            [Column { validity, .. }, ..] if !validity.is_empty() => bits(validity, len).map(Some),
            _ => Ok(None),
        }
    }

    /// Takes the column of a nested row.
    ///
    /// # Errors
    /// When the next column is another.
    pub fn take_struct(&mut self) -> Result<(), String> {
        match self.take()? {
            Values::Structs => Ok(()),
            _ => Err(wrong_type()),
        }
    }
}

/// What is said of a column that is not as the descriptor asked for.
pub(crate) fn wrong_type() -> String {
    "the host's column has another type".to_owned()
}

/// Checks that there are as many values as rows.
pub(crate) fn counted<T>(values: &[T], len: usize) -> Result<&[T], String> {
    if values.len() == len {
        Ok(values)
    } else {
        Err(format!("the host's column has {} values, not {len}", values.len()))
    }
}

/// Checks that there are enough bits for `len` values.
pub(crate) fn bits(bits: &[u8], len: usize) -> Result<&[u8], String> {
    counted(bits, len.div_ceil(8))
}

/// The bit of a place.
pub(crate) fn bit(bits: &[u8], index: usize) -> bool {
    bits[index / 8] >> (index % 8) & 1 == 1
}

/// The place where value `index` lies, by the ends of all.
pub(crate) fn span(ends: &[u32], index: usize) -> (usize, usize) {
    let start = if index == 0 { 0 } else { ends[index - 1] };
    (start as usize, ends[index] as usize)
}

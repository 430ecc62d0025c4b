//! From the values of records to columns: declared fields only, one forward scan a record.
//!
//! | what a value holds | what becomes of the record |
//! |---|---|
//! | no value (a tombstone) | broken, `TOMBSTONE` |
//! | no JSON, or anything after it | broken, `NOT_JSON` |
//! | bytes that are no UTF-8 | broken, `UTF8` |
//! | arrays and objects nested deeper than 128 | broken, `DEPTH` |
//! | JSON, but no object | broken, `NOT_OBJECT` |
//! | a field that is missing | null, or broken (`MISSING`) where the field may not be null |
//! | a field that is `null` | null, or broken (`NULL`) where the field may not be null |
//! | a value of another type | broken, `WRONG_TYPE` |
//! | a number, date or decimal that does not fit the type | broken, `OVERFLOW` |
//! | a field twice | the last one counts |
//! | a key twice in a map | broken, `DUPLICATE_KEY` |
//!
//! How a field's type is spelled in JSON:
//!
//! | type | JSON |
//! |---|---|
//! | int32, int64 | a number without fraction and exponent |
//! | float32, float64 | a number |
//! | decimal | a number or a string with one; digits that the scale has no room for are refused unless they are 0 |
//! | utf8 | a string |
//! | binary | a string of base64 (RFC 4648, with padding) |
//! | json | anything: its text as it stands in the record |
//! | date | `"2026-11-22"`, or a whole number of days since 1970-01-01 |
//! | timestamp | an RFC 3339 string, or a whole number of milliseconds since 1970 (what most producers write) |
//! | list, struct, map | an array, an object, an object |

mod column;
mod scan;
mod text;
#[cfg(test)]
mod tests;

use arrow_array::{Array, ArrayRef};

use self::{
    column::Column,
    scan::{Flaw, Scanner},
};
use crate::{fault::Fault, record::Batch, schema::Field};

/// Decodes the values of batches into columns.
#[derive(Debug)]
pub struct Decoder {
    columns: Vec<Column>,
    /// For each column, whether the record at hand has it.
    seen: Vec<bool>,
    scratch: String,
}

/// A batch, decoded.
#[derive(Debug)]
pub struct Decoded {
    /// One column a declared field; as many values as `rows`.
    pub columns: Vec<ArrayRef>,
    /// The place in the batch of each row; ascending.
    pub rows: Vec<u32>,
    /// Records that are not decodable; ascending.
    pub broken: Vec<Broken>,
}

/// A record that is not decodable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Its place in the batch.
    pub index: u32,
    /// What kind of error it is, such as `NOT_JSON`.
    pub class: &'static str,
    /// The field at fault, with the path to it.
    pub field: Option<String>,
    /// What is wrong, and at which byte of the value.
    pub text: String,
}

impl Decoder {
    /// A decoder of JSON objects.
    ///
    /// # Errors
    /// When a field has a type that can't be decoded: a map whose keys are not text.
    pub fn json(fields: &[Field]) -> Result<Self, Fault> {
        let columns = fields.iter().map(|field| Column::new(field, "")).collect::<Result<Vec<_>, _>>()?;
        let seen = vec![false; columns.len()];
        Ok(Self { columns, seen, scratch: String::new() })
    }

    /// Decodes a batch. Never fails as a whole: a record that is not decodable is in `broken`.
    pub fn decode(&mut self, batch: &Batch) -> Decoded {
        let mut rows = Vec::with_capacity(batch.len());
        let mut broken = Vec::new();
        for place in 0..batch.len() {
            let index = u32::try_from(place).expect("a batch has fewer than 2^32 records");
            match self.record(batch.values.get(place), rows.len()) {
                Ok(()) => rows.push(index),
                Err(Flaw { class, field, text, .. }) => {
                    self.columns.iter_mut().for_each(|column| column.truncate(rows.len()));
                    broken.push(Broken { index, class, field, text });
                }
            }
        }
        let columns: Vec<_> = self.columns.iter_mut().map(Column::finish).collect();
        debug_assert!(columns.iter().all(|column| column.len() == rows.len()));
        Decoded { columns, rows, broken }
    }

    /// Appends one value to every column, or leaves some longer than `rows` when the record is broken.
    fn record(&mut self, value: Option<&[u8]>, rows: usize) -> Result<(), Flaw> {
        let Some(value) = value else {
            return Err(Flaw::new("TOMBSTONE", "the record has no value".to_owned()));
        };
        let text = std::str::from_utf8(value).map_err(|error| {
            Flaw::new("UTF8", format!("the value is not UTF-8 from byte {} on", error.valid_up_to()))
        })?;
        let mut scanner = Scanner::new(text);
        scanner.space();
        if scanner.peek() == Some(b'{') {
            column::object(&mut self.columns, &mut self.seen, rows, &mut scanner, &mut self.scratch)?;
            return scanner.end();
        }
        scanner.skip()?;
        scanner.end()?;
        Err(Flaw::new("NOT_OBJECT", "the value is JSON, but no object".to_owned()))
    }
}

//! Records to columns: the declared fields of JSON records, straight into Arrow arrays.
//!
//! One forward scan a record finds the declared fields, checks everything else and throws it away. It is as strict as
//! `serde_json` reading a `Value`, in the parts that no field asks for too: RFC 8259, UTF-8, no lone surrogates, at most 127
//! levels. One thing differs: a number that no `f64` holds (`1e400`) breaks a record only where a field asks for such a number.
//!
//! What becomes of a field's value:
//!
//! | | |
//! |---|---|
//! | missing, or `null` | null where the field is nullable, else `MISSING`, `NULL` |
//! | a name twice in an object | the last one counts, also when the first had the wrong type |
//! | boolean | `true`, `false` |
//! | int32, int64 | a number without fraction and exponent (`3.0` and `1e3` are `WRONG_TYPE`; `-0` is 0); `OVERFLOW` outside of the range |
//! | float32, float64 | any number, rounded to nearest once from its text; `OVERFLOW` where that is infinite |
//! | decimal | a number, or a string that holds a number: exactly, else `OVERFLOW` |
//! | utf8 | a string |
//! | binary | a string in standard base64 with padding, as JSON has no bytes of its own |
//! | json | any value but `null`: its text as it stands |
//! | date | a string `YYYY-MM-DD`, or days since 1970-01-01 |
//! | timestamp | an RFC 3339 string with offset, nine fraction digits at most, cut to microseconds; or whole **milliseconds** since 1970, the unit of Kafka's own timestamps, of Java and of JavaScript |
//! | list, struct, map | an array; an object by the same rules; an object whose names are the keys (utf8) |
//!
//! A string that its type cannot read is `FORMAT`, any other kind of value `WRONG_TYPE`. The record itself may be `TOMBSTONE`
//! (null), `UTF8`, `NOT_JSON`, `DEPTH` or `NOT_OBJECT`. These come first: fields are judged in records that are JSON.
//! A broken record leaves nothing behind in the columns, and its batch goes on.

use arrow_array::ArrayRef;

use crate::{fault::Fault, record::Batch, schema::Field};

mod column;
mod json;
mod number;
mod scan;
mod time;

#[cfg(test)]
mod differential;
#[cfg(test)]
mod tests;

use column::Members;
use scan::{Problem, Scan, Scanner};

/// Classes of broken records. They stay the same when texts change.
pub mod class {
    /// The record has no value.
    pub const TOMBSTONE: &str = "TOMBSTONE";
    /// The value is not UTF-8.
    pub const UTF8: &str = "UTF8";
    /// The value is not JSON.
    pub const NOT_JSON: &str = "NOT_JSON";
    /// The value is nested too deeply.
    pub const DEPTH: &str = "DEPTH";
    /// The value is JSON, but not an object.
    pub const NOT_OBJECT: &str = "NOT_OBJECT";
    /// A field that may not be null is not there.
    pub const MISSING: &str = "MISSING";
    /// A field that may not be null is null.
    pub const NULL: &str = "NULL";
    /// A field's value is of another kind than its type.
    pub const WRONG_TYPE: &str = "WRONG_TYPE";
    /// A field's number does not fit its type.
    pub const OVERFLOW: &str = "OVERFLOW";
    /// A field's string does not have the form of its type.
    pub const FORMAT: &str = "FORMAT";
}

/// Decodes batches into columns. Keeps what it learnt from one batch for the next: sizes, and the order of members.
#[derive(Debug)]
pub struct Decoder {
    fields: Members,
}

/// A decoded batch.
#[derive(Debug)]
pub struct Decoded {
    /// One column a declared field, in their order, of the types of `schema::to_arrow`.
    pub columns: Vec<ArrayRef>,
    /// For each row, the place of its record in the batch; ascending.
    pub rows: Vec<u32>,
    /// The records that did not become rows; ascending.
    pub broken: Vec<Broken>,
}

/// A record that can't be decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Its place in the batch.
    pub index: u32,
    /// What is wrong: one of `class`.
    pub class: &'static str,
    /// The field whose value is wrong (`order.lines[].price`, `labels{}`); none when the whole record is.
    pub field: Option<String>,
    /// What is wrong, for people, with the byte of the value where it shows; reads well after "failed to decode: ".
    pub text: String,
}

impl Decoder {
    /// A decoder of JSON objects with these fields.
    ///
    /// # Errors
    /// When the fields are not a schema (a name twice, a wrong number of children, a decimal that is not one), or a map has
    /// keys other than text.
    pub fn json(fields: &[Field]) -> Result<Self, Fault> {
        Ok(Self { fields: Members::new(fields, "")? })
    }

    /// Decodes a batch.
    ///
    /// # Panics
    /// When the values of a batch pass 2 GiB: the reader of Kafka ends a batch long before.
    pub fn decode(&mut self, batch: &Batch) -> Decoded {
        let data = batch.values.data();
        let whole = std::str::from_utf8(data).ok();
        let mut rows = Vec::with_capacity(batch.len());
        let mut broken = Vec::new();
        let mut start = 0;
        for (place, &end) in batch.values.ends().iter().enumerate() {
            let end = end as usize;
            let index = u32::try_from(place).expect("a batch holds less than 4 Gi records");
            let text = match whole.and_then(|whole| whole.get(start..end)) {
                Some(text) => Ok(text),
                None => std::str::from_utf8(&data[start..end]),
            };
            start = end;
            let result = match (batch.values.validity(), text) {
                (Some(valid), _) if !valid[place] => {
                    Err(Problem::record(class::TOMBSTONE, "the value is null: a tombstone".into()))
                }
                (_, Ok(text)) => self.record(&mut Scanner::new(text), rows.len()),
                (_, Err(error)) => Err(Problem::record(
                    class::UTF8,
                    format!("not UTF-8 at byte {}", error.valid_up_to()),
                )),
            };
            match result {
                Ok(()) => rows.push(index),
                Err(problem) => {
                    self.fields.truncate(rows.len());
                    let Problem { class, field, text } = *problem;
                    broken.push(Broken { index, class, field, text });
                }
            }
        }
        Decoded { columns: self.fields.finish(), rows, broken }
    }

    fn record(&mut self, scanner: &mut Scanner<'_>, row: usize) -> Scan<()> {
        if scanner.peek() == Some(b'{') {
            let fields = self.fields.object(scanner, row);
            if fields.as_ref().is_err_and(|problem| problem.field.is_none()) {
                return fields;
            }
            scanner.end().and(fields)
        } else {
            let at = scanner.at();
            let found = scanner.kind();
            scanner.skip()?;
            scanner.end()?;
            Err(Problem::record(
                class::NOT_OBJECT,
                format!("expected an object at byte {at}, found {found}"),
            ))
        }
    }
}

//! What a transform takes: decoded rows, or records as they came from Kafka.

mod raw;

pub use raw::{Headers, Raw};

use crate::{
    bindings::tidemill::transform::types::{self as wit, Batch, Column, Payload},
    build::Build,
    columns::{Columns, counted},
    row::Row,
    schema::Fields,
    value::{Decode, Encode, Timestamp},
};

/// What a transform's function takes first: a struct with [`#[derive(Row)]`](derive@crate::Row), or [`Raw`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be a transform's input",
    note = "take a struct with `#[derive(Row)]`, or `Raw<'_>`"
)]
pub trait Input<'a>: Sized {
    /// A batch, ready to be read.
    type Reader;

    /// The fields to be decoded; `None` if records are taken as they came.
    #[doc(hidden)]
    fn fields() -> Option<Fields>;

    /// Prepares to read a batch.
    ///
    /// # Errors
    /// When the batch is not as the descriptor asked for.
    #[doc(hidden)]
    fn reader(batch: &'a Batch) -> Result<Self::Reader, String>;

    /// The record at a place.
    #[doc(hidden)]
    fn read(reader: &Self::Reader, index: usize) -> Self;

    /// A batch of these records, as the host would hand it over.
    #[doc(hidden)]
    fn batch(records: impl IntoIterator<Item = Self>) -> Batch;
}

#[diagnostic::do_not_recommend]
impl<'a, T: Row + Decode<'a>> Input<'a> for T {
    type Reader = T::Reader;

    fn fields() -> Option<Fields> {
        let mut fields = Fields::default();
        T::children(&mut fields);
        Some(fields)
    }

    fn reader(batch: &'a Batch) -> Result<Self::Reader, String> {
        match &batch.payload {
            Payload::Rows(rows) => {
                T::reader(&mut Columns::of_row(&rows.columns), batch.offsets.len())
            }
            Payload::Raw(_) => Err("the host handed over undecoded records".to_owned()),
        }
    }

    fn read(reader: &Self::Reader, index: usize) -> Self {
        T::read(reader, index)
    }

    fn batch(records: impl IntoIterator<Item = Self>) -> Batch {
        let (mut builder, mut columns, mut offsets) =
            (T::Builder::default(), Vec::new(), Vec::new());
        for (offset, record) in (0..).zip(records) {
            record.append(&mut builder);
            offsets.push(offset);
        }
        builder.finish(&mut columns);
        columns.remove(0); // the row itself
        let keys = packed(offsets.iter().map(|_| None));
        let timestamps = vec![-1; offsets.len()];
        let payload = Payload::Rows(wit::Rows { keys, columns });
        Batch { topic: "test".to_owned(), partition: 0, offsets, timestamps, payload }
    }
}

/// Where a decoded row came from: a transform's function may take it after the row.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Record<'a> {
    /// The key, if it has one.
    pub key: Option<&'a [u8]>,
    /// The topic.
    pub topic: &'a str,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// The time that the producer or the broker stamped on it.
    pub timestamp: Option<Timestamp>,
}

/// The reader of a column of byte strings that may be null.
type Bytes<'a> = <Option<&'a [u8]> as Decode<'a>>::Reader;

/// Where the records of a batch came from.
#[derive(Debug)]
pub struct Records<'a> {
    batch: &'a Batch,
    keys: Bytes<'a>,
}

impl<'a> Records<'a> {
    pub(crate) fn new(batch: &'a Batch) -> Result<Self, String> {
        let len = batch.offsets.len();
        counted(&batch.timestamps, len)?;
        let keys = match &batch.payload {
            Payload::Raw(raw) => &raw.keys,
            Payload::Rows(rows) => &rows.keys,
        };
        Ok(Self { batch, keys: reader::<Option<&[u8]>>(keys, len)? })
    }

    /// Where a record came from.
    pub fn get(&self, index: usize) -> Record<'a> {
        Record {
            key: Option::read(&self.keys, index),
            topic: &self.batch.topic,
            partition: self.batch.partition,
            offset: self.batch.offsets[index],
            timestamp: Some(self.batch.timestamps[index])
                .filter(|&millis| millis >= 0)
                .map(|millis| Timestamp(millis.saturating_mul(1000))),
        }
    }
}

/// The reader of a column that is not part of a row.
fn reader<'a, T: Decode<'a>>(column: &'a Column, len: usize) -> Result<T::Reader, String> {
    T::reader(&mut Columns::of_values(std::slice::from_ref(column)), len)
}

/// A column of byte strings.
fn packed<'a>(values: impl Iterator<Item = Option<&'a [u8]>>) -> Column {
    let (mut builder, mut columns) = (<Option<&[u8]> as Encode>::Builder::default(), Vec::new());
    values.for_each(|value| value.append(&mut builder));
    builder.finish(&mut columns);
    columns.remove(0)
}

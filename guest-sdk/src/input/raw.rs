//! Records as they came from Kafka.

use std::fmt;

use super::{Bytes, Input, Record, Records, packed, reader};
use crate::{
    bindings::tidemill::transform::types::{self as wit, Batch, Payload},
    columns::{counted, span},
    schema::Fields,
    value::{Decode, Timestamp},
};

/// A record as it came from Kafka.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Raw<'a> {
    /// The key, if it has one.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The headers.
    pub headers: Headers<'a>,
    /// The topic.
    pub topic: &'a str,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// The time that the producer or the broker stamped on it.
    pub timestamp: Option<Timestamp>,
}

/// A batch of undecoded records, ready to be read.
#[derive(Debug)]
pub struct RawReader<'a> {
    records: Records<'a>,
    values: Bytes<'a>,
    headers: PackedHeaders<'a>,
}

/// The headers of a batch.
#[derive(Clone, Copy, Debug)]
struct PackedHeaders<'a> {
    ends: &'a [u32],
    names: <&'a str as Decode<'a>>::Reader,
    values: Bytes<'a>,
}

impl<'a> Input<'a> for Raw<'a> {
    type Reader = RawReader<'a>;

    fn fields() -> Option<Fields> {
        None
    }

    fn reader(batch: &'a Batch) -> Result<Self::Reader, String> {
        let Payload::Raw(raw) = &batch.payload else {
            return Err("the host handed over decoded records".to_owned());
        };
        let len = batch.offsets.len();
        let wit::Headers { ends, names, values } = &raw.headers;
        if !ends.is_empty() {
            counted(ends, len)?;
        }
        let headers = ends.last().map_or(0, |&end| end as usize);
        Ok(RawReader {
            records: Records::new(batch)?,
            values: reader::<Option<&[u8]>>(&raw.values, len)?,
            headers: PackedHeaders {
                ends,
                names: reader::<&str>(names, headers)?,
                values: reader::<Option<&[u8]>>(values, headers)?,
            },
        })
    }

    fn read(reader: &Self::Reader, index: usize) -> Self {
        let Record { key, topic, partition, offset, timestamp } = reader.records.get(index);
        let value = Option::read(&reader.values, index);
        Self { key, value, headers: reader.headers.of(index), topic, partition, offset, timestamp }
    }

    fn batch(records: impl IntoIterator<Item = Self>) -> Batch {
        let records: Vec<_> = records.into_iter().collect();
        let lane = records.first().map_or(("test", 0), |first| (first.topic, first.partition));
        assert!(
            records.iter().all(|raw| (raw.topic, raw.partition) == lane),
            "a batch is of one partition"
        );
        let headers = || records.iter().flat_map(|raw| raw.headers.iter());
        let ends = records.iter().scan(0, |end, raw| {
            *end += u32::try_from(raw.headers.iter().count()).ok()?;
            Some(*end)
        });
        Batch {
            topic: lane.0.to_owned(),
            partition: lane.1,
            offsets: records.iter().map(|raw| raw.offset).collect(),
            timestamps: records
                .iter()
                .map(|raw| raw.timestamp.map_or(-1, |time| time.0 / 1000))
                .collect(),
            payload: Payload::Raw(wit::Raw {
                keys: packed(records.iter().map(|raw| raw.key)),
                values: packed(records.iter().map(|raw| raw.value)),
                headers: wit::Headers {
                    ends: ends.collect(),
                    names: packed(headers().map(|(name, _)| Some(name.as_bytes()))),
                    values: packed(headers().map(|(_, value)| value)),
                },
            }),
        }
    }
}

/// The headers of a record, in their order. A test makes them from a slice.
#[derive(Clone, Copy)]
pub struct Headers<'a>(Source<'a>);

#[derive(Clone, Copy)]
enum Source<'a> {
    Given(&'a [(&'a str, Option<&'a [u8]>)]),
    /// The headers from a place to another of a batch.
    Packed(PackedHeaders<'a>, usize, usize),
}

impl<'a> Headers<'a> {
    /// Each header's name and value.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, Option<&'a [u8]>)> + use<'a> {
        let source = self.0;
        let (start, end) = match source {
            Source::Given(headers) => (0, headers.len()),
            Source::Packed(_, start, end) => (start, end),
        };
        (start..end).map(move |index| match source {
            Source::Given(headers) => headers[index],
            Source::Packed(headers, ..) => {
                (Decode::read(&headers.names, index), Decode::read(&headers.values, index))
            }
        })
    }

    /// The value of the last header of a name.
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.iter().filter(|header| header.0 == name).last()?.1
    }
}

impl Default for Headers<'_> {
    fn default() -> Self {
        Self(Source::Given(&[]))
    }
}

impl<'a> From<&'a [(&'a str, Option<&'a [u8]>)]> for Headers<'a> {
    fn from(headers: &'a [(&'a str, Option<&'a [u8]>)]) -> Self {
        Self(Source::Given(headers))
    }
}

impl PartialEq for Headers<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl fmt::Debug for Headers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a> PackedHeaders<'a> {
    fn of(self, index: usize) -> Headers<'a> {
        if self.ends.is_empty() {
            return Headers::default();
        }
        let (start, end) = span(self.ends, index);
        Headers(Source::Packed(self, start, end))
    }
}

//! Records, batches, and the words for where they come from.

use std::{fmt, ops::Range, sync::Arc};

use serde::{Deserialize, Serialize};

/// A topic-partition of a pipeline: the unit of order and of position.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Lane {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
}

impl Lane {
    /// The lane of a topic's partition.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// Offsets `start <= offset < end` of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OffsetRange {
    /// The first offset.
    pub start: i64,
    /// One past the last offset: the next to fetch.
    pub end: i64,
}

/// Byte strings that may be null, packed into one buffer.
#[derive(Clone, Debug, Default)]
pub struct PackedBytes {
    ends: Vec<u32>,
    data: Vec<u8>,
    /// Whether each value is there; empty while none is null.
    valid: Vec<bool>,
}

impl PackedBytes {
    /// Appends a value.
    ///
    /// # Panics
    /// When all values together pass 4 GiB: the reader of Kafka ends a batch long before.
    pub fn push(&mut self, value: Option<&[u8]>) {
        if let Some(value) = value {
            self.data.extend_from_slice(value);
        }
        if value.is_none() && self.valid.is_empty() {
            self.valid.resize(self.ends.len(), true);
        }
        if value.is_none() || !self.valid.is_empty() {
            self.valid.push(value.is_some());
        }
        self.ends.push(u32::try_from(self.data.len()).expect("a batch holds less than 4 GiB"));
    }

    /// The value at a place; `None` is null.
    ///
    /// # Panics
    /// When `index` is not below `len`.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let start = if index == 0 { 0 } else { self.ends[index - 1] as usize };
        let value = &self.data[start..self.ends[index] as usize];
        (self.valid.is_empty() || self.valid[index]).then_some(value)
    }

    /// The number of values.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The end of each value in `data`.
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// The bytes of all values.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// Whether each value is there; `None` when no value is null.
    pub fn validity(&self) -> Option<&[bool]> {
        (!self.valid.is_empty()).then_some(self.valid.as_slice())
    }
}

/// The headers of a batch's records, packed.
#[derive(Clone, Debug, Default)]
pub struct Headers {
    /// The end of each record's headers in `names` and `values`; empty while no record has a header.
    pub ends: Vec<u32>,
    /// Header names.
    pub names: PackedBytes,
    /// Header values.
    pub values: PackedBytes,
}

impl Headers {
    /// The headers of the record at a place.
    pub fn of(&self, index: usize) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        let end = |index: usize| self.ends.get(index).copied().unwrap_or_default() as usize;
        let start = if index == 0 { 0 } else { end(index - 1) };
        // A header without a name has an empty one.
        (start..end(index)).map(|at| (self.names.get(at).unwrap_or_default(), self.values.get(at)))
    }
}

/// Records of one lane, in the order of their offsets.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The lane.
    pub lane: Lane,
    /// Which assignment of the lane fetched them: what an older one fetched is dropped.
    pub assignment: u64,
    /// The offset of each record; rising, maybe with holes.
    pub offsets: Vec<i64>,
    /// The timestamp of each record in milliseconds since 1970, -1 where there is none.
    pub timestamps: Vec<i64>,
    /// Keys.
    pub keys: PackedBytes,
    /// Values; null is a tombstone.
    pub values: PackedBytes,
    /// Headers.
    pub headers: Headers,
}

impl Batch {
    /// A batch without records.
    pub fn new(lane: Lane, assignment: u64) -> Self {
        Self {
            lane,
            assignment,
            offsets: Vec::new(),
            timestamps: Vec::new(),
            keys: PackedBytes::default(),
            values: PackedBytes::default(),
            headers: Headers::default(),
        }
    }

    /// The number of records.
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// A range of the records, in a batch of their own.
    ///
    /// # Panics
    /// When the range ends above `len`.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        let mut rest = Self::new(self.lane.clone(), self.assignment);
        rest.offsets.extend_from_slice(&self.offsets[range.clone()]);
        rest.timestamps.extend_from_slice(&self.timestamps[range.clone()]);
        for index in range {
            rest.keys.push(self.keys.get(index));
            rest.values.push(self.values.get(index));
            if self.headers.ends.is_empty() {
                continue;
            }
            for (name, value) in self.headers.of(index) {
                rest.headers.names.push(Some(name));
                rest.headers.values.push(value);
            }
            rest.headers.ends.push(
                u32::try_from(rest.headers.names.len())
                    .expect("no more headers than the batch had"),
            );
        }
        rest
    }
}

/// For each row, the place in the batch of the record that it was made from; never falling.
pub type Lineage = Vec<u32>;

#[cfg(test)]
mod tests {
    use super::{Batch, Lane, PackedBytes};

    #[test]
    fn a_part_of_a_batch_keeps_its_headers() {
        let mut batch = Batch::new(Lane::new("t", 0), 1);
        for (offset, headers) in [(5, 2), (6, 0), (9, 1)] {
            batch.offsets.push(offset);
            batch.timestamps.push(offset * 10);
            batch.keys.push(None);
            batch.values.push(Some(format!("v{offset}").as_bytes()));
            for header in 0..headers {
                batch.headers.names.push(Some(format!("h{offset}-{header}").as_bytes()));
                batch.headers.values.push(None);
            }
            batch.headers.ends.push(u32::try_from(batch.headers.names.len()).unwrap());
        }
        assert_eq!(batch.slice(1..2).offsets, [6]);
        let rest = batch.slice(1..3);
        assert_eq!(
            (rest.offsets.as_slice(), rest.timestamps.as_slice()),
            (&[6, 9][..], &[60, 90][..])
        );
        assert_eq!(rest.values.get(1), Some(&b"v9"[..]));
        assert_eq!(rest.headers.ends, [0, 1]);
        assert_eq!(rest.headers.names.get(0), Some(&b"h9-0"[..]));
    }

    #[test]
    fn packed_bytes_keep_nulls_and_empty_values_apart() {
        let mut bytes = PackedBytes::default();
        for value in [Some(&b"ab"[..]), Some(b""), None, Some(b"c")] {
            bytes.push(value);
        }
        let read: Vec<_> = (0..bytes.len()).map(|i| bytes.get(i)).collect();
        assert_eq!(read, [Some(&b"ab"[..]), Some(b""), None, Some(b"c")]);
        assert_eq!(bytes.validity(), Some(&[true, true, false, true][..]));
    }
}

//! Where lanes begin, end, and stand.

use std::{sync::Arc, time::Duration};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::Consumer as _,
    error::{KafkaError, RDKafkaErrorCode},
};

use super::{
    client::fault,
    lanes::Lanes,
    queue::{Consumer, watermarks_seen},
};
use crate::{
    fault::Fault,
    record::{Lane, OffsetRange},
};

/// How long the brokers may take to answer a question.
pub(super) const ANSWER: Duration = Duration::from_secs(10);

/// Asks the brokers about offsets.
#[derive(Clone, Copy)]
pub struct Offsets<'a> {
    consumer: &'a Consumer,
}

impl<'a> Offsets<'a> {
    pub(super) fn new(consumer: &'a Consumer) -> Self {
        Self { consumer }
    }

    /// All lanes of a topic, whoever reads them.
    ///
    /// # Errors
    /// The brokers do not answer within 10 s, or do not know the topic.
    pub fn lanes(&self, topic: &Arc<str>) -> Result<Vec<Lane>, Fault> {
        let failed = |error| fault(format!("ask for the partitions of topic {topic}"), error);
        let metadata = self.consumer.fetch_metadata(Some(topic), ANSWER).map_err(failed)?;
        let found = metadata.topics().first().ok_or_else(|| {
            failed(KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition))
        })?;
        if let Some(error) = found.error() {
            return Err(failed(KafkaError::MetadataFetch(error.into())));
        }
        let lane = |id| Lane { topic: Arc::clone(topic), partition: id };
        Ok(found.partitions().iter().map(|partition| lane(partition.id())).collect())
    }

    /// The offsets that a lane holds: from its low to its high watermark.
    ///
    /// # Errors
    /// The brokers do not answer within 10 s, or do not know the lane.
    pub fn watermarks(&self, lane: &Lane) -> Result<OffsetRange, Fault> {
        let (start, end) = self
            .consumer
            .fetch_watermarks(&lane.topic, lane.partition, ANSWER)
            .map_err(|error| fault(format!("ask for the watermarks of {lane}"), error))?;
        Ok(OffsetRange { start, end })
    }

    /// For each lane the offset of its first record that is not older than a time (milliseconds since 1970), or else its
    /// high watermark.
    ///
    /// # Errors
    /// The brokers do not answer within 10 s, or do not know a lane.
    pub fn at(&self, lanes: &[Lane], timestamp_ms: i64) -> Result<Vec<(Lane, i64)>, Fault> {
        if lanes.is_empty() {
            return Ok(Vec::new());
        }
        let mut times = TopicPartitionList::with_capacity(lanes.len());
        for lane in lanes {
            times
                .add_partition_offset(&lane.topic, lane.partition, Offset::Offset(timestamp_ms))
                .map_err(|error| {
                Fault::config(format!("look for a record of the time {timestamp_ms}"))
                    .caused_by(error)
            })?;
        }
        let found = self.consumer.offsets_for_times(times, ANSWER).map_err(|error| {
            fault(format!("ask for the offsets at the time {timestamp_ms}"), error)
        })?;
        lanes.iter().map(|lane| Ok((lane.clone(), self.found(&found, lane)?))).collect()
    }

    fn found(&self, found: &TopicPartitionList, lane: &Lane) -> Result<i64, Fault> {
        let place = found
            .find_partition(&lane.topic, lane.partition)
            .ok_or_else(|| Fault::bug(format!("librdkafka forgot {lane} in its answer")))?;
        place
            .error()
            .map_err(|error| fault(format!("ask for an offset of {lane} by time"), error))?;
        match place.offset() {
            Offset::Offset(offset) => Ok(offset),
            _ => Ok(self.watermarks(lane)?.end),
        }
    }
}

impl std::fmt::Debug for Offsets<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Offsets").finish_non_exhaustive()
    }
}

/// How far a lane was read, and how far it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lag {
    /// The lane.
    pub lane: Lane,
    /// The next offset that its worker gets.
    pub next: i64,
    /// The watermarks that the brokers told with the last fetch; `None` before it.
    pub watermarks: Option<OffsetRange>,
}

impl Lag {
    /// The offsets between `next` and the high watermark; `None` before the first fetch.
    pub fn offsets(&self) -> Option<u64> {
        self.watermarks.map(|range| u64::try_from(range.end - self.next).unwrap_or(0))
    }
}

/// The lag of every lane. Asks nobody.
pub(super) fn lags(consumer: &Consumer, lanes: &Lanes) -> Vec<Lag> {
    let lag = |lane: &Lane, next| {
        let watermarks =
            watermarks_seen(consumer, lane).map(|(start, end)| OffsetRange { start, end });
        Lag { lane: lane.clone(), next, watermarks }
    };
    lanes.iter().map(|assigned| lag(&assigned.lane, assigned.next())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_is_never_negative_and_unknown_before_the_first_fetch() {
        let lag = |next, watermarks| Lag { lane: Lane::new("t", 0), next, watermarks }.offsets();
        assert_eq!(lag(3, Some(OffsetRange { start: 0, end: 10 })), Some(7));
        assert_eq!(lag(11, Some(OffsetRange { start: 0, end: 10 })), Some(0));
        assert_eq!(lag(3, None), None);
    }
}

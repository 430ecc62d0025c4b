//! Errors in the place of a lane's records.

use std::sync::Arc;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::{
    client::{advice, fault, sentence},
    lanes::Assigned,
    offsets::Offsets,
};
use crate::{
    fault::Fault,
    record::{Lane, OffsetRange},
};

/// An error in the place of a lane's records.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) lane: Arc<Assigned>,
    code: RDKafkaErrorCode,
    text: String,
}

impl Trouble {
    pub(super) fn new(lane: &Arc<Assigned>, code: RDKafkaErrorCode, text: String) -> Self {
        Self { lane: Arc::clone(lane), code, text: sentence(&text) }
    }

    /// Whether librdkafka may go on after a record that was not read. It does after errors of its own, which it finds in what
    /// it fetched; what a broker answers to a fetch makes it ask again.
    pub(super) fn is_loss(&self) -> bool {
        use RDKafkaErrorCode as Code;
        // Its own errors are negative.
        (self.code as i32) < 0
            || matches!(
                self.code,
                Code::OffsetOutOfRange | Code::InvalidMessage | Code::MessageSizeTooLarge
            )
    }

    /// The fault; `None` if it passes by itself, or if the brokers must be asked again.
    pub(super) fn fault(&self, offsets: Offsets<'_>) -> Answer {
        let lane = &self.lane.lane;
        if matches!(
            self.code,
            RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange
        ) {
            return match offsets.watermarks(lane) {
                Ok(watermarks) => {
                    Answer::Fault(out_of_range(lane, self.lane.next(), watermarks, &self.text))
                }
                Err(error) if error.retry && error.help.is_none() => Answer::Later,
                Err(error) => Answer::Fault(error),
            };
        }
        if self.is_loss() {
            let fault = Fault::outside(format!(
                "read lane {lane} at offset {}: {}",
                self.lane.next(),
                self.text
            ));
            return Answer::Fault(
                fault.code("UNREADABLE").permanent().help(
                    "look at the record with another client: it may be damaged, or too large",
                ),
            );
        }
        if advice(self.code).is_some() {
            return Answer::Fault(fault(
                format!("read lane {lane}: {}", self.text),
                KafkaError::MessageConsumption(self.code),
            ));
        }
        tracing::warn!(%lane, "{}; librdkafka tries again", self.text);
        Answer::Passes
    }
}

/// What becomes of a lane's trouble.
#[derive(Debug)]
pub(super) enum Answer {
    /// The lane cannot be read.
    Fault(Fault),
    /// The brokers did not say why; ask again.
    Later,
    /// librdkafka tries again by itself.
    Passes,
}

/// The fault of a lane whose next record the broker does not have.
fn out_of_range(
    lane: &Lane,
    position: i64,
    OffsetRange { start, end }: OffsetRange,
    text: &str,
) -> Fault {
    if position < start {
        return Fault::new(crate::fault::Blame::Outside, format!("offsets {position} to {} of lane {lane} were deleted before they were read: its low watermark is {start}", start - 1))
            .code("OFFSET_GAP")
            .help("keep the topic's records longer (`retention.ms`, `retention.bytes`) than this pipeline may be down; `tidemill repair PIPELINE --skip-gap` goes on without what is gone");
    }
    if position > end {
        return Fault::new(crate::fault::Blame::Outside, format!("lane {lane} ends at offset {end}, before offset {position} where this pipeline goes on: the topic was deleted and created again, or lost records"))
            .code("TOPIC_RECREATED")
            .help("`tidemill repair PIPELINE --adopt-topic TOPIC` reads the topic as the new one that it is");
    }
    Fault::new(crate::fault::Blame::Outside, format!("read lane {lane} at offset {position}, between its watermarks {start} and {end}: {text}"))
        .code("OFFSET_LOST")
        .help("an election may have lost records of the topic: compare its brokers' logs")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::{Placed, lanes::Lanes};

    #[test]
    fn the_watermarks_say_why_an_offset_is_out_of_range() {
        let fault = |position| {
            out_of_range(&Lane::new("t", 3), position, OffsetRange { start: 10, end: 20 }, "lost")
        };
        let deleted = fault(4);
        assert_eq!(deleted.code, Some("OFFSET_GAP"));
        assert!(
            deleted.message.contains("offsets 4 to 9 of lane t/3")
                && deleted.message.contains("watermark is 10")
        );
        assert_eq!(fault(21).code, Some("TOPIC_RECREATED"));
        assert_eq!(fault(15).code, Some("OFFSET_LOST"));
    }

    #[test]
    fn errors_found_in_fetched_bytes_may_hide_a_record() {
        let mut lanes = Lanes::default();
        lanes.insert(&Placed { lane: Lane::new("t", 0), worker: 0, start: 0, assignment: 1 });
        let lane = lanes.get("t", 0).unwrap();
        let is_loss = |code| Trouble::new(lane, code, String::new()).is_loss();
        assert!(is_loss(RDKafkaErrorCode::BadMessage));
        assert!(is_loss(RDKafkaErrorCode::BadCompression));
        assert!(is_loss(RDKafkaErrorCode::AutoOffsetReset));
        assert!(!is_loss(RDKafkaErrorCode::TopicAuthorizationFailed));
    }
}

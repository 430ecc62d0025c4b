//! What a worker reads: records of its queue, copied into batches.

use std::{sync::Arc, time::Duration};

use super::{
    lanes::{Assigned, Lanes},
    queue::{Message, Queue, Taken},
    shared::Shared,
    trouble::Trouble,
};
use crate::{
    fault::Fault,
    record::{Batch, Headers},
};

/// The queue of a worker: the records of all its lanes.
#[derive(Debug)]
pub struct WorkerQueue {
    taken: Taken,
    /// The assignments that fetched what was taken.
    lanes: Arc<Lanes>,
    shared: Arc<Shared>,
}

impl WorkerQueue {
    pub(super) fn new(queue: Arc<Queue>, shared: Arc<Shared>) -> Self {
        Self { taken: Taken::new(queue), lanes: Arc::default(), shared }
    }

    /// Takes records: one batch a lane, each with rising offsets and its assignment's number.
    ///
    /// Waits until there are `max_records`, or `wait` is over, or an assignment changes. Stops before a record whose key and
    /// value would pass `max_bytes`, unless it is the first; the rest comes with the next calls, without waiting. Offsets may
    /// come twice, in different batches, after a rebalance.
    ///
    /// # Errors
    /// Only if librdkafka is broken. Errors of lanes and brokers are told to [`super::Assignments::failed`].
    pub fn fetch(
        &mut self,
        wait: Duration,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<Batch>, Fault> {
        if self.taken.first().is_none() {
            let lanes = self.shared.lanes();
            self.taken.take(wait, max_records)?;
            self.lanes = Arc::clone(&lanes);
        }
        let mut batches = Vec::<Filling<'_>>::new();
        let mut current = 0;
        let mut bytes = 0;
        while let Some(message) = self.taken.first() {
            if !batches.get(current).is_some_and(|filling| filling.is_of(&message)) {
                current = batches
                    .iter()
                    .position(|filling| filling.is_of(&message))
                    .unwrap_or_else(|| {
                        batches.push(Filling::new(&message, &self.lanes));
                        batches.len() - 1
                    });
            }
            if let Some(filling) = batches.get_mut(current).filter(|filling| filling.is_open()) {
                if let Some(trouble) = filling.trouble(&message) {
                    self.shared.report(trouble);
                } else {
                    let size = message.key().map_or(0, <[u8]>::len)
                        + message.value().map_or(0, <[u8]>::len);
                    if bytes > 0 && bytes + size > max_bytes {
                        break;
                    }
                    bytes += size + filling.append(&message);
                }
            }
            self.taken.pop();
        }
        Ok(batches.into_iter().filter_map(Filling::finish).collect())
    }
}

/// A lane's batch while it fills.
struct Filling<'a> {
    topic: usize,
    partition: i32,
    /// The lane and its batch; none if the lane is not ours.
    open: Option<(&'a Arc<Assigned>, Batch)>,
}

impl<'a> Filling<'a> {
    fn new(message: &Message<'_>, lanes: &'a Lanes) -> Self {
        let lane = lanes.get(message.topic(), message.partition());
        let open = lane.map(|lane| (lane, Batch::new(lane.lane.clone(), lane.assignment)));
        Self { topic: message.topic_mark(), partition: message.partition(), open }
    }

    fn is_of(&self, message: &Message<'_>) -> bool {
        self.topic == message.topic_mark() && self.partition == message.partition()
    }

    /// Whether records of the lane may be handed out.
    fn is_open(&self) -> bool {
        self.open.as_ref().is_some_and(|(lane, _)| !lane.is_stuck())
    }

    /// What is wrong, if the message is an error. The lane is stuck if a record may be missing now.
    fn trouble(&self, message: &Message<'_>) -> Option<Trouble> {
        let (lane, _) = self.open.as_ref()?;
        let trouble = Trouble::new(lane, message.error()?, message.error_text());
        if trouble.is_loss() {
            lane.stick();
        }
        Some(trouble)
    }

    /// Appends a record; gives the bytes of its headers.
    fn append(&mut self, message: &Message<'_>) -> usize {
        let Some((_, batch)) = &mut self.open else { return 0 };
        let headers = append_headers(&mut batch.headers, batch.offsets.len(), message);
        batch.offsets.push(message.offset());
        batch.timestamps.push(message.timestamp());
        batch.keys.push(message.key());
        batch.values.push(message.value());
        headers
    }

    fn finish(self) -> Option<Batch> {
        let (lane, batch) = self.open?;
        lane.advance(batch.offsets.last()? + 1);
        Some(batch)
    }
}

/// Appends the headers of the record at `index`.
fn append_headers(headers: &mut Headers, index: usize, message: &Message<'_>) -> usize {
    let mut bytes = 0;
    message.headers(|name, value| {
        // The records before the first that has headers have none.
        if headers.ends.is_empty() {
            headers.ends.resize(index, 0);
        }
        // Transforms are promised text; Kafka promises it too, and checks nothing.
        headers.names.push(Some(String::from_utf8_lossy(name).as_bytes()));
        headers.values.push(value);
        bytes += name.len() + value.map_or(0, <[u8]>::len);
    });
    if !headers.names.is_empty() {
        headers.ends.push(
            u32::try_from(headers.names.len()).expect("a header takes more than a byte of 4 GiB"),
        );
    }
    bytes
}

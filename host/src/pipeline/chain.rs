//! The transforms of a pipeline at work on one worker, one after the other, and what becomes of records that make one fail.
//!
//! The rows of a transform are the input of the next, and lineage reaches through all of them: a row knows the record that it
//! was made from, however many transforms lie between. A record of which a later transform rejects a row is rejected whole,
//! so that replaying its dead letter doubles nothing.

use std::{
    collections::BTreeMap,
    ops::Range,
    time::{Duration, Instant},
};

use arrow_array::ArrayRef;

use super::{
    dead_letters::{DeadLetter, Stage},
    failures::Failures,
    link::Link,
    meters::Meters,
    plan::{Plan, decoder},
};
use crate::{
    config,
    decode::Decoder,
    engine::{Payload, Rows},
    fault::Fault,
    record::Batch,
};

/// Faults of a call that a single record may cause.
const OF_RECORDS: [&str; 6] =
    ["BATCH_FAILED", "TRAP", "DEADLINE", "OUT_OF_MEMORY", "OUTPUT_LIMIT", "BAD_OUTPUT"];
/// Those that no earlier call is the cause of: time is each call's own, and the guest lives on after failing a batch.
const OF_ITS_OWN: [&str; 2] = ["BATCH_FAILED", "DEADLINE"];
/// A call that fails after so long is not halved but cut into many parts: then a slow record costs three or four calls of a
/// batch rather than a dozen.
const SLOW: Duration = Duration::from_millis(100);
/// How many parts.
const PARTS: usize = 16;

/// The transforms of a pipeline on one worker.
#[derive(Debug)]
pub(super) struct Chain {
    links: Vec<Link>,
    meters: Meters,
    /// `None` where the first transform reads the bytes.
    decoder: Option<Decoder>,
}

/// What became of a batch. Places are places in the batch; each record is in one of the three, or was dropped.
#[derive(Debug, Default)]
pub(super) struct Transformed {
    /// Rows of the last transform, by output.
    pub rows: Vec<Rows>,
    /// Records that could not be decoded, ascending.
    pub broken: Vec<DeadLetter>,
    /// Records that a transform rejected, or that make one fail: one letter each.
    pub rejected: BTreeMap<u32, DeadLetter>,
}

/// A call that failed: of which transform, and why.
type Failure = (usize, Fault);

impl Chain {
    /// # Errors
    /// When a transform can't be instantiated.
    pub(super) fn new(
        pipeline: &config::Pipeline,
        plan: &Plan,
        meters: &Meters,
    ) -> Result<Self, Fault> {
        let links =
            plan.steps.iter().enumerate().map(|(number, step)| {
                Link::new(pipeline, number, step, meters.of(&step.component))
            });
        Ok(Self {
            links: links.collect::<Result<_, Fault>>()?,
            meters: meters.clone(),
            decoder: decoder(pipeline, &plan.steps[0].descriptor.input)?,
        })
    }

    /// The transforms, in order.
    pub(super) fn links(&self) -> &[Link] {
        &self.links
    }

    /// Decodes and transforms a batch. Records that make a transform fail are found by cutting the batch into ever smaller
    /// parts, and left out.
    ///
    /// # Errors
    /// When more of the newest records fail than may: then a transform as a whole is at fault, and stopping is better than
    /// emptying a topic into the dead letters.
    pub(super) fn transform(
        &mut self,
        batch: &Batch,
        failures: &Failures,
    ) -> Result<Transformed, Fault> {
        let mut transformed = Transformed::default();
        // Records of which it is known what becomes of them, and how many of them make a transform fail.
        let (mut known, mut poison, mut again) = (0_u64, 0_u64, None);
        // The last is the first to be done: ranges come in the order of the batch.
        let mut ranges: Vec<Range<usize>> = std::iter::once(0..batch.len()).collect();
        while let Some(range) = ranges.pop() {
            let start = range.start;
            let part = if range.len() == batch.len() { batch } else { &batch.slice(range.clone()) };
            let began = Instant::now();
            let (transform, fault) = match self.call(part) {
                Ok(done) => {
                    known += part.len() as u64;
                    transformed.add(done, start);
                    continue;
                }
                Err(failure) => failure,
            };
            let Some(class) = fault.code.filter(|code| OF_RECORDS.contains(code)) else {
                return Err(fault);
            };
            if part.len() > 1 {
                let parts = if began.elapsed() < SLOW { 2 } else { PARTS };
                ranges.extend(cut(range, parts).rev());
                continue;
            }
            // Those before it may have left an instance with little memory, or in a bad state: a new one has the last word.
            if !OF_ITS_OWN.contains(&class) && again.replace(start) != Some(start) {
                ranges.push(range);
                continue;
            }
            let index = u32::try_from(start).expect("a batch is small");
            let (stage, error) = (Stage::Transform, fault.to_string());
            let letter = DeadLetter { index, stage, transform, class, field: None, error };
            transformed.rejected.insert(index, letter);
            (known, poison) = (known + 1, poison + 1);
            failures.allow(known, poison, &fault)?;
        }
        Ok(transformed)
    }

    /// One call of each transform.
    fn call(&mut self, batch: &Batch) -> Result<Transformed, Failure> {
        let start = Instant::now();
        let Some(decoder) = &mut self.decoder else {
            let transformed = self.follow(batch, Payload::Raw, Transformed::default())?;
            self.meters.stage("transform", start.elapsed());
            return Ok(transformed);
        };
        let decoded = decoder.decode(batch);
        let broken = decoded.broken.into_iter().map(|broken| DeadLetter {
            index: broken.index,
            stage: Stage::Decode,
            transform: 0,
            class: broken.class,
            field: broken.field,
            error: broken.text,
        });
        let transformed = Transformed { broken: broken.collect(), ..Transformed::default() };
        self.meters.stage("decode", start.elapsed());
        if decoded.rows.is_empty() {
            return Ok(transformed);
        }
        let start = Instant::now();
        let payload = Payload::Rows { columns: &decoded.columns, rows: &decoded.rows };
        let transformed = self.follow(batch, payload, transformed)?;
        self.meters.stage("transform", start.elapsed());
        Ok(transformed)
    }

    /// Takes what the first transform gets through all of them.
    fn follow(
        &mut self,
        batch: &Batch,
        payload: Payload<'_>,
        mut transformed: Transformed,
    ) -> Result<Transformed, Failure> {
        let mut rows = self.links[0].process(batch, payload, &mut transformed.rejected)?;
        for link in &mut self.links[1..] {
            // A transform that another one follows has one output.
            let Some(Rows { lineage, rows: made, .. }) = rows.pop() else { break };
            let columns: Vec<ArrayRef> =
                link.feed().iter().map(|&place| ArrayRef::clone(made.column(place))).collect();
            let payload = Payload::Rows { columns: &columns, rows: &lineage };
            rows = link.process(batch, payload, &mut transformed.rejected)?;
        }
        transformed.rows = rows;
        Ok(transformed)
    }
}

impl Transformed {
    /// Adds what became of a part of the batch that begins at `start`.
    fn add(&mut self, part: Self, start: usize) {
        let start = u32::try_from(start).expect("a batch is small");
        let Self { mut rows, mut broken, rejected } = part;
        rows.iter_mut().flat_map(|rows| &mut rows.lineage).for_each(|index| *index += start);
        broken.iter_mut().for_each(|letter| letter.index += start);
        self.rows.extend(rows);
        self.broken.extend(broken);
        self.rejected.extend(rejected.into_values().map(|mut letter| {
            letter.index += start;
            (letter.index, letter)
        }));
    }
}

/// Cuts a range into parts of about the same size, none of them empty.
fn cut(range: Range<usize>, parts: usize) -> impl DoubleEndedIterator<Item = Range<usize>> {
    let (start, length) = (range.start, range.len());
    let parts = parts.min(length);
    let bound = move |part: usize| start + length * part / parts;
    (0..parts).map(move |part| bound(part)..bound(part + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_a_range_in_order_and_none_is_empty() {
        for (length, parts) in [(2, 2), (3, 2), (2, 16), (16, 16), (4097, 16)] {
            let cut: Vec<_> = cut(7..7 + length, parts).collect();
            assert_eq!(cut.len(), parts.min(length));
            assert!(cut.iter().all(|part| !part.is_empty()));
            assert_eq!((cut[0].start, cut[cut.len() - 1].end), (7, 7 + length));
            assert!(cut.windows(2).all(|pair| pair[0].end == pair[1].start));
            let (least, most) = (length / parts.min(length), length.div_ceil(parts.min(length)));
            assert!(cut.iter().all(|part| (least..=most).contains(&part.len())));
        }
    }
}

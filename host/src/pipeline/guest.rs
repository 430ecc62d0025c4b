//! The transform at work on one worker: an instance, and what becomes of records that make it fail.

use std::{ops::Range, sync::Arc};

use super::{
    dead_letters::{DeadLetter, Stage},
    failures::{is_more, too_many},
    meters::Meters,
};
use crate::{
    config,
    decode::Decoder,
    engine::{Component, GuestContext, GuestMetrics, Instance, Payload, Processed},
    fault::Fault,
    record::Batch,
};

/// Faults of a call that a single record may cause.
const OF_RECORDS: [&str; 6] =
    ["BATCH_FAILED", "TRAP", "DEADLINE", "OUT_OF_MEMORY", "OUTPUT_LIMIT", "BAD_OUTPUT"];
/// Calls for one batch that may pass their deadline, twelve a record: with the default of 3 s, a worker stands still for
/// three minutes.
const MAX_DEADLINES: u32 = 64;
/// A batch of fewer records says nothing of the transform as a whole.
const FEW_RECORDS: usize = 16;

/// A transform on one worker.
#[derive(Debug)]
pub(super) struct Guest {
    component: Arc<Component>,
    pipeline: String,
    settings: config::Transform,
    /// The share of a batch that may make it fail.
    max_failure_ratio: f64,
    meters: Meters,
    /// `None` where the transform reads the bytes.
    decoder: Option<Decoder>,
    instance: Instance,
}

/// What became of a batch. Places are places in the batch; each record is in one of the three, or was dropped.
#[derive(Debug, Default)]
pub(super) struct Transformed {
    pub processed: Processed,
    /// Records that could not be decoded, ascending.
    pub broken: Vec<DeadLetter>,
    /// Records that make the transform fail, ascending.
    pub poison: Vec<DeadLetter>,
}

impl Guest {
    /// # Errors
    /// When it can't be instantiated.
    pub(super) fn new(
        component: &Arc<Component>,
        pipeline: &config::Pipeline,
        meters: &Meters,
        decoder: Option<Decoder>,
    ) -> Result<Self, Fault> {
        let (settings, max_failure_ratio) = (&pipeline.transforms[0], pipeline.max_failure_ratio);
        let pipeline = &pipeline.name;
        Ok(Self {
            component: Arc::clone(component),
            pipeline: pipeline.clone(),
            settings: settings.clone(),
            max_failure_ratio,
            meters: meters.clone(),
            decoder,
            instance: instantiate(component, pipeline, settings, meters)?,
        })
    }

    /// The component's name.
    pub(super) fn name(&self) -> &str {
        self.component.name()
    }

    /// The component's digest.
    pub(super) fn digest(&self) -> &str {
        self.component.digest()
    }

    /// Linear memory of the instance.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.instance.memory_bytes()
    }

    /// Decodes and transforms a batch. Records that make the transform fail are found by halving the batch, and left out.
    ///
    /// # Errors
    /// When more of a batch fails than `max_failure_ratio` allows, or it takes too long to find which records do: then the transform as a whole
    /// is at fault, and stopping is better than emptying a topic into the dead letters.
    pub(super) fn transform(&mut self, batch: &Batch) -> Result<Transformed, Fault> {
        let mut transformed = Transformed::default();
        let mut deadlines = 0;
        // The last is the first to be done: ranges come in the order of the batch.
        let mut ranges: Vec<Range<usize>> = std::iter::once(0..batch.len()).collect();
        while let Some(range) = ranges.pop() {
            let (start, end) = (range.start, range.end);
            let part = if range.len() == batch.len() { batch } else { &batch.slice(range) };
            let fault = match self.call(part) {
                Ok(done) => {
                    transformed.add(done, start);
                    continue;
                }
                Err(fault) => fault,
            };
            let Some(class) = fault.code.filter(|code| OF_RECORDS.contains(code)) else {
                return Err(fault);
            };
            deadlines += u32::from(class == "DEADLINE");
            if deadlines > MAX_DEADLINES {
                return Err(fault.help("too many records of a batch take longer than `limits.call_timeout`: mend the transform, or raise it"));
            }
            if part.len() > 1 {
                let middle = usize::midpoint(start, end);
                ranges.extend([middle..end, start..middle]);
                continue;
            }
            transformed.poison.push(DeadLetter {
                index: u32::try_from(start).expect("a batch is small"),
                stage: Stage::Transform,
                class,
                field: None,
                error: fault.to_string(),
            });
            let poison = transformed.poison.len() as u64;
            if batch.len() >= FEW_RECORDS
                && is_more(poison, batch.len() as u64, self.max_failure_ratio)
            {
                return Err(too_many(&fault, self.max_failure_ratio));
            }
        }
        Ok(transformed)
    }

    /// One call, by a new instance if the one before was lost.
    fn call(&mut self, batch: &Batch) -> Result<Transformed, Fault> {
        if self.instance.is_poisoned() {
            self.instance =
                instantiate(&self.component, &self.pipeline, &self.settings, &self.meters)?;
        }
        let decode = std::time::Instant::now();
        let Some(decoder) = &mut self.decoder else {
            let processed = self.instance.process(batch, Payload::Raw);
            let processed = processed.inspect_err(|fault| self.meters.failed(fault))?;
            self.meters.stage("transform", decode.elapsed());
            return Ok(Transformed { processed, ..Transformed::default() });
        };
        let decoded = decoder.decode(batch);
        let broken = decoded.broken.into_iter().map(|broken| DeadLetter {
            index: broken.index,
            stage: Stage::Decode,
            class: broken.class,
            field: broken.field,
            error: broken.text,
        });
        let broken = broken.collect();
        self.meters.stage("decode", decode.elapsed());
        if decoded.rows.is_empty() {
            return Ok(Transformed { broken, ..Transformed::default() });
        }
        let transform = std::time::Instant::now();
        let payload = Payload::Rows { columns: &decoded.columns, rows: &decoded.rows };
        let processed = self.instance.process(batch, payload);
        let processed = processed.inspect_err(|fault| self.meters.failed(fault))?;
        self.meters.stage("transform", transform.elapsed());
        Ok(Transformed { processed, broken, poison: Vec::new() })
    }
}

impl Transformed {
    /// Adds what became of a part of the batch that begins at `start`.
    fn add(&mut self, part: Self, start: usize) {
        let start = u32::try_from(start).expect("a batch is small");
        let Self { mut processed, mut broken, .. } = part;
        processed.outputs.iter_mut().flat_map(|rows| &mut rows.lineage).for_each(|i| *i += start);
        processed.rejections.iter_mut().for_each(|rejection| rejection.index += start);
        broken.iter_mut().for_each(|letter| letter.index += start);
        self.processed.outputs.extend(processed.outputs);
        self.processed.rejections.extend(processed.rejections);
        self.broken.extend(broken);
    }
}

fn instantiate(
    component: &Arc<Component>,
    pipeline: &str,
    settings: &config::Transform,
    meters: &Meters,
) -> Result<Instance, Fault> {
    let context = GuestContext { pipeline: pipeline.to_owned() };
    let metrics: Arc<dyn GuestMetrics> = Arc::new(meters.clone());
    component.instantiate(context, &settings.config, &settings.limits, metrics)
}

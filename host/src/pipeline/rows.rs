//! From a batch of records to rows in open files: decode, transform, dead letters, partition.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use arrow_array::RecordBatch;

use super::{
    dead_letters::{self, DeadLetter, Stage},
    kafka_columns,
    meters::Meters,
};
use crate::{
    commit::manifest::Counts,
    config::OnError,
    decode::Decoder,
    engine::{Instance, Payload, Processed},
    fault::Fault,
    parquet::{Files, OutputSpec, Place},
    record::Batch,
    store::StageWriter,
};

/// What turns records into rows, on one worker.
#[derive(Debug)]
pub(super) struct Rows {
    /// `None` where the transform reads the bytes.
    pub decoder: Option<Decoder>,
    pub instance: Instance,
    /// For each output of the transform, its place in `outputs`.
    pub places: Vec<usize>,
    /// The outputs of the pipeline; the last one is the dead letters'.
    pub outputs: Arc<[OutputSpec]>,
    pub on_error: OnError,
    pub component: String,
    pub digest: String,
    pub meters: Meters,
}

/// Opens the staged file of a hive partition.
pub(super) type Open<'a> = dyn FnMut(&Place) -> Result<StageWriter, Fault> + 'a;

impl Rows {
    /// Processes a batch: its rows and its dead letters are in `files` afterwards.
    pub(super) fn process(
        &mut self,
        batch: &Batch,
        files: &mut Files<StageWriter>,
        open: &mut Open<'_>,
    ) -> Result<Counts, Fault> {
        let mut letters = Vec::new();
        let processed = self.transform(batch, &mut letters)?;
        let encode = Instant::now();
        let broken = letters.len();
        let mut rejected: BTreeSet<u32> = BTreeSet::new();
        for rejection in processed.rejections {
            rejected.insert(rejection.index);
            letters.push(self.rejected(batch, rejection.index, rejection.reason)?);
        }
        let mut counts =
            Counts { records: batch.len() as u64, broken: broken as u64, ..Counts::default() };
        let mut emitted: Vec<u32> = Vec::with_capacity(batch.len());
        for rows in processed.outputs {
            let place = self.places[rows.output];
            let spec = &self.outputs[place];
            let written = if spec.settings.kafka_columns {
                &kafka_columns::extend(&rows.rows, &spec.schema, batch, &rows.lineage)
            } else {
                &rows.rows
            };
            let refused = files.write(place, written, open)?;
            *counts.rows.entry(spec.name.clone()).or_default() +=
                (written.num_rows() - refused.len()) as u64;
            for row in refused {
                let index = rows.lineage[row.row];
                rejected.insert(index);
                let error = format!("output {}: {}", spec.name, row.reason);
                letters.push(DeadLetter {
                    index,
                    stage: Stage::Sink,
                    class: "REFUSED",
                    field: None,
                    error,
                });
            }
            emitted.extend(rows.lineage);
        }
        emitted.sort_unstable();
        emitted.dedup();
        counts.rejected = rejected.len() as u64;
        counts.emitted = emitted.iter().filter(|index| !rejected.contains(index)).count() as u64;
        counts.dropped = counts.records - counts.emitted - counts.rejected - counts.broken;
        if self.on_error == OnError::Skip {
            letters.retain(|letter| letter.stage != Stage::Transform);
        }
        self.write_letters(batch, &mut letters, files, open, &mut counts)?;
        self.meters.stage("encode", encode.elapsed());
        Ok(counts)
    }

    fn transform(
        &mut self,
        batch: &Batch,
        letters: &mut Vec<DeadLetter>,
    ) -> Result<Processed, Fault> {
        let decode = Instant::now();
        let Some(decoder) = &mut self.decoder else {
            let processed = self.instance.process(batch, Payload::Raw);
            let processed = processed.inspect_err(|fault| self.meters.failed(fault))?;
            self.meters.stage("transform", decode.elapsed());
            return Ok(processed);
        };
        let decoded = decoder.decode(batch);
        letters.extend(decoded.broken.into_iter().map(|broken| DeadLetter {
            index: broken.index,
            stage: Stage::Decode,
            class: broken.class,
            field: broken.field,
            error: broken.text,
        }));
        self.meters.stage("decode", decode.elapsed());
        if decoded.rows.is_empty() {
            return Ok(Processed::default());
        }
        let transform = Instant::now();
        let payload = Payload::Rows { columns: &decoded.columns, rows: &decoded.rows };
        let processed = self.instance.process(batch, payload);
        let processed = processed.inspect_err(|fault| self.meters.failed(fault))?;
        self.meters.stage("transform", transform.elapsed());
        Ok(processed)
    }

    fn rejected(&self, batch: &Batch, index: u32, error: String) -> Result<DeadLetter, Fault> {
        if self.on_error == OnError::Fail {
            let (lane, offset) = (&batch.lane, batch.offsets[index as usize]);
            let fault = Fault::transform(format!(
                "{} rejected {lane} offset {offset}: {error}",
                self.component
            ));
            return Err(fault.help(
                "the transform has `on_error: fail`; with `dead_letter` the pipeline goes on",
            ));
        }
        Ok(DeadLetter { index, stage: Stage::Transform, class: "REJECTED", field: None, error })
    }

    /// Writes dead letters. One that its own output refuses (a hive value that can't be a folder) stops the pipeline: it must not be lost.
    fn write_letters(
        &self,
        batch: &Batch,
        letters: &mut [DeadLetter],
        files: &mut Files<StageWriter>,
        open: &mut Open<'_>,
        counts: &mut Counts,
    ) -> Result<(), Fault> {
        if letters.is_empty() {
            return Ok(());
        }
        letters.sort_by_key(|letter| letter.index);
        let rows: RecordBatch = dead_letters::rows(batch, letters, &self.component, &self.digest);
        let place = self.outputs.len() - 1;
        if let Some(refused) = files.write(place, &rows, open)?.first() {
            let text =
                format!("a dead letter of {} can't be written: {}", batch.lane, refused.reason);
            return Err(Fault::config(text).help("partition `dead_letters` by another field"));
        }
        *counts.rows.entry(dead_letters::OUTPUT.to_owned()).or_default() += rows.num_rows() as u64;
        Ok(())
    }

    /// Linear memory of the instance.
    pub(super) fn guest_bytes(&self) -> u64 {
        self.instance.memory_bytes()
    }
}

//! From a batch of records to rows in open files: decode, transform, dead letters, partition.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use arrow_array::RecordBatch;
use arrow_select::filter::filter_record_batch;

use super::{
    dead_letters::{self, DeadLetter, Stage},
    failures::Failures,
    guest::{Guest, Transformed},
    kafka_columns,
    meters::Meters,
};
use crate::{
    commit::manifest::Counts,
    config::OnError,
    engine,
    fault::Fault,
    parquet::{Files, OutputSpec, Place, Sorted},
    record::{Batch, Lineage},
    store::StageWriter,
};

/// What turns records into rows, on one worker.
#[derive(Debug)]
pub(super) struct Rows {
    pub guest: Guest,
    /// For each output of the transform, its place in `outputs`.
    pub places: Vec<usize>,
    /// The outputs of the pipeline; the last one is the dead letters'.
    pub outputs: Arc<[OutputSpec]>,
    pub on_error: OnError,
    pub failures: Failures,
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
        let Transformed { processed, broken, poison } = self.guest.transform(batch)?;
        let encode = Instant::now();
        let mut letters = broken;
        let broken = letters.len();
        let mut rejected: BTreeSet<u32> = BTreeSet::new();
        for letter in poison {
            rejected.insert(letter.index);
            letters.push(self.rejected(batch, letter)?);
        }
        for rejection in processed.rejections {
            rejected.insert(rejection.index);
            let (index, error) = (rejection.index, rejection.reason);
            let (stage, class) = (Stage::Transform, "REJECTED");
            let letter = DeadLetter { index, stage, class, field: None, error };
            letters.push(self.rejected(batch, letter)?);
        }
        let mut counts =
            Counts { records: batch.len() as u64, broken: broken as u64, ..Counts::default() };
        let sorted = self.sort(batch, processed.outputs, files, &mut letters, &mut rejected)?;
        // Before anything is written: of a batch that stops the pipeline, nothing is.
        let failed = rejected.len() as u64 + counts.broken;
        let last = letters.last().map_or("", |letter| letter.error.as_str());
        self.failures.add(counts.records, failed, last)?;
        let mut emitted: Vec<u32> = Vec::with_capacity(batch.len());
        for (lineage, rows, sorted) in sorted {
            let name = &self.outputs[sorted.output()].name;
            *counts.rows.entry(name.clone()).or_default() += rows as u64;
            files.write(sorted, open)?;
            emitted.extend(lineage);
        }
        emitted.sort_unstable();
        emitted.dedup();
        (counts.rejected, counts.emitted) = (rejected.len() as u64, emitted.len() as u64);
        counts.dropped = counts.records - counts.emitted - counts.rejected - counts.broken;
        if self.on_error == OnError::Skip {
            letters.retain(|letter| letter.stage != Stage::Transform);
        }
        self.write_letters(batch, &mut letters, files, open, &mut counts)?;
        self.meters.stage("encode", encode.elapsed());
        Ok(counts)
    }

    /// Sorts the rows of all outputs by hive partition. A record with a row that no file can take is refused whole: it
    /// becomes one dead letter, and none of its rows is written, so that replaying it doubles nothing.
    fn sort(
        &self,
        batch: &Batch,
        outputs: Vec<engine::Rows>,
        files: &mut Files<StageWriter>,
        letters: &mut Vec<DeadLetter>,
        rejected: &mut BTreeSet<u32>,
    ) -> Result<Vec<(Lineage, usize, Sorted)>, Fault> {
        let mut refused: BTreeSet<u32> = BTreeSet::new();
        let mut all = Vec::with_capacity(outputs.len());
        for engine::Rows { output, lineage, rows } in outputs {
            let place = self.places[output];
            let spec = &self.outputs[place];
            let rows = if spec.settings.kafka_columns {
                kafka_columns::extend(&rows, &spec.schema, batch, &lineage)
            } else {
                rows
            };
            let sorted = files.sort(place, &rows)?;
            for row in &sorted.refused {
                let index = lineage[row.row];
                if refused.insert(index) {
                    let error = format!("output {}: {}", spec.name, row.reason);
                    let (stage, class) = (Stage::Sink, "REFUSED");
                    letters.push(DeadLetter { index, stage, class, field: None, error });
                }
            }
            all.push((place, lineage, rows, sorted));
        }
        let sort = |(place, lineage, rows, sorted): (usize, Lineage, RecordBatch, Sorted)| {
            if refused.is_empty() {
                return Ok((lineage, rows.num_rows(), sorted));
            }
            let kept: Vec<bool> = lineage.iter().map(|index| !refused.contains(index)).collect();
            let lineage: Lineage =
                lineage.into_iter().filter(|index| !refused.contains(index)).collect();
            let rows = filter_record_batch(&rows, &kept.into())
                .map_err(|error| Fault::bug("leave rows out").caused_by(error))?;
            Ok((lineage, rows.num_rows(), files.sort(place, &rows)?))
        };
        let sorted = all.into_iter().map(sort).collect();
        rejected.extend(refused);
        sorted
    }

    /// The dead letter of a record that the transform rejected or failed for, if the pipeline is to go on.
    fn rejected(&self, batch: &Batch, letter: DeadLetter) -> Result<DeadLetter, Fault> {
        if self.on_error == OnError::Fail {
            let (lane, offset) = (&batch.lane, batch.offsets[letter.index as usize]);
            let (name, error) = (self.guest.name(), &letter.error);
            let fault = Fault::transform(format!("{name} refused {lane} offset {offset}: {error}"));
            return Err(fault.help(
                "the transform has `on_error: fail`; with `dead_letter` the pipeline goes on",
            ));
        }
        Ok(letter)
    }

    /// Writes dead letters, all of them: one whose own hive value can't be a folder has none.
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
        let (name, digest) = (self.guest.name(), self.guest.digest());
        let rows: RecordBatch = dead_letters::rows(batch, letters, name, digest);
        let place = self.outputs.len() - 1;
        files.write_all(place, &rows, open)?;
        *counts.rows.entry(dead_letters::OUTPUT.to_owned()).or_default() += rows.num_rows() as u64;
        Ok(())
    }

    /// Linear memory of the instance.
    pub(super) fn guest_bytes(&self) -> u64 {
        self.guest.memory_bytes()
    }
}

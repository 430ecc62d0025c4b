//! From a batch of records to rows in open files: decode, transform, dead letters, partition.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use arrow_array::RecordBatch;
use arrow_select::filter::filter_record_batch;

use super::{
    chain::{Chain, Transformed},
    dead_letters::{self, DeadLetter, Stage},
    failures::Failures,
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
    pub chain: Chain,
    /// For each output of the last transform, its place in `outputs`.
    pub places: Vec<usize>,
    /// The outputs of the pipeline; the last one is the dead letters'.
    pub outputs: Arc<[OutputSpec]>,
    pub failures: Failures,
    pub meters: Meters,
}

/// Opens the staged file of a hive partition.
pub(super) type Open<'a> = dyn FnMut(&Place) -> Result<StageWriter, Fault> + 'a;

/// Rows of an output, with where they go.
struct Made {
    lineage: Lineage,
    rows: RecordBatch,
    sorted: Sorted,
}

impl Rows {
    /// Processes a batch: its rows and its dead letters are in `files` afterwards.
    pub(super) fn process(
        &mut self,
        batch: &Batch,
        files: &mut Files<StageWriter>,
        open: &mut Open<'_>,
    ) -> Result<Counts, Fault> {
        let Transformed { rows, broken, rejected } = self.chain.transform(batch, &self.failures)?;
        let encode = Instant::now();
        let mut counts = Counts {
            records: batch.len() as u64,
            broken: broken.len() as u64,
            ..Counts::default()
        };
        // A transform gives no rows of a record that it rejects itself; one before it may have given some.
        let mut refused = BTreeSet::new();
        if self.chain.links().len() > 1 {
            refused.extend(rejected.keys());
        }
        let mut letters = broken;
        for letter in rejected.into_values() {
            letters.push(self.rejected(batch, letter)?);
        }
        let made = self.sort(batch, rows, files, &mut letters, &mut refused)?;
        // Before anything is written: of a batch that stops the pipeline, nothing is.
        counts.rejected = letters.len() as u64 - counts.broken;
        let last = letters.last().map_or("", |letter| letter.error.as_str());
        self.failures.add(counts.records, counts.rejected + counts.broken, last)?;
        let mut emitted: Vec<u32> = Vec::with_capacity(batch.len());
        for Made { lineage, rows, sorted } in made {
            let name = &self.outputs[sorted.output()].name;
            *counts.rows.entry(name.clone()).or_default() += rows.num_rows() as u64;
            files.write(sorted, open)?;
            emitted.extend(lineage);
        }
        emitted.sort_unstable();
        emitted.dedup();
        counts.emitted = emitted.len() as u64;
        counts.dropped = counts.records - counts.emitted - counts.rejected - counts.broken;
        letters.retain(|letter| letter.stage != Stage::Transform || !self.skips(letter));
        self.write_letters(batch, &mut letters, files, open, &mut counts)?;
        self.meters.stage("encode", encode.elapsed());
        Ok(counts)
    }

    /// Sorts the rows of all outputs by hive partition. A record with a row that no file can take is refused whole, as one
    /// that a transform rejected: it becomes one dead letter, and none of its rows is written, so that replaying it doubles
    /// nothing.
    fn sort(
        &self,
        batch: &Batch,
        outputs: Vec<engine::Rows>,
        files: &mut Files<StageWriter>,
        letters: &mut Vec<DeadLetter>,
        refused: &mut BTreeSet<u32>,
    ) -> Result<Vec<Made>, Fault> {
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
                    let transform = self.chain.links().len() - 1;
                    let field = None;
                    letters.push(DeadLetter { index, stage, transform, class, field, error });
                }
            }
            all.push(Made { lineage, rows, sorted });
        }
        let sort = |made: Made| {
            if refused.is_empty() {
                return Ok(made);
            }
            let Made { lineage, rows, sorted } = made;
            let kept: Vec<bool> = lineage.iter().map(|index| !refused.contains(index)).collect();
            let lineage: Lineage =
                lineage.into_iter().filter(|index| !refused.contains(index)).collect();
            let rows = filter_record_batch(&rows, &kept.into())
                .map_err(|error| Fault::bug("leave rows out").caused_by(error))?;
            let sorted = files.sort(sorted.output(), &rows)?;
            Ok(Made { lineage, rows, sorted })
        };
        all.into_iter().map(sort).collect()
    }

    /// The dead letter of a record that a transform rejected or failed for, if the pipeline is to go on.
    fn rejected(&self, batch: &Batch, letter: DeadLetter) -> Result<DeadLetter, Fault> {
        let link = &self.chain.links()[letter.transform];
        if link.on_error() == OnError::Fail {
            let (lane, offset) = (&batch.lane, batch.offsets[letter.index as usize]);
            let (name, error) = (link.name(), &letter.error);
            let fault = Fault::transform(format!("{name} refused {lane} offset {offset}: {error}"));
            return Err(fault.help(
                "the transform has `on_error: fail`; with `dead_letter` the pipeline goes on",
            ));
        }
        Ok(letter)
    }

    fn skips(&self, letter: &DeadLetter) -> bool {
        self.chain.links()[letter.transform].on_error() == OnError::Skip
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
        let builds: Vec<_> =
            self.chain.links().iter().map(|link| (link.name(), link.digest())).collect();
        let rows: RecordBatch = dead_letters::rows(batch, letters, &builds);
        let place = self.outputs.len() - 1;
        files.write_all(place, &rows, open)?;
        *counts.rows.entry(dead_letters::OUTPUT.to_owned()).or_default() += rows.num_rows() as u64;
        Ok(())
    }
}

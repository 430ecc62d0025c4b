//! Splits rows by the values of their hive partitions.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    mem,
    sync::Arc,
};

use arrow_array::{RecordBatch, UInt32Array};
use arrow_schema::{ArrowError, Schema};
use arrow_select::take::take_record_batch;

use super::{
    RefusedRow,
    expression::{Evaluator, Segment},
};
use crate::{commit::names::NULL_VALUE, config::PartitionBy};

/// Above this many remembered values and paths all are forgotten, so that they take a few megabytes at most.
const MAX_REMEMBERED: usize = 1 << 16;

/// Rows by hive path.
#[derive(Debug, Default)]
pub(super) struct Split {
    /// In the order in which their paths first come.
    pub(super) parts: Vec<Part>,
    /// Rows that have no path.
    pub(super) refused: Vec<RefusedRow>,
}

/// The rows of one hive path.
#[derive(Debug)]
pub(super) struct Part {
    /// `k=v/k2=v2`, encoded.
    pub(super) path: Arc<str>,
    pub(super) rows: RecordBatch,
    /// Where they stood in the rows that were split.
    places: UInt32Array,
}

impl Part {
    /// The rows as refused ones.
    pub(super) fn refuse(&self, reason: &str) -> impl Iterator<Item = RefusedRow> {
        refuse(&self.places, reason)
    }
}

/// Splits the rows of one output.
#[derive(Debug)]
pub(super) struct Splitter {
    levels: Vec<Level>,
    max_path: usize,
    codes: Vec<u32>,
    /// The number of each row's path at the level that was evaluated last.
    paths: Vec<u32>,
}

/// One folder level: paths down to it, by number.
#[derive(Debug)]
struct Level {
    evaluator: Evaluator,
    /// From a path of the level above and a code to a path of this level.
    numbers: HashMap<u64, u32, BuildHasherDefault<Dense>>,
    paths: Vec<Segment>,
}

impl Splitter {
    /// # Errors
    /// What is wrong with an expression, for this schema.
    pub(super) fn new(
        partition_by: &[PartitionBy],
        schema: &Schema,
        max_path: usize,
    ) -> Result<Self, String> {
        let level = |by| {
            Ok(Level {
                evaluator: Evaluator::new(by, schema)?,
                numbers: HashMap::default(),
                paths: Vec::new(),
            })
        };
        let levels = partition_by.iter().map(level).collect::<Result<_, String>>()?;
        Ok(Self { levels, max_path, codes: Vec::new(), paths: Vec::new() })
    }

    /// The path of rows that have no value for any partition.
    pub(super) fn null_path(&self) -> String {
        let null = |level: &Level| format!("{}={NULL_VALUE}", level.evaluator.key());
        self.levels.iter().map(null).collect::<Vec<_>>().join("/")
    }

    /// Splits `rows`, which keep their order within a path.
    pub(super) fn split(&mut self, rows: &RecordBatch) -> Result<Split, ArrowError> {
        if self
            .levels
            .iter()
            .map(|level| level.evaluator.remembered() + level.paths.len())
            .sum::<usize>()
            > MAX_REMEMBERED
        {
            self.levels.iter_mut().for_each(Level::forget);
        }
        self.paths.clear();
        self.paths.resize(rows.num_rows(), 0);
        let mut above: &[Segment] = &[Ok("".into())];
        for level in &mut self.levels {
            level.evaluator.evaluate(rows.column(level.evaluator.column()), &mut self.codes);
            level.descend(above, self.max_path, &self.codes, &mut self.paths);
            above = &level.paths;
        }
        sort_out(rows, &self.paths, above)
    }
}

impl Level {
    fn forget(&mut self) {
        self.evaluator.forget();
        self.numbers.clear();
        self.paths.clear();
    }

    /// Turns the numbers of paths of the level above, in `paths`, into those of this level.
    fn descend(&mut self, above: &[Segment], max_path: usize, codes: &[u32], paths: &mut [u32]) {
        for (path, &code) in paths.iter_mut().zip(codes) {
            let pair = u64::from(*path) << 32 | u64::from(code);
            *path = *self.numbers.entry(pair).or_insert_with(|| {
                let number = u32::try_from(self.paths.len())
                    .expect("far fewer paths than 2^32 are remembered");
                self.paths.push(join(&above[index(*path)], self.evaluator.segment(code), max_path));
                number
            });
        }
    }
}

fn join(above: &Segment, segment: &Segment, max_path: usize) -> Segment {
    let (above, segment) =
        (above.as_ref().map_err(Arc::clone)?, segment.as_ref().map_err(Arc::clone)?);
    let path =
        if above.is_empty() { Arc::clone(segment) } else { format!("{above}/{segment}").into() };
    if path.len() > max_path {
        return Err(format!(
            "the hive path has {} bytes; the file's key has room for {max_path}",
            path.len()
        )
        .into());
    }
    Ok(path)
}

/// Takes the rows of each path together. `numbers` says which of `paths` each row has.
fn sort_out(rows: &RecordBatch, numbers: &[u32], paths: &[Segment]) -> Result<Split, ArrowError> {
    // Counting sort: how many rows each path has, then where they begin, then the rows.
    let mut ends = vec![0_usize; paths.len()];
    let mut present = Vec::new();
    for &number in numbers {
        let count = &mut ends[index(number)];
        if *count == 0 {
            present.push(number);
        }
        *count += 1;
    }
    let mut end = 0;
    for &number in &present {
        end += mem::replace(&mut ends[index(number)], end);
    }
    let mut places = vec![0_u32; numbers.len()];
    for (row, &number) in (0..).zip(numbers) {
        let end = &mut ends[index(number)];
        places[*end] = row;
        *end += 1;
    }
    let places = UInt32Array::from(places);

    let mut split = Split::default();
    let mut start = 0;
    for number in present.iter().map(|&number| index(number)) {
        let mine = places.slice(start, ends[number] - start);
        start = ends[number];
        match &paths[number] {
            Ok(path) => {
                let rows =
                    if present.len() == 1 { rows.clone() } else { take_record_batch(rows, &mine)? };
                split.parts.push(Part { path: Arc::clone(path), rows, places: mine });
            }
            Err(reason) => split.refused.extend(refuse(&mine, reason)),
        }
    }
    split.refused.sort_unstable_by_key(|refused| refused.row);
    Ok(split)
}

fn refuse(places: &UInt32Array, reason: &str) -> impl Iterator<Item = RefusedRow> {
    places.values().iter().map(|&row| RefusedRow { row: index(row), reason: reason.to_owned() })
}

fn index(number: u32) -> usize {
    usize::try_from(number).expect("u32 fits usize")
}

/// A hasher for pairs of numbers that count up from 0: one multiplication. Values of records never reach it.
#[derive(Debug, Default)]
struct Dense(u64);

impl Hasher for Dense {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(byte.into()));
    }

    fn write_u64(&mut self, number: u64) {
        // 2^64 divided by the golden ratio; the table takes its bits from both ends, so the high half is folded into the low one.
        let product = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = product ^ product >> 32;
    }
}

#[cfg(test)]
mod tests;

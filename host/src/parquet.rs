//! Rows to Parquet files: hive partitions, encodings, open files under one memory budget.
//!
//! A worker has one [`Files`] and writes the rows of all its outputs there. Rows go to the open file of their hive partition, so that many
//! small batches make few files. A file that is full, or that memory closes, is [`Sealed`]; a flush seals all. Ending a sealed file is slow
//! and happens on another thread.
//!
//! What memory holds is bounded by a [`Budget`](crate::budget::Budget). When it is exceeded, a worker moves finished pages to the scratch folder, the largest file
//! first; then ends row groups, whose pages can then follow; and only when that gives nothing more it seals its largest file.

mod bucket;
mod encodings;
mod expression;
mod file;
mod footer;
mod pages;
mod partition;
mod sink;
mod spill;
mod waiting;

#[cfg(test)]
mod tests;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, btree_map::Entry},
    fmt,
    io::Write,
    path::PathBuf,
    sync::Arc,
};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

use self::{encodings::Layout, file::OpenFile, partition::Splitter, spill::Spill};
pub use self::{
    file::Sealed,
    footer::{Footer, RowGroup, footer},
};
use crate::{budget::Share, config, fault::Fault};

/// Bytes of a key but for output and hive path: `data/`, a pipeline's name of 63 bytes, three `/`, and a file's name of 82.
const KEY_REST_BYTES: usize = 5 + 63 + 3 + 82;

/// The longest key, in bytes.
const MAX_KEY_BYTES: usize = 900;

/// Moving less than this to disk is not worth a write.
const MIN_SPILL_BYTES: usize = 64 << 10;

/// A row group is not ended for less than this. Small row groups are poor, but another file is worse.
const MIN_ROW_GROUP_BYTES: u64 = 32 << 10;

/// An output of a pipeline.
#[derive(Clone, Debug)]
pub struct OutputSpec {
    /// Its name.
    pub name: String,
    /// The schema of its rows, with all columns that the pipeline adds.
    pub schema: SchemaRef,
    /// How it is written.
    pub settings: config::Parquet,
}

/// Checks that an output can be written: that its hive partitions fit its schema.
///
/// # Errors
/// The configuration's fault, which names the output.
pub fn check(spec: &OutputSpec) -> Result<(), Fault> {
    Output::<Vec<u8>>::new(spec, MAX_KEY_BYTES).map(drop)
}

/// Where a file belongs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The output's place among the outputs.
    pub output: usize,
    /// `k=v/k2=v2`, encoded; empty without partitions.
    pub hive_path: String,
}

/// A row that no file can take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedRow {
    /// Its place in the rows that were written.
    pub row: usize,
    /// Why.
    pub reason: String,
}

/// Why a file gets no more rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// All files of the flush end.
    Flush,
    /// It has `max_file_bytes`.
    Size,
    /// The memory budget is exceeded.
    Memory,
}

/// The open files of one worker's flush. `S` is where the bytes of a file go.
///
/// After a fault the flush is lost: drop it all.
pub struct Files<S: Write> {
    outputs: Vec<Output<S>>,
    share: Arc<Share>,
    spill: Spill,
    sealed: Vec<Sealed<S>>,
}

struct Output<S: Write> {
    layout: Arc<Layout>,
    splitter: Splitter,
    open: BTreeMap<Arc<str>, OpenFile<S>>,
}

/// Rows of an output, by hive partition.
#[derive(Debug)]
pub struct Sorted {
    output: usize,
    parts: Vec<partition::Part>,
    /// Rows that no file can take, by place.
    pub refused: Vec<RefusedRow>,
}

impl Sorted {
    /// The place of their output.
    pub fn output(&self) -> usize {
        self.output
    }
}

impl<S: Write + Send> Files<S> {
    /// No files yet. Their keys have at most `max_key_bytes`. Pages spill to nameless files in the folder `scratch`, which is created.
    ///
    /// # Errors
    /// The configuration's fault when a hive partition does not fit its output's schema; the surroundings' when `scratch` cannot be created.
    pub fn new(
        outputs: Arc<[OutputSpec]>,
        share: Arc<Share>,
        scratch: PathBuf,
        max_key_bytes: usize,
    ) -> Result<Self, Fault> {
        let output = |spec| Output::new(spec, max_key_bytes.min(MAX_KEY_BYTES));
        let outputs = outputs.iter().map(output).collect::<Result<_, Fault>>()?;
        let spill = Spill::new(scratch)?;
        Ok(Self { outputs, share, spill, sealed: Vec::new() })
    }

    /// Sorts the rows of an output by hive partition. Refused are those whose values can't be a path, and those of further partitions
    /// where `max_partitions` have open files.
    ///
    /// # Errors
    /// The rows have another schema than the output.
    pub fn sort(&mut self, output: usize, rows: &RecordBatch) -> Result<Sorted, Fault> {
        let Output { layout, open, .. } = &self.outputs[output];
        let (most, mut paths) = (layout.settings.max_partitions, open.len());
        let split = self.outputs[output].split(rows)?;
        let mut sorted = Sorted { output, parts: Vec::new(), refused: split.refused };
        for part in split.parts {
            let is_new = !self.outputs[output].open.contains_key(&part.path);
            paths += usize::from(is_new);
            if is_new && paths > most {
                let reason = format!(
                    "{most} hive partitions are open (`max_partitions`), {} would be one more: partition more coarsely, or raise it",
                    part.path
                );
                sorted.refused.extend(part.refuse(&reason));
            } else {
                sorted.parts.push(part);
            }
        }
        sorted.refused.sort_unstable_by_key(|refused| refused.row);
        Ok(sorted)
    }

    /// Appends rows to the open files of their partitions; `open` makes the sink of a new file. May wait for a sink.
    ///
    /// # Errors
    /// Those of `open` and of the sinks; the surroundings' fault when pages cannot spill.
    pub fn write(
        &mut self,
        sorted: Sorted,
        open: &mut dyn FnMut(&Place) -> Result<S, Fault>,
    ) -> Result<(), Fault> {
        let Sorted { output, parts, .. } = sorted;
        for part in parts {
            self.append(output, part.path, part.rows, open)?;
        }
        if self.share.budget().lasting() > self.share.budget().lasting_limit() {
            self.relieve()?;
        }
        Ok(())
    }

    /// Sorts and appends rows, all of them: what is refused goes to the files without a value for any partition.
    ///
    /// # Errors
    /// Those of [`Self::sort`] and [`Self::write`].
    pub fn write_all(
        &mut self,
        output: usize,
        rows: &RecordBatch,
        open: &mut dyn FnMut(&Place) -> Result<S, Fault>,
    ) -> Result<(), Fault> {
        let sorted = self.sort(output, rows)?;
        if !sorted.refused.is_empty() {
            let path = self.outputs[output].splitter.null_path().into();
            for refused in &sorted.refused {
                self.append(output, Arc::clone(&path), rows.slice(refused.row, 1), open)?;
            }
        }
        self.write(sorted, open)
    }

    fn append(
        &mut self,
        output: usize,
        path: Arc<str>,
        rows: RecordBatch,
        open: &mut dyn FnMut(&Place) -> Result<S, Fault>,
    ) -> Result<(), Fault> {
        let Output { layout, open: files, .. } = &mut self.outputs[output];
        let mut file = match files.entry(path) {
            Entry::Occupied(file) => file,
            Entry::Vacant(vacant) => {
                let place = Place { output, hive_path: vacant.key().to_string() };
                let sink = open(&place)?;
                let memory = self.share.reserve(0);
                vacant.insert_entry(OpenFile::new(place, Arc::clone(layout), sink, memory))
            }
        };
        file.get_mut().push(rows)?;
        if u64::try_from(file.get().bytes()).expect("usize fits u64")
            >= layout.settings.max_file_bytes
        {
            self.sealed.push(file.remove().seal(Reason::Size));
        }
        Ok(())
    }

    /// The files that are full or that memory or other partitions closed. The flush goes on.
    pub fn take_sealed(&mut self) -> Vec<Sealed<S>> {
        std::mem::take(&mut self.sealed)
    }

    /// Seals all files: a flush. Gives back those as well that [`Self::take_sealed`] would.
    pub fn seal(&mut self) -> Vec<Sealed<S>> {
        for output in &mut self.outputs {
            output.layout.age();
            self.sealed.extend(
                std::mem::take(&mut output.open).into_values().map(|file| file.seal(Reason::Flush)),
            );
        }
        self.take_sealed()
    }

    /// Rows in open files and in sealed ones that were not taken.
    pub fn rows(&self) -> u64 {
        self.files().map(OpenFile::rows).sum::<u64>()
            + self.sealed.iter().map(Sealed::rows).sum::<u64>()
    }

    /// Whether there is no row in open files or in sealed ones that were not taken.
    pub fn is_empty(&self) -> bool {
        self.sealed.is_empty() && self.open_files() == 0
    }

    /// The number of open files.
    pub fn open_files(&self) -> usize {
        self.outputs.iter().map(|output| output.open.len()).sum()
    }

    /// Bytes that open files hold in memory.
    pub fn buffered_bytes(&self) -> u64 {
        self.files().map(OpenFile::memory).sum()
    }

    fn files(&self) -> impl Iterator<Item = &OpenFile<S>> {
        self.outputs.iter().flat_map(|output| output.open.values())
    }

    /// Gives memory back, in three steps; each is taken only if the ones before were not enough.
    fn relieve(&mut self) -> Result<(), Fault> {
        // Below the limit, so that it is not reached again with the next rows.
        let enough = self.share.budget().lasting_limit() / 4 * 3;
        let mut files: Vec<_> =
            self.outputs.iter_mut().flat_map(|output| output.open.values_mut()).collect();

        files.sort_by_cached_key(|file| Reverse(file.spillable()));
        for file in &mut files {
            if self.share.budget().lasting() <= enough || file.spillable() < MIN_SPILL_BYTES {
                break;
            }
            file.spill(&mut self.spill)?;
        }

        let fair = self.share.fair();
        let mut mine: u64 = files.iter().map(|file| file.memory()).sum();
        files.sort_unstable_by_key(|file| Reverse(file.memory()));
        for file in &mut files {
            let before = file.memory();
            if self.share.budget().lasting() <= enough
                || mine <= fair
                || before < MIN_ROW_GROUP_BYTES
            {
                break;
            }
            file.end_row_group()?;
            file.spill(&mut self.spill)?;
            mine = mine - before + file.memory();
        }

        while self.share.budget().lasting() > self.share.budget().lasting_limit()
            && self.buffered_bytes() > fair
        {
            self.seal_first(Reason::Memory, |file| Reverse(file.memory()));
        }
        Ok(())
    }

    /// Seals the open file that comes first by `key`.
    fn seal_first<K: Ord>(&mut self, reason: Reason, key: impl Fn(&OpenFile<S>) -> K) {
        let all =
            self.outputs.iter().enumerate().flat_map(|(output, Output { open, .. })| {
                open.iter().map(move |file| (output, file))
            });
        let Some((output, path)) = all
            .min_by_key(|(_, (_, file))| key(file))
            .map(|(output, (path, _))| (output, Arc::clone(path)))
        else {
            return;
        };
        self.sealed.extend(self.outputs[output].open.remove(&path).map(|file| file.seal(reason)));
    }
}

impl<S: Write> fmt::Debug for Files<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files")
            .field("outputs", &self.outputs.len())
            .field("sealed", &self.sealed.len())
            .finish_non_exhaustive()
    }
}

impl<S: Write> Output<S> {
    fn new(spec: &OutputSpec, max_key_bytes: usize) -> Result<Self, Fault> {
        let layout = Arc::new(Layout::new(spec)?);
        let max_path = max_key_bytes.saturating_sub(KEY_REST_BYTES + spec.name.len());
        let splitter = Splitter::new(&spec.settings.partition_by, &spec.schema, max_path)
            .map_err(|wrong| Fault::config(format!("output `{}`: {wrong}", spec.name)))?;
        Ok(Self { layout, splitter, open: BTreeMap::new() })
    }

    fn split(&mut self, rows: &RecordBatch) -> Result<partition::Split, Fault> {
        let fields = self.layout.schema.fields();
        let fits = fields.len() == rows.num_columns()
            && fields
                .iter()
                .zip(rows.columns())
                .all(|(field, column)| field.data_type() == column.data_type());
        if !fits {
            return Err(Fault::bug(format!(
                "rows for output `{}` have another schema: {}",
                self.layout.output,
                rows.schema()
            )));
        }
        if rows.num_rows() == 0 {
            return Ok(partition::Split::default());
        }
        let cannot = |error| {
            Fault::bug(format!("cannot split the rows for output `{}`", self.layout.output))
                .caused_by(error)
        };
        self.splitter.split(rows).map_err(cannot)
    }
}

//! One open file: rows that wait, then a writer, then its end.

use std::{
    fmt,
    io::{self, Write},
    sync::Arc,
};

use arrow_array::RecordBatch;
use parquet::{
    arrow::{ArrowWriter, arrow_writer::ArrowWriterOptions},
    errors::ParquetError,
    file::metadata::KeyValue,
};

use super::{
    Place, Reason,
    budget::Reservation,
    encodings::{Encodings, Layout},
    pages::Pages,
    sink::Sink,
    spill::Spill,
    waiting::Waiting,
};
use crate::fault::Fault;

/// So many rows, or bytes, wait before the encodings are chosen.
const SAMPLE: (usize, usize) = (8192, 1 << 20);

/// So many rows, or bytes, wait before they are encoded together.
const CHUNK: (usize, usize) = (1024, 64 << 10);

/// Fewer rows than this say too little about how a column is best encoded for it to be kept for other files.
const TELLING_ROWS: usize = 1024;

/// About what a compressor holds on to once it has compressed a page (zstd's tables at level 1 for pages of 64 KiB and more).
const COMPRESSOR_BYTES: usize = 320 << 10;

/// About what the metadata of a finished column chunk takes, with statistics and page index.
const CHUNK_METADATA_BYTES: usize = 512;

/// The encodings that the files of an output hand on.
#[derive(Clone, Debug, Default)]
pub(super) struct Carried {
    encodings: Option<Encodings>,
    /// Whether they were chosen since the last flush; else the next file waits for a whole sample and chooses anew.
    fresh: bool,
}

impl Carried {
    pub(super) fn age(&mut self) {
        self.fresh = false;
    }
}

/// A file that rows are appended to.
pub(super) struct OpenFile<S: Write> {
    place: Place,
    layout: Arc<Layout>,
    waiting: Waiting,
    /// `None` while its writer is being made, or after that failed.
    body: Option<Body<S>>,
    pages: Pages,
    rows: u64,
    memory: Reservation,
    /// When rows came last, in writes.
    pub(super) last_write: u64,
}

enum Body<S: Write> {
    /// No encodings are chosen yet.
    Bare(S),
    Writer(Box<ArrowWriter<Sink<S>>>),
}

impl<S: Write + Send> OpenFile<S> {
    pub(super) fn new(place: Place, layout: Arc<Layout>, sink: S, memory: Reservation) -> Self {
        Self {
            place,
            layout,
            waiting: Waiting::default(),
            body: Some(Body::Bare(sink)),
            pages: Pages::default(),
            rows: 0,
            memory,
            last_write: 0,
        }
    }

    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Bytes that it counts in the budget.
    pub(super) fn memory(&self) -> u64 {
        self.memory.bytes()
    }

    /// Bytes in memory that can go to disk.
    pub(super) fn spillable(&self) -> usize {
        self.pages.resident() + self.writer().map_or(0, |writer| writer.inner().resident())
    }

    /// About how long the file is so far.
    pub(super) fn bytes(&self) -> usize {
        self.writer().map_or(0, |writer| writer.bytes_written() + writer.in_progress_size())
    }

    /// Appends rows.
    pub(super) fn push(&mut self, rows: RecordBatch, carried: &mut Carried) -> Result<(), Fault> {
        self.rows += u64::try_from(rows.num_rows()).expect("usize fits u64");
        self.waiting.push(rows).map_err(|error| self.fault(error.into()))?;
        let reached = |(rows, bytes)| self.waiting.rows() >= rows || self.waiting.bytes() >= bytes;
        let chosen = self.writer().is_some() || carried.fresh;
        if reached(if chosen { CHUNK } else { SAMPLE }) {
            self.encode(carried)?;
        }
        self.count();
        Ok(())
    }

    /// Moves what it can to disk.
    pub(super) fn spill(&mut self, spill: &mut Spill) -> Result<(), Fault> {
        self.pages.spill(spill)?;
        if let Some(Body::Writer(writer)) = &mut self.body {
            writer.inner_mut().spill(spill)?;
        }
        self.count();
        Ok(())
    }

    /// Encodes what waits and ends the row group, so that all it holds can go to disk.
    pub(super) fn end_row_group(&mut self, carried: &mut Carried) -> Result<(), Fault> {
        let ended = self.encode(carried)?.flush();
        ended.map_err(|error| self.fault(error))?;
        self.count();
        Ok(())
    }

    pub(super) fn seal(mut self, reason: Reason) -> Sealed<S> {
        self.memory.close();
        Sealed { file: self, reason }
    }

    fn writer(&self) -> Option<&ArrowWriter<Sink<S>>> {
        match &self.body {
            Some(Body::Writer(writer)) => Some(writer),
            _ => None,
        }
    }

    /// Counts its memory anew.
    fn count(&mut self) {
        let mut bytes = self.waiting.bytes()
            + self.pages.resident()
            + self.pages.compressors() * COMPRESSOR_BYTES;
        if let Some(writer) = self.writer() {
            let chunks = writer.flushed_row_groups().len() * self.layout.leaves();
            bytes +=
                writer.memory_size() + writer.inner().resident() + chunks * CHUNK_METADATA_BYTES;
        }
        self.memory.set(u64::try_from(bytes).expect("usize fits u64"));
    }

    /// Encodes all rows that wait.
    fn encode(&mut self, carried: &mut Carried) -> Result<&mut ArrowWriter<Sink<S>>, Fault> {
        let rows =
            self.waiting.take(&self.layout.schema).map_err(|error| self.fault(error.into()))?;
        let body =
            self.body.take().ok_or_else(|| Fault::bug("a file is written to after a fault"))?;
        let mut writer = match body {
            Body::Writer(writer) => writer,
            Body::Bare(sink) => {
                let encodings = choose(&rows, carried);
                Box::new(self.new_writer(sink, &encodings).map_err(|error| self.fault(error))?)
            }
        };
        writer.write(&rows).map_err(|error| self.fault(error))?;
        let Body::Writer(writer) = self.body.insert(Body::Writer(writer)) else {
            unreachable!("a writer was just put there")
        };
        Ok(writer)
    }

    fn new_writer(
        &self,
        sink: S,
        encodings: &Encodings,
    ) -> Result<ArrowWriter<Sink<S>>, ParquetError> {
        let options = ArrowWriterOptions::new()
            .with_properties(self.layout.properties(encodings)?)
            .with_page_store_factory(Arc::new(self.pages.clone()));
        ArrowWriter::try_new_with_options(Sink::new(sink), Arc::clone(&self.layout.schema), options)
    }

    fn fault(&self, error: ParquetError) -> Fault {
        match error {
            ParquetError::External(source) => match source.downcast::<io::Error>() {
                Ok(error) => self.io_fault(*error),
                Err(source) => Fault::outside(self.what()).caused_by(source),
            },
            other => Fault::bug(self.what()).caused_by(other),
        }
    }

    /// The sink's own fault if there is one: it knows more.
    fn io_fault(&self, error: io::Error) -> Fault {
        error
            .downcast::<Fault>()
            .unwrap_or_else(|error| Fault::outside(self.what()).caused_by(error))
    }

    fn what(&self) -> String {
        match self.place.hive_path.as_str() {
            "" => format!("cannot write a file of output `{}`", self.layout.output),
            path => format!("cannot write a file of output `{}`, {path}", self.layout.output),
        }
    }
}

/// Takes the encodings that were handed on, or chooses by a file's first rows and hands that on.
fn choose(rows: &RecordBatch, carried: &mut Carried) -> Encodings {
    if let Some(encodings) = &carried.encodings
        && (carried.fresh || rows.num_rows() < TELLING_ROWS)
    {
        return encodings.clone();
    }
    let encodings = Encodings::choose(rows);
    if rows.num_rows() >= TELLING_ROWS {
        *carried = Carried { encodings: Some(encodings.clone()), fresh: true };
    }
    encodings
}

/// A file that gets no more rows. [`Sealed::close`] ends it.
pub struct Sealed<S: Write> {
    file: OpenFile<S>,
    reason: Reason,
}

impl<S: Write + Send> Sealed<S> {
    /// Where it belongs.
    pub fn place(&self) -> &Place {
        &self.file.place
    }

    /// Its rows.
    pub fn rows(&self) -> u64 {
        self.file.rows
    }

    /// Why it gets no more rows.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// Encodes what waits, writes the last pages and the footer with these key-values, and gives back the sink, which then has all bytes.
    /// Slow: for a thread that may wait for the sink.
    ///
    /// # Errors
    /// The sink's own fault if it put one into its [`io::Error`]; else the surroundings' fault.
    pub fn close(self, metadata: Vec<(String, String)>) -> Result<S, Fault> {
        let Self { mut file, .. } = self;
        // A small file chooses for itself: it knows all its rows.
        let ended = file.encode(&mut Carried::default())?.flush();
        ended.map_err(|error| file.fault(error))?;
        let Some(Body::Writer(mut writer)) = file.body.take() else {
            unreachable!("`encode` put a writer there")
        };
        // Parquet tells the text alone of a fault while it gives back the sink, so none may come then.
        writer.inner_mut().hold_all();
        metadata
            .into_iter()
            .for_each(|(key, value)| writer.append_key_value_metadata(KeyValue::new(key, value)));
        let sink = writer.into_inner().map_err(|error| file.fault(error))?;
        sink.finish().map_err(|error| file.io_fault(error))
    }
}

impl<S: Write> fmt::Debug for Sealed<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealed")
            .field("place", &self.file.place)
            .field("rows", &self.file.rows)
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}

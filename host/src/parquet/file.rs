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
    encodings::{Encodings, Layout},
    pages::Pages,
    sink::Sink,
    spill::Spill,
    waiting::Waiting,
};
use crate::{budget::Reservation, config::Compression, fault::Fault};

/// So many rows, or bytes, wait before a row group begins: until then they take less memory than its codecs, and the encodings of a file are
/// chosen from them.
const BEGINNING: (usize, usize) = (8192, 1 << 20);

/// So many rows, or bytes, wait before they are encoded together.
const CHUNK: (usize, usize) = (1024, 64 << 10);

/// About what the codec of a column holds from the beginning of a row group: zstd's contexts, measured.
const CODEC_BYTES: usize = 100 << 10;

/// About what it holds more from the first page: the compressor's tables, up to level 6 and above.
const TABLE_BYTES: (usize, usize) = (100 << 10, 2 << 20);

/// About what the metadata of a finished column chunk takes, with statistics and page index.
const CHUNK_METADATA_BYTES: usize = 512;

/// A file that rows are appended to.
pub(super) struct OpenFile<S: Write> {
    place: Place,
    layout: Arc<Layout>,
    waiting: Waiting,
    /// `None` while its writer is being made, or after that failed.
    body: Option<Body<S>>,
    pages: Pages,
    rows: u64,
    /// Bytes in memory but for rows that wait.
    encoded: usize,
    /// About how long the file is so far.
    bytes: usize,
    memory: Reservation,
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
            encoded: 0,
            bytes: 0,
            memory,
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

    /// About how long the file is so far, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends rows.
    pub(super) fn push(&mut self, rows: RecordBatch) -> Result<(), Fault> {
        self.rows += u64::try_from(rows.num_rows()).expect("usize fits u64");
        self.waiting.push(rows).map_err(|error| self.fault(error.into()))?;
        let (rows, bytes) = if self.writer().is_some_and(|writer| writer.in_progress_rows() > 0) {
            CHUNK
        } else {
            BEGINNING
        };
        if self.waiting.rows() >= rows || self.waiting.bytes() >= bytes {
            self.encode()?;
            self.measure();
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
        self.measure();
        self.count();
        Ok(())
    }

    /// Encodes what waits and ends the row group, so that all it holds can go to disk.
    pub(super) fn end_row_group(&mut self) -> Result<(), Fault> {
        let ended = self.encode()?.flush();
        ended.map_err(|error| self.fault(error))?;
        self.measure();
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

    /// Measures what the writer holds: too slow for each push of a few rows, and nothing changes it but encoding and spilling.
    fn measure(&mut self) {
        let Some(writer) = self.writer() else { return };
        let leaves = self.layout.leaves();
        let codecs = match self.layout.settings.compression {
            Compression::Zstd(level) if writer.in_progress_rows() > 0 => {
                let tables = if level <= 6 { TABLE_BYTES.0 } else { TABLE_BYTES.1 };
                leaves * CODEC_BYTES + self.pages.compressors() * tables
            }
            _ => 0,
        };
        // Buffers double as they grow, and the allocator keeps the smaller ones.
        let buffers = writer.memory_size() * 2;
        let spillable = self.pages.resident() + writer.inner().resident();
        let metadata = writer.flushed_row_groups().len() * leaves * CHUNK_METADATA_BYTES;
        let bytes = writer.bytes_written() + writer.in_progress_size();
        self.encoded = codecs + buffers + spillable + metadata;
        self.bytes = bytes;
    }

    fn count(&mut self) {
        let bytes = self.waiting.bytes() + self.encoded;
        self.memory.set(u64::try_from(bytes).expect("usize fits u64"));
    }

    /// Encodes all rows that wait.
    fn encode(&mut self) -> Result<&mut ArrowWriter<Sink<S>>, Fault> {
        let rows =
            self.waiting.take(&self.layout.schema).map_err(|error| self.fault(error.into()))?;
        let body =
            self.body.take().ok_or_else(|| Fault::bug("a file is written to after a fault"))?;
        let mut writer = match body {
            Body::Writer(writer) => writer,
            Body::Bare(sink) => {
                let encodings = self.layout.encodings(&rows);
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
        let ended = file.encode()?.flush();
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

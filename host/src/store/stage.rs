//! Writing files that nobody sees until they are published.

use std::{
    fmt,
    io::{self, Write},
    sync::Arc,
};

use sha2::{Digest as _, Sha256};
use tokio::runtime::Handle;

use self::{file::StageFile, upload::Upload};
use super::{Backend, Store};
use crate::{budget::Share, commit::manifest::Stage, fault::Fault};

mod file;
mod upload;

/// The size of every part but the last: the least that S3 takes, and equal for all, as R2 wants.
pub const PART_BYTES: usize = 5 << 20;

/// Parts of one file that are under way; a writer that would begin another waits.
pub const PARTS_IN_FLIGHT: usize = 2;

/// Bytes that are written to a local file at once.
const FILE_CHUNK_BYTES: usize = 256 << 10;

/// A file that is being staged: bytes go in on a thread that may block, parts go out on the runtime.
///
/// Dropping it without [`StageWriter::finish`] gets rid of what was sent, in the background.
/// Its I/O errors carry the [`Fault`] ([`io::Error::downcast`]).
pub struct StageWriter {
    store: Store,
    key: String,
    runtime: Handle,
    share: Arc<Share>,
    /// Less than `chunk` bytes.
    buffer: Vec<u8>,
    chunk: usize,
    sink: Option<Sink>,
    bytes: u64,
    digest: Sha256,
    /// A write failed, so bytes are missing.
    broken: bool,
}

/// A staged file: durable, and not visible yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staged {
    /// Where it is going to be visible.
    pub key: String,
    /// Its size.
    pub bytes: u64,
    /// Its digest, 64 hexadecimal digits.
    pub sha256: String,
    /// Where its bytes wait.
    pub stage: Stage,
}

enum Sink {
    Parts(Upload),
    File(StageFile),
}

/// The folder of a pipeline's staged files, relative to the root of a local store.
pub(super) fn folder(pipeline: &str) -> String {
    format!("_log/{pipeline}/stage")
}

impl Store {
    /// Begins a file that is going to be visible at `key` (`data/<pipeline>/…`). Nothing is sent before the first full part or the end.
    ///
    /// The last segment of the key must be unique within the pipeline: it also names the staged file of a local store.
    /// Parts on their way count in `share`.
    pub fn stage(&self, key: String, runtime: Handle, share: &Arc<Share>) -> StageWriter {
        let chunk = match &self.0.backend {
            Backend::S3(_) | Backend::Memory(_) => PART_BYTES,
            Backend::Local(_) => FILE_CHUNK_BYTES,
        };
        StageWriter {
            store: self.clone(),
            key,
            runtime,
            share: Arc::clone(share),
            buffer: Vec::new(),
            chunk,
            sink: None,
            bytes: 0,
            digest: Sha256::new(),
            broken: false,
        }
    }
}

impl StageWriter {
    /// Sends what is left and waits until all of it is durable. Blocks: never call it on a thread of the runtime.
    ///
    /// # Errors
    /// The store refuses or does not answer; what was sent is got rid of in the background.
    pub fn finish(mut self) -> Result<Staged, Fault> {
        if self.broken {
            return Err(Fault::bug(format!("finish {}: an earlier write of it failed", self.key)));
        }
        if !self.buffer.is_empty() || self.sink.is_none() {
            self.send()?;
        }
        let stage = match self.sink.expect("something was sent") {
            Sink::Parts(upload) => upload.finish()?,
            Sink::File(file) => file.finish()?,
        };
        let sha256 = hex::encode(self.digest.finalize());
        Ok(Staged { key: self.key, bytes: self.bytes, sha256, stage })
    }

    /// Gets rid of what was sent, in the background.
    pub fn abort(self) {}

    /// Makes room by doubling, but never past a full part: there are many open files.
    fn reserve(&mut self, more: usize) {
        let needed = self.buffer.len() + more;
        if needed > self.buffer.capacity() {
            let capacity = needed.max(2 * self.buffer.capacity()).min(self.chunk);
            self.buffer.reserve_exact(capacity - self.buffer.len());
        }
    }

    fn send(&mut self) -> Result<(), Fault> {
        let sent = self.try_send();
        self.broken = sent.is_err();
        sent
    }

    fn try_send(&mut self) -> Result<(), Fault> {
        let sink = match &mut self.sink {
            Some(sink) => sink,
            None => {
                let (store, key) = (&self.store, &self.key);
                let sink = match &store.0.backend {
                    Backend::S3(multipart) | Backend::Memory(multipart) => {
                        Sink::Parts(Upload::new(store, multipart, key, self.runtime.clone())?)
                    }
                    Backend::Local(root) => Sink::File(StageFile::create(store, root, key)?),
                };
                self.sink.insert(sink)
            }
        };
        match sink {
            Sink::Parts(upload) => {
                upload.send(std::mem::take(&mut self.buffer).into(), &self.share)
            }
            Sink::File(file) => {
                file.write(&self.buffer)?;
                self.buffer.clear();
                Ok(())
            }
        }
    }
}

impl Write for StageWriter {
    /// Takes all bytes. Blocks while [`PARTS_IN_FLIGHT`] parts are under way and another is full.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.broken {
            return Err(io::Error::other(Fault::bug(format!(
                "write {}: an earlier write of it failed",
                self.key
            ))));
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(self.chunk - self.buffer.len()));
            self.reserve(now.len());
            self.buffer.extend_from_slice(now);
            self.digest.update(now);
            self.bytes += now.len() as u64;
            if self.buffer.len() == self.chunk {
                self.send().map_err(io::Error::other)?;
            }
            rest = later;
        }
        Ok(bytes.len())
    }

    /// Does nothing: a part is sent when it is full.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for StageWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StageWriter")
            .field("key", &self.key)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

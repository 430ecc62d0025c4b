//! Holds back what is written until it makes whole parts.

use std::{
    collections::VecDeque,
    io::{self, Write},
    mem,
};

use bytes::Bytes;

use super::spill::{Blob, Spill};
use crate::fault::Fault;

/// An S3 part has at least this many bytes, the last one excepted.
const PART_BYTES: usize = 5 << 20;

/// Bytes are held in pieces of about this size.
const PIECE_BYTES: usize = 256 << 10;

/// Finished row groups on their way to `S`, which gets them in multiples of [`PART_BYTES`] while the file is open.
///
/// So what does not make a part yet waits here, where it can spill, and not in the upload, where it cannot.
#[derive(Debug)]
pub(super) struct Sink<S> {
    inner: S,
    pieces: VecDeque<Blob>,
    /// The piece that still grows.
    last: Vec<u8>,
    /// Bytes in `pieces` and `last`.
    held: usize,
    /// Those of them that are in memory.
    resident: usize,
    holds_all: bool,
}

impl<S: Write> Sink<S> {
    pub(super) fn new(inner: S) -> Self {
        Self {
            inner,
            pieces: VecDeque::new(),
            last: Vec::new(),
            held: 0,
            resident: 0,
            holds_all: false,
        }
    }

    /// Bytes in memory.
    pub(super) fn resident(&self) -> usize {
        self.resident
    }

    /// Moves all that is held to disk.
    pub(super) fn spill(&mut self, spill: &mut Spill) -> Result<(), Fault> {
        self.end_piece();
        self.resident = 0;
        spill.store(&mut self.pieces)
    }

    /// From now on nothing goes on before [`Self::finish`], so that no write fails.
    pub(super) fn hold_all(&mut self) {
        self.holds_all = true;
    }

    /// Passes on all that is held.
    pub(super) fn finish(mut self) -> io::Result<S> {
        self.pass_on(self.held)?;
        Ok(self.inner)
    }

    fn end_piece(&mut self) {
        if !self.last.is_empty() {
            self.pieces.push_back(Blob::Memory(mem::take(&mut self.last).into()));
        }
    }

    fn pass_on(&mut self, mut bytes: usize) -> io::Result<()> {
        self.end_piece();
        while bytes > 0 {
            let mut piece = self.take_piece()?;
            if piece.len() > bytes {
                let rest = piece.split_off(bytes);
                self.held += rest.len();
                self.resident += rest.len();
                self.pieces.push_front(Blob::Memory(rest));
            }
            self.inner.write_all(&piece)?;
            bytes -= piece.len();
        }
        Ok(())
    }

    fn take_piece(&mut self) -> io::Result<Bytes> {
        let piece = self.pieces.pop_front().expect("no more is passed on than is held");
        self.held -= piece.len();
        if matches!(piece, Blob::Memory(_)) {
            self.resident -= piece.len();
        }
        piece.read()
    }
}

impl<S: Write> Write for Sink<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.last.extend_from_slice(bytes);
        self.held += bytes.len();
        self.resident += bytes.len();
        if self.last.len() >= PIECE_BYTES {
            self.end_piece();
        }
        if self.held >= PART_BYTES && !self.holds_all {
            self.pass_on(self.held - self.held % PART_BYTES)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_on_whole_parts_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let mut spill = Spill::new(folder.path().into()).unwrap();
        let bytes: Vec<u8> = (0..16_000_003_u32).map(|n| n.to_le_bytes()[n as usize % 3]).collect();
        let mut sink = Sink::new(Vec::new());
        for (n, piece) in bytes.chunks(70_001).enumerate() {
            sink.write_all(piece).unwrap();
            assert_eq!(sink.inner.len() % PART_BYTES, 0);
            assert!(sink.held < PART_BYTES && sink.resident <= sink.held);
            if n % 5 == 0 {
                sink.spill(&mut spill).unwrap();
                assert_eq!(sink.resident(), 0);
            }
        }
        assert_eq!(sink.inner.len(), 3 * PART_BYTES);
        sink.hold_all();
        sink.write_all(&bytes[..PART_BYTES]).unwrap();
        assert_eq!(sink.inner.len(), 3 * PART_BYTES);
        let all = sink.finish().unwrap();
        assert!(all[..bytes.len()] == bytes && all[bytes.len()..] == bytes[..PART_BYTES]);
    }
}

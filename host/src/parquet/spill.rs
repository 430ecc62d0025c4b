//! Bytes that move from memory to the scratch folder.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;

use crate::fault::Fault;

/// A scratch file that has grown to this many bytes is left to those who still read it.
const FILE_BYTES: u64 = 256 << 20;

/// Bytes go to disk in writes of about this size.
const WRITE_BYTES: usize = 1 << 20;

/// Bytes in memory or on disk.
#[derive(Debug)]
pub(super) enum Blob {
    Memory(Bytes),
    Disk { file: Arc<File>, offset: u64, bytes: usize },
}

impl Blob {
    /// Its length.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Memory(bytes) => bytes.len(),
            Self::Disk { bytes, .. } => *bytes,
        }
    }

    /// The bytes.
    pub(super) fn read(self) -> io::Result<Bytes> {
        match self {
            Self::Memory(bytes) => Ok(bytes),
            Self::Disk { file, offset, bytes } => {
                let mut buffer = vec![0; bytes];
                file.read_exact_at(&mut buffer, offset)?;
                Ok(buffer.into())
            }
        }
    }
}

/// A worker's room on disk: nameless files in the scratch folder, which vanish with the process or when the last blob in them is gone.
#[derive(Debug)]
pub(super) struct Spill {
    folder: PathBuf,
    current: Option<Arc<File>>,
    end: u64,
}

impl Spill {
    /// Creates the folder if it is missing.
    pub(super) fn new(folder: PathBuf) -> Result<Self, Fault> {
        std::fs::create_dir_all(&folder).map_err(|error| fault(&folder, error))?;
        Ok(Self { folder, current: None, end: 0 })
    }

    /// Whether it has anything on disk.
    #[cfg(test)]
    pub(super) fn is_used(&self) -> bool {
        self.end > 0
    }

    /// Moves blobs from memory to disk.
    pub(super) fn store<'a>(
        &mut self,
        blobs: impl IntoIterator<Item = &'a mut Blob>,
    ) -> Result<(), Fault> {
        let folder = self.folder.clone();
        self.move_to_disk(blobs).map_err(|error| fault(&folder, error))
    }

    fn move_to_disk<'a>(
        &mut self,
        blobs: impl IntoIterator<Item = &'a mut Blob>,
    ) -> io::Result<()> {
        let file = self.file()?;
        let mut buffer = Vec::new();
        for blob in blobs {
            let Blob::Memory(bytes) = blob else { continue };
            let offset = self.end + u64::try_from(buffer.len()).expect("usize fits u64");
            buffer.extend_from_slice(bytes);
            *blob = Blob::Disk { file: Arc::clone(&file), offset, bytes: bytes.len() };
            if buffer.len() >= WRITE_BYTES {
                self.write(&file, &mut buffer)?;
            }
        }
        self.write(&file, &mut buffer)
    }

    fn write(&mut self, file: &File, buffer: &mut Vec<u8>) -> io::Result<()> {
        file.write_all_at(buffer, self.end)?;
        self.end += u64::try_from(buffer.len()).expect("usize fits u64");
        buffer.clear();
        Ok(())
    }

    /// The file to append to.
    fn file(&mut self) -> io::Result<Arc<File>> {
        match self.current.take() {
            Some(file) if Arc::strong_count(&file) == 1 => {
                file.set_len(0)?;
                self.end = 0;
                self.current = Some(file);
            }
            Some(file) if self.end < FILE_BYTES => self.current = Some(file),
            _ => {
                self.current = Some(Arc::new(tempfile::tempfile_in(&self.folder)?));
                self.end = 0;
            }
        }
        Ok(Arc::clone(self.current.as_ref().expect("was just set")))
    }
}

fn fault(folder: &Path, error: io::Error) -> Fault {
    Fault::outside(format!(
        "cannot move pages of open files to the scratch folder {}",
        folder.display()
    ))
    .caused_by(error)
    .help("make room there, name another folder, or raise the memory budget")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blobs(count: u8, bytes: usize) -> Vec<Blob> {
        (0..count).map(|n| Blob::Memory(vec![n; bytes].into())).collect()
    }

    #[test]
    fn gives_back_what_it_took_and_uses_the_room_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut spill = Spill::new(folder.path().join("scratch")).unwrap();
        for _ in 0..2 {
            let mut blobs = blobs(9, 300_000);
            spill.store(&mut blobs[..5]).unwrap();
            spill.store(&mut blobs).unwrap();
            assert_eq!(spill.end, 9 * 300_000);
            for (n, blob) in (0..).zip(blobs) {
                assert!(matches!(blob, Blob::Disk { .. }));
                assert_eq!(blob.len(), 300_000);
                assert_eq!(blob.read().unwrap(), vec![n; 300_000]);
            }
        }
        let names = std::fs::read_dir(folder.path().join("scratch")).unwrap().count();
        assert_eq!(names, 0, "scratch files have no name");
    }

    #[test]
    fn a_full_file_is_left_to_its_readers() {
        let folder = tempfile::tempdir().unwrap();
        let mut spill = Spill::new(folder.path().into()).unwrap();
        let (mut old, mut new) = (blobs(1, 10), blobs(1, 20));
        spill.store(&mut old).unwrap();
        spill.end = FILE_BYTES;
        spill.store(&mut new).unwrap();
        assert_eq!(spill.end, 20);
        assert_eq!(old.remove(0).read().unwrap(), vec![0; 10]);
    }

    #[test]
    fn a_full_disk_is_the_surroundings_fault() {
        let mut spill = Spill { folder: "/dev".into(), current: None, end: 0 };
        // Always full; a blob keeps it from being used anew.
        let full = Arc::new(std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
        let _reader = Arc::clone(&full);
        spill.current = Some(full);
        let fault = spill.store(&mut blobs(1, 10)).unwrap_err();
        assert_eq!(fault.blame, crate::fault::Blame::Outside);
        assert!(fault.retry && fault.to_string().contains("/dev"), "{fault}");
    }
}

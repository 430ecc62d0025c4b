//! The finished pages of an open file's row group, in memory or spilled.

use std::{
    fmt, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use parquet::{
    arrow::arrow_writer::{PageKey, PageStore, PageStoreArgs, PageStoreFactory},
    errors::{ParquetError, Result},
};

use super::spill::{Blob, Spill};
use crate::fault::Fault;

/// Pages of all columns of one open file. One thread at a time works on them, so the lock is never contended.
#[derive(Clone, Default)]
pub(super) struct Pages(Arc<Mutex<Held>>);

#[derive(Default)]
struct Held {
    blobs: Vec<Option<Blob>>,
    /// Blobs that were not taken yet.
    left: usize,
    resident: usize,
    compressors: usize,
}

impl Pages {
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of pages in memory.
    pub(super) fn resident(&self) -> usize {
        self.lock().resident
    }

    /// Columns that finished a page, so that their compressor has its tables.
    pub(super) fn compressors(&self) -> usize {
        self.lock().compressors
    }

    /// Moves all pages to disk.
    pub(super) fn spill(&self, spill: &mut Spill) -> std::result::Result<(), Fault> {
        let mut held = self.lock();
        held.resident = 0;
        spill.store(held.blobs.iter_mut().flatten())
    }
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages").field("resident", &self.resident()).finish_non_exhaustive()
    }
}

impl PageStoreFactory for Pages {
    fn create(&self, _args: &PageStoreArgs<'_>) -> Result<Box<dyn PageStore>> {
        Ok(Box::new(Column { pages: self.clone(), compressed: false }))
    }
}

/// The pages of one column chunk. It reports no memory: [`Pages`] counts it for the file.
struct Column {
    pages: Pages,
    compressed: bool,
}

impl PageStore for Column {
    fn put(&mut self, value: Bytes) -> Result<PageKey> {
        let mut held = self.pages.lock();
        if !mem::replace(&mut self.compressed, true) {
            held.compressors += 1;
        }
        let key = PageKey::new(u64::try_from(held.blobs.len()).expect("usize fits u64"));
        held.resident += value.len();
        held.left += 1;
        held.blobs.push(Some(Blob::Memory(value)));
        Ok(key)
    }

    fn take(&mut self, key: PageKey) -> Result<Bytes> {
        let mut held = self.pages.lock();
        let blob =
            usize::try_from(key.get()).ok().and_then(|place| held.blobs.get_mut(place)?.take());
        let blob = blob
            .ok_or_else(|| ParquetError::General(format!("no page has the key {}", key.get())))?;
        held.left -= 1;
        if held.left == 0 {
            held.blobs.clear();
        }
        if matches!(blob, Blob::Memory(_)) {
            held.resident -= blob.len();
        }
        Ok(blob.read()?)
    }
}

impl Drop for Column {
    fn drop(&mut self) {
        if self.compressed {
            self.pages.lock().compressors -= 1;
        }
    }
}

//! Rows that wait to be encoded.

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, SchemaRef};
use arrow_select::concat::concat_batches;

/// Small batches are put together in groups of this many, and the groups likewise: each row is copied twice or three times, and the cost of
/// a batch (kilobytes, however few its rows) is soon gone.
const GROUP: usize = 32;

/// Rows of a file, in order.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    groups: Vec<RecordBatch>,
    /// Not in a group yet; later than all groups.
    batches: Vec<RecordBatch>,
    rows: usize,
    bytes: usize,
}

impl Waiting {
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes in memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn push(&mut self, batch: RecordBatch) -> Result<(), ArrowError> {
        self.rows += batch.num_rows();
        self.bytes += batch.get_array_memory_size();
        let schema = batch.schema();
        self.batches.push(batch);
        if self.batches.len() == GROUP {
            self.groups.push(concat_batches(&schema, &self.batches)?);
            self.batches.clear();
            if self.groups.len() == GROUP {
                self.groups = vec![concat_batches(&schema, &self.groups)?];
            }
            self.bytes = self.groups.iter().map(RecordBatch::get_array_memory_size).sum();
        }
        Ok(())
    }

    /// All rows in one batch of the given schema; none wait from now on.
    pub(super) fn take(&mut self, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
        let waiting = std::mem::take(self);
        concat_batches(schema, waiting.groups.iter().chain(&waiting.batches))
    }
}

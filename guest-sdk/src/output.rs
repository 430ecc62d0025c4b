//! What a transform gives.

use std::fmt;

use crate::{
    bindings::tidemill::transform::types as wit, build::Build, row::Row, schema::Fields,
    value::Encode,
};

/// Where a transform puts its rows.
pub struct Output<T: Row> {
    columns: T::Builder,
    lineage: Vec<u32>,
    /// The place of the record that is being transformed.
    record: u32,
}

impl<T: Row> Output<T> {
    /// Emits a row. It is taken back if the record is rejected later.
    pub fn emit(&mut self, row: T::At<'_>) {
        row.append(&mut self.columns);
        self.lineage.push(self.record);
    }
}

impl<T: Row> Default for Output<T> {
    fn default() -> Self {
        Self { columns: T::Builder::default(), lineage: Vec::new(), record: 0 }
    }
}

impl<T: Row> fmt::Debug for Output<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output").field("rows", &self.lineage.len()).finish_non_exhaustive()
    }
}

/// All outputs of a transform: a chain of pairs.
pub trait Outputs: Default {
    /// The fields of each output.
    fn fields() -> Vec<Fields>;
    /// The rows that follow are made from the record at this place.
    fn start(&mut self, record: u32);
    /// Takes the rows of the current record back.
    fn take_back(&mut self);
    /// Gives the rows of each output that has any; the first output has this index.
    fn finish(self, index: u32, rows: &mut Vec<wit::Output>);
}

impl Outputs for () {
    fn fields() -> Vec<Fields> {
        Vec::new()
    }

    fn start(&mut self, _: u32) {}
    fn take_back(&mut self) {}
    fn finish(self, _: u32, _: &mut Vec<wit::Output>) {}
}

impl<T: Row, R: Outputs> Outputs for (Output<T>, R) {
    fn fields() -> Vec<Fields> {
        let mut fields = vec![Fields::default()];
        T::children(&mut fields[0]);
        fields.append(&mut R::fields());
        fields
    }

    fn start(&mut self, record: u32) {
        self.0.record = record;
        self.1.start(record);
    }

    fn take_back(&mut self) {
        let Output { columns, lineage, record } = &mut self.0;
        if lineage.last() == Some(record) {
            let kept = lineage.partition_point(|row| row < record);
            lineage.truncate(kept);
            columns.truncate(kept);
        }
        self.1.take_back();
    }

    fn finish(self, index: u32, rows: &mut Vec<wit::Output>) {
        if !self.0.lineage.is_empty() {
            let mut columns = Vec::new();
            self.0.columns.finish(&mut columns);
            columns.remove(0); // the row itself
            rows.push(wit::Output { index, lineage: self.0.lineage, columns });
        }
        self.1.finish(index + 1, rows);
    }
}

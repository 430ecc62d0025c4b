//! Running a transform without a host.

use crate::{
    bindings::tidemill::transform::types::{self as wit, Batch},
    columns::Columns,
    log::Level,
    transform::{Transform, describe, process},
    value::Decode,
};

/// What came of [`Transform::test`].
#[derive(Debug)]
pub struct Run {
    names: &'static [&'static str],
    outputs: Vec<wit::Output>,
    rejected: Vec<(usize, String)>,
    said: recorder::Said,
}

/// A call to the host's metrics.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// The metric's name.
    pub name: String,
    /// Its labels: names and values.
    pub labels: Vec<(String, String)>,
    /// What was added, set or recorded.
    pub value: f64,
}

impl Run {
    pub(crate) fn of<T: Transform>(config: &T::Config, batch: Batch) -> Self {
        describe::<T>().unwrap_or_else(|error| panic!("the transform contradicts itself: {error}"));
        recorder::take();
        let processed = process::<T>(config, &batch)
            .unwrap_or_else(|error| panic!("the batch failed: {error}"));
        let rejected = processed.rejections.into_iter();
        Self {
            names: T::OUTPUTS,
            outputs: processed.outputs,
            rejected: rejected
                .map(|rejection| (rejection.record_index as usize, rejection.reason))
                .collect(),
            said: recorder::take(),
        }
    }

    /// The rows of an output.
    ///
    /// # Panics
    /// When the transform has no such output, or its rows are of another type.
    pub fn rows<'a, T: Decode<'a>>(&'a self, output: &str) -> Vec<T> {
        let Some(output) = self.output(output) else { return Vec::new() };
        let len = output.lineage.len();
        let reader = T::reader(&mut Columns::of_row(&output.columns), len)
            .unwrap_or_else(|error| panic!("the output's rows are of another type: {error}"));
        (0..len).map(|index| T::read(&reader, index)).collect()
    }

    /// For each row of an output, the place of the record that it was made from.
    ///
    /// # Panics
    /// When the transform has no such output.
    pub fn lineage(&self, output: &str) -> &[u32] {
        self.output(output).map_or(&[], |output| &output.lineage)
    }

    /// The rejected records: their places and the reasons.
    pub fn rejected(&self) -> &[(usize, String)] {
        &self.rejected
    }

    /// The lines that were logged.
    pub fn logs(&self) -> &[(Level, String)] {
        &self.said.logs
    }

    /// The calls to the host's metrics.
    pub fn metrics(&self) -> &[Metric] {
        &self.said.metrics
    }

    fn output(&self, name: &str) -> Option<&wit::Output> {
        let index = self.names.iter().position(|known| *known == name);
        let index = index.unwrap_or_else(|| panic!("no output `{name}`, but {:?}", self.names));
        self.outputs.iter().find(|output| output.index as usize == index)
    }
}

/// Stands for the host.
pub(crate) mod recorder {
    use std::cell::RefCell;

    use super::{Level, Metric};

    /// What was said to the host.
    #[derive(Debug, Default)]
    pub(crate) struct Said {
        pub(super) logs: Vec<(Level, String)>,
        pub(super) metrics: Vec<Metric>,
    }

    thread_local! {
        static SAID: RefCell<Said> = RefCell::default();
    }

    /// What this thread said since it was last asked.
    pub(super) fn take() -> Said {
        SAID.take()
    }

    pub(crate) fn log(level: Level, message: &str) {
        SAID.with_borrow_mut(|said| said.logs.push((level, message.to_owned())));
    }

    pub(crate) fn counter_add(name: &str, labels: &[(&str, &str)], value: u64) {
        #[expect(clippy::cast_precision_loss, reason = "tests count to less than 2^53")]
        metric(name, labels, value as f64);
    }

    pub(crate) fn gauge_set(name: &str, labels: &[(&str, &str)], value: f64) {
        metric(name, labels, value);
    }

    pub(crate) fn histogram_record(name: &str, labels: &[(&str, &str)], value: f64) {
        metric(name, labels, value);
    }

    fn metric(name: &str, labels: &[(&str, &str)], value: f64) {
        let labels =
            labels.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        SAID.with_borrow_mut(|said| {
            said.metrics.push(Metric { name: name.to_owned(), labels, value })
        });
    }
}

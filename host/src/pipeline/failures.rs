//! When too many records fail: then it is not the records, and stopping is better than emptying a topic into the dead
//! letters.

use crate::fault::Fault;

/// Fewer records say nothing of the transform or the topic as a whole.
const FEW_RECORDS: u64 = 100;
/// After so many records, what was long ago counts half.
const WINDOW: u64 = 10_000;

/// How many of the newest records of a worker failed.
#[derive(Debug)]
pub(super) struct Failures {
    max_ratio: f64,
    records: u64,
    failed: u64,
}

impl Failures {
    pub(super) fn new(max_ratio: f64) -> Self {
        Self { max_ratio, records: 0, failed: 0 }
    }

    /// Whether so many failures more are not too many. Counts nothing.
    ///
    /// # Errors
    /// When they are.
    pub(super) fn allow(
        &self,
        records: u64,
        failed: u64,
        last: &impl ToString,
    ) -> Result<(), Fault> {
        let (records, all_failed) = (self.records + records, self.failed + failed);
        let too_many =
            failed > 0 && records >= FEW_RECORDS && is_more(all_failed, records, self.max_ratio);
        if too_many { Err(too_many_of(last, self.max_ratio)) } else { Ok(()) }
    }

    /// Counts a batch; `last` is what was wrong with one of its records.
    ///
    /// # Errors
    /// When more failed than may.
    pub(super) fn add(&mut self, records: u64, failed: u64, last: &str) -> Result<(), Fault> {
        self.allow(records, failed, &last)?;
        self.records += records;
        self.failed += failed;
        if self.records > WINDOW {
            self.records /= 2;
            self.failed /= 2;
        }
        Ok(())
    }
}

/// Whether a part is more than a share of the whole.
#[expect(clippy::cast_precision_loss, reason = "a window has few records")]
fn is_more(part: u64, whole: u64, ratio: f64) -> bool {
    part as f64 > ratio * whole as f64
}

/// The fault of a pipeline that stops.
fn too_many_of(last: &impl ToString, max_ratio: f64) -> Fault {
    let last = last.to_string();
    let text = format!("more than {max_ratio} of the records fail, the last one: {last}");
    Fault::transform(text).code("TOO_MANY_FAILURES").help(
        "mend the transform or what is produced: nothing of the batch was written; or raise `max_failure_ratio` of the pipeline",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_failures_are_told_and_few_records_say_nothing() {
        let mut failures = Failures::new(0.5);
        failures.add(99, 99, "bad").unwrap();
        failures.allow(0, 0, &"").unwrap();
        failures.allow(1, 1, &"bad").unwrap_err();
        failures.allow(199, 10, &"bad").unwrap();
        let fault = failures.add(1, 1, "bad JSON").unwrap_err();
        assert_eq!((fault.code, fault.retry), (Some("TOO_MANY_FAILURES"), false));
        assert!(
            fault.to_string().contains("more than 0.5") && fault.to_string().contains("bad JSON")
        );
        let mut failures = Failures::new(0.5);
        failures.add(1000, 500, "bad").unwrap();
        failures.add(1000, 501, "bad").unwrap_err();
        Failures::new(1.0).add(1000, 1000, "bad").unwrap();
        Failures::new(0.0).add(1000, 0, "").unwrap();
        Failures::new(0.0).add(1000, 1, "bad").unwrap_err();
    }

    #[test]
    fn what_was_long_ago_counts_less_and_less() {
        let mut failures = Failures::new(0.1);
        for _ in 0..100 {
            failures.add(1000, 0, "").unwrap();
        }
        assert!(failures.records <= WINDOW + 1000);
        let batches = (0..).find(|_| failures.add(1000, 1000, "bad").is_err()).unwrap();
        assert!(batches < 2, "a topic that goes bad is noticed soon, not after {batches} batches");
    }
}

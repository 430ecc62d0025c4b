//! Metrics of guests. Their names and labels come from data, so their shape and their number are bounded.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex},
};

/// Series of a component at most.
const MAX_SERIES: usize = 1000;
/// Labels of a series at most.
const MAX_LABELS: usize = 8;
/// Bytes of a label's value at most.
const MAX_VALUE: usize = 256;
/// Labels that the host, or the format of its metrics, uses itself.
const RESERVED: [&str; 5] = ["pipeline", "component", "digest", "le", "quantile"];

/// Where the metrics of guests go.
pub trait GuestMetrics: Send + Sync {
    /// Adds to a counter.
    fn counter_add(&self, name: &str, labels: &[(String, String)], value: u64);
    /// Sets a gauge.
    fn gauge_set(&self, name: &str, labels: &[(String, String)], value: f64);
    /// Records a value in a histogram.
    fn histogram_record(&self, name: &str, labels: &[(String, String)], value: f64);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// The series of a component, of all its instances together: one that is made anew after a trap gets no new ones.
#[derive(Debug, Default)]
pub(super) struct Series {
    hasher: RandomState,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// A name has one kind: two of them would make the page of metrics unreadable.
    kinds: HashMap<String, Kind>,
    series: HashSet<u64>,
}

impl Series {
    fn admit(
        &self,
        kind: Kind,
        name: &str,
        labels: &[(String, String)],
        series: u64,
    ) -> Result<(), &'static str> {
        if !legal(name) {
            return Err("names are [a-z0-9_]{1,63}");
        }
        let names: HashSet<&str> = labels.iter().map(|(name, _)| name.as_str()).collect();
        let fit = labels.iter().all(|(name, value)| legal(name) && value.len() <= MAX_VALUE);
        if labels.len() > MAX_LABELS || names.len() < labels.len() || !fit {
            return Err(
                "labels are eight at most, with names [a-z0-9_]{1,63} of their own and values of 256 bytes",
            );
        }
        if RESERVED.iter().any(|name| names.contains(name)) {
            return Err("the labels pipeline, component, digest, le and quantile are the host's");
        }
        let mut known = self.known.lock().expect("nothing panics while it holds this lock");
        if known.kinds.get(name).is_some_and(|other| *other != kind) {
            return Err("a metric of this name is of another kind");
        }
        if known.series.len() >= MAX_SERIES && !known.series.contains(&series) {
            return Err("the component has a thousand series already");
        }
        known.kinds.insert(name.to_owned(), kind);
        known.series.insert(series);
        Ok(())
    }
}

fn legal(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

/// The metrics of an instance.
pub(super) struct Meter {
    sink: Arc<dyn GuestMetrics>,
    series: Arc<Series>,
    /// Series that were admitted: looked up without a lock.
    admitted: HashSet<u64>,
    /// Why others were not: each reason is logged once.
    complaints: HashSet<&'static str>,
}

impl Meter {
    pub(super) fn new(sink: Arc<dyn GuestMetrics>, series: Arc<Series>) -> Self {
        Self { sink, series, admitted: HashSet::new(), complaints: HashSet::new() }
    }

    /// Records a metric by `record`, or says why not: once a reason.
    pub(super) fn record(
        &mut self,
        kind: Kind,
        name: &str,
        labels: &[(String, String)],
        record: impl FnOnce(&dyn GuestMetrics),
    ) -> Result<(), &'static str> {
        let series = self.series.hasher.hash_one((kind, name, labels));
        if !self.admitted.contains(&series) {
            if let Err(why) = self.series.admit(kind, name, labels, series) {
                return if self.complaints.insert(why) { Err(why) } else { Ok(()) };
            }
            self.admitted.insert(series);
        }
        record(&*self.sink);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Count(Mutex<u64>);

    impl GuestMetrics for Count {
        fn counter_add(&self, _: &str, _: &[(String, String)], value: u64) {
            *self.0.lock().unwrap() += value;
        }
        fn gauge_set(&self, _: &str, _: &[(String, String)], _: f64) {}
        fn histogram_record(&self, _: &str, _: &[(String, String)], _: f64) {}
    }

    fn labels(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_is_no_metric_is_ignored_and_said_once() {
        let mut meter = Meter::new(Arc::new(Count::default()), Arc::default());
        let long = "x".repeat(MAX_VALUE + 1);
        for (name, labels) in [
            ("Name", labels(&[])),
            ("", labels(&[])),
            ("a", labels(&[("k", "1"), ("k", "2")])),
            ("a", labels(&[("k", &long)])),
            ("a", labels(&[("pipeline", "other")])),
        ] {
            assert!(
                meter.series.admit(Kind::Counter, name, &labels, 0).is_err(),
                "{name:?} {labels:?}"
            );
        }
        assert!(meter.record(Kind::Counter, "Name", &[], |_| panic!("not recorded")).is_err());
        assert!(
            meter.record(Kind::Counter, "Name", &[], |_| panic!("not recorded")).is_ok(),
            "said once"
        );
        assert!(meter.record(Kind::Counter, "a", &labels(&[("k", "v")]), |_| ()).is_ok());
        assert!(meter.record(Kind::Gauge, "a", &[], |_| panic!("not recorded")).is_err());
    }

    #[test]
    fn a_component_has_a_bounded_number_of_series_over_all_its_instances() {
        let (count, series) = (Arc::new(Count::default()), Arc::<Series>::default());
        let record = |meter: &mut Meter, value: usize| {
            let labels = labels(&[("user", &value.to_string())]);
            meter
                .record(Kind::Counter, "seen", &labels, |sink| sink.counter_add("seen", &labels, 1))
                .is_ok()
        };
        let mut first =
            Meter::new(Arc::clone(&count) as Arc<dyn GuestMetrics>, Arc::clone(&series));
        let mut second = Meter::new(Arc::clone(&count) as Arc<dyn GuestMetrics>, series);
        (0..MAX_SERIES).for_each(|value| assert!(record(&mut first, value)));
        assert!(!record(&mut second, MAX_SERIES), "no new one for a new instance");
        assert!(record(&mut second, 7), "but those that there are");
        assert_eq!(*count.0.lock().unwrap(), MAX_SERIES as u64 + 1);
    }
}

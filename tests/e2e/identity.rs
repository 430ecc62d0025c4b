//! A topic whose values are their own (partition, offset): any loss or double shows.

use std::collections::BTreeMap;

use tidemill_tests::{
    eventually,
    host::Site,
    kafka::{self, Record},
    reader, unique,
};

use crate::log;

/// A topic whose values say where they are, and a pipeline that writes it.
pub(crate) struct Identity {
    pub topic: String,
    pub partitions: i32,
    /// Records a partition.
    produced: BTreeMap<i32, u64>,
}

impl Identity {
    pub(crate) fn new(partitions: i32) -> Self {
        let topic = unique("identity");
        kafka::create_topic(&topic, partitions, &[]);
        Self { topic, partitions, produced: BTreeMap::new() }
    }

    /// Appends records to every partition.
    pub(crate) fn produce(&mut self, each: u64) {
        let from = self.produced.clone();
        let records = (0..each).flat_map(|n| {
            let from = &from;
            (0..self.partitions).map(move |partition| {
                let offset = from.get(&partition).copied().unwrap_or_default() + n;
                Record {
                    key: Some(partition.to_string().into()),
                    ..Record::of(partition, format!("{partition}/{offset}"))
                }
            })
        });
        kafka::produce(&self.topic, records, &[]);
        for partition in 0..self.partitions {
            *self.produced.entry(partition).or_default() += each;
        }
    }

    pub(crate) fn total(&self) -> u64 {
        self.produced.values().sum()
    }

    /// Writes the pipeline `copy` into a site.
    pub(crate) fn pipeline(&self, site: &Site, flush: &str, partition_by: &str) {
        self.pipeline_of("passthrough-raw", site, flush, partition_by);
    }

    /// Writes the pipeline `copy` of a component into a site.
    pub(crate) fn pipeline_of(
        &self,
        component: &str,
        site: &Site,
        flush: &str,
        partition_by: &str,
    ) {
        let Self { topic, .. } = self;
        let pipeline = format!(
            "name: copy\nsource:\n  kafka:\n    topics: [{topic}]\n    group_id: {topic}\n    start: earliest\n    format: raw\n\
             transforms:\n  - component: {component}\n\
             outputs:\n  records:\n    parquet:\n      kafka_columns: true\n      partition_by: {partition_by}\n\
             dead_letters: {{ parquet: {{}} }}\nflush: {{ every: {flush}, idle: {flush} }}\n"
        );
        site.write("pipelines/copy.yaml", pipeline);
    }

    /// Waits until the log covers all that was produced.
    pub(crate) fn committed(&self, site: &Site, seconds: u64) {
        let total = self.total();
        eventually(&format!("{total} records are committed"), seconds, || {
            (log::records(&site.store, "copy") >= total).then_some(())
        });
    }

    /// Every record is there once, with its own value, and the log agrees.
    pub(crate) fn judge(&self, site: &Site) {
        let sql = "SELECT count(*), count(DISTINCT (_kafka_partition, _kafka_offset)), \
                   count(*) FILTER (WHERE decode(value) <> _kafka_partition || '/' || _kafka_offset) FROM rows";
        let found = &reader::query(&site.place, "data/copy/records", sql)[0];
        let total = self.total();
        assert_eq!(
            (found[0].as_u64(), found[1].as_u64(), found[2].as_u64()),
            (Some(total), Some(total), Some(0)),
            "rows, distinct, ghosts"
        );
        site.verify();
    }
}

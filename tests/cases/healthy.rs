//! The pipeline that nothing may happen to: its topic, and what must be in the store.

use serde_json::{Value, json};
use tidemill_tests::{
    host::Site,
    kafka::{self, Record},
    reader, unique,
};

/// Its name.
pub(crate) const NAME: &str = "healthy";
/// Partitions of its topic.
const PARTITIONS: i32 = 2;

/// A pipeline that keeps raw records, and what was produced for it.
#[derive(Debug)]
pub(crate) struct Healthy {
    topic: String,
    /// Partition, offset and value of each record, in this order.
    produced: Vec<(i32, u64, String)>,
}

impl Healthy {
    /// Makes its topic, and its file in a site.
    pub(crate) fn new(site: &Site) -> Self {
        let topic = unique(NAME);
        kafka::create_topic(&topic, PARTITIONS, &[]);
        let pipeline = json!({
            "name": NAME,
            "source": { "kafka": { "topics": [topic], "group_id": topic, "format": "raw" } },
            "transforms": [{ "component": "passthrough-raw" }],
            "outputs": { "records": { "parquet": {} } },
            "flush": { "every": "1s", "idle": "300ms" },
        });
        site.write("pipelines/healthy.yaml", pipeline.to_string());
        Self { topic, produced: Vec::new() }
    }

    /// Produces so many more records to each partition.
    pub(crate) fn produce(&mut self, records: u64) {
        let next = self.produced.iter().map(|(_, offset, _)| offset + 1).max().unwrap_or_default();
        let new = (0..PARTITIONS).flat_map(|partition| {
            (next..next + records)
                .map(move |offset| (partition, offset, format!("{partition} {offset} is healthy")))
        });
        let new: Vec<_> = new.collect();
        let record =
            |(partition, _, value): &(i32, u64, String)| Record::of(*partition, value.clone());
        kafka::produce(&self.topic, new.iter().map(record), &[]);
        self.produced.extend(new);
    }

    /// How many records were produced.
    pub(crate) fn records(&self) -> u64 {
        self.produced.len() as u64
    }

    /// All that was produced is in the store, each record once and as it was, and nothing else is.
    pub(crate) fn judge(mut self, site: &Site) {
        let sql = "SELECT partition, \"offset\", decode(value), topic FROM rows ORDER BY ALL";
        let found = reader::query(&site.place, "data/healthy/records", sql);
        self.produced.sort();
        let produced = self.produced.iter();
        let produced: Vec<Value> = produced
            .map(|(partition, offset, value)| json!([partition, offset, value, self.topic]))
            .collect();
        assert!(json!(found) == json!(produced), "the healthy pipeline wrote {found:?}");
        assert!(!site.store.join("data/healthy/dead_letters").exists(), "none of it died");
    }
}

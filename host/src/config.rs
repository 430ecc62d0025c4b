//! What a person configures: host settings (`tidemill.toml`) and pipeline files, validated.

mod check;
mod cluster;
mod de;
mod expression;
mod host;
mod later;
mod options;
mod pipeline;
mod problem;
mod raw;
mod schema;
mod settings;
#[cfg(test)]
mod tests;
mod tree;
mod units;

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use url::Url;

pub use self::{
    cluster::{ClientCert, Kafka, Sasl, Secret, Security},
    host::{DEFAULTS, File, host},
    options::REFUSED_OPTIONS,
    pipeline::{PipelineFile, is_name, pipelines},
    problem::{Problem, Problems, Written},
    schema::{host_schema, pipeline_schema},
    settings::{Given, SETTINGS, Setting},
    tree::is_secret,
};

/// The settings of a host.
#[derive(Clone, Debug)]
pub struct Host {
    /// The folder of components.
    pub transforms: PathBuf,
    /// The folder of pipeline files.
    pub pipelines: PathBuf,
    /// Worker threads a pipeline, at most.
    pub workers: usize,
    /// How long a drain may take.
    pub drain_timeout: Duration,
    /// Where the HTTP server listens.
    pub listen: SocketAddr,
    /// SHA-256 of the bearer token of the API, if it has one.
    pub token_sha256: Option<[u8; 32]>,
    /// The default store of pipelines.
    pub store: Store,
    /// The default Kafka cluster of pipelines.
    pub kafka: Kafka,
    /// Bytes for arenas, open files and parts in flight, for the whole host.
    pub memory_budget: u64,
    /// The folder for spilled pages and compiled components.
    pub scratch: PathBuf,
}

/// An object store or a local folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// `file:///folder`, `s3://bucket/prefix` or `memory://`.
    pub url: Url,
    /// Another S3 server.
    pub endpoint: Option<Url>,
    /// Whether the bucket stands in the path rather than in the host name.
    pub path_style: bool,
    /// The region of the bucket.
    pub region: Option<String>,
}

/// A pipeline: a source, transforms, outputs.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    /// Its name: `[a-z0-9-]{1,63}`.
    pub name: String,
    /// Where records come from.
    pub source: Source,
    /// What is done with them, in order; at least one.
    pub transforms: Vec<Transform>,
    /// Where the rows of each output of the last transform go.
    pub outputs: BTreeMap<String, Parquet>,
    /// Where dead letters go.
    pub dead_letters: Parquet,
    /// The share of records that may fail (rejected or broken) before the pipeline stops: 0 to 1.
    pub max_failure_ratio: f64,
    /// When a flush begins.
    pub flush: Flush,
    /// The cluster.
    pub kafka: Kafka,
    /// The store.
    pub store: Store,
    /// Where all of this is written.
    pub written: Written,
}

/// Where records come from.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// Topics; at least one.
    pub topics: Vec<String>,
    /// The consumer group.
    pub group_id: String,
    /// Where a lane starts that the log does not know.
    pub start: Start,
    /// How values are encoded.
    pub format: Format,
}

/// Where a lane starts that the log does not know.
#[derive(Clone, Debug, PartialEq)]
pub enum Start {
    /// At the low watermark.
    Earliest,
    /// At the high watermark.
    Latest,
    /// At the first record that is not older: milliseconds since 1970.
    Timestamp(i64),
    /// At these offsets, by topic and partition; a partition that is not named starts at its low watermark.
    Offsets(BTreeMap<String, BTreeMap<i32, i64>>),
}

/// How values are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The transform reads the bytes.
    Raw,
    /// JSON objects.
    Json,
}

/// A transform of a pipeline.
#[derive(Clone, Debug, PartialEq)]
pub struct Transform {
    /// The component's name: `[a-z0-9-]{1,63}`.
    pub component: String,
    /// The only digest (64 hexadecimal digits) that may run, if pinned.
    pub digest: Option<String>,
    /// Its configuration.
    pub config: serde_json::Value,
    /// What becomes of a record that it fails on.
    pub on_error: OnError,
    /// Its limits.
    pub limits: Limits,
}

/// What becomes of a record that a transform rejects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// It becomes a dead letter.
    DeadLetter,
    /// It is counted and left out.
    Skip,
    /// The pipeline stops.
    Fail,
}

/// The limits of a transform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of linear memory an instance.
    pub memory: u64,
    /// How long a call may take.
    pub call_timeout: Duration,
    /// Bytes of output a call.
    pub output: u64,
    /// Log lines a second.
    pub log_lines: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 64 << 20,
            call_timeout: Duration::from_secs(3),
            output: 64 << 20,
            log_lines: 100,
        }
    }
}

/// A Parquet output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parquet {
    /// Hive partitions, in the order of the path.
    pub partition_by: Vec<PartitionBy>,
    /// The compression of pages.
    pub compression: Compression,
    /// A file that has grown to this many bytes is closed.
    pub max_file_bytes: u64,
    /// Rows of more hive partitions than this, with open files in one worker, are refused.
    pub max_partitions: usize,
    /// Whether rows carry `_kafka_topic`, `_kafka_partition`, `_kafka_offset` and `_kafka_timestamp`.
    pub kafka_columns: bool,
}

/// The compression of Parquet pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Zstandard of a level from 1 to 22.
    Zstd(i32),
    /// Snappy.
    Snappy,
    /// None.
    None,
}

/// A hive partition: `key = expression`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionBy {
    /// The key in the path.
    pub key: String,
    /// What gives the value.
    pub expression: Expression,
}

/// What gives the value of a hive partition. Fields are top-level fields of the output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// The field's value.
    Field(String),
    /// `2026-11-22`, UTC.
    Date(String),
    /// `2026-11-22T07`, UTC: the date and the hour.
    Hour(String),
    /// `2026`, UTC.
    Year(String),
    /// `11`, UTC.
    Month(String),
    /// `22`, UTC.
    Day(String),
    /// A number from 0 to `count - 1`, from a hash of the field's value.
    Bucket(u32, String),
}

impl Expression {
    /// The field that it reads.
    pub fn field(&self) -> &str {
        match self {
            Self::Field(field)
            | Self::Date(field)
            | Self::Hour(field)
            | Self::Year(field)
            | Self::Month(field)
            | Self::Day(field)
            | Self::Bucket(_, field) => field,
        }
    }
}

/// When a flush begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flush {
    /// After this long since the first row.
    pub every: Duration,
    /// After this long without a record.
    pub idle: Duration,
}

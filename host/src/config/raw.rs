//! The keys that files may hold, as serde reads them. Texts here are the descriptions in the JSON Schemas.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::units::{AnyText, Size, Span, StartAt};

/// The settings of a Tidemill host. Every one is also a flag and an environment variable.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Tidemill host settings")]
pub(super) struct Host {
    /// The folder of components (`*.wasm`).
    pub(super) transforms: String,
    /// The folder of pipeline files (`*.yaml`, `*.yml`, `*.json`).
    pub(super) pipelines: String,
    /// The folder for spilled pages and compiled components.
    pub(super) scratch: String,
    /// Worker threads a pipeline; by default one a core. A pipeline has no more than its topics have partitions.
    pub(super) workers: Option<u64>,
    /// How long a drain may take before the host ends without it; what it did not commit is read again.
    pub(super) drain_timeout: Span,
    pub(super) http: Http,
    pub(super) store: Store,
    pub(super) kafka: Kafka,
    pub(super) memory: Memory,
}

/// The HTTP server.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Http {
    /// The address and port to listen on.
    pub(super) listen: String,
    /// SHA-256 of the bearer token of the API, 64 hexadecimal digits. Without it, only this machine may use the API.
    #[serde(default)]
    pub(super) token_sha256: Option<String>,
}

/// Where files and the commit log go.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Store {
    /// A folder, `file:///folder`, `s3://bucket/prefix` or `memory://`.
    pub(super) url: String,
    /// Another S3 server. Credentials come from the usual AWS chain.
    pub(super) endpoint: Option<String>,
    /// Whether the bucket stands in the path rather than in the host name.
    #[serde(default)]
    pub(super) path_style: bool,
    /// The region of the bucket.
    pub(super) region: Option<String>,
}

/// The Kafka cluster.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Kafka {
    /// `host:port` of some brokers.
    pub(super) brokers: Vec<String>,
    /// How connections are secured.
    #[serde(default)]
    pub(super) security: Security,
    /// A PEM file with the authorities that sign the brokers' certificates; by default the system's.
    pub(super) ca_file: Option<String>,
    /// A PEM file with the certificate that tells the brokers who this is.
    pub(super) cert_file: Option<String>,
    /// A PEM file with the certificate's key.
    pub(super) key_file: Option<String>,
    /// The key's password; `${NAME}` takes it from the environment of the host.
    pub(super) key_password: Option<String>,
    pub(super) sasl: Option<Sasl>,
    /// librdkafka's own options.
    #[serde(default)]
    pub(super) options: BTreeMap<String, AnyText>,
}

/// How connections are secured.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Security {
    /// Not at all.
    #[default]
    Plaintext,
    /// TLS.
    Tls,
    /// Not at all, but the client says who it is.
    SaslPlaintext,
    /// TLS, and the client says who it is.
    SaslTls,
}

/// How the client says who it is.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Sasl {
    /// Which way.
    pub(super) mechanism: Mechanism,
    /// Of PLAIN and SCRAM.
    pub(super) username: Option<String>,
    /// Of PLAIN and SCRAM; `${NAME}` takes it from the environment of the host.
    pub(super) password: Option<String>,
    /// Of AWS_MSK_IAM: the region of the cluster; by default the one in the brokers' names.
    pub(super) region: Option<String>,
    /// Of OAUTHBEARER: a file with a JSON Web Token that somebody else keeps fresh.
    pub(super) token_file: Option<String>,
}

/// A way to say who the client is.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
pub(super) enum Mechanism {
    /// A name and a password, as they are.
    #[serde(rename = "PLAIN")]
    Plain,
    /// A name and the proof of knowing the password.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// A name and the proof of knowing the password.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
    /// The credentials of AWS that the host has.
    #[serde(rename = "AWS_MSK_IAM")]
    AwsMskIam,
    /// A token.
    #[serde(rename = "OAUTHBEARER")]
    Oauthbearer,
}

/// The memory that a host may use for records.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Memory {
    /// For records in flight, open files, and parts on their way to the store.
    pub(super) budget: Size,
}

/// A Tidemill pipeline: a source, transforms, outputs.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Tidemill pipeline")]
pub(super) struct Pipeline {
    /// The pipeline's name: lower-case letters, digits and `-`, at most 63.
    #[schemars(regex(pattern = r"^[a-z0-9-]{1,63}$"))]
    pub(super) name: String,
    pub(super) source: Source,
    /// What is done with the records: the rows of a transform are the input of the next.
    #[schemars(length(min = 1))]
    pub(super) transforms: Vec<Transform>,
    /// Where the rows of each output of the last transform go, by the output's name.
    pub(super) outputs: BTreeMap<String, Sink>,
    /// Where rejected and broken records go.
    #[serde(default)]
    pub(super) dead_letters: Sink,
    /// The share of records that may become dead letters, from 0 to 1; the pipeline stops when more do. By default 0.5.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub(super) max_failure_ratio: Option<f64>,
    #[serde(default)]
    pub(super) flush: Flush,
    /// Another cluster than the host's, for this pipeline. Takes the place of the whole section.
    pub(super) kafka: Option<Kafka>,
    /// Another store than the host's, for this pipeline. Takes the place of the whole section.
    pub(super) store: Option<Store>,
}

/// Where records come from.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Source {
    pub(super) kafka: Topics,
}

/// Topics of Kafka.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Topics {
    /// The topics to read.
    #[schemars(length(min = 1))]
    pub(super) topics: Vec<String>,
    /// The consumer group; by default `tidemill-<name>`.
    pub(super) group_id: Option<String>,
    /// Where a partition starts that the pipeline has not read yet; by default `earliest`.
    pub(super) start: Option<StartAt>,
    /// How values are encoded.
    pub(super) format: Format,
}

/// How values are encoded.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Format {
    /// The transform reads the bytes.
    Raw,
    /// JSON objects.
    Json,
}

/// A transform.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Transform {
    /// The component's name in the transforms folder, without `.wasm`; `name@sha256:digest` pins it.
    pub(super) component: String,
    /// Its configuration, handed to the component as it is.
    #[serde(default)]
    pub(super) config: Option<serde_json::Value>,
    /// What becomes of a record that it rejects or fails on.
    #[serde(default)]
    pub(super) on_error: OnError,
    #[serde(default)]
    pub(super) limits: Limits,
}

/// What becomes of a record that a transform rejects or fails on.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum OnError {
    /// It becomes a dead letter.
    #[default]
    DeadLetter,
    /// It is counted and left out.
    Skip,
    /// The pipeline stops.
    Fail,
}

/// The limits of a transform.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    /// Memory of an instance; by default 64MiB.
    pub(super) memory: Option<Size>,
    /// How long a call may take; by default 3s.
    pub(super) call_timeout: Option<Span>,
    /// What a call may give back; by default 64MiB.
    pub(super) output: Option<Size>,
    /// Log lines a second; by default 100.
    pub(super) log_lines: Option<u32>,
}

/// Where rows go.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Sink {
    #[serde(default)]
    pub(super) parquet: Parquet,
}

/// Parquet files.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Parquet {
    /// Folders: a field, or `key = date(field)`, `hour`, `day`, `month`, `year`, `bucket(8, field)`.
    #[serde(default)]
    pub(super) partition_by: Vec<String>,
    /// `zstd`, `zstd(LEVEL)`, `snappy` or `none`; by default `zstd(1)`.
    pub(super) compression: Option<String>,
    /// A file that has grown to this size is closed; by default 128MiB.
    pub(super) max_file_bytes: Option<Size>,
    /// Rows of more hive partitions than this at the same time, in one worker, become dead letters; by default 256.
    pub(super) max_partitions: Option<u16>,
    /// Whether rows carry `_kafka_topic`, `_kafka_partition`, `_kafka_offset` and `_kafka_timestamp`.
    #[serde(default)]
    pub(super) kafka_columns: bool,
}

/// When what workers hold is committed.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Flush {
    /// After this long since the first row; by default 1m.
    pub(super) every: Option<Span>,
    /// After this long without a record; by default 10s.
    pub(super) idle: Option<Span>,
}

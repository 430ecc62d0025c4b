//! The one list of host settings that are flags and environment variables.

/// A setting of a host: its key in `tidemill.toml`, its flag, its variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The key: `store.url`.
    pub key: &'static str,
    /// The flag without its dashes: `store`.
    pub flag: &'static str,
    /// The environment variable: `TIDEMILL_STORE`.
    pub variable: &'static str,
    /// What the flag's value is called in the help.
    pub value: &'static str,
    /// What it is.
    pub help: &'static str,
}

const fn setting(
    key: &'static str,
    flag: &'static str,
    variable: &'static str,
    value: &'static str,
    help: &'static str,
) -> Setting {
    Setting { key, flag, variable, value, help }
}

/// All settings.
pub const SETTINGS: &[Setting] = &[
    setting("transforms", "transforms", "TIDEMILL_TRANSFORMS", "DIR", "Folder of components"),
    setting("pipelines", "pipelines", "TIDEMILL_PIPELINES", "DIR", "Folder of pipeline files"),
    setting(
        "scratch",
        "scratch",
        "TIDEMILL_SCRATCH",
        "DIR",
        "Folder for spilled pages and compiled components",
    ),
    setting(
        "workers",
        "workers",
        "TIDEMILL_WORKERS",
        "N",
        "Worker threads a pipeline [default: one a core]",
    ),
    setting(
        "drain_timeout",
        "drain-timeout",
        "TIDEMILL_DRAIN_TIMEOUT",
        "DURATION",
        "How long a drain may take before the host ends without it",
    ),
    setting("http.listen", "listen", "TIDEMILL_LISTEN", "ADDR", "Address of the HTTP server"),
    setting(
        "http.token_sha256",
        "http-token-sha256",
        "TIDEMILL_HTTP_TOKEN_SHA256",
        "HEX",
        "SHA-256 of the API's bearer token [default: only this machine may use the API]",
    ),
    setting(
        "store.url",
        "store",
        "TIDEMILL_STORE",
        "URL",
        "Folder, file:///folder, s3://bucket/prefix or memory://",
    ),
    setting(
        "store.endpoint",
        "store-endpoint",
        "TIDEMILL_STORE_ENDPOINT",
        "URL",
        "Another S3 server",
    ),
    setting(
        "store.path_style",
        "store-path-style",
        "TIDEMILL_STORE_PATH_STYLE",
        "BOOL",
        "Bucket in the path",
    ),
    setting(
        "store.region",
        "store-region",
        "TIDEMILL_STORE_REGION",
        "REGION",
        "Region of the bucket",
    ),
    setting("kafka.brokers", "brokers", "TIDEMILL_BROKERS", "HOST:PORT,…", "Kafka brokers"),
    setting(
        "kafka.security",
        "kafka-security",
        "TIDEMILL_KAFKA_SECURITY",
        "WORD",
        "plaintext, tls, sasl_tls or sasl_plaintext",
    ),
    setting(
        "kafka.ca_file",
        "kafka-ca-file",
        "TIDEMILL_KAFKA_CA_FILE",
        "FILE",
        "Authorities of the brokers, PEM",
    ),
    setting(
        "kafka.cert_file",
        "kafka-cert-file",
        "TIDEMILL_KAFKA_CERT_FILE",
        "FILE",
        "Certificate for the brokers, PEM",
    ),
    setting(
        "kafka.key_file",
        "kafka-key-file",
        "TIDEMILL_KAFKA_KEY_FILE",
        "FILE",
        "Key of the certificate, PEM",
    ),
    setting(
        "kafka.key_password",
        "kafka-key-password",
        "TIDEMILL_KAFKA_KEY_PASSWORD",
        "TEXT",
        "Password of the key, or ${NAME}: a variable that has it",
    ),
    setting(
        "kafka.sasl.mechanism",
        "kafka-sasl-mechanism",
        "TIDEMILL_KAFKA_SASL_MECHANISM",
        "WORD",
        "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, AWS_MSK_IAM or OAUTHBEARER",
    ),
    setting(
        "kafka.sasl.username",
        "kafka-sasl-username",
        "TIDEMILL_KAFKA_SASL_USERNAME",
        "TEXT",
        "Name for PLAIN and SCRAM",
    ),
    setting(
        "kafka.sasl.password",
        "kafka-sasl-password",
        "TIDEMILL_KAFKA_SASL_PASSWORD",
        "TEXT",
        "Password for PLAIN and SCRAM, or ${NAME}: a variable that has it",
    ),
    setting(
        "kafka.sasl.region",
        "kafka-sasl-region",
        "TIDEMILL_KAFKA_SASL_REGION",
        "REGION",
        "Region of the cluster for AWS_MSK_IAM [default: the one in the brokers' names]",
    ),
    setting(
        "kafka.sasl.token_file",
        "kafka-sasl-token-file",
        "TIDEMILL_KAFKA_SASL_TOKEN_FILE",
        "FILE",
        "Token for OAUTHBEARER",
    ),
    setting(
        "kafka.options",
        "kafka-option",
        "TIDEMILL_KAFKA_OPTIONS",
        "K=V,…",
        "Options of librdkafka",
    ),
    setting(
        "memory.budget",
        "memory-budget",
        "TIDEMILL_MEMORY_BUDGET",
        "SIZE",
        "Memory for records and files",
    ),
];

/// A setting that a flag or a variable gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// The key of the setting.
    pub key: &'static str,
    /// `--workers` or `TIDEMILL_WORKERS`, for messages.
    pub origin: String,
    /// The text.
    pub text: String,
}

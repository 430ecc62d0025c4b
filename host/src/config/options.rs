//! Options of librdkafka.

/// Options of librdkafka that a person may not set, and why: they break the promise, or are spelled otherwise here.
pub const REFUSED_OPTIONS: &[(&str, &str)] = &[
    ("acks", ACKS),
    ("auto.commit.enable", COMMITS),
    (
        "auto.offset.reset",
        "a lane starts where the log says, or at `source.kafka.start`; Kafka must never choose",
    ),
    ("bootstrap.servers", "use `kafka.brokers`"),
    ("enable.auto.commit", COMMITS),
    ("enable.auto.offset.store", COMMITS),
    ("enable.gapless.guarantee", ACKS),
    ("enable.idempotence", ACKS),
    ("enable.partition.eof", "it mixes markers with the records"),
    ("enable.sasl.oauthbearer.unsecure.jwt", "use `kafka.sasl`"),
    ("group.id", "use `source.kafka.group_id` of the pipeline"),
    ("group.protocol", GROUP),
    ("group.protocol.type", GROUP),
    ("group.remote.assignor", GROUP),
    ("interceptors", CODE),
    (
        "isolation.level",
        "only records of committed transactions may be read: aborted ones would become rows",
    ),
    ("max.in.flight", ACKS),
    ("max.in.flight.requests.per.connection", ACKS),
    ("metadata.broker.list", "use `kafka.brokers`"),
    ("offset.store.method", COMMITS),
    ("partition.assignment.strategy", GROUP),
    ("plugin.library.paths", CODE),
    ("queued.max.messages.kbytes", "it is part of the host's `memory.budget`"),
    ("request.required.acks", ACKS),
    ("sasl.mechanism", "use `kafka.sasl`"),
    ("sasl.mechanisms", "use `kafka.sasl`"),
    ("sasl.oauthbearer.config", "use `kafka.sasl`"),
    ("sasl.password", "use `kafka.sasl`"),
    ("sasl.username", "use `kafka.sasl`"),
    ("security.protocol", "use `kafka.security`"),
    ("ssl.ca.location", "use `kafka.ca_file`"),
    ("ssl.certificate.location", "use `kafka.cert_file`"),
    ("ssl.key.location", "use `kafka.key_file`"),
    ("ssl.key.password", "use `kafka.key_password`"),
    ("test.mock.num.brokers", "it would replace the brokers by a mock"),
    ("transactional.id", ACKS),
];
const ACKS: &str = "records that are produced must be stored once each, on all replicas in sync";
const COMMITS: &str = "positions are kept in the log beside the data; Kafka's offsets are only a hint for lag tools, written after each commit";
const GROUP: &str =
    "lanes are handed over one by one (cooperative-sticky), which the source relies on";
const CODE: &str = "it loads code into the host";

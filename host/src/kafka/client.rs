//! Settings of Kafka as librdkafka takes them, and its errors as faults.

use std::{collections::BTreeMap, env::VarError, fs::File, path::Path};

use rdkafka::{
    ClientConfig,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode},
};

use crate::{
    config::{ClientCert, Kafka, REFUSED_OPTIONS, Sasl, Secret, Security, is_secret},
    fault::Fault,
};

/// Checks librdkafka's options: names, values, and that none of them breaks the promise. Opens no connection.
///
/// # Errors
/// The first option that is refused or unknown or has a wrong value, with the reason.
pub fn check_options(options: &BTreeMap<String, String>) -> Result<(), Fault> {
    for key in options.keys() {
        if let Some((_, reason)) = REFUSED_OPTIONS.iter().find(|(refused, _)| refused == key) {
            return Err(Fault::config(format!("kafka.options.{key} cannot be set: {reason}")));
        }
    }
    let mut config = ClientConfig::new();
    for (key, value) in options {
        config.set(key, value);
    }
    config.create_native_config().map(|_| ()).map_err(|error| match error {
        KafkaError::ClientConfig(_, text, key, value) => {
            let value =
                if is_secret(&key) { "what it is".to_owned() } else { format!("{value:?}") };
            Fault::config(format!("kafka.options.{key} cannot be {value}: {}", sentence(&text)))
                .help("librdkafka's CONFIGURATION.md lists the options and their values")
        }
        other => Fault::config("kafka.options cannot be used").caused_by(other),
    })
}

/// What every client has in common.
pub(super) fn config(kafka: &Kafka) -> Result<ClientConfig, Fault> {
    check_options(&kafka.options)?;
    let mut config = ClientConfig::new();
    config
        .set("client.id", "tidemill")
        .set("enable.metrics.push", "false")
        .set("socket.keepalive.enable", "true");
    for (key, value) in &kafka.options {
        config.set(key, value);
    }
    let protocol = match kafka.security {
        Security::Plaintext => "plaintext",
        Security::Tls => "ssl",
        Security::SaslPlaintext => "sasl_plaintext",
        Security::SaslTls => "sasl_ssl",
    };
    config.set("bootstrap.servers", kafka.brokers.join(",")).set("security.protocol", protocol);
    if let Some(path) = &kafka.ca_file {
        config.set("ssl.ca.location", file("ca_file", path)?);
    }
    if let Some(ClientCert { cert_file, key_file, key_password }) = &kafka.client_cert {
        config.set("ssl.certificate.location", file("cert_file", cert_file)?);
        config.set("ssl.key.location", file("key_file", key_file)?);
        if let Some(password) = key_password {
            config.set("ssl.key.password", reveal("key_password", password)?);
        }
    }
    match &kafka.sasl {
        Some(Sasl::Password { mechanism, username, password }) => {
            config.set("sasl.mechanisms", *mechanism).set("sasl.username", username);
            config.set("sasl.password", reveal("sasl.password", password)?);
        }
        Some(Sasl::MskIam { .. } | Sasl::TokenFile(_)) => {
            config.set("sasl.mechanisms", "OAUTHBEARER");
        }
        None => {}
    }
    Ok(config)
}

/// The name of a file that can be read: librdkafka would not say what is wrong with it.
fn file<'a>(key: &str, path: &'a Path) -> Result<&'a str, Fault> {
    let name = path.display();
    let readable = File::open(path).map(drop);
    // One that is replaced right now comes back.
    readable.map_err(|error| {
        Fault { retry: true, ..Fault::config(format!("read kafka.{key} {name}")) }.caused_by(error)
    })?;
    let file = path.to_str();
    file.ok_or_else(|| Fault::config(format!("use kafka.{key} {name}: its name is not UTF-8")))
}

/// A secret, as the brokers want it.
fn reveal(key: &str, secret: &Secret) -> Result<String, Fault> {
    match secret {
        Secret::Literal(text) => Ok(text.clone()),
        Secret::Variable(name) => std::env::var(name).map_err(|error| {
            // The error of one that is no text would show it.
            let why = match error {
                VarError::NotPresent => "which is not set",
                VarError::NotUnicode(_) => "which is no UTF-8",
            };
            Fault::config(format!("kafka.{key} is the variable {name}, {why}"))
                .help("set it for the host, and start the host again")
        }),
    }
}

/// Sets an option that no person set under any of its names.
pub(super) fn default(config: &mut ClientConfig, names: &[&str], value: &str) {
    if names.iter().all(|name| config.get(name).is_none()) {
        config.set(names[0], value);
    }
}

/// A client could not be made: no connection was tried yet, so the settings are wrong.
pub(super) fn unmade(error: KafkaError) -> Fault {
    match error {
        KafkaError::ClientCreation(text) => {
            Fault::config(format!("the settings of Kafka do not work: {}", sentence(&text))).help(
                "see `kafka.ca_file`, `kafka.cert_file`, `kafka.key_file` and `kafka.options`",
            )
        }
        other => Fault::config("the settings of Kafka do not work").caused_by(other),
    }
}

/// What an error of Kafka means for whoever asked for `message`.
pub(super) fn fault(message: impl Into<String>, error: KafkaError) -> Fault {
    let code = error.rdkafka_error_code();
    let advice = code.and_then(advice);
    let fault = match advice {
        Some(_) => Fault { retry: true, ..Fault::config(message) },
        None => Fault::outside(message),
    };
    let fault = match code {
        Some(code) => fault.caused_by(sentence(&code.to_string())),
        None => fault.caused_by(error),
    };
    match advice {
        Some(advice) => fault.help(advice),
        None => fault,
    }
}

/// What a person should do about an error that does not pass by itself; `None` if Kafka may be trusted to come back.
pub(super) fn advice(code: RDKafkaErrorCode) -> Option<&'static str> {
    use RDKafkaErrorCode as Code;
    Some(match code {
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition => {
            "create the topic, or correct `source.topics`"
        }
        Code::TopicAuthorizationFailed => "allow this client to describe and read the topic",
        Code::GroupAuthorizationFailed => "allow this client to read the group `source.group_id`",
        Code::ClusterAuthorizationFailed => "allow this client to do so on the cluster",
        Code::Authentication | Code::SaslAuthenticationFailed => {
            "check `kafka.sasl` (mechanism, name, password, region), and what the listener of `kafka.brokers` asks for"
        }
        Code::SSL => {
            "check `kafka.security`, `kafka.ca_file`, `kafka.cert_file`, and that `kafka.brokers` names a TLS listener by the name in its certificate"
        }
        Code::InconsistentGroupProtocol => {
            "another kind of consumer is in the group: give this pipeline a `source.group_id` of its own"
        }
        Code::InvalidGroupId => "correct `source.group_id`",
        Code::FencedInstanceId => {
            "another replica runs with the same `group.instance.id`: give each its own"
        }
        _ => return None,
    })
}

/// librdkafka's text as ours: no full stop at the end.
pub(super) fn sentence(text: &str) -> String {
    text.trim().trim_end_matches('.').to_owned()
}

/// Writes a line of librdkafka's log into ours.
pub(super) fn log(level: RDKafkaLogLevel, facility: &str, text: &str) {
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error => {
            tracing::error!(target: "librdkafka", facility, "{text}");
        }
        RDKafkaLogLevel::Warning => tracing::warn!(target: "librdkafka", facility, "{text}"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
            tracing::info!(target: "librdkafka", facility, "{text}")
        }
        RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", facility, "{text}"),
    }
}

/// Writes an error that librdkafka found by itself into our log: it goes on trying.
pub(super) fn warn(reason: &str) {
    tracing::warn!("Kafka: {}", sentence(reason));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(key: &str, value: &str) -> Result<(), String> {
        check_options(&BTreeMap::from([(key.to_owned(), value.to_owned())]))
            .map_err(|fault| fault.to_string())
    }

    #[test]
    fn options_that_break_the_promise_are_refused_with_the_reason() {
        for (key, _) in REFUSED_OPTIONS {
            let text = check(key, "true").unwrap_err();
            assert!(text.starts_with(&format!("kafka.options.{key} cannot be set: ")), "{text}");
        }
        assert!(REFUSED_OPTIONS.is_sorted());
        assert!(check("isolation.level", "read_uncommitted").unwrap_err().contains("aborted"));
    }

    #[test]
    fn options_with_wrong_names_and_values_are_refused() {
        assert!(
            check("sesion.timeout.ms", "1")
                .unwrap_err()
                .contains("kafka.options.sesion.timeout.ms")
        );
        assert!(check("session.timeout.ms", "soon").unwrap_err().contains("\"soon\""));
        assert_eq!(check("session.timeout.ms", "6000"), Ok(()));
        assert_eq!(check("compression.type", "lz4"), Ok(()));
    }

    #[test]
    fn settings_become_options_of_librdkafka() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut kafka = Kafka {
            brokers: vec!["a:1".into(), "b:2".into()],
            security: Security::SaslTls,
            ca_file: Some(file.path().to_owned()),
            client_cert: Some(ClientCert {
                cert_file: file.path().to_owned(),
                key_file: file.path().to_owned(),
                key_password: Some(Secret::Literal("of the key".into())),
            }),
            sasl: Some(Sasl::Password {
                mechanism: "SCRAM-SHA-512",
                username: "mill".into(),
                password: Secret::Literal("hunter2".into()),
            }),
            options: BTreeMap::from([("client.id".into(), "mine".into())]),
        };
        let made = config(&kafka).unwrap();
        assert_eq!(made.get("bootstrap.servers"), Some("a:1,b:2"));
        assert_eq!(made.get("security.protocol"), Some("sasl_ssl"));
        assert_eq!(made.get("ssl.certificate.location"), file.path().to_str());
        assert_eq!(made.get("ssl.key.password"), Some("of the key"));
        assert_eq!(made.get("sasl.mechanisms"), Some("SCRAM-SHA-512"));
        assert_eq!(
            (made.get("sasl.username"), made.get("sasl.password")),
            (Some("mill"), Some("hunter2"))
        );
        assert_eq!(made.get("ssl.ca.location"), file.path().to_str());
        assert_eq!(made.get("client.id"), Some("mine"));
        kafka.ca_file = Some("/no/such/file.pem".into());
        let text = config(&kafka).unwrap_err().to_string();
        assert!(text.starts_with("read kafka.ca_file /no/such/file.pem: "), "{text}");
        kafka.ca_file = None;
        let password = Secret::Variable("NO_SUCH_VARIABLE".into());
        kafka.sasl = Some(Sasl::Password { mechanism: "PLAIN", username: "mill".into(), password });
        let text = config(&kafka).unwrap_err().to_string();
        assert!(
            text.starts_with(
                "kafka.sasl.password is the variable NO_SUCH_VARIABLE, which is not set"
            ),
            "{text}"
        );
    }

    #[test]
    fn a_default_gives_way_to_every_name_of_an_option() {
        let mut config = ClientConfig::new();
        config.set("queue.buffering.max.ms", "1");
        default(&mut config, &["linger.ms", "queue.buffering.max.ms"], "10");
        assert_eq!(config.get("linger.ms"), None);
        default(&mut config, &["partitioner"], "random");
        assert_eq!(config.get("partitioner"), Some("random"));
    }

    #[test]
    fn errors_that_a_person_must_mend_are_told_from_those_that_pass() {
        use crate::fault::Blame;
        let missing =
            fault("read topic x", KafkaError::Global(RDKafkaErrorCode::UnknownTopicOrPartition));
        assert_eq!((missing.blame, missing.retry), (Blame::Config, true));
        assert!(missing.help.is_some());
        let down = fault("read topic x", KafkaError::Global(RDKafkaErrorCode::AllBrokersDown));
        assert_eq!((down.blame, down.retry, down.help), (Blame::Outside, true, None));
    }
}

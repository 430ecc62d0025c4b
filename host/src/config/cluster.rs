//! A Kafka cluster: where it is, and how its brokers know who asks.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use super::{check::Check, options::REFUSED_OPTIONS, raw};

/// A Kafka cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kafka {
    /// `host:port` of some brokers.
    pub brokers: Vec<String>,
    /// How connections are secured.
    pub security: Security,
    /// PEM file with the authorities that sign the brokers' certificates; the system's when not given.
    pub ca_file: Option<PathBuf>,
    /// What tells the brokers who this is, by TLS.
    pub client_cert: Option<ClientCert>,
    /// What tells the brokers who this is, by SASL; there for the two kinds of security that name it.
    pub sasl: Option<Sasl>,
    /// librdkafka's own options.
    pub options: BTreeMap<String, String>,
}

/// How connections to Kafka are secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// Not at all.
    Plaintext,
    /// TLS.
    Tls,
    /// Not at all, but the client says who it is.
    SaslPlaintext,
    /// TLS, and the client says who it is.
    SaslTls,
}

impl Security {
    /// Whether connections are encrypted.
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Tls | Self::SaslTls)
    }

    /// Whether the client says who it is.
    pub fn is_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslTls)
    }
}

/// A certificate of the client, and its key: PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCert {
    /// The certificate, and those between it and the authority.
    pub cert_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
    /// The password of the key, if it has one.
    pub key_password: Option<Secret>,
}

/// How the client says who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sasl {
    /// A name and a password, by one of `PLAIN`, `SCRAM-SHA-256`, `SCRAM-SHA-512`.
    Password {
        /// The mechanism, as Kafka calls it.
        mechanism: &'static str,
        /// The name.
        username: String,
        /// The password.
        password: Secret,
    },
    /// A request to AWS that is signed with the credentials of the host, as MSK takes it: `AWS_MSK_IAM`.
    MskIam {
        /// The region of the cluster.
        region: String,
    },
    /// A JSON Web Token that somebody else keeps fresh in a file: `OAUTHBEARER`.
    TokenFile(PathBuf),
}

/// What must not be shown.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// As it is written.
    Literal(String),
    /// The name of the environment variable that has it.
    Variable(String),
}

impl Secret {
    fn new(text: &str) -> Self {
        match text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) {
            Some(name) => Self::Variable(name.to_owned()),
            None => Self::Literal(text.to_owned()),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(_) => f.write_str("(not shown)"),
            Self::Variable(name) => write!(f, "${{{name}}}"),
        }
    }
}

impl Kafka {
    /// What a host would tell brokers of somebody's choice that are not its own: keys of a definition, and why. A person who
    /// may register pipelines need not be one who may have the host's secrets.
    pub(super) fn told_to_strangers(&self, own: &Self) -> Vec<(&'static str, String)> {
        if self.brokers == own.brokers {
            return Vec::new();
        }
        let mut told = Vec::new();
        let mut secret = |key: &'static str, secret: &Secret| {
            if let Secret::Variable(name) = secret
                && !name.starts_with(FOR_PIPELINES)
            {
                let text = format!("the variable {name} is the host's, and these brokers are not");
                told.push((key, text));
            }
        };
        if let Some(password) =
            self.client_cert.as_ref().and_then(|cert| cert.key_password.as_ref())
        {
            secret("key_password", password);
        }
        match &self.sasl {
            Some(Sasl::Password { password, .. }) => secret("sasl.password", password),
            Some(Sasl::MskIam { .. }) => {
                let text =
                    "the host signs in with its own credentials, and these brokers are not its own";
                told.push(("sasl.mechanism", text.to_owned()));
            }
            Some(Sasl::TokenFile(_)) => {
                let text = "the file is the host's, and these brokers are not";
                told.push(("sasl.token_file", text.to_owned()));
            }
            None => {}
        }
        told
    }
}

/// Variables that are there for pipelines which are registered over the API.
const FOR_PIPELINES: &str = "TIDEMILL_SECRET_";

impl Check<'_> {
    /// A cluster, whose settings stand under `kafka`.
    pub(super) fn kafka(&mut self, raw: &raw::Kafka) -> Kafka {
        if raw.brokers.is_empty() {
            self.refuse(&["kafka", "brokers"], "no broker is named", "write [\"host:9092\"]");
        }
        for (index, broker) in raw.brokers.iter().enumerate() {
            let port = broker
                .rsplit_once(':')
                .filter(|(host, _)| is_host(host))
                .and_then(|(_, port)| port.parse().ok());
            if port.is_none_or(|port: u16| port == 0) {
                let host = broker.split_once("://").map_or(broker.as_str(), |(_, host)| host);
                let help = if host.contains(':') {
                    format!("write `{host}`")
                } else {
                    format!("write `{host}:9092`")
                };
                let help = if is_host(host.split(':').next().unwrap_or("")) {
                    help
                } else {
                    "write host:port".into()
                };
                self.refuse(
                    &["kafka", "brokers", &index.to_string()],
                    format!("`{broker}` is not host:port"),
                    help,
                );
            }
        }
        let security = match raw.security {
            raw::Security::Plaintext => Security::Plaintext,
            raw::Security::Tls => Security::Tls,
            raw::Security::SaslPlaintext => Security::SaslPlaintext,
            raw::Security::SaslTls => Security::SaslTls,
        };
        let ca_file = raw.ca_file.as_ref().map(|text| self.path(&["kafka", "ca_file"], text));
        if ca_file.is_some() && !security.is_tls() {
            let text = "authorities are for tls, and the security is not";
            let help = "write `security = \"tls\"` or `\"sasl_tls\"`, or remove it";
            self.refuse(&["kafka", "ca_file"], text, help);
        }
        let client_cert = self.client_cert(raw, security);
        let sasl = self.sasl(raw, security);
        let options: BTreeMap<_, _> =
            raw.options.iter().map(|(key, value)| (key.clone(), value.0.clone())).collect();
        for key in options.keys() {
            if let Some((_, reason)) = REFUSED_OPTIONS.iter().find(|(refused, _)| refused == key) {
                let help = match reason.strip_prefix("use ") {
                    Some(setting) => format!("write {setting}"),
                    None => format!("remove it: {reason}"),
                };
                self.refuse(
                    &["kafka", "options", key],
                    format!("`{key}` cannot be set here"),
                    help,
                );
            }
        }
        Kafka { brokers: raw.brokers.clone(), security, ca_file, client_cert, sasl, options }
    }

    fn client_cert(&mut self, raw: &raw::Kafka, security: Security) -> Option<ClientCert> {
        let (cert, key) = (&raw.cert_file, &raw.key_file);
        for (here, there, missing) in [(cert, key, "key_file"), (key, cert, "cert_file")] {
            if here.is_some() && there.is_none() {
                let text = format!("a certificate needs its key, and `{missing}` is not there");
                self.refuse(&["kafka"], text, format!("write `{missing} = \"FILE.pem\"` too"));
            }
        }
        if raw.key_password.is_some() && key.is_none() {
            let text = "there is no key that it is the password of";
            self.refuse(&["kafka", "key_password"], text, "write `key_file` too, or remove it");
        }
        let (cert, key) = (cert.as_ref()?, key.as_ref()?);
        if !security.is_tls() {
            let text = "a certificate is for tls, and the security is not";
            let help = "write `security = \"tls\"` or `\"sasl_tls\"`, or remove it";
            self.refuse(&["kafka", "cert_file"], text, help);
        }
        Some(ClientCert {
            cert_file: self.path(&["kafka", "cert_file"], cert),
            key_file: self.path(&["kafka", "key_file"], key),
            key_password: raw.key_password.as_deref().map(Secret::new),
        })
    }

    fn sasl(&mut self, kafka: &raw::Kafka, security: Security) -> Option<Sasl> {
        let Some(raw) = &kafka.sasl else {
            if security.is_sasl() {
                let text = "nothing says who the client is";
                let help = "write `sasl = { mechanism = \"…\", … }`: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, AWS_MSK_IAM or OAUTHBEARER";
                self.refuse(&["kafka", "security"], text, help);
            }
            return None;
        };
        if !security.is_sasl() {
            let text = "the security does not ask who the client is";
            let help = "write `security = \"sasl_tls\"`, or remove `sasl`";
            self.refuse(&["kafka", "sasl"], text, help);
        }
        let mechanism = match raw.mechanism {
            raw::Mechanism::Plain => "PLAIN",
            raw::Mechanism::ScramSha256 => "SCRAM-SHA-256",
            raw::Mechanism::ScramSha512 => "SCRAM-SHA-512",
            raw::Mechanism::AwsMskIam => "AWS_MSK_IAM",
            raw::Mechanism::Oauthbearer => "OAUTHBEARER",
        };
        let takes: &[&str] = match raw.mechanism {
            raw::Mechanism::AwsMskIam => &["region"],
            raw::Mechanism::Oauthbearer => &["token_file"],
            _ => &["username", "password"],
        };
        let given = [
            ("username", &raw.username),
            ("password", &raw.password),
            ("region", &raw.region),
            ("token_file", &raw.token_file),
        ];
        for (key, value) in given {
            let (is_taken, is_given) = (takes.contains(&key), value.is_some());
            if is_given && !is_taken {
                let text = format!("{mechanism} has no `{key}`");
                self.refuse(&["kafka", "sasl", key], text, "remove it");
            } else if is_taken
                && value.as_ref().is_none_or(|value| value.is_empty())
                && key != "region"
            {
                let text = format!("{mechanism} needs a `{key}`");
                let help = match key {
                    "password" => {
                        "write `password = \"${NAME}\"`, and set the variable NAME for the host"
                            .to_owned()
                    }
                    _ => format!("write `{key} = \"…\"`"),
                };
                self.refuse(&["kafka", "sasl"], text, help);
            }
        }
        if mechanism == "AWS_MSK_IAM" && security == Security::SaslPlaintext {
            let text = "AWS_MSK_IAM is for tls: whoever sees the request could use it";
            self.refuse(&["kafka", "security"], text, "write `security = \"sasl_tls\"`");
        }
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        Some(match raw.mechanism {
            raw::Mechanism::AwsMskIam => Sasl::MskIam { region: self.region(kafka, raw) },
            raw::Mechanism::Oauthbearer => {
                Sasl::TokenFile(self.path(&["kafka", "sasl", "token_file"], &text(&raw.token_file)))
            }
            _ => Sasl::Password {
                mechanism,
                username: text(&raw.username),
                password: Secret::new(&text(&raw.password)),
            },
        })
    }

    /// The region of an MSK cluster: as it is written, or as its brokers' names say.
    fn region(&mut self, kafka: &raw::Kafka, sasl: &raw::Sasl) -> String {
        if let Some(region) = sasl.region.as_ref().filter(|region| !region.is_empty()) {
            return region.clone();
        }
        kafka.brokers.iter().find_map(|broker| region_of(broker)).unwrap_or_else(|| {
            let text = "the brokers' names do not tell the region of the cluster";
            self.refuse(
                &["kafka", "sasl"],
                text,
                "write `region = \"eu-central-1\"`, or which it is",
            );
            String::new()
        })
    }
}

/// The region in the name of a broker of MSK: `b-1.name.abc123.c2.kafka.eu-central-1.amazonaws.com:9098`, or
/// `boot-abc.c1.kafka-serverless.eu-central-1.amazonaws.com:9098`
/// (<https://docs.aws.amazon.com/msk/latest/developerguide/msk-get-bootstrap-brokers.html>).
fn region_of(broker: &str) -> Option<String> {
    let (host, _) = broker.rsplit_once(':')?;
    let labels: Vec<_> = host.split('.').collect();
    let place = labels.iter().rposition(|label| ["kafka", "kafka-serverless"].contains(label))?;
    let [region, "amazonaws", "com", ..] = labels[place + 1..] else { return None };
    Some(region.to_owned())
}

fn is_host(text: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"-._[]:".contains(&b);
    !text.is_empty() && text.bytes().all(legal) && (!text.contains(':') || text.starts_with('['))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_of_msk_tells_its_region() {
        for (broker, region) in [
            ("b-1.clicks.abc123.c2.kafka.eu-central-1.amazonaws.com:9098", Some("eu-central-1")),
            ("boot-abc.c1.kafka-serverless.us-east-1.amazonaws.com:9098", Some("us-east-1")),
            ("b-1.clicks.abc123.c2.kafka.cn-north-1.amazonaws.com.cn:9098", Some("cn-north-1")),
            ("kafka.example.com:9098", None),
            ("127.0.0.1:9098", None),
        ] {
            assert_eq!(region_of(broker).as_deref(), region, "{broker}");
        }
    }

    #[test]
    fn a_secret_is_never_shown() {
        let shown = |text| format!("{:?}", Secret::new(text));
        assert_eq!(
            (shown("hunter2").as_str(), shown("${PASSWORD}").as_str()),
            ("(not shown)", "${PASSWORD}")
        );
        assert_eq!(Secret::new("${PASSWORD}"), Secret::Variable("PASSWORD".into()));
    }
}

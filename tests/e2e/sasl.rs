//! Kafka that wants to know who asks: by a certificate, a password, a token, or as MSK does.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::json;
use tidemill_tests::{
    eventually,
    host::{Site, StoreKind},
    kafka::{self, Listener, Record},
    reader, unique,
};

use crate::{log, tls::copy};

const PASSWORD: &str = "the-secret-of-the-mill";

/// The settings of a host that asks by one of the listeners.
fn settings(listener: Listener, more: &str) -> String {
    let (brokers, ca_file) = (listener.brokers(), kafka::ca_file());
    let security = match listener {
        Listener::Mutual => "tls",
        Listener::Sasl | Listener::Iam => "sasl_tls",
        Listener::Token => {
            return format!("brokers = [\"{brokers}\"]\nsecurity = \"sasl_plaintext\"\n{more}");
        }
    };
    format!("brokers = [\"{brokers}\"]\nsecurity = \"{security}\"\nca_file = \"{ca_file}\"\n{more}")
}

/// The certificate of a client, and a key of it.
fn certificate(key: &str) -> String {
    let (cert, key) = (kafka::file("client.pem"), kafka::file(key));
    format!("cert_file = \"{}\"\nkey_file = \"{}\"\n", cert.display(), key.display())
}

fn password(mechanism: &str, password: &str) -> String {
    format!(
        "sasl = {{ mechanism = \"{mechanism}\", username = \"mill\", password = \"{password}\" }}\n"
    )
}

fn seconds_from_now(seconds: u64) -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
    since.as_secs() + seconds
}

/// A token that nobody signed, for so many seconds.
fn token(seconds: u64) -> String {
    let now = seconds_from_now(0);
    let claims = json!({ "sub": "mill", "iat": now, "exp": now + seconds }).to_string();
    format!("{}.{}.", base64(br#"{"alg":"none"}"#), base64(claims.as_bytes()))
}

/// The alphabet of URLs, without padding (RFC 4648).
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let letters = bytes.chunks(3).flat_map(|chunk| {
        let bits = (0..3).fold(0, |bits, at| bits << 8 | u32::from(*chunk.get(at).unwrap_or(&0)));
        (0..=chunk.len()).map(move |place| {
            let index = bits >> (18 - 6 * place) & 0x3f;
            char::from(ALPHABET[usize::try_from(index).expect("six bits")])
        })
    });
    letters.collect()
}

/// Writes a file whole: whoever reads it sees the one before or this one.
fn put(path: &Path, text: &str) {
    let part = path.with_extension("part");
    fs::write(&part, text).expect("there is room");
    fs::rename(part, path).expect("it takes the place of the one before");
}

/// Credentials for so many seconds each time somebody asks, by a program as AWS profiles name one.
fn brief_credentials(site: &mut Site, seconds: u32) {
    let program = site.path().join("credentials");
    let script = format!(
        "#!/bin/sh\nid=brief-$(date +%s%N)\nend=$(date -u -d '+{seconds} seconds' +%Y-%m-%dT%H:%M:%SZ)\n\
         echo \"{{\\\"Version\\\":1,\\\"AccessKeyId\\\":\\\"$id\\\",\\\"SecretAccessKey\\\":\\\"secret-of-$id\\\",\\\"SessionToken\\\":\\\"a token/of it+\\\",\\\"Expiration\\\":\\\"$end\\\"}}\"\n"
    );
    fs::write(&program, script).expect("there is room");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).expect("it is ours");
    let profile = format!("[default]\ncredential_process = {}\n", program.display());
    site.write("aws", profile);
    let file = site.path().join("aws").display().to_string();
    site.environment("AWS_CONFIG_FILE", Some(&file));
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"] {
        site.environment(name, None);
    }
}

fn key(site: &mut Site, id: &str, secret: &str) {
    site.environment("AWS_ACCESS_KEY_ID", Some(id));
    site.environment("AWS_SECRET_ACCESS_KEY", Some(secret));
}

/// The whole way by each of them: the topic is created, filled and read.
#[test]
fn records_come_by_every_way_to_sign_in() {
    let folder = tempfile::tempdir().expect("there is room");
    let file = folder.path().join("token");
    put(&file, &token(3600));
    let token_file =
        format!("sasl = {{ mechanism = \"OAUTHBEARER\", token_file = \"{}\" }}\n", file.display());
    let locked =
        format!("{}key_password = \"${{KEY_PASSWORD}}\"\n", certificate("client-locked.key"));
    let ways = [
        (Listener::Mutual, certificate("client.key")),
        (Listener::Mutual, locked),
        (Listener::Sasl, password("PLAIN", PASSWORD)),
        (Listener::Sasl, password("SCRAM-SHA-256", PASSWORD)),
        (Listener::Sasl, password("SCRAM-SHA-512", "${KAFKA_PASSWORD}")),
        (Listener::Token, token_file),
        (
            Listener::Iam,
            "sasl = { mechanism = \"AWS_MSK_IAM\", region = \"eu-central-1\" }\n".to_owned(),
        ),
    ];
    for (listener, more) in ways {
        let topic = unique("known");
        let mut site = copy(&topic, &settings(listener, &more));
        site.environment("KEY_PASSWORD", Some(PASSWORD));
        site.environment("KAFKA_PASSWORD", Some(PASSWORD));
        key(&mut site, "steady", "secret-of-steady");
        let produce = ["produce", "--topic", &topic, "--partitions", "2", "--records", "1000"];
        let output = site.tidemill(&produce);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{listener:?} {more}: {error}");
        let host = site.run().ready();
        eventually("all is committed", 40, || {
            (log::records(&site.store, "copy") == 1000).then_some(())
        });
        let said = host.log();
        host.drain();
        site.verify();
        let sql = "SELECT count(*) FROM rows";
        assert_eq!(
            reader::number(&site.place, "data/copy/records", sql),
            1000,
            "{listener:?} {more}"
        );
        assert!(!said.contains(PASSWORD), "a secret is in the log: {said}");
    }
}

#[test]
fn who_is_not_known_is_told_what_to_check() {
    let topic = unique("unknown");
    kafka::create_topic(&topic, 1, &[]);
    let folder = tempfile::tempdir().expect("there is room");
    let stale = folder.path().join("stale");
    let claims = base64(br#"{"sub":"mill","exp":1000}"#);
    put(&stale, &format!("e30.{claims}."));
    let by_file = |path: &Path| {
        format!("sasl = {{ mechanism = \"OAUTHBEARER\", token_file = \"{}\" }}\n", path.display())
    };
    let iam = |region: &str| format!("sasl = {{ mechanism = \"AWS_MSK_IAM\"{region} }}\n");
    let here = ", region = \"eu-central-1\"";
    for (listener, more, secret, says) in [
        (Listener::Sasl, password("SCRAM-SHA-512", "wrong"), "", "kafka.sasl"),
        (Listener::Sasl, password("PLAIN", "wrong"), "", "kafka.sasl"),
        (Listener::Sasl, password("PLAIN", "${NOT_SET}"), "", "the variable NOT_SET"),
        (Listener::Mutual, String::new(), "", "kafka.cert_file"),
        (Listener::Token, by_file(&stale), "", "has expired"),
        (Listener::Token, by_file(&folder.path().join("none")), "", "kafka.sasl.token_file"),
        (Listener::Iam, iam(""), "", "region"),
        (Listener::Iam, iam(here), "a wrong secret", "kafka.sasl"),
        (Listener::Iam, iam(", region = \"us-east-1\""), "secret-of-steady", "kafka.sasl"),
    ] {
        let mut site = copy(&topic, &settings(listener, &more));
        key(&mut site, "steady", secret);
        let output = site.tidemill(&["validate", "--config", "tidemill.toml"]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{listener:?} {more}");
        assert!(error.contains(says), "{listener:?} {more}: it does not say {says:?}: {error}");
        assert!(!error.contains("wrong"), "a secret is shown: {error}");
    }
    let seen = fs::read_to_string(kafka::file("iam.log")).expect("somebody signed in");
    for refused in ["refused: signature is", "refused: host is kafka.us-east-1.amazonaws.com"] {
        assert!(seen.contains(refused), "{refused}: {seen}");
    }
    let mut site = copy(&topic, &settings(Listener::Iam, &iam(here)));
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"] {
        site.environment(name, None);
    }
    site.environment("AWS_EC2_METADATA_DISABLED", Some("true"));
    let output = site.tidemill(&["validate", "--config", "tidemill.toml"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("AWS_PROFILE") && !output.status.success(), "{error}");
}

/// Whoever may register pipelines need not be one who may have the secrets of the host.
#[test]
fn a_registered_pipeline_does_not_have_the_host_tell_its_secrets() {
    let topic = unique("strangers");
    kafka::create_topic(&topic, 1, &[]);
    kafka::produce(&topic, (0..10).map(|n| Record::of(0, n.to_string())), &[]);
    let mut site = Site::new(StoreKind::Folder);
    for name in ["TIDEMILL_SECRET_KAFKA", "KAFKA_PASSWORD"] {
        site.environment(name, Some(PASSWORD));
    }
    let host = site.run().ready();
    let put = |sasl: serde_json::Value| {
        let definition = json!({
            "name": "copy",
            "source": { "kafka": { "topics": [topic], "group_id": topic, "format": "raw" } },
            "transforms": [{ "component": "passthrough-raw" }],
            "outputs": { "records": {} },
            "flush": { "every": "300ms", "idle": "300ms" },
            "kafka": {
                "brokers": [Listener::Sasl.brokers()],
                "security": "sasl_tls",
                "ca_file": kafka::ca_file(),
                "sasl": sasl,
            },
        });
        let headers = ["Content-Type: application/json"];
        let body = definition.to_string();
        let answer = host.request("PUT", "/v1/pipelines/copy", &headers, body.as_bytes());
        let (status, body) = answer.expect("the host answers");
        (status, serde_json::from_str::<serde_json::Value>(&body).expect("it is JSON"))
    };
    let plain = |password: serde_json::Value| json!({ "mechanism": "PLAIN", "username": "mill", "password": password });
    for (sasl, pointer) in [
        (plain(json!("${KAFKA_PASSWORD}")), "/kafka/sasl/password"),
        (plain(json!("in the open")), "/kafka/sasl/password"),
        (plain(json!(73_921_654)), "/kafka/sasl/password"),
        (json!({ "mechanism": "AWS_MSK_IAM", "region": "eu-central-1" }), "/kafka/sasl/mechanism"),
        (
            json!({ "mechanism": "OAUTHBEARER", "token_file": "/etc/hostname" }),
            "/kafka/sasl/token_file",
        ),
    ] {
        let (status, problem) = put(sasl);
        assert_eq!((status, &problem["errors"][0]["pointer"]), (422, &json!(pointer)), "{problem}");
        let text = format!("{problem}{}", host.log());
        for secret in ["in the open", "73921654", PASSWORD] {
            assert!(!text.contains(secret), "{secret} is shown: {text}");
        }
    }
    assert_eq!(put(plain(json!("${TIDEMILL_SECRET_KAFKA}"))).0, 201);
    eventually("all is committed", 40, || (log::records(&site.store, "copy") == 10).then_some(()));
    let registry = fs::read_dir(site.store.join("_registry/log")).expect("it has a log");
    for entry in registry {
        let text = fs::read_to_string(entry.expect("it can be listed").path()).expect("it is text");
        assert!(!text.contains(PASSWORD), "{text}");
    }
    host.drain();
    site.verify();
}

/// Sends records while tokens end, until so many different ones were used; none is lost or doubled.
fn outlive(site: &Site, topic: &str, mut used: impl FnMut() -> usize) {
    let host = site.run().ready();
    let mut sent = 0;
    eventually("four tokens were used one after the other", 120, || {
        kafka::produce(topic, (0..100).map(|n| Record::of(n % 2, format!("{}", sent + n))), &[]);
        sent += 100;
        let all = u64::try_from(sent).expect("it is small");
        eventually("what was sent is committed", 40, || {
            (log::records(&site.store, "copy") == all).then_some(())
        });
        (used() >= 4).then_some(())
    });
    host.drain();
    site.verify();
    let sql = "SELECT count(*), count(DISTINCT decode(value)) FROM rows";
    let found = reader::query(&site.place, "data/copy/records", sql);
    assert_eq!(json!(found), json!([[sent, sent]]));
}

#[test]
fn a_request_to_aws_is_signed_anew_before_it_ends() {
    let topic = unique("brief");
    kafka::create_topic(&topic, 2, &[]);
    let more = "sasl = { mechanism = \"AWS_MSK_IAM\", region = \"eu-central-1\" }\n";
    let mut site = copy(&topic, &settings(Listener::Iam, more));
    brief_credentials(&mut site, 8);
    outlive(&site, &topic, || {
        let seen = fs::read_to_string(kafka::file("iam.log")).unwrap_or_default();
        seen.lines().filter(|line| line.starts_with("brief")).collect::<BTreeSet<_>>().len()
    });
}

#[test]
fn a_token_is_read_again_before_it_ends() {
    let topic = unique("token");
    kafka::create_topic(&topic, 2, &[]);
    let folder = tempfile::tempdir().expect("there is room");
    let file = folder.path().join("token");
    put(&file, &token(8));
    let more =
        format!("sasl = {{ mechanism = \"OAUTHBEARER\", token_file = \"{}\" }}\n", file.display());
    let site = copy(&topic, &settings(Listener::Token, &more));
    let (mut written, mut ends) = (1, seconds_from_now(8));
    outlive(&site, &topic, || {
        if seconds_from_now(4) > ends {
            put(&file, &token(8));
            (written, ends) = (written + 1, seconds_from_now(8));
        }
        written - 1
    });
}

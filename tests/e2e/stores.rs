//! Where credentials for S3 come from.

use tidemill_tests::{
    host::{Site, StoreKind},
    setting,
};

use crate::identity::Identity;

#[test]
fn a_profile_may_get_its_credentials_from_a_process() {
    let mut site = Site::new(StoreKind::S3);
    let (key, secret) = (setting("AWS_ACCESS_KEY_ID"), setting("AWS_SECRET_ACCESS_KEY"));
    let credentials = format!(
        r#"{{"Version": 1, "AccessKeyId": "{key}", "SecretAccessKey": "{secret}", "Expiration": "2099-01-01T00:00:00Z"}}"#
    );
    site.write("credentials.json", credentials);
    let profile = |command: &str| format!("[profile lake]\ncredential_process = {command}\n");
    let file = site.path().join("credentials.json");
    site.write("aws-config", profile(&format!("/bin/cat {}", file.display())));
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"] {
        site.environment(name, None);
    }
    let config = site.path().join("aws-config").display().to_string();
    site.environment("AWS_CONFIG_FILE", Some(&config));
    site.environment("AWS_SHARED_CREDENTIALS_FILE", Some("/dev/null"));
    site.environment("AWS_PROFILE", Some("lake"));

    let mut identity = Identity::new(1);
    identity.pipeline(&site, "300ms", "[]");
    identity.produce(10);
    let host = site.run().ready();
    identity.committed(&site, 30);
    host.drain();
    identity.judge(&site);

    site.write("aws-config", profile("/bin/false"));
    let refused = site.tidemill(&["validate", "--config", "tidemill.toml"]);
    let error = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && error.contains("credentials"), "{error}");
}

//! What answers of an S3 server mean: a server that plays a script.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use object_store::{BackoffConfig, RetryConfig, StaticCredentialProvider, aws::AwsCredential};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;
use crate::store::s3;

/// A status and an S3 error code; an empty code gives no body. After the last, the connection is cut.
type Script = &'static [(u16, &'static str)];

/// A store whose server answers as the script says, one request a connection; and the requests so far ("GET /bucket/key").
async fn scripted(script: Script) -> (Store, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let requests = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&requests);
    tokio::spawn(async move {
        let mut script: VecDeque<_> = script.iter().collect();
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                let mut some = [0; 1024];
                let read = connection.read(&mut some).await.unwrap_or(0);
                if read == 0 {
                    break;
                }
                head.extend_from_slice(&some[..read]);
            }
            let line =
                String::from_utf8_lossy(&head).split(" HTTP").next().unwrap_or_default().to_owned();
            seen.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            if let Some((status, code)) = script.pop_front() {
                let body = match *code {
                    "" => String::new(),
                    code => format!(
                        "<Error><Code>{code}</Code><Message>in short, {code}.</Message></Error>"
                    ),
                };
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status} Told\r\ncontent-length: {length}\r\nlast-modified: Mon, 01 Jan 2024 00:00:00 GMT\r\nconnection: close\r\n\r\n{body}"
                );
                connection.write_all(answer.as_bytes()).await.unwrap_or_default();
            }
        }
    });
    let settings = config::Store {
        endpoint: Some(endpoint.parse().unwrap()),
        path_style: true,
        ..settings("s3://bucket/root")
    };
    let credential =
        AwsCredential { key_id: "key".into(), secret_key: "secret".into(), token: None };
    let retry = RetryConfig {
        backoff: BackoffConfig::default(),
        max_retries: 0,
        retry_timeout: Duration::from_secs(5),
    };
    let credentials = Arc::new(StaticCredentialProvider::new(credential));
    const LOOKS: &[Duration] = &[Duration::from_millis(1); 2];
    (s3::connect(&settings, "us-east-1", credentials, retry, LOOKS).unwrap(), requests)
}

async fn get(script: Script) -> Result<Option<Bytes>, Fault> {
    scripted(script).await.0.get("_log/p/x").await
}

#[tokio::test]
async fn faults_say_whether_to_try_again_and_what_to_check() {
    assert_eq!(get(&[(404, "NoSuchKey")]).await.unwrap(), None);
    let cases: [(Script, bool, &str, &str); 12] = [
        (&[(403, "AccessDenied")], false, "AccessDenied: in short, AccessDenied", "s3:ListBucket"),
        (&[(401, "")], false, "401", "credentials"),
        (&[(403, "RequestTimeTooSkewed")], true, "RequestTimeTooSkewed", "clock"),
        (&[(404, "NoSuchBucket")], false, "NoSuchBucket", "bucket"),
        (&[(301, "PermanentRedirect")], false, "redirect", "region"),
        (&[(400, "AuthorizationHeaderMalformed")], false, "AuthorizationHeaderMalformed", "region"),
        (&[(400, "ExpiredToken")], true, "ExpiredToken", "again"),
        (&[(429, "")], true, "429", "again"),
        (
            &[(500, "InternalError")],
            true,
            "500 Internal Server Error, InternalError: in short",
            "again",
        ),
        (&[(501, "NotImplemented")], false, "NotImplemented", "does not know"),
        (&[(503, "SlowDown")], true, "SlowDown", "again"),
        (&[], true, "", "reached"),
    ];
    for (script, retry, said, help) in cases {
        let fault = get(script).await.unwrap_err();
        let text = fault.to_string();
        assert_eq!(fault.retry, retry, "{script:?}: {text}");
        assert!(
            text.starts_with("read _log/p/x in the store s3://bucket/root: ")
                && text.contains(said),
            "{text}"
        );
        assert!(!text.contains('<'), "{text}");
        assert!(
            fault.help.as_ref().is_some_and(|text| text.contains(help)),
            "{script:?}: {:?}",
            fault.help
        );
    }
}

#[tokio::test]
async fn publish_judges_by_the_key_and_never_by_one_answer() {
    let file = || File {
        output: "out".into(),
        key: "data/p/out/f.parquet".into(),
        rows: 1,
        bytes: 0,
        sha256: String::new(),
        stage: Stage::Multipart { id: "upload".into(), parts: vec!["etag".into()] },
    };
    const GONE: (u16, &str) = (404, "NoSuchUpload");
    const ABSENT: (u16, &str) = (404, "");
    let cases: [(Script, &str, usize); 9] = [
        // The completion was carried out, whatever its answer.
        (&[(500, "InternalError"), (200, "")], "Already", 2),
        (&[GONE, (200, "")], "Already", 2),
        (&[GONE, ABSENT, GONE, (200, "")], "Already", 4),
        (&[], "Unknown", 2),
        // Gone and absent, three looks of three.
        (&[GONE, ABSENT, GONE, ABSENT, GONE, ABSENT], "Lost", 6),
        // One unclear answer is enough to stop judging.
        (&[GONE, ABSENT, (503, "SlowDown"), ABSENT], "Unknown", 4),
        (&[GONE, ABSENT, GONE, (503, "")], "Unknown", 4),
        (&[GONE, ABSENT, GONE, (403, "")], "Unknown", 4),
        (&[(404, "NoSuchBucket"), ABSENT], "Unknown", 2),
    ];
    for (script, expected, requests) in cases {
        let (store, seen) = scripted(script).await;
        let published = format!("{:?}", store.publish(&file()).await);
        assert!(published.starts_with(expected), "{script:?}: {published}");
        let seen = seen.lock().unwrap();
        assert_eq!(seen.len(), requests, "{script:?}: {seen:?}");
        assert!(
            seen[0].starts_with("POST /bucket/root/data/p/out/f.parquet?uploadId=upload"),
            "{seen:?}"
        );
    }
}

#[tokio::test]
async fn anything_but_ok_of_a_create_is_other() {
    let scripts: [Script; 4] =
        [&[(412, "PreconditionFailed")], &[(409, "ConditionalRequestConflict")], &[(500, "")], &[]];
    for script in scripts {
        let created = scripted(script).await.0.create("_log/p/x", Bytes::from_static(b"x")).await;
        assert!(matches!(created, Created::Other(_)), "{script:?}: {created:?}");
    }
}

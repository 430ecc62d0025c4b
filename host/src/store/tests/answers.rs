//! What answers of an S3 server mean: a server that plays a script.

use object_store::{BackoffConfig, RetryConfig, StaticCredentialProvider, aws::AwsCredential};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};

use super::*;
use crate::store::s3;

/// A status and an S3 error code; an empty code gives no body. After the last, the connection is cut.
type Script = &'static [(u16, &'static str)];
/// The first lines of the requests so far.
type Requests = watch::Receiver<Vec<String>>;

/// A store whose server answers as the script says, one request a connection; and the requests so far ("GET /bucket/key").
async fn scripted(script: Script) -> (Store, Requests) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (seen, requests) = watch::channel(Vec::new());
    tokio::spawn(async move {
        let mut script = script.iter();
        while let Ok((mut connection, _)) = listener.accept().await {
            let line = read_request(&mut connection).await;
            seen.send_modify(|seen| seen.push(line));
            if let Some((status, code)) = script.next() {
                connection.write_all(answer(*status, code).as_bytes()).await.unwrap_or_default();
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

/// Reads a request with its body; gives its first line.
async fn read_request(connection: &mut TcpStream) -> String {
    let mut reader = BufReader::new(connection);
    let (mut first, mut body_bytes) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).await.unwrap_or(0) == 0 || line == "\r\n" {
            break;
        }
        if let Some(length) = line.to_lowercase().strip_prefix("content-length:") {
            body_bytes = length.trim().parse().unwrap();
        }
        if first.is_empty() {
            first = line;
        }
    }
    reader.read_exact(&mut vec![0; body_bytes]).await.unwrap_or(0);
    first
}

fn answer(status: u16, code: &str) -> String {
    let body = match code {
        "" => String::new(),
        "UploadId" => "<R><UploadId>the-upload</UploadId></R>".into(),
        code => format!("<Error><Code>{code}</Code><Message>in short, {code}.</Message></Error>"),
    };
    let length = body.len();
    format!(
        "HTTP/1.1 {status} Told\r\ncontent-length: {length}\r\netag: arrived\r\n\
         last-modified: Mon, 01 Jan 2024 00:00:00 GMT\r\nconnection: close\r\n\r\n{body}"
    )
}

async fn get(script: Script) -> Result<Option<Bytes>, Fault> {
    scripted(script).await.0.get("_log/p/x").await
}

#[tokio::test]
async fn faults_say_whether_to_try_again_and_what_to_check() {
    assert_eq!(get(&[(404, "NoSuchKey")]).await.unwrap(), None);
    let cases: [(Script, bool, &str, &str); 13] = [
        (&[(403, "AccessDenied")], false, "AccessDenied: in short, AccessDenied", "s3:ListBucket"),
        (&[(401, "")], false, "401", "credentials"),
        (&[(403, "RequestTimeTooSkewed")], true, "RequestTimeTooSkewed", "clock"),
        (&[(404, "NoSuchBucket")], false, "NoSuchBucket", "bucket"),
        (&[(301, "PermanentRedirect")], false, "redirect", "region"),
        (&[(400, "AuthorizationHeaderMalformed")], false, "AuthorizationHeaderMalformed", "region"),
        (&[(400, "ExpiredToken")], true, "ExpiredToken", "again"),
        (&[(429, "")], true, "429", "again"),
        (&[(416, "InvalidRange")], false, "InvalidRange", ""),
        (
            &[(500, "InternalError")],
            true,
            "500 Internal Server Error, InternalError: in short",
            "again",
        ),
        (&[(501, "NotImplemented")], false, "NotImplemented", "another store"),
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
            fault.help.as_deref().unwrap_or_default().contains(help),
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
        let seen = seen.borrow();
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

/// Writes two parts and finishes, as a worker does.
async fn stage_two_parts(script: Script) -> (Result<Staged, Fault>, Requests) {
    let (store, seen) = scripted(script).await;
    let mut writer = store.stage(
        "data/p/out/f.parquet".into(),
        Handle::current(),
        &Budget::new(u64::MAX).share(),
    );
    let staged = tokio::task::spawn_blocking(move || {
        writer.write_all(&vec![1; PART_BYTES + 1]).unwrap();
        writer.finish()
    });
    (staged.await.unwrap(), seen)
}

/// Waits for a request to abort the upload.
async fn aborted(mut seen: Requests) -> bool {
    const ABORT: &str = "DELETE /bucket/root/data/p/out/f.parquet?uploadId=the-upload ";
    let aborts = |seen: &Vec<String>| seen.iter().any(|request| request.starts_with(ABORT));
    timeout(Duration::from_secs(5), seen.wait_for(aborts)).await.is_ok_and(|seen| seen.is_ok())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_that_fails_is_sent_again() {
    let script = &[(503, ""), (200, "UploadId"), (503, ""), (200, ""), (200, "")];
    let (staged, seen) = stage_two_parts(script).await;
    let expected = Stage::Multipart { id: "the-upload".into(), parts: vec!["arrived".into(); 2] };
    assert_eq!(staged.unwrap().stage, expected);
    assert_eq!(seen.borrow().len(), script.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_fails_for_good_is_aborted() {
    let (staged, seen) =
        stage_two_parts(&[(200, "UploadId"), (403, "AccessDenied"), (403, "AccessDenied")]).await;
    let fault = staged.unwrap_err();
    assert!(!fault.retry && fault.to_string().contains("stage data/p/out/f.parquet"), "{fault}");
    assert!(aborted(seen.clone()).await, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abandoned_upload_is_aborted() {
    let (store, seen) = scripted(&[(200, "UploadId"), (200, ""), (204, "")]).await;
    let mut writer = store.stage(
        "data/p/out/f.parquet".into(),
        Handle::current(),
        &Budget::new(u64::MAX).share(),
    );
    let written = tokio::task::spawn_blocking(move || {
        writer.write_all(&vec![1; PART_BYTES + 1]).unwrap();
    });
    written.await.unwrap();
    assert!(aborted(seen.clone()).await, "{seen:?}");
}

#[tokio::test]
async fn a_store_without_put_if_absent_is_refused() {
    const ABSENT: (u16, &str) = (404, "NoSuchKey");
    let everybody_wins: Script = &[
        ABSENT,
        (200, ""),
        (200, ""),
        (200, ""),
        (200, ""),
        (200, ""),
        (200, ""),
        (200, ""),
        (200, ""),
    ];
    let fault = scripted(everybody_wins).await.0.probe().await.unwrap_err();
    assert!(!fault.retry && fault.code == Some("NO_PUT_IF_ABSENT"), "{fault}");
    assert!(fault.to_string().contains("s3://bucket/root"), "{fault}");

    const UNKNOWN: (u16, &str) = (501, "NotImplemented");
    let nobody_wins: Script =
        &[ABSENT, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, ABSENT];
    let fault = scripted(nobody_wins).await.0.probe().await.unwrap_err();
    assert!(!fault.retry && fault.to_string().contains("NotImplemented"), "{fault}");

    let fault = scripted(&[(403, "AccessDenied")]).await.0.probe().await.unwrap_err();
    assert!(!fault.retry && fault.help.unwrap().contains("s3:ListBucket"));
}

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// The status line and body of a GET.
async fn get(address: SocketAddr, path: &str) -> (String, String) {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

#[tokio::test]
async fn probes_answer_as_the_host_does() {
    let server = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = server.address();
    let (sender, health) = watch::channel(Health::default());
    let metrics = Metrics::install().unwrap();
    metrics::counter!(crate::telemetry::FENCED, "pipeline" => "clicks").increment(3);
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let shown = Shown {
        health,
        metrics,
        events: Events::default(),
        control: Arc::default(),
        access: Access::new(address, None),
    };
    let running = tokio::spawn(server.run(shown, async { ended.await.unwrap() }));

    assert_eq!(get(address, "/livez").await.0, "HTTP/1.1 200 OK");
    let (status, body) = get(address, "/readyz").await;
    assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
    assert!(body.contains(r#""phase":"starting""#), "{body}");

    let pipeline = |state, reason: Option<&str>| PipelineHealth {
        name: "clicks".into(),
        state,
        reason: reason.map(str::to_owned),
    };
    sender
        .send(Health { phase: Phase::Running, pipelines: vec![pipeline("RUNNING", None)] })
        .unwrap();
    assert_eq!(get(address, "/readyz").await.0, "HTTP/1.1 200 OK");
    sender
        .send(Health {
            phase: Phase::Running,
            pipelines: vec![pipeline("FAILED", Some("the log forked"))],
        })
        .unwrap();
    let (status, body) = get(address, "/readyz").await;
    assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
    assert!(
        body.contains(r#"{"name":"clicks","reason":"the log forked","state":"FAILED"}"#),
        "{body}"
    );

    let (_, metrics) = get(address, "/metrics").await;
    assert!(metrics.contains(r#"tidemill_fenced_total{pipeline="clicks"} 3"#), "{metrics}");
    assert!(metrics.contains("# HELP tidemill_fenced_total Flushes that another"), "{metrics}");
    assert!(get(address, "/version").await.1.contains(env!("CARGO_PKG_VERSION")));
    assert_eq!(get(address, "/v2").await.0, "HTTP/1.1 404 Not Found");
    let (status, body) = get(address, "/v1/components").await;
    assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
    assert!(body.contains(r#""code":"STARTING""#), "{body}");

    let taken = Server::bind(address).await.unwrap_err();
    assert_eq!(taken.blame, crate::fault::Blame::Outside);
    end.send(()).unwrap();
    running.await.unwrap();
}

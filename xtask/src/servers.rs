//! A Kafka broker and an S3 server on free ports of 127.0.0.1, ended with the value that started them.

use std::{
    fs::File,
    io::Write,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use xshell::{Shell, cmd};

use crate::{setup, tools::Tools};

/// The access key of the S3 server, and the secret one.
pub(crate) const CREDENTIALS: (&str, &str) = ("test", "testtest");
/// The bucket that it has.
pub(crate) const BUCKET: &str = "tidemill";
/// In Kafka's folder: the certificate of its TLS listener, which signs itself.
const CA_FILE: &str = "ca.pem";
/// Guards nothing: the key lives as long as the servers.
const KEY_STORE_PASSWORD: &str = "tidemill";

/// The servers, running.
#[derive(Debug)]
pub(crate) struct Servers {
    kafka: Server,
    tls_port: u16,
    s3: Server,
    folder: TempDir,
}

impl Servers {
    /// Starts both.
    pub(crate) fn start(shell: &Shell, tools: &Tools) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("tidemill-servers").tempdir()?;
        let tls_port = free_port()?;
        let kafka = kafka(shell, tools, &folder.path().join("kafka"), tls_port)?;
        let s3 = s3(shell, tools, &folder.path().join("s3"))?;
        Ok(Self { kafka, tls_port, s3, folder })
    }

    /// `host:port` of the broker.
    pub(crate) fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.kafka.port)
    }

    /// `host:port` of the broker's TLS listener.
    pub(crate) fn tls_brokers(&self) -> String {
        format!("127.0.0.1:{}", self.tls_port)
    }

    /// The authority that signed the TLS listener's certificate.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.folder.path().join("kafka").join(CA_FILE)
    }

    /// Where the S3 server keeps its buckets: finished objects are plain files there.
    pub(crate) fn s3_folder(&self) -> PathBuf {
        self.folder.path().join("s3").join("data")
    }

    /// The address of the S3 server.
    pub(crate) fn s3(&self) -> String {
        format!("http://127.0.0.1:{}", self.s3.port)
    }
}

#[derive(Debug)]
struct Server {
    child: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both results say only that it has ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Server {
    /// Waits until it answers on its port.
    fn ready(mut self, name: &str, log: &Path) -> Result<Self> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return Ok(self);
            }
            let ended = self.child.try_wait()?;
            if ended.is_some() || Instant::now() > deadline {
                let log = std::fs::read_to_string(log).unwrap_or_default();
                let tail: Vec<_> = log.lines().rev().take(20).collect();
                bail!(
                    "{name} does not answer; the end of its log:\n{}",
                    tail.into_iter().rev().collect::<Vec<_>>().join("\n")
                );
            }
            std::thread::park_timeout(Duration::from_millis(100));
        }
    }
}

fn kafka(shell: &Shell, tools: &Tools, folder: &Path, tls_port: u16) -> Result<Server> {
    std::fs::create_dir_all(folder)?;
    let key_store = certificate(shell, folder)?;
    let (port, controller) = (free_port()?, free_port()?);
    let properties = folder.join("server.properties");
    let text = format!(
        "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:{controller}\n\
         listeners=PLAINTEXT://127.0.0.1:{port},SSL://127.0.0.1:{tls_port},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port},SSL://127.0.0.1:{tls_port}\ncontroller.listener.names=CONTROLLER\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SSL:SSL,CONTROLLER:PLAINTEXT\n\
         ssl.keystore.type=PKCS12\nssl.keystore.location={}\nssl.keystore.password={KEY_STORE_PASSWORD}\nlog.dirs={}\n\
         offsets.topic.replication.factor=1\noffsets.topic.num.partitions=4\n\
         transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\ntransaction.state.log.num.partitions=4\n\
         share.coordinator.state.topic.replication.factor=1\nshare.coordinator.state.topic.min.isr=1\n\
         group.initial.rebalance.delay.ms=0\nauto.create.topics.enable=false\n",
        key_store.display(),
        folder.join("data").display()
    );
    File::create(&properties)?.write_all(text.as_bytes())?;
    let classes = tools.kafka();
    let id = cmd!(shell, "java -cp {classes} kafka.tools.StorageTool random-uuid")
        .quiet()
        .ignore_stderr()
        .read()?;
    cmd!(shell, "java -cp {classes} kafka.tools.StorageTool format -t {id} -c {properties}")
        .quiet()
        .ignore_stdout()
        .ignore_stderr()
        .run()
        .context("failed to format Kafka's folder")?;
    let log = folder.join("kafka.log");
    let child = Command::new("java")
        .args(["-Xmx512m", "-cp", &classes, "kafka.Kafka"])
        .arg(&properties)
        .stdout(File::create(&log)?)
        .stderr(Stdio::null())
        .spawn()
        .context("failed to run java")?;
    Server { child, port }.ready("Kafka", &log)
}

/// Makes a certificate for 127.0.0.1 with its key, for as long as the servers run.
fn certificate(shell: &Shell, folder: &Path) -> Result<PathBuf> {
    let (key_store, ca_file) = (folder.join("broker.p12"), folder.join(CA_FILE));
    let key_store_path = key_store.display().to_string();
    let store = &["-keystore", &key_store_path, "-storepass", KEY_STORE_PASSWORD];
    let subject = ["-dname", "CN=127.0.0.1", "-ext", "SAN=ip:127.0.0.1", "-ext", "BC=ca:true"];
    cmd!(shell, "keytool -genkeypair -alias broker -keyalg EC -groupname secp256r1 -storetype PKCS12 {subject...} {store...}")
        .quiet()
        .ignore_stderr()
        .run()
        .context("failed to make a key by keytool, which comes with java")?;
    cmd!(shell, "keytool -exportcert -rfc -alias broker -file {ca_file} {store...}")
        .quiet()
        .ignore_stderr()
        .run()
        .context("failed to write the certificate by keytool")?;
    Ok(key_store)
}

fn s3(_shell: &Shell, tools: &Tools, folder: &Path) -> Result<Server> {
    let (meta, data) = (folder.join("meta"), folder.join("data"));
    std::fs::create_dir_all(&meta)?;
    // A folder below the root is a bucket.
    std::fs::create_dir_all(data.join(BUCKET))?;
    let port = free_port()?;
    let log = folder.join("s3.log");
    let child = Command::new(tools.versitygw())
        .env("ROOT_ACCESS_KEY", CREDENTIALS.0)
        .env("ROOT_SECRET_KEY", CREDENTIALS.1)
        .args(["--port", &format!("127.0.0.1:{port}"), "posix", "--sidecar"])
        .arg(&meta)
        .arg(&data)
        .stdout(File::create(&log)?)
        .stderr(File::create(folder.join("s3.err"))?)
        .spawn()
        .context("failed to run versitygw")?;
    Server { child, port }.ready("versitygw", &log)
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// Starts both and says how to use them, until Ctrl-C.
#[expect(clippy::print_stdout, reason = "a chore talks to the person who called it")]
pub(crate) fn by_hand(shell: &Shell) -> Result<()> {
    let tools = Tools::install(shell)?;
    setup::say("starting Apache Kafka and an S3 server (ten seconds)");
    let servers = Servers::start(shell, &tools)?;
    println!(
        "kafka: {}; by TLS {}, ca_file {}",
        servers.brokers(),
        servers.tls_brokers(),
        servers.ca_file().display()
    );
    println!("s3:    {}, bucket {BUCKET}", servers.s3());
    println!("for tidemill, in another terminal:");
    println!("export TIDEMILL_BROKERS={}", servers.brokers());
    println!("export TIDEMILL_STORE=s3://{BUCKET}/lake TIDEMILL_STORE_ENDPOINT={}", servers.s3());
    println!("export TIDEMILL_STORE_PATH_STYLE=true TIDEMILL_STORE_REGION=us-east-1");
    println!("export AWS_ACCESS_KEY_ID={} AWS_SECRET_ACCESS_KEY={}", CREDENTIALS.0, CREDENTIALS.1);
    println!("for DuckDB:");
    println!(
        "CREATE SECRET (TYPE s3, KEY_ID '{}', SECRET '{}', ENDPOINT '{}', REGION 'us-east-1', URL_STYLE 'path', USE_SSL false);",
        CREDENTIALS.0,
        CREDENTIALS.1,
        servers.s3().trim_start_matches("http://")
    );
    println!(
        "the objects of the bucket are files below {}",
        servers.s3_folder().join(BUCKET).display()
    );
    println!("Ctrl-C ends both");
    // The terminal sends Ctrl-C to the servers as well; without a terminal, whoever ends this ends them.
    loop {
        std::thread::park();
    }
}

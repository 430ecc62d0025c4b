//! A Kafka broker and an S3 server on free ports of 127.0.0.1, ended with the value that started them.

use std::{
    fs::File,
    io::Write,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command},
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
    ports: Ports,
    s3: Server,
    folder: TempDir,
}

impl Servers {
    /// Starts both.
    pub(crate) fn start(shell: &Shell, tools: &Tools) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("tidemill-servers").tempdir()?;
        let ports = Ports::free()?;
        let kafka = kafka(shell, tools, &folder.path().join("kafka"), &ports)?;
        let s3 = s3(shell, tools, &folder.path().join("s3"))?;
        Ok(Self { kafka, ports, s3, folder })
    }

    /// `host:port` of the broker.
    pub(crate) fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.kafka.port)
    }

    /// `host:port` of the broker's TLS listener.
    pub(crate) fn tls_brokers(&self) -> String {
        format!("127.0.0.1:{}", self.ports.tls)
    }

    /// The authority that signed the TLS listeners' certificate.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.kafka_folder().join(CA_FILE)
    }

    /// Where keys, certificates and the notes of who signed in lie.
    pub(crate) fn kafka_folder(&self) -> PathBuf {
        self.folder.path().join("kafka")
    }

    /// The ports of the listeners that want to know who asks: `mutual`, `sasl`, `token`, `iam`, in this order.
    pub(crate) fn known_ports(&self) -> [u16; 4] {
        let Ports { mutual, sasl, token, iam, .. } = self.ports;
        [mutual, sasl, token, iam]
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

/// Whom Kafka knows by a password, and a password of a key.
const USER: (&str, &str) = ("mill", "the-secret-of-the-mill");
/// Where Kafka says it is, to clients that sign in as to MSK.
const REGION: &str = "eu-central-1";

/// The listeners of Kafka: each kind of security has one.
#[derive(Debug)]
pub(crate) struct Ports {
    plaintext: u16,
    tls: u16,
    /// By TLS, with a certificate of the client.
    mutual: u16,
    /// By TLS, with a password.
    sasl: u16,
    /// Without TLS, with a token that nobody signed.
    token: u16,
    /// By TLS, as to MSK.
    iam: u16,
    controller: u16,
}

impl Ports {
    fn free() -> Result<Self> {
        Ok(Self {
            plaintext: free_port()?,
            tls: free_port()?,
            mutual: free_port()?,
            sasl: free_port()?,
            token: free_port()?,
            iam: free_port()?,
            controller: free_port()?,
        })
    }

    fn properties(&self, folder: &Path) -> String {
        let Self { plaintext, tls, mutual, sasl, token, iam, controller } = self;
        let clients = [
            ("PLAINTEXT", "PLAINTEXT", plaintext),
            ("TLS", "SSL", tls),
            ("MUTUAL", "SSL", mutual),
            ("SASL", "SASL_SSL", sasl),
            ("TOKEN", "SASL_PLAINTEXT", token),
            ("IAM", "SASL_SSL", iam),
        ];
        let addresses =
            clients.map(|(name, _, port)| format!("{name}://127.0.0.1:{port}")).join(",");
        let protocols = clients.map(|(name, protocol, _)| format!("{name}:{protocol}")).join(",");
        let (name, password) = USER;
        let (stores, log) = (folder.display(), folder.join("iam.log"));
        let modules = "org.apache.kafka.common.security";
        // The broker itself has to have a token of each.
        let bearer = format!(
            "{modules}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=\"broker\""
        );
        format!(
            "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners={addresses},CONTROLLER://127.0.0.1:{controller}\nadvertised.listeners={addresses}\n\
             controller.listener.names=CONTROLLER\ninter.broker.listener.name=PLAINTEXT\n\
             listener.security.protocol.map={protocols},CONTROLLER:PLAINTEXT\n\
             ssl.keystore.type=PKCS12\nssl.keystore.location={stores}/broker.p12\nssl.keystore.password={KEY_STORE_PASSWORD}\n\
             listener.name.mutual.ssl.client.auth=required\nssl.truststore.type=PEM\nssl.truststore.location={stores}/client.pem\n\
             listener.name.sasl.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512\n\
             listener.name.sasl.plain.sasl.jaas.config={modules}.plain.PlainLoginModule required user_{name}=\"{password}\";\n\
             listener.name.sasl.scram-sha-256.sasl.jaas.config={modules}.scram.ScramLoginModule required;\n\
             listener.name.sasl.scram-sha-512.sasl.jaas.config={modules}.scram.ScramLoginModule required;\n\
             listener.name.token.sasl.enabled.mechanisms=OAUTHBEARER\n\
             listener.name.token.oauthbearer.sasl.jaas.config={bearer};\n\
             listener.name.token.oauthbearer.connections.max.reauth.ms=3600000\n\
             listener.name.iam.sasl.enabled.mechanisms=OAUTHBEARER\n\
             listener.name.iam.oauthbearer.sasl.server.callback.handler.class=MskIamHandler\n\
             listener.name.iam.oauthbearer.sasl.jaas.config={bearer} region=\"{REGION}\" log=\"{}\";\n\
             listener.name.iam.oauthbearer.connections.max.reauth.ms=3600000\n\
             log.dirs={stores}/data\noffsets.topic.replication.factor=1\noffsets.topic.num.partitions=4\n\
             transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\ntransaction.state.log.num.partitions=4\n\
             share.coordinator.state.topic.replication.factor=1\nshare.coordinator.state.topic.min.isr=1\n\
             group.initial.rebalance.delay.ms=0\nauto.create.topics.enable=false\n",
            log.display()
        )
    }
}

fn kafka(shell: &Shell, tools: &Tools, folder: &Path, ports: &Ports) -> Result<Server> {
    std::fs::create_dir_all(folder)?;
    certificates(shell, folder)?;
    let properties = folder.join("server.properties");
    File::create(&properties)?.write_all(ports.properties(folder).as_bytes())?;
    let (classes, handler) = (tools.kafka(), folder.join("classes"));
    cmd!(shell, "javac -cp {classes} -d {handler} tests/java/MskIamHandler.java")
        .quiet()
        .run()
        .context("failed to compile what checks how clients sign in as to MSK")?;
    let id = cmd!(shell, "java -cp {classes} kafka.tools.StorageTool random-uuid")
        .quiet()
        .ignore_stderr()
        .read()?;
    let (name, password) = USER;
    let users = ["SCRAM-SHA-256", "SCRAM-SHA-512"]
        .map(|mechanism| format!("{mechanism}=[name={name},password={password}]"));
    let users = users.iter().flat_map(|user| ["--add-scram", user]);
    cmd!(
        shell,
        "java -cp {classes} kafka.tools.StorageTool format -t {id} -c {properties} {users...}"
    )
    .quiet()
    .ignore_stdout()
    .ignore_stderr()
    .run()
    .context("failed to format Kafka's folder")?;
    let log = folder.join("kafka.log");
    let output = File::create(&log)?;
    let child = Command::new("java")
        .args(["-Xmx512m", "-cp", &format!("{classes}:{}", handler.display()), "kafka.Kafka"])
        .arg(&properties)
        .stdout(output.try_clone()?)
        .stderr(output)
        .spawn()
        .context("failed to run java")?;
    Server { child, port: ports.plaintext }.ready("Kafka", &log)
}

/// Makes a certificate for 127.0.0.1, and one for a client, with their keys, for as long as the servers run. Each signs
/// itself.
fn certificates(shell: &Shell, folder: &Path) -> Result<()> {
    let _folder = shell.push_dir(folder);
    let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];
    let host = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"];
    let key_store = format!("pass:{KEY_STORE_PASSWORD}");
    let password = format!("pass:{}", USER.1);
    let client = ["-subj", "/CN=mill"];
    let commands = [
        cmd!(
            shell,
            "openssl req -x509 -days 30 -nodes {curve...} {host...} -keyout broker.key -out {CA_FILE}"
        ),
        cmd!(
            shell,
            "openssl pkcs12 -export -in {CA_FILE} -inkey broker.key -out broker.p12 -passout {key_store}"
        ),
        cmd!(
            shell,
            "openssl req -x509 -days 30 -nodes {curve...} {client...} -keyout client.key -out client.pem"
        ),
        cmd!(
            shell,
            "openssl pkey -in client.key -aes256 -passout {password} -out client-locked.key"
        ),
    ];
    for command in commands {
        command.quiet().ignore_stderr().run().context("failed to make a certificate by openssl")?;
    }
    Ok(())
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

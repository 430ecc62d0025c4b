//! A host process, its folder and its stores.

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{components, eventually, kafka, proxy::Proxy, reader::Place, setting, unique};

/// Where a host writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// A local folder: the rename stager.
    Folder,
    /// The S3 server: the multipart stager.
    S3,
}

/// A folder with the configuration of a host: `tidemill.toml`, `pipelines/`, `transforms/`.
#[derive(Debug)]
pub struct Site {
    folder: TempDir,
    /// Variables of its commands; `None` takes one away.
    environment: Vec<(String, Option<String>)>,
    /// Where its pipelines write.
    pub place: Place,
    /// The same as a folder of this machine.
    pub store: PathBuf,
}

impl Site {
    /// A site with the sample components and no pipeline.
    ///
    /// # Panics
    /// When its files can't be written.
    pub fn new(kind: StoreKind) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (place, store, section) = match kind {
            StoreKind::Folder => {
                let store = folder.path().join("store");
                (
                    Place::Folder(store.clone()),
                    store.clone(),
                    format!("url = \"file://{}\"\n", store.display()),
                )
            }
            StoreKind::S3 => {
                // A bucket of its own: what is left in it is this test's alone.
                let bucket = unique("bucket");
                let endpoint = setting("TIDEMILL_TEST_S3_ENDPOINT");
                let store = PathBuf::from(setting("TIDEMILL_TEST_S3_FOLDER")).join(&bucket);
                fs::create_dir(&store).expect("a folder of the S3 server is a bucket");
                let section = format!(
                    "url = \"s3://{bucket}/lake\"\nendpoint = \"{endpoint}\"\npath_style = true\nregion = \"us-east-1\"\n"
                );
                (Place::S3(format!("{bucket}/lake")), store.join("lake"), section)
            }
        };
        let site = Self { folder, environment: Vec::new(), place, store };
        let toml = format!(
            "workers = 2\n[store]\n{section}[kafka]\nbrokers = [\"{}\"]\noptions = {{ \"session.timeout.ms\" = \"6000\" }}\n",
            kafka::brokers()
        );
        site.write("tidemill.toml", &toml);
        for name in ["clean-clicks", "passthrough-raw", "fan-out", "enrich"] {
            let wasm = fs::read(components().join(format!("{name}.wasm")))
                .expect("the sample components are built");
            site.write(&format!("transforms/{name}.wasm"), wasm);
        }
        site.write("pipelines/.keep", "");
        site
    }

    /// A site on S3, which its commands reach through a proxy.
    ///
    /// # Panics
    /// As `new`.
    pub fn behind_a_proxy() -> (Self, Proxy) {
        let mut site = Self::new(StoreKind::S3);
        let proxy = Proxy::to(&setting("TIDEMILL_TEST_S3_ENDPOINT"));
        site.environment("TIDEMILL_STORE_ENDPOINT", Some(&proxy.address()));
        (site, proxy)
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file below its folder.
    ///
    /// # Panics
    /// When that fails.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().expect("a file has a folder"))
            .expect("a folder can be made");
        fs::write(path, content).expect("a file can be written");
    }

    /// Renames a file into its place below its folder, as a careful program does.
    ///
    /// # Panics
    /// When that fails.
    pub fn rename_into(&self, name: &str, content: impl AsRef<[u8]>) {
        let part = format!("{name}.{}.part", unique("new"));
        self.write(&part, content);
        fs::rename(self.path().join(part), self.path().join(name)).expect("a file can be renamed");
    }

    /// Sets a variable of its commands, or takes it away.
    pub fn environment(&mut self, name: &str, value: Option<&str>) {
        self.environment.push((name.to_owned(), value.map(str::to_owned)));
    }

    /// A command of tidemill in its folder, with its environment.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(setting("TIDEMILL_TEST_BIN"));
        command.args(arguments).current_dir(self.path()).env("NO_COLOR", "1");
        for (name, value) in &self.environment {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }

    /// Runs a command of tidemill to its end.
    ///
    /// # Panics
    /// When it can't be started.
    pub fn tidemill(&self, arguments: &[&str]) -> std::process::Output {
        self.command(arguments).stdin(Stdio::null()).output().expect("tidemill starts")
    }

    /// Runs `tidemill verify` and expects it to find nothing.
    ///
    /// # Panics
    /// When it finds something.
    pub fn verify(&self) {
        let output = self.tidemill(&["verify", "--config", "tidemill.toml"]);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success(),
            "verify: {}\n{}",
            text(&output.stdout),
            text(&output.stderr)
        );
    }

    /// Starts a host.
    ///
    /// # Panics
    /// When it can't be started.
    pub fn run(&self) -> Host {
        self.run_with(&[])
    }

    /// Starts a host with more arguments.
    ///
    /// # Panics
    /// When it can't be started.
    pub fn run_with(&self, arguments: &[&str]) -> Host {
        self.start(&[&["run", "--config", "tidemill.toml"], arguments].concat())
    }

    /// Starts a command that serves HTTP.
    ///
    /// # Panics
    /// When it can't be started.
    pub fn start(&self, arguments: &[&str]) -> Host {
        let free = TcpListener::bind(("127.0.0.1", 0))
            .and_then(|listener| listener.local_addr())
            .expect("a free port");
        self.start_at(&free.to_string(), arguments)
    }

    /// Starts a command that serves HTTP, at an address.
    ///
    /// # Panics
    /// When it can't be started.
    pub fn start_at(&self, listen: &str, arguments: &[&str]) -> Host {
        let log = self.path().join(format!("{}.log", unique("host")));
        let listen = listen.to_owned();
        let mut command = self.command(arguments);
        let output = File::create(&log).expect("a log file");
        let child = command
            .args(["--listen", &listen])
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a second handle"))
            .stderr(output)
            .spawn()
            .expect("tidemill starts");
        Host { child, log, listen }
    }
}

/// A host process. It is killed when the test ends.
#[derive(Debug)]
pub struct Host {
    child: Child,
    log: PathBuf,
    listen: String,
}

impl Host {
    /// Where it answers.
    pub fn address(&self) -> &str {
        &self.listen
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The events that it logged, of a kind: `component swapped`, `component refused: …`.
    pub fn events(&self, message: &str) -> Vec<serde_json::Value> {
        let log = self.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str(line).ok());
        let is_of = |line: &serde_json::Value| {
            line["message"].as_str().is_some_and(|found| found.starts_with(message))
        };
        lines.filter(is_of).collect()
    }

    /// Answer of its HTTP server, if there is one: status and body.
    pub fn get(&self, path: &str) -> Option<(u16, String)> {
        self.request("GET", path, &[], b"")
    }

    /// Answer of its HTTP server to any request, if there is one: status and body.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[&str],
        body: &[u8],
    ) -> Option<(u16, String)> {
        let mut stream = self.send(method, path, headers, body)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, body.to_owned()))
    }

    /// Sends a request and answers the connection, from which the answer can be read as it comes.
    pub fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[&str],
        body: &[u8],
    ) -> Option<TcpStream> {
        let mut stream = TcpStream::connect(&self.listen).ok()?;
        let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        if !headers.iter().any(|header| header.starts_with("Host:")) {
            head += &format!("Host: {}\r\n", self.listen);
        }
        headers.iter().for_each(|header| head += &format!("{header}\r\n"));
        head += &format!("Content-Length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).ok()?;
        Some(stream)
    }

    /// The sum of a metric over all its labels; 0 while the host does not answer.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").map(|(_, text)| text).unwrap_or_default();
        let values = text.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
        });
        values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Waits until it says that it is ready.
    ///
    /// # Panics
    /// When it ends before, or takes longer than half a minute.
    pub fn ready(mut self) -> Self {
        eventually("the host is ready", 30, || {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                panic!("the host ended with {status}:\n{}", self.log());
            }
            self.get("/readyz").filter(|(status, _)| *status == 200)
        });
        self
    }

    /// The most memory that it had so far, in MiB.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn peak_memory_mib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))
            .expect("the host is there");
        let found = status.lines().find_map(|found| found.strip_prefix("VmHWM:"));
        let found = found.expect("Linux tells the peak");
        let kib: u64 = found.trim().trim_end_matches(" kB").parse().expect("a number of KiB");
        kib / 1024
    }

    /// The processes that it has started and that still run.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn children(&self) -> Vec<Pid> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id()));
        let threads = threads.expect("the host is there").flatten();
        let children = threads
            .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
            .collect::<Vec<_>>()
            .join(" ");
        children.split_whitespace().filter_map(|id| Pid::from_raw(id.parse().ok()?)).collect()
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(id, signal).expect("the host is there");
    }

    /// Ends it as a power cut would.
    ///
    /// # Panics
    /// When it had ended before.
    pub fn kill(mut self) {
        self.signal(Signal::KILL);
        let status = self.child.wait().expect("it is our child");
        assert_eq!(
            status.signal(),
            Some(9),
            "the host ended before it was killed:\n{}",
            self.log()
        );
    }

    /// Waits until it ends.
    ///
    /// # Panics
    /// When it takes longer.
    pub fn ended(&mut self, seconds: u64) -> ExitStatus {
        let log = self.log.clone();
        let child = &mut self.child;
        let what = format!("the host ends; {}", log.display());
        eventually(&what, seconds, || child.try_wait().expect("it is our child"))
    }

    /// Asks it to drain, and expects a clean end.
    ///
    /// # Panics
    /// When it does not end with 0 within half a minute.
    pub fn drain(mut self) {
        self.signal(Signal::TERM);
        let status = self.ended(30);
        assert!(status.success(), "the host ended with {status}:\n{}", self.log());
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Both results say only that it has ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

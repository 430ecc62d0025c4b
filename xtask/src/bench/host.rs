//! A host that is measured: its folder, its process, its HTTP server.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::Bed;

/// The only component, in its host's folder.
const COMPONENT: &str = "transforms/clean-clicks.wasm";
/// How long a host may take to start, to end, or to swap.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// A folder with the configuration of a host that runs the pipeline `clicks`, and with its store.
#[derive(Debug)]
pub(super) struct Site {
    pub folder: PathBuf,
}

impl Site {
    /// A host that reads a topic as a group of its own.
    pub(super) fn new(folder: PathBuf, bed: &Bed, topic: &str, component: &[u8]) -> Result<Self> {
        let site = Self { folder };
        let brokers = bed.servers.brokers();
        let group = site.folder.file_name().context("a site has a name")?.display();
        let pipeline = format!(
            "name: clicks\nsource: {{ kafka: {{ topics: [{topic}], group_id: {group}, start: earliest, format: json }} }}\n\
             transforms: [{{ component: clean-clicks }}]\n\
             outputs: {{ clean: {{ parquet: {{ partition_by: [country], kafka_columns: true }} }} }}\n\
             dead_letters: {{ parquet: {{}} }}\nflush: {{ every: 10s, idle: 1s }}\n"
        );
        fs::create_dir_all(site.folder.join("pipelines"))?;
        fs::create_dir_all(site.folder.join("transforms"))?;
        fs::write(site.folder.join("pipelines/clicks.yaml"), pipeline)?;
        fs::write(
            site.folder.join("tidemill.toml"),
            format!("[store]\nurl = \"store\"\n[kafka]\nbrokers = [\"{brokers}\"]\n"),
        )?;
        fs::write(site.folder.join(COMPONENT), component)?;
        Ok(site)
    }

    /// A command of the release build in this folder.
    pub(super) fn command(&self, tidemill: &Path, name: &str) -> Command {
        let mut command = Command::new(tidemill);
        command.arg(name).args(["--config", "tidemill.toml"]).current_dir(&self.folder);
        command
    }
}

/// A host process, ended with this value.
#[derive(Debug)]
pub(super) struct Host {
    child: Child,
    log: PathBuf,
    /// `host:port` of its HTTP server.
    pub listen: String,
}

impl Host {
    /// Starts it, and waits until it is ready.
    pub(super) fn start(tidemill: &Path, site: &Site) -> Result<Self> {
        let listen = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.to_string();
        let log = site.folder.join("host.log");
        let child = site
            .command(tidemill, "run")
            .args(["--listen", &listen])
            .stdin(Stdio::null())
            .stdout(File::create(&log)?)
            .stderr(File::create(site.folder.join("host.err"))?)
            .spawn()
            .with_context(|| format!("failed to run {}", tidemill.display()))?;
        let mut host = Self { child, log, listen };
        let is_ready = |host: &Self| {
            let answer = Http::connect(&host.listen).and_then(|mut http| http.get("/readyz"));
            Ok(answer.is_ok_and(|(status, _)| status == 200).then_some(()))
        };
        host.wait("it is ready", PATIENCE, is_ready)?;
        Ok(host)
    }

    /// Waits for a condition while the host runs.
    pub(super) fn wait<T>(
        &mut self,
        what: &str,
        patience: Duration,
        mut condition: impl FnMut(&Self) -> Result<Option<T>>,
    ) -> Result<T> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(value) = condition(self)? {
                return Ok(value);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("the host ended with {status}; the end of its log:\n{}", self.last_words());
            }
            ensure!(
                Instant::now() < deadline,
                "not within {patience:?}: {what}; the end of the host's log:\n{}",
                self.last_words()
            );
            thread::park_timeout(Duration::from_millis(50));
        }
    }

    /// Has it commit what it holds, and end.
    pub(super) fn drain(mut self) -> Result<()> {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(id.context("a process has an id")?, Signal::TERM)?;
        let deadline = Instant::now() + PATIENCE;
        let status: ExitStatus = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            ensure!(Instant::now() < deadline, "the host does not end: {}", self.last_words());
            thread::park_timeout(Duration::from_millis(50));
        };
        ensure!(status.success(), "the host ended with {status}:\n{}", self.last_words());
        Ok(())
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let error = fs::read_to_string(self.log.with_extension("err")).unwrap_or_default();
        let tail: Vec<_> = log.lines().rev().take(10).collect();
        tail.into_iter().rev().chain(error.lines()).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Both results say only that it has ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// One connection to a host's HTTP server, kept: asking often costs the host little.
#[derive(Debug)]
pub(super) struct Http {
    stream: BufReader<TcpStream>,
    listen: String,
}

impl Http {
    pub(super) fn connect(listen: &str) -> Result<Self> {
        let stream = TcpStream::connect(listen)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream), listen: listen.to_owned() })
    }

    /// Status and body of an answer whose length is told.
    pub(super) fn get(&mut self, path: &str) -> Result<(u16, String)> {
        self.request("GET", path, b"")
    }

    fn request(&mut self, method: &str, path: &str, body: &[u8]) -> Result<(u16, String)> {
        let (listen, length) = (&self.listen, body.len());
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {listen}\r\nContent-Length: {length}\r\n\r\n"
        );
        self.stream.get_mut().write_all(&[head.as_bytes(), body].concat())?;
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let mut length = 0;
        while !line.trim().is_empty() {
            line.clear();
            self.stream.read_line(&mut line)?;
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse()?;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok((status.context("an answer has a status")?, String::from_utf8(body)?))
    }

    /// A count of the pipeline: `processed` or `committed` records since the start.
    pub(super) fn records(&mut self, which: &str) -> Result<u64> {
        let (_, body) = self.get("/v1/pipelines/clicks")?;
        let status: Value = serde_json::from_str(&body)?;
        status[which]["records"].as_u64().with_context(|| format!("no {which} records in {body}"))
    }

    /// Uploads a build of the component; it is the current one then.
    pub(super) fn upload(&mut self, component: &[u8]) -> Result<()> {
        let (status, body) = self.request("PUT", "/v1/components/clean-clicks", component)?;
        ensure!(status == 200, "a build was not taken: {body}");
        Ok(())
    }

    /// Reads `/v1/events` from now on, each as it happens. HTTP/1.0 has no chunks: the body is the events alone.
    pub(super) fn events(mut self) -> Result<impl Iterator<Item = Result<Value>>> {
        self.stream.get_ref().set_read_timeout(Some(PATIENCE))?;
        let request = format!("GET /v1/events HTTP/1.0\r\nHost: {}\r\n\r\n", self.listen);
        self.stream.get_mut().write_all(request.as_bytes())?;
        Ok(self.stream.lines().filter_map(|line| match line {
            Ok(line) => {
                let event = serde_json::from_str(line.strip_prefix("data:")?.trim());
                Some(event.context("an event is JSON"))
            }
            Err(error) => Some(Err(error).context("the host's events came no further")),
        }))
    }
}

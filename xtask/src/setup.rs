//! What a build needs: the Rust target, a C compiler, the sample transforms.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use xshell::{Shell, cmd};

use crate::tools::Tools;

/// The folder from which the host embeds components; ignored by git.
const COMPONENTS: &str = "host/components";
const TRANSFORMS: [&str; 5] =
    ["clean-clicks", "clean-clicks-2", "passthrough-raw", "fan-out", "enrich"];

/// Says what comes next.
#[expect(clippy::print_stderr, reason = "a chore talks to the person who called it")]
pub(crate) fn say(text: &str) {
    eprintln!("==> {text}");
}

/// Adds clippy, rustfmt and the target of components to the toolchain.
pub(crate) fn toolchain(shell: &Shell) -> Result<()> {
    if cmd!(shell, "rustup --version").quiet().ignore_stderr().read().is_err() {
        bail!("rustup is not installed: get it from https://rustup.rs, then run this again");
    }
    cmd!(shell, "rustup target add wasm32-wasip2").quiet().ignore_stderr().run()?;
    cmd!(shell, "rustup component add clippy rustfmt").quiet().ignore_stderr().run()?;
    Ok(())
}

/// Sees to it that librdkafka can be built.
pub(crate) fn native(shell: &Shell) -> Result<()> {
    let has = |program: &str| {
        cmd!(shell, "sh -c").arg(format!("command -v {program}")).quiet().read().is_ok()
    };
    let openssl = || cmd!(shell, "pkg-config --exists openssl").quiet().run().is_ok();
    if ["make", "gcc", "g++", "pkg-config"].iter().all(|program| has(program)) && openssl() {
        return Ok(());
    }
    install(shell, &["make", "gcc", "g++", "pkg-config", "libssl-dev"])
}

/// Installs Debian packages where that is possible without a question, else says what to do.
pub(crate) fn install(shell: &Shell, packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    let root = cmd!(shell, "id -u").quiet().read().is_ok_and(|id| id == "0");
    let sudo = cmd!(shell, "sudo -n true").quiet().ignore_stderr().run().is_ok();
    if cmd!(shell, "apt-get --version").quiet().read().is_err() || !(root || sudo) {
        bail!(
            "please install {list} (on Debian and Ubuntu: sudo apt-get install {list}), then run this again"
        );
    }
    say(&format!("installing {list}"));
    let prefix: &[&str] = if root { &[] } else { &["sudo", "-n"] };
    let _environment = shell.push_env("DEBIAN_FRONTEND", "noninteractive");
    let prefixed = |arguments: &[&str]| {
        let all: Vec<&str> = prefix.iter().chain(arguments).copied().collect();
        cmd!(shell, "env {all...}").quiet().ignore_stdout().run()
    };
    prefixed(&["apt-get", "update", "-q"])?;
    let install = ["apt-get", "install", "-q", "-y", "--no-install-recommends"];
    prefixed(&[&install[..], packages].concat()).with_context(|| {
        format!("failed to install {list}: install them by hand, then run this again")
    })
}

/// Builds the sample transforms and puts them where the host embeds them from.
pub(crate) fn transforms(shell: &Shell) -> Result<()> {
    let packages = TRANSFORMS.iter().flat_map(|name| ["--package", name]);
    cmd!(shell, "cargo build --quiet --release --target wasm32-wasip2 {packages...}").run()?;
    let built = target_folder(shell)?.join("wasm32-wasip2").join("release");
    shell.create_dir(COMPONENTS)?;
    for name in TRANSFORMS {
        let from = built.join(format!("{}.wasm", name.replace('-', "_")));
        let to = shell.current_dir().join(COMPONENTS).join(format!("{name}.wasm"));
        // Writing the same bytes again would rebuild the host.
        if std::fs::read(&from)? != std::fs::read(&to).unwrap_or_default() {
            shell.copy_file(from, to)?;
        }
    }
    Ok(())
}

/// Where the components are that only tests use: a folder each, named like its package.
const GUESTS: &str = "tests/guests";

/// Builds the components that only tests use, and answers where they are.
pub(crate) fn guests(shell: &Shell) -> Result<PathBuf> {
    let folders = shell.read_dir(GUESTS)?;
    let folders = folders.iter().filter(|folder| folder.join("Cargo.toml").is_file());
    let packages = folders.filter_map(|folder| folder.file_name());
    let packages = packages.flat_map(|name| ["--package".as_ref(), name]);
    cmd!(shell, "cargo build --quiet --release --target wasm32-wasip2 {packages...}").run()?;
    Ok(target_folder(shell)?.join("wasm32-wasip2").join("release"))
}

/// Builds the component in Python that only tests use, unless it is there, of the same source, contract and tool.
pub(crate) fn python_guest(shell: &Shell, tools: &Tools, folder: &Path) -> Result<()> {
    const SOURCES: &str = "tests/guests-python";
    const CONTRACT: &str = "wit/v0.1";
    let program = tools.program("componentize-py");
    let mut made_of = cmd!(shell, "{program} --version").quiet().read()?;
    let mut paths = [shell.read_dir(SOURCES)?, shell.read_dir(CONTRACT)?].concat();
    paths.sort();
    for path in paths.iter().filter(|path| path.is_file()) {
        made_of += &shell.read_file(path)?;
    }
    let (component, recipe) =
        (folder.join("stamped_python.wasm"), folder.join("stamped_python.of"));
    if component.exists() && std::fs::read_to_string(&recipe).is_ok_and(|text| text == made_of) {
        return Ok(());
    }
    say("building the component in Python (20 seconds)");
    cmd!(
        shell,
        "{program} -q -d {CONTRACT} -w transformer componentize stamped -p {SOURCES} -o {component}"
    )
    .run()
    .context("componentize-py could not build tests/guests-python/stamped.py")?;
    // Last, so that a build that was interrupted is no build.
    std::fs::write(recipe, made_of)?;
    Ok(())
}

/// Where cargo builds.
pub(crate) fn target_folder(shell: &Shell) -> Result<PathBuf> {
    let folder =
        shell.var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    Ok(shell.current_dir().join(folder))
}

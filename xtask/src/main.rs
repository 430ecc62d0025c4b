//! The chores that a person would do by hand: `cargo xtask demo`, `cargo xtask test`, `cargo xtask bench`, and the set-up of what they need.

mod bench;
mod dashboard;
mod node;
mod servers;
mod setup;
mod test;
mod tools;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use xshell::{Shell, cmd};

/// Chores of the Tidemill repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Builds a release of tidemill with its sample transforms and runs `tidemill demo`.
    Demo {
        /// Arguments for `tidemill demo`, after `--`.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Runs all checks and tests, against a real Kafka and a real S3 server that it starts itself.
    Test(test::Options),
    /// Measures a release build on this machine, against a real Kafka that it starts itself.
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Builds the sample transforms and puts them where the host embeds them from.
    Transforms,
    /// Builds the page that the host serves at `/`, and puts it where the host embeds it from.
    Dashboard,
    /// Starts a Kafka and an S3 server for trying things by hand, and stops them at Ctrl-C.
    Servers,
}

fn main() -> Result<()> {
    let shell = Shell::new()?;
    // Cargo runs this with the package's folder in the environment, wherever it was called.
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("xtask lies in the repository")?;
    shell.change_dir(root);
    std::env::set_current_dir(root).context("the repository is where it was built")?;
    match Arguments::parse().chore {
        Chore::Demo { arguments } => demo(&shell, &arguments),
        Chore::Test(options) => test::run(&shell, &options),
        Chore::Bench(bench) => bench::run(&shell, &bench),
        Chore::Transforms => {
            setup::toolchain(&shell)?;
            // For the build of the host, which comes next.
            setup::native(&shell)?;
            setup::transforms(&shell)
        }
        Chore::Dashboard => dashboard::by_hand(&shell),
        Chore::Servers => servers::by_hand(&shell),
    }
}

fn demo(shell: &Shell, arguments: &[String]) -> Result<()> {
    setup::say("1/5 the Rust target for components and clippy, rustfmt (seconds)");
    setup::toolchain(shell)?;
    setup::say(
        "2/5 the C compiler and OpenSSL's headers (seconds; up to a minute where they are missing)",
    );
    setup::native(shell)?;
    setup::say("3/5 the sample transforms (a minute the first time)");
    setup::transforms(shell)?;
    setup::say("4/5 the page (half a minute the first time)");
    dashboard::build(shell)?;
    setup::say(
        "5/5 a release build of tidemill (10 to 20 minutes on two cores the first time, seconds later)",
    );
    cmd!(shell, "cargo build --release --package tidemill").run()?;
    let tidemill = setup::target_folder(shell)?.join("release").join("tidemill");
    setup::say("running tidemill demo");
    // The demo ends by itself or by Ctrl-C; what it says and its exit code are this command's.
    let status = std::process::Command::new(&tidemill)
        .arg("demo")
        .args(arguments)
        .status()
        .with_context(|| format!("failed to run {}", tidemill.display()))?;
    std::process::exit(status.code().unwrap_or(1));
}

//! `cargo xtask test`: format, lints, documentation, and every test against real servers.

use anyhow::{Context, Result};
use clap::Args;
use xshell::{Shell, cmd};

use crate::{
    dashboard,
    servers::{BUCKET, CREDENTIALS, Servers},
    setup,
    tools::Tools,
};

/// What to run.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Runs the long ones too: a hundred kills on both stores, a minute of 64 partitions, the model at its full bound
    /// (two writers, three flushes, a crash at any step; plain: one record a lane instead of two).
    #[arg(long)]
    full: bool,
    /// Skips format, lints, licences and documentation.
    #[arg(long)]
    only_tests: bool,
    /// Arguments for `cargo nextest run`, after `--`: names of tests, for example.
    #[arg(last = true)]
    arguments: Vec<String>,
}

pub(crate) fn run(shell: &Shell, options: &Options) -> Result<()> {
    setup::say("1/6 the Rust target for components and clippy, rustfmt (seconds)");
    setup::toolchain(shell)?;
    setup::native(shell)?;
    setup::say(
        "2/6 what the tests need: Kafka, an S3 server, DuckDB, Chromium (5 minutes the first time)",
    );
    let tools = Tools::install(shell)?;
    setup::say("3/6 the sample transforms and the page (2 minutes the first time)");
    setup::transforms(shell)?;
    let guests = setup::guests(shell)?;
    setup::python_guest(shell, &tools, &guests)?;
    dashboard::build(shell)?;
    if !options.only_tests {
        setup::say("4/6 format, lints, licences, documentation (5 minutes the first time)");
        let (typos, deny) = (tools.program("typos"), tools.program("cargo-deny"));
        cmd!(shell, "{typos}").run()?;
        cmd!(shell, "{deny} --log-level error check licenses bans sources").run()?;
        cmd!(shell, "cargo fmt --all --check").run()?;
        cmd!(shell, "cargo clippy --quiet --workspace --all-targets -- --deny warnings").run()?;
        let _deny = shell.push_env("RUSTDOCFLAGS", "--deny warnings");
        cmd!(shell, "cargo doc --quiet --workspace --no-deps --document-private-items").run()?;
    }
    setup::say("5/6 building tidemill and its tests (15 minutes the first time)");
    cmd!(shell, "cargo build --quiet --package tidemill").run()?;
    cmd!(shell, "cargo test --quiet --workspace --no-run").run()?;
    if options.arguments.is_empty() {
        cmd!(shell, "cargo test --quiet --workspace --doc").run()?;
        dashboard::test(shell)?;
    }
    setup::say("6/6 the tests, against Kafka and an S3 server that start now (10 minutes)");
    let servers = Servers::start(shell, &tools)?;
    let variables = [
        ("TIDEMILL_TEST_BROKERS", servers.brokers()),
        ("TIDEMILL_TEST_TLS_BROKERS", servers.tls_brokers()),
        ("TIDEMILL_TEST_CA_FILE", servers.ca_file().display().to_string()),
        ("TIDEMILL_TEST_KAFKA_FOLDER", servers.kafka_folder().display().to_string()),
        ("TIDEMILL_TEST_KNOWN_PORTS", servers.known_ports().map(|port| port.to_string()).join(",")),
        ("TIDEMILL_TEST_S3_ENDPOINT", servers.s3()),
        ("TIDEMILL_TEST_S3_BUCKET", BUCKET.to_owned()),
        ("TIDEMILL_TEST_S3_FOLDER", servers.s3_folder().display().to_string()),
        ("TIDEMILL_TEST_PYTHON", tools.python().display().to_string()),
        (
            "TIDEMILL_TEST_COMPONENTS",
            shell.current_dir().join("host/components").display().to_string(),
        ),
        ("TIDEMILL_TEST_NODE", tools.node().program().display().to_string()),
        ("TIDEMILL_TEST_BROWSER", tools.browser().display().to_string()),
        ("TIDEMILL_TEST_CHROMIUM", tools.chromium().to_owned()),
        ("TIDEMILL_TEST_GUESTS", guests.display().to_string()),
        ("TIDEMILL_TEST_TARGET", setup::target_folder(shell)?.display().to_string()),
        (
            "TIDEMILL_TEST_BIN",
            setup::target_folder(shell)?.join("debug").join("tidemill").display().to_string(),
        ),
        ("TIDEMILL_TEST_FULL", if options.full { "1" } else { "" }.to_owned()),
        ("AWS_ACCESS_KEY_ID", CREDENTIALS.0.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", CREDENTIALS.1.to_owned()),
        ("AWS_REGION", "us-east-1".to_owned()),
    ];
    let _variables: Vec<_> =
        variables.iter().map(|(name, value)| shell.push_env(name, value)).collect();
    let nextest = tools.program("cargo-nextest");
    let profile = if options.full { "full" } else { "default" };
    let arguments = &options.arguments;
    cmd!(shell, "{nextest} nextest run --workspace --profile {profile} {arguments...}")
        .run()
        .context("a test failed: its output stands above")?;
    Ok(())
}

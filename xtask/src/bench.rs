//! `cargo xtask bench`: measurements of a release build against a real Kafka, which it starts itself.

mod flow;
mod host;
mod judge;
mod swap;

use std::path::PathBuf;

use anyhow::Result;
use clap::Subcommand;
use xshell::{Shell, cmd};

use crate::{servers::Servers, setup, tools::Tools};

/// What to measure.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// How long records wait for a hot swap, over many swaps under full load.
    Swap(swap::Options),
}

pub(crate) fn run(shell: &Shell, bench: &Bench) -> Result<()> {
    let bed = Bed::set_up(shell)?;
    match bench {
        Bench::Swap(options) => swap::run(shell, &bed, options),
    }
}

/// What every measurement needs.
#[derive(Debug)]
struct Bed {
    /// The release build.
    tidemill: PathBuf,
    tools: Tools,
    servers: Servers,
}

impl Bed {
    fn set_up(shell: &Shell) -> Result<Self> {
        setup::say("1/5 the Rust target for components, a C compiler (seconds)");
        setup::toolchain(shell)?;
        setup::native(shell)?;
        setup::say("2/5 Kafka, and DuckDB to judge the result (5 minutes the first time)");
        let tools = Tools::install(shell)?;
        setup::say("3/5 the sample transforms (a minute the first time)");
        setup::transforms(shell)?;
        setup::say(
            "4/5 a release build of tidemill (10 to 20 minutes on two cores the first time)",
        );
        cmd!(shell, "cargo build --quiet --release --package tidemill").run()?;
        let tidemill = setup::target_folder(shell)?.join("release").join("tidemill");
        setup::say("5/5 the measurement, against a Kafka that starts now");
        let servers = Servers::start(shell, &tools)?;
        Ok(Self { tidemill, tools, servers })
    }
}

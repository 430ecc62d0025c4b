//! The command `tidemill`.

use std::process::ExitCode;

use clap::Parser;
use tidemill::cli::Cli;

// Serves librdkafka's own allocations as well: that is a third of the cost of reading a record.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    Cli::parse().execute()
}

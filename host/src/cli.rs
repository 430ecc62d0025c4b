//! The commands: thin, they read their flags and call what does the work.

#![expect(clippy::print_stderr, reason = "a command tells its user what went wrong")]

mod demo;
mod explain;
mod flags;
mod footer;
mod produce;
mod progress;
mod repair;
mod run;
mod schema;
mod validate;
mod verify;

use std::{
    fmt::Display,
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

use crate::{
    engine,
    fault::{Blame, Fault},
    telemetry::{self, LogFormat},
};

/// Kafka to exactly-once Parquet through sandboxed WebAssembly transforms.
#[derive(Debug, Parser)]
#[command(name = "tidemill", version, propagate_version = true, max_term_width = 110)]
pub struct Cli {
    /// Which events are logged: a level, or levels by module
    #[arg(long, global = true, env = "TIDEMILL_LOG", value_name = "FILTER", help_heading = "Logs")]
    log: Option<String>,
    /// How log lines look
    #[arg(
        long,
        global = true,
        env = "TIDEMILL_LOG_FORMAT",
        default_value = "auto",
        help_heading = "Logs"
    )]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Demo),
    Run(run::Run),
    Validate(validate::Validate),
    Verify(verify::Verify),
    Repair(repair::Repair),
    Explain(explain::Explain),
    Produce(produce::Produce),
    Schema(schema::Schema),
    /// Compiles a component from standard input to standard output, under limits; for the host itself
    #[command(hide = true)]
    CompileComponent,
}

impl Cli {
    /// Does what the command says.
    pub fn execute(self) -> ExitCode {
        // The compiler's process has limits of its own: neither threads nor logs.
        if matches!(self.command, Command::CompileComponent) {
            return engine::compile_child();
        }
        match self.start() {
            Ok(()) => ExitCode::SUCCESS,
            Err(fault) => {
                report(&fault);
                exit_code(&fault)
            }
        }
    }

    fn start(self) -> Result<(), Fault> {
        telemetry::log(self.log.as_deref().unwrap_or(self.command.log()), self.log_format)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .thread_name("tidemill-io")
            .enable_all()
            .build();
        let runtime =
            runtime.map_err(|error| Fault::outside("cannot start threads").caused_by(error))?;
        let done = runtime.block_on(async {
            match self.command {
                Command::Demo(demo) => Box::pin(demo.run()).await,
                Command::Run(run) => Box::pin(run.run()).await,
                Command::Validate(validate) => validate.run().await,
                Command::Verify(verify) => verify.run().await,
                Command::Repair(repair) => repair.run().await,
                Command::Explain(explain) => explain.run().await,
                Command::Produce(produce) => produce.run().await,
                Command::Schema(schema) => schema.run(),
                Command::CompileComponent => Err(Fault::bug("the compiler runs without threads")),
            }
        });
        // What still stages for a store that doesn't answer is not waited for: a drain that gave
        // up has said so, and nothing of it was promised.
        runtime.shutdown_background();
        done
    }
}

impl Command {
    /// What is logged by default: a command that shows something of its own is not to be drowned.
    fn log(&self) -> &'static str {
        if matches!(self, Self::Run(_)) { "info" } else { "warn" }
    }
}

/// 1 internal, 2 the user's input, 3 the surroundings.
fn exit_code(fault: &Fault) -> ExitCode {
    ExitCode::from(match fault.blame {
        Blame::Bug => 1,
        Blame::Config | Blame::Record | Blame::Transform => 2,
        Blame::Outside => 3,
    })
}

/// Tells the user what failed and what to do next.
fn report(fault: &Fault) {
    let coloured = io::stderr().is_terminal() && telemetry::colours();
    let (red, bold, plain) =
        if coloured { ("\x1b[1;31m", "\x1b[1m", "\x1b[0m") } else { ("", "", "") };
    eprintln!("{red}error{plain}: {fault}");
    if let Some(help) = &fault.help {
        eprintln!("  {bold}help{plain}: {help}");
    }
    if fault.blame == Blame::Bug {
        eprintln!("  {bold}help{plain}: this is a fault of tidemill itself: please report it");
    }
}

/// Writes a line to standard output. A reader that went away (`| head`) is the end, not a fault.
fn print(line: impl Display) -> Result<(), Fault> {
    match writeln!(io::stdout().lock(), "{line}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(Fault::outside("cannot write to standard output").caused_by(error)),
        Ok(()) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, error::ErrorKind};

    use super::*;

    #[test]
    fn the_commands_are_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_command_that_nobody_knows_is_refused() {
        let error = Cli::try_parse_from(["tidemill", "valdate"]).unwrap_err();
        assert_eq!((error.kind(), error.exit_code()), (ErrorKind::InvalidSubcommand, 2));
        assert!(error.to_string().contains("'validate'"), "{error}");
    }

    #[test]
    fn exit_codes_tell_whose_fault_it_is() {
        let code = |fault: Fault| format!("{:?}", exit_code(&fault));
        assert_eq!(code(Fault::bug("x")), format!("{:?}", ExitCode::from(1)));
        assert_eq!(code(Fault::config("x")), format!("{:?}", ExitCode::from(2)));
        assert_eq!(code(Fault::outside("x")), format!("{:?}", ExitCode::from(3)));
    }
}

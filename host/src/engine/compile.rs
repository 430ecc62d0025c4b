//! Compiling, in a child process of the same binary: a compiler can be neither cancelled nor bounded inside the host.

use std::{
    io::{Read, Write},
    path::PathBuf,
    process::{Child, Command, ExitCode, Stdio},
    sync::mpsc::channel,
    thread,
    time::Duration,
};

use rustix::process::{Resource, Rlimit, setrlimit};

use super::limits;
use crate::fault::Fault;

/// The hidden subcommand of the binary that compiles its standard input.
const SUBCOMMAND: &str = "compile-component";
/// Address space of the child.
const MAX_ADDRESS_SPACE: u64 = 4 << 30;
/// CPU seconds of the child.
const MAX_CPU: u64 = 120;
/// How long the child may take.
const DEADLINE: Duration = Duration::from_secs(180);
/// Bytes of compiled code at most.
const MAX_ARTEFACT: u64 = 512 << 20;

/// Where components are compiled.
#[derive(Clone, Debug)]
pub enum Compiler {
    /// By `compile-component` of this binary.
    Child(PathBuf),
    /// In this process, without limits: for tests of the library, which are no such binary.
    InProcess,
}

impl Compiler {
    /// By a child process of the running binary.
    ///
    /// # Errors
    /// When the system does not say where the binary is.
    pub fn this_binary() -> Result<Self, Fault> {
        let binary = std::env::current_exe();
        binary
            .map(Self::Child)
            .map_err(|error| Fault::outside("find this binary").permanent().caused_by(error))
    }

    /// Compiles a component to an artefact.
    pub(super) fn compile(
        &self,
        engine: &wasmtime::Engine,
        name: &str,
        wasm: &[u8],
    ) -> Result<Vec<u8>, Fault> {
        let refused =
            |text: String| Fault::transform(format!("component {name} can't be compiled: {text}"));
        match self {
            Self::InProcess => {
                engine.precompile_component(wasm).map_err(|error| refused(format!("{error:#}")))
            }
            Self::Child(binary) => {
                let started = Command::new(binary)
                    .arg(SUBCOMMAND)
                    .env_clear()
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .spawn();
                let child = started.map_err(|error| {
                    Fault::outside(format!("start {} to compile", binary.display()))
                        .caused_by(error)
                })?;
                tracing::info!(component = name, bytes = wasm.len(), "compiling");
                run(child, wasm.to_vec()).map_err(refused)
            }
        }
    }
}

/// Feeds the child, waits for it within the deadline, answers what it wrote or why it failed.
fn run(mut child: Child, wasm: Vec<u8>) -> Result<Vec<u8>, String> {
    let mut stdin = child.stdin.take().expect("it is piped");
    let stdout = child.stdout.take().expect("it is piped");
    let mut stderr = child.stderr.take().expect("it is piped");
    // A child that dies early closes its input, and says why on standard error.
    thread::spawn(move || drop(stdin.write_all(&wasm)));
    let errors = thread::spawn(move || {
        let mut text = String::new();
        stderr.by_ref().take(4096).read_to_string(&mut text).map(|_| text).unwrap_or_default()
    });
    let (done, artefact) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = stdout.take(MAX_ARTEFACT).read_to_end(&mut bytes);
        done.send(read.map(|_| bytes)).ok();
    });
    let artefact = artefact.recv_timeout(DEADLINE);
    if artefact.is_err() {
        child.kill().map_err(|error| error.to_string())?;
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    match artefact {
        Err(_) => Err(format!("it takes longer than {DEADLINE:?}")),
        Ok(Ok(bytes)) if status.success() => Ok(bytes),
        Ok(_) => {
            let text = errors.join().unwrap_or_default();
            let text = text.trim();
            Err(if text.is_empty() {
                format!("the compiler ended with {status}: it passed its limits")
            } else {
                text.to_owned()
            })
        }
    }
}

/// What the hidden subcommand does: bounds itself, then compiles standard input to standard output.
pub fn child() -> ExitCode {
    let limit = |resource, limit| {
        setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(limit) })
    };
    let bounded = limit(Resource::As, MAX_ADDRESS_SPACE)
        .and_then(|()| limit(Resource::Cpu, MAX_CPU))
        .and_then(|()| limit(Resource::Core, 0))
        .and_then(|()| rustix::process::nice(10).map(drop));
    let compiled =
        bounded.map_err(|error| format!("bound the compiler: {error}")).and_then(|()| compile());
    match compiled.and_then(|artefact| {
        std::io::stdout().write_all(&artefact).map_err(|error| error.to_string())
    }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            // The parent reads the text; if it is gone, nobody does.
            std::io::stderr().write_all(text.as_bytes()).ok();
            ExitCode::FAILURE
        }
    }
}

fn compile() -> Result<Vec<u8>, String> {
    let mut wasm = Vec::new();
    std::io::stdin().read_to_end(&mut wasm).map_err(|error| error.to_string())?;
    let engine =
        wasmtime::Engine::new(&limits::compile_config()).map_err(|error| error.to_string())?;
    engine.precompile_component(&wasm).map_err(|error| format!("{error:#}"))
}

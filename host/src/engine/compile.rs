//! Compiling, in a child process of the same binary: a compiler can be neither cancelled nor bounded inside the host.

use std::{
    io::{Read, Write},
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::PathBuf,
    process::{Command, ExitCode, ExitStatus, Stdio},
    sync::mpsc::channel,
    thread,
    time::Duration,
};

use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};

use super::limits;
use crate::fault::Fault;

/// The hidden subcommand of the binary that compiles its standard input.
const SUBCOMMAND: &str = "compile-component";
/// Address space of the child.
const MAX_ADDRESS_SPACE: u64 = 4 << 30;
/// CPU seconds of the child; it is told by SIGXCPU, which nothing else sends.
const MAX_CPU: u64 = 120;
/// CPU seconds until the system ends a child that does not hear.
const CPU_END: u64 = MAX_CPU + 10;
/// The code of a compiler that somebody else ended: it says nothing of the component.
pub(super) const INTERRUPTED: &str = "COMPILER_INTERRUPTED";
/// How long the child may take. Beside workers at full load it gets a tenth of each core, so that a component that is allowed
/// its CPU seconds (one in Python needs 20) must not be refused for the load: this ends a child that waits, not one that works.
const DEADLINE: Duration = Duration::from_secs(900);
/// Bytes of compiled code at most.
const MAX_ARTEFACT: u64 = 512 << 20;
/// Bytes of the child's last words at most.
const MAX_TEXT: u64 = 4096;

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
    pub(super) fn compile(&self, name: &str, wasm: &[u8]) -> Result<Vec<u8>, Fault> {
        tracing::info!(component = name, bytes = wasm.len(), "compiling");
        let compiled = match self {
            Self::InProcess => compile(wasm),
            Self::Child(binary) => {
                let mut command = Command::new(binary);
                command.arg(SUBCOMMAND).env_clear();
                run(command, wasm.to_vec(), DEADLINE)?
            }
        };
        compiled
            .map_err(|text| Fault::transform(format!("component {name} can't be compiled: {text}")))
    }
}

/// Starts the child, feeds it, waits for it within the deadline, answers what it wrote or why it failed.
fn run(
    mut command: Command,
    wasm: Vec<u8>,
    deadline: Duration,
) -> Result<Result<Vec<u8>, String>, Fault> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // Ctrl-C is for the host, which ends the child when it ends.
    command.process_group(0);
    let binary = command.get_program().to_owned();
    let failed = |what: &str, error| {
        Fault::outside(format!("{what} {} to compile", binary.display())).caused_by(error)
    };
    let mut child = command.spawn().map_err(|error| failed("start", error))?;
    let mut stdin = child.stdin.take().expect("it is piped");
    let stdout = child.stdout.take().expect("it is piped");
    let stderr = child.stderr.take().expect("it is piped");
    // A child that dies early closes its input, and says why on standard error.
    thread::spawn(move || drop(stdin.write_all(&wasm)));
    let errors = thread::spawn(move || {
        let mut text = Vec::new();
        drop(stderr.take(MAX_TEXT).read_to_end(&mut text));
        String::from_utf8_lossy(&text).trim().to_owned()
    });
    let (done, artefact) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = stdout.take(MAX_ARTEFACT + 1).read_to_end(&mut bytes);
        done.send(read.map(|_| bytes)).ok();
    });
    let artefact = artefact.recv_timeout(deadline);
    let whole = matches!(&artefact, Ok(Ok(bytes)) if bytes.len() as u64 <= MAX_ARTEFACT);
    if !whole {
        child.kill().map_err(|error| failed("end", error))?;
    }
    let status = child.wait().map_err(|error| failed("wait for", error))?;
    Ok(match artefact {
        Err(_) => return Err(interrupted(&format!("it waited for longer than {deadline:?}"))),
        Ok(Ok(_)) if !whole => Err(format!("its code is larger than {} MiB", MAX_ARTEFACT >> 20)),
        Ok(Ok(bytes)) if status.success() => Ok(bytes),
        Ok(Ok(_)) if !is_its_own(status) => {
            return Err(interrupted(&format!("it ended with {status}")));
        }
        Ok(Ok(_)) => {
            let text = errors.join().unwrap_or_default();
            let limits =
                format!("{MAX_CPU} s of CPU and {} GiB of memory", MAX_ADDRESS_SPACE >> 30);
            let signal = format!("the compiler ended with {status}, it may use {limits}");
            Err(match (text.is_empty(), status.code()) {
                (true, _) => signal,
                (false, Some(_)) => text,
                (false, None) => format!("{signal}: {text}"),
            })
        }
        Ok(Err(error)) => return Err(failed("read from", error)),
    })
}

/// Whether the child's end is its own doing: somebody who ends it, as the system does where memory is scarce, sends other
/// signals than those that a limit or a crash of the compiler does.
fn is_its_own(status: ExitStatus) -> bool {
    let of_others = [Signal::KILL, Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT];
    !of_others.iter().any(|signal| status.signal() == Some(signal.as_raw()))
}

fn interrupted(how: &str) -> Fault {
    Fault::outside(format!("the compiler was interrupted: {how}"))
        .code(INTERRUPTED)
        .help("it may use 4 GiB of memory beside the host: give both enough")
}

/// What the hidden subcommand does: bounds itself, then compiles standard input to standard output.
pub fn child() -> ExitCode {
    let limit = |resource, limit, end| {
        setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(end) })
    };
    // Where memory is scarce, this process goes rather than the host. It may not be allowed to say so.
    std::fs::write("/proc/self/oom_score_adj", "1000").ok();
    let bounded = set_parent_process_death_signal(Some(Signal::KILL))
        .and_then(|()| limit(Resource::As, MAX_ADDRESS_SPACE, MAX_ADDRESS_SPACE))
        .and_then(|()| limit(Resource::Cpu, MAX_CPU, CPU_END))
        .and_then(|()| limit(Resource::Core, 0, 0))
        .and_then(|()| rustix::process::nice(10).map(drop));
    let compiled = bounded.map_err(|error| format!("bound the compiler: {error}")).and_then(|()| {
        let mut wasm = Vec::new();
        std::io::stdin().read_to_end(&mut wasm).map_err(|error| error.to_string())?;
        compile(&wasm)
    });
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

fn compile(wasm: &[u8]) -> Result<Vec<u8>, String> {
    let engine =
        wasmtime::Engine::new(&limits::compile_config()).map_err(|error| error.to_string())?;
    engine.precompile_component(wasm).map_err(|error| format!("{error:#}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a child that is this shell script comes to.
    fn child(script: &str, deadline: Duration) -> Result<Result<Vec<u8>, String>, Fault> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        run(command, vec![7; 1 << 20], deadline)
    }

    #[test]
    fn what_the_child_writes_is_the_artefact() {
        assert_eq!(child("exec cat", DEADLINE).unwrap(), Ok(vec![7; 1 << 20]));
    }

    #[test]
    fn a_child_that_fails_is_quoted_whether_it_read_its_input_or_not() {
        let ends = |script| child(script, DEADLINE).unwrap().unwrap_err();
        assert_eq!(ends("echo unknown import >&2; exit 1"), "unknown import");
        let text = ends("kill -XCPU $$");
        assert!(text.contains("SIGXCPU") && text.contains("120 s of CPU"), "{text}");
        let text = ends("echo no memory >&2; kill -ABRT $$");
        assert!(text.contains("SIGABRT") && text.ends_with("no memory"), "{text}");
    }

    #[test]
    fn a_child_that_others_end_says_nothing_of_the_component() {
        let ends = |script: &str, deadline| child(script, deadline).unwrap_err();
        for signal in ["KILL", "INT", "TERM", "HUP"] {
            let script = format!("kill -{signal} $$");
            let fault = ends(&script, DEADLINE);
            assert!(fault.code == Some(INTERRUPTED) && fault.retry, "{fault}");
            assert!(fault.to_string().contains(signal), "{fault}");
        }
        let fault = ends("exec sleep 600", Duration::from_millis(50));
        assert!(fault.to_string().contains("longer than 50ms"), "{fault}");
    }

    #[test]
    fn a_signal_for_the_host_is_not_for_the_child() {
        let script = "test \"$(cut -d' ' -f5 /proc/$$/stat)\" = $$ && echo own";
        assert_eq!(child(script, DEADLINE).unwrap(), Ok(b"own\n".to_vec()));
    }

    #[test]
    fn a_binary_that_is_gone_is_named() {
        let fault = Compiler::Child("/nowhere/tidemill".into()).compile("c", b"").unwrap_err();
        assert!(fault.to_string().contains("/nowhere/tidemill"), "{fault}");
    }
}

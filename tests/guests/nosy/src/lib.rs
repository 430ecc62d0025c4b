//! A transform that tries everything that a guest has no right to: for the test that nothing is granted.

use std::{
    env, fs, io,
    net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket},
};

use tidemill_sdk::prelude::*;

/// What is there to be had on the host's machine.
#[config]
#[derive(Debug)]
pub struct Config {
    /// A folder of the host's, with files in it.
    folder: String,
    /// `host:port` of a server on the same machine that listens.
    listener: String,
    /// `host:port` of the broker that the host reads from.
    broker: String,
}

/// One record starts all attempts, whatever it says.
#[derive(Row, Debug)]
pub struct Order<'a> {
    act: &'a str,
}

/// What came of an attempt.
#[derive(Row, Debug, PartialEq)]
pub struct Attempt<'a> {
    attempt: &'a str,
    granted: bool,
    /// What was had, or the error.
    outcome: &'a str,
}

#[transform]
fn attempts(_: Order<'_>, config: &Config, out: &mut Output<Attempt<'_>>) {
    for (attempt, outcome) in all(config) {
        let granted = outcome.is_ok();
        let outcome = outcome.unwrap_or_else(|error| error.to_string());
        out.emit(Attempt { attempt, granted, outcome: &outcome });
    }
}

/// Each attempt by its name, and what was had by it.
fn all(Config { folder, listener, broker }: &Config) -> Vec<(&'static str, io::Result<String>)> {
    let variables = env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
    let arguments = env::args_os().map(|argument| argument.to_string_lossy().into_owned());
    vec![
        ("variables", any(variables)),
        ("arguments", any(arguments)),
        ("read a file", fs::read_to_string("/etc/passwd")),
        ("read the current folder", names(".")),
        ("read the root folder", names("/")),
        ("read a folder of the host's", names(folder)),
        ("write a file", written(fs::write(format!("{folder}/{TAKEN}"), "mine now"))),
        ("write a file where it is", written(fs::write(TAKEN, "mine now"))),
        ("make a folder", written(fs::create_dir(format!("{folder}/{TAKEN}.d")))),
        ("connect to a listener", connected(listener)),
        ("connect to the broker", connected(broker)),
        ("listen", local(TcpListener::bind("127.0.0.1:0").and_then(|bound| bound.local_addr()))),
        ("bind a UDP socket", local(UdpSocket::bind("127.0.0.1:0").and_then(|it| it.local_addr()))),
        ("look a name up", looked_up("localhost:80")),
    ]
}

/// What it would leave behind.
const TAKEN: &str = "taken";

/// The names of what is there; that nothing is there is an error.
fn any(names: impl Iterator<Item = String>) -> io::Result<String> {
    let names: Vec<_> = names.collect();
    if names.is_empty() { Err(io::Error::other("there is none")) } else { Ok(names.join(", ")) }
}

fn names(folder: &str) -> io::Result<String> {
    let entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    let names = entries.iter().map(|entry| entry.file_name().to_string_lossy().into_owned());
    Ok(names.collect::<Vec<_>>().join(", "))
}

fn written(result: io::Result<()>) -> io::Result<String> {
    result.map(|()| "written".to_owned())
}

fn connected(address: &str) -> io::Result<String> {
    local(TcpStream::connect(address).and_then(|stream| stream.local_addr()))
}

fn local(address: io::Result<std::net::SocketAddr>) -> io::Result<String> {
    address.map(|address| address.to_string())
}

fn looked_up(name: &str) -> io::Result<String> {
    any(name.to_socket_addrs()?.map(|address| address.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without a sandbox every attempt is granted: none of them fails by itself.
    #[test]
    fn each_attempt_succeeds_outside_the_sandbox() {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let config = Config {
            folder: folder.path().display().to_string(),
            listener: address.clone(),
            broker: address,
        };
        let run = attempts::test_with(&config, [Order { act: "try" }]);
        fs::remove_file(TAKEN).unwrap();
        for Attempt { attempt, granted, outcome } in run.rows::<Attempt<'_>>("attempts") {
            assert!(granted, "{attempt}: {outcome}");
        }
        assert_eq!(run.lineage("attempts").len(), 14);
        assert!(folder.path().join(TAKEN).exists());
    }
}

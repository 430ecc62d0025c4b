//! A way to a server that can be blocked: what is sent meanwhile arrives when it is opened again.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex},
    thread,
};

/// Forwards connections, while it is open.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    gate: Arc<Gate>,
}

#[derive(Debug, Default)]
struct Gate {
    closed: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    /// Waits until it is open.
    fn pass(&self) {
        let closed = self.closed.lock().expect("nobody panics while it holds this lock");
        drop(self.changed.wait_while(closed, |closed| *closed));
    }

    fn set(&self, closed: bool) {
        *self.closed.lock().expect("nobody panics while it holds this lock") = closed;
        self.changed.notify_all();
    }
}

impl Proxy {
    /// Forwards to a server, `http://host:port`.
    ///
    /// # Panics
    /// When no port is free.
    pub fn to(server: &str) -> Self {
        let server = server.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let gate = Arc::new(Gate::default());
        let shared = Arc::clone(&gate);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(&server) else { continue };
                forward(&client, &server, &shared);
                forward(&server, &client, &shared);
            }
        });
        Self { address, gate }
    }

    /// `http://host:port` of this end.
    pub fn address(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Lets nothing through from now on.
    pub fn close(&self) {
        self.gate.set(true);
    }

    /// Lets everything through again, also what was sent meanwhile.
    pub fn open(&self) {
        self.gate.set(false);
    }
}

/// Copies one direction of a connection, in a thread that ends with it.
fn forward(from: &TcpStream, to: &TcpStream, gate: &Arc<Gate>) {
    let clone = |stream: &TcpStream| stream.try_clone().expect("a second handle");
    let (mut from, mut to, gate) = (clone(from), clone(to), Arc::clone(gate));
    thread::spawn(move || {
        let mut copy = || -> io::Result<()> {
            let mut buffer = vec![0; 64 << 10];
            loop {
                let length = from.read(&mut buffer)?;
                gate.pass();
                if length == 0 {
                    return to.shutdown(Shutdown::Write);
                }
                to.write_all(&buffer[..length])?;
            }
        };
        // A connection that broke is closed for both.
        if copy().is_err() {
            drop((from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both)));
        }
    });
}

//! What the end-to-end tests share: a host process, topics on a real broker, an independent reader, a browser, and
//! conditions with deadlines.

pub mod browser;
pub mod host;
pub mod kafka;
pub mod proxy;
pub mod reader;

use std::{
    env,
    path::PathBuf,
    time::{Duration, Instant},
};

/// A setting of the test run.
///
/// # Panics
/// When it is not set: the tests run by `cargo xtask test`, which starts the servers that they need.
pub fn setting(name: &str) -> String {
    env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: run the tests by `cargo xtask test`"))
}

/// The folder of the sample components.
pub fn components() -> PathBuf {
    PathBuf::from(setting("TIDEMILL_TEST_COMPONENTS"))
}

/// A component that only tests use.
///
/// # Panics
/// When it was not built.
pub fn guest(file: &str) -> Vec<u8> {
    let path = PathBuf::from(setting("TIDEMILL_TEST_GUESTS")).join(file);
    std::fs::read(path).expect("the test guests are built")
}

/// Whether the long tests run as well.
pub fn full() -> bool {
    !setting("TIDEMILL_TEST_FULL").is_empty()
}

/// Waits until a condition gives a value.
///
/// # Panics
/// When that takes longer than `seconds`, with what was awaited.
pub fn eventually<T>(what: &str, seconds: u64, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {seconds} s: {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// A name that no other test uses.
pub fn unique(prefix: &str) -> String {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("it is after 1970");
    format!("{prefix}-{}-{}", std::process::id(), now.subsec_nanos())
}

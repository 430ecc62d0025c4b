//! The commit protocol: pure, no I/O. `pipeline::committer` carries its commands out.

pub mod log;
pub mod manifest;
#[cfg(test)]
mod model;
pub mod names;
pub mod protocol;
pub mod verify;

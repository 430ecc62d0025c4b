//! The commit protocol: pure, no I/O. `pipeline::committer` carries its commands out.

pub mod log;
pub mod manifest;
#[cfg(test)]
mod model;
#[cfg(any(test, feature = "mutants"))]
pub mod mutant;
pub mod names;
pub mod protocol;
pub mod verify;

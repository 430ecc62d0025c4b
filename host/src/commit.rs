//! The commit protocol: pure, no I/O.

pub mod manifest;
pub mod names;

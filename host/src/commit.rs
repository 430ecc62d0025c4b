//! The commit protocol: pure, no I/O.

pub mod manifest;

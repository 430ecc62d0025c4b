//! The component of a case: a crate that was built, or a file of the folder.

use std::fs;

use sha2::{Digest as _, Sha256};
use tidemill_tests::guest;

use crate::{case::Case, folders};

/// Where a component comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The crate of this folder.
    Built(String),
    /// `component.wasm` of this folder: taken as it is.
    Bytes(String),
    /// `component.wat` of this folder.
    Text(String),
}

/// Where the component of a case comes from.
pub(crate) fn of(case: &Case) -> Origin {
    let name = case.name.clone();
    let has = |file: &str| folders::folder(&name).join(file).is_file();
    match &case.expected.component {
        Some(other) => Origin::Built(other.clone()),
        None if has("component.wasm") => Origin::Bytes(name),
        None if has("component.wat") => Origin::Text(name),
        None if has("Cargo.toml") => Origin::Built(name),
        None => panic!("tests/guests/{name} has no component"),
    }
}

impl Origin {
    /// The component's file.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Built(name) => guest(&built(name)),
            Self::Bytes(name) => fs::read(folders::folder(name).join("component.wasm"))
                .expect("the component can be read"),
            Self::Text(name) => wat::parse_file(folders::folder(name).join("component.wat"))
                .unwrap_or_else(|error| panic!("tests/guests/{name}: {error}")),
        }
    }
}

/// The file that a folder's crate is built to: a library has the name of its crate, a program that of its package.
pub(crate) fn built(name: &str) -> String {
    let library = folders::folder(name).join("src/lib.rs").is_file();
    let name = if library { name.replace('-', "_") } else { name.to_owned() };
    format!("{name}.wasm")
}

/// The digest of a file.
pub(crate) fn digest(wasm: &[u8]) -> String {
    Sha256::digest(wasm).iter().map(|byte| format!("{byte:02x}")).collect()
}

//! The folders of guests: which of them are cases, and that none is forgotten.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{case::Case, component};

/// What a case has.
pub(crate) const EXPECTED: &str = "expected.toml";

/// A guest's folder.
pub(crate) fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("guests").join(name)
}

/// The names of all guests' folders, in order.
fn all() -> Vec<String> {
    let entries = fs::read_dir(folder("")).expect("there are guests");
    let names = entries.map(|entry| entry.expect("the folder can be read").file_name());
    let mut names: Vec<_> =
        names.map(|name| name.into_string().expect("a package's name is text")).collect();
    names.sort();
    names
}

/// The names of the cases.
pub(crate) fn cases() -> Vec<String> {
    all().into_iter().filter(|name| folder(name).join(EXPECTED).is_file()).collect()
}

/// Each folder is a case, or the component of another case, or of another test.
pub(crate) fn nothing_is_forgotten() {
    let cases = cases();
    let used: Vec<_> = cases.iter().map(|name| component::of(&Case::read(name))).collect();
    let sources = ["e2e", "../host/src"].map(|tests| sources(&folder("..").join(tests)));
    let sources = sources.concat().concat();
    for name in all() {
        let file = component::built(&name);
        let quoted = [format!("\"{name}\""), format!("\"{file}\"")];
        let is_named = quoted.iter().any(|quoted| sources.contains(quoted));
        let is_built = folder(&name).join("Cargo.toml").is_file();
        let is_used = used.contains(&component::Origin::Built(name.clone())) || is_named;
        if is_built {
            assert!(
                is_used,
                "no case and no other test uses tests/guests/{name}: say by {EXPECTED} what must come of it"
            );
        } else {
            assert!(cases.contains(&name), "tests/guests/{name} has no {EXPECTED}");
        }
    }
}

/// The Rust code below a folder.
fn sources(folder: &Path) -> Vec<String> {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.expect("the folder can be read").path());
    paths
        .flat_map(|path| match path.extension().and_then(|extension| extension.to_str()) {
            Some("rs") => vec![fs::read_to_string(path).expect("code is text")],
            _ if path.is_dir() => sources(&path),
            _ => Vec::new(),
        })
        .collect()
}

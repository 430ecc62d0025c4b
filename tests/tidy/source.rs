//! Source files of the repository.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use crate::code::Code;

/// A source file.
pub(crate) struct Source {
    /// Relative to the root, with `/`.
    pub path: String,
    pub text: String,
    code: OnceLock<Code>,
}

impl Source {
    pub(crate) fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self { path: path.into(), text: text.into(), code: OnceLock::new() }
    }

    /// What it names outside its tests.
    pub(crate) fn code(&self) -> &Code {
        self.code.get_or_init(|| {
            let (_, inside) = self.path.split_once("src/").expect("a crate's code lies in src");
            let module = inside.trim_end_matches(".rs").split('/').map(str::to_owned);
            let module = module.filter(|name| name != "lib" && name != "main");
            Code::parse(module.collect(), &self.text)
        })
    }

    /// Whether all of it is tests, which may do what the code they test may not.
    pub(crate) fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs")
            || self.path.contains("/tests/")
            || self.path.starts_with("host/src/commit/model")
    }

    /// Whether it is a room or lies in it: `host/src/store.rs`, `host/src/store/s3.rs`.
    pub(crate) fn below(&self, room: &str) -> bool {
        self.path.starts_with(&format!("{room}/")) || self.path == format!("{room}.rs")
    }
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lies in the repository").to_owned()
}

/// All Rust files below a folder.
pub(crate) fn sources(folder: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of the repository can be read") {
            let path = entry.expect("a folder of the repository can be read").path();
            let name = path.file_name().expect("an entry has a name").to_string_lossy();
            if path.is_dir() && name != "target" && name != "node_modules" && !name.starts_with('.')
            {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == "rs") {
                let text = fs::read_to_string(&path).expect("a source file is text");
                let path = path.strip_prefix(root()).expect("it is below the root");
                found.push(Source::new(path.to_string_lossy().replace('\\', "/"), text));
            }
        }
    }
    assert!(!found.is_empty(), "no Rust file is below {folder}");
    found
}

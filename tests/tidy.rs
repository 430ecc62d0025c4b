//! The invariants of the source tree that no compiler checks.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A source file of the repository.
struct Source {
    /// Relative to the root, with `/`.
    path: String,
    text: String,
}

impl Source {
    /// Its lines without comments, and without its tests (`#[cfg(test)]` to the end of the file).
    fn code(&self) -> impl Iterator<Item = &str> {
        let lines = self.text.lines().take_while(|line| line.trim() != "#[cfg(test)]");
        lines.map(|line| line.split("//").next().unwrap_or_default())
    }

    /// Whether all of it is tests, which may do what the code they test may not.
    fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs")
            || self.path.contains("/tests/")
            || self.path.starts_with("host/src/commit/model")
    }

    fn below(&self, folder: &str) -> bool {
        self.path.starts_with(&format!("{folder}/")) || self.path == format!("{folder}.rs")
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lies in the repository").to_owned()
}

fn sources(folder: &str, extension: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of the repository can be read") {
            let path = entry.expect("a folder of the repository can be read").path();
            let name =
                path.file_name().expect("an entry has a name").to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && name != "node_modules" && !name.starts_with('.')
            {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                let text = fs::read_to_string(&path).expect("a source file is text");
                let path = path
                    .strip_prefix(root())
                    .expect("it is below the root")
                    .to_string_lossy()
                    .replace('\\', "/");
                found.push(Source { path, text });
            }
        }
    }
    assert!(!found.is_empty(), "no .{extension} file below {folder}");
    found
}

/// Whether a line of code names a path of a crate or module, such as `rdkafka::`.
fn names(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + path.len()..].chars().next();
        let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
        !before.is_some_and(part_of_word) && !after.is_some_and(part_of_word)
    })
}

fn assert_none(found: Vec<String>, rule: &str) {
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}

#[test]
fn a_crate_is_named_in_its_room_alone() {
    let rooms = [
        ("wasmtime", "host/src/engine"),
        ("wasmtime_wasi", "host/src/engine"),
        ("rdkafka", "host/src/kafka"),
        ("rdkafka_sys", "host/src/kafka"),
        ("object_store", "host/src/store"),
        ("aws_config", "host/src/store"),
        ("axum", "host/src/api"),
    ];
    let mut found = Vec::new();
    for source in sources("host/src", "rs") {
        for (name, room) in rooms {
            if !source.below(room) && source.code().any(|line| names(line, &format!("{name}::"))) {
                found.push(format!("{} names {name}", source.path));
            }
        }
    }
    assert_none(found, "only its room names a crate");
}

#[test]
fn floor_0_does_no_io() {
    let floor = ["budget", "record", "schema", "config", "fault", "commit", "generator"];
    let outside = [
        "tokio",
        "std::fs",
        "std::net",
        "std::process",
        "std::env",
        "fs::",
        "crate::store",
        "crate::kafka",
        "crate::engine",
        "crate::parquet",
        "crate::decode",
        "crate::pipeline",
        "crate::api",
        "crate::cli",
        "crate::telemetry",
    ];
    let mut found = Vec::new();
    for source in sources("host/src", "rs") {
        if !source.is_test() && floor.iter().any(|room| source.below(&format!("host/src/{room}"))) {
            for name in outside {
                if source.code().any(|line| names(line, name)) {
                    found.push(format!("{} names {name}", source.path));
                }
            }
        }
    }
    assert_none(found, "floor 0 is pure");
}

#[test]
fn a_floor_names_no_higher_one_and_siblings_never_meet() {
    let siblings = ["engine", "kafka", "decode", "store", "parquet"];
    let higher = ["registry", "pipeline", "api", "cli"];
    let mut found = Vec::new();
    for source in sources("host/src", "rs") {
        let room = siblings.iter().find(|room| source.below(&format!("host/src/{room}")));
        let forbidden: Vec<&str> = match room {
            Some(room) => {
                siblings.iter().filter(|other| other != &room).chain(&higher).copied().collect()
            }
            None if source.below("host/src/pipeline") => vec!["api", "cli"],
            None if source.below("host/src/api") => vec!["cli"],
            None => continue,
        };
        for other in forbidden {
            if source.code().any(|line| names(line, &format!("crate::{other}"))) {
                found.push(format!("{} names crate::{other}", source.path));
            }
        }
    }
    assert_none(
        found,
        "what a lower floor must tell a higher one goes through a trait of the lower floor",
    );
}

#[test]
fn the_host_never_depends_on_the_sdk() {
    let manifest = fs::read_to_string(root().join("host/Cargo.toml")).unwrap();
    assert!(!manifest.contains("tidemill-sdk"), "host and guest-sdk meet in wit/ alone");
}

#[test]
fn files_hold_one_idea_and_have_names() {
    let mut found = Vec::new();
    for folder in ["host/src", "guest-sdk", "transforms", "tests", "xtask"] {
        for source in sources(folder, "rs") {
            let name = source.path.rsplit('/').next().unwrap().trim_end_matches(".rs");
            if ["mod", "utils", "util", "common", "manager", "helpers", "misc"].contains(&name) {
                found.push(format!("{} has a name that says nothing", source.path));
            }
            let lines = source.text.lines().count();
            if lines > 500 {
                found.push(format!("{} has {lines} lines: it is two ideas", source.path));
            }
        }
    }
    assert_none(found, "a file is one idea");
}

#[test]
fn a_sample_transform_fits_on_a_screen() {
    let long =
        sources("transforms", "rs").into_iter().filter(|source| source.text.lines().count() > 80);
    assert_none(long.map(|source| source.path).collect(), "a sample has at most 80 lines");
}

#[test]
fn there_is_no_global_state_and_no_unfinished_work() {
    // Spelled in two halves, so that this file does not find itself.
    let words = [
        concat!("static", " mut"),
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("#[", "ignore"),
        concat!("lazy", "_static"),
    ];
    let mut found = Vec::new();
    for folder in ["host/src", "guest-sdk", "transforms", "tests", "xtask"] {
        for source in sources(folder, "rs") {
            found.extend(
                words
                    .iter()
                    .filter(|word| source.text.contains(**word))
                    .map(|word| format!("{}: {word}", source.path)),
            );
        }
    }
    assert_none(found, "no global state, nothing left for later");
}

#[test]
fn metric_names_stand_in_one_list() {
    let mut found = Vec::new();
    for source in sources("host/src", "rs") {
        if !source.is_test()
            && !source.below("host/src/telemetry")
            && source.code().any(|line| line.contains("\"tidemill_"))
        {
            found.push(source.path);
        }
    }
    assert_none(found, "metric names stand in telemetry alone");
}

#[test]
fn the_top_level_shows_the_product_alone() {
    let shown = [
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE",
        "README.md",
        "deploy",
        "guest-sdk",
        "host",
        "rust-toolchain.toml",
        "target",
        "tests",
        "transforms",
        "wit",
        "xtask",
    ];
    let entries = fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let other = entries.filter(|name| !name.starts_with('.') && !shown.contains(&name.as_str()));
    assert_none(other.collect(), "the top level has nothing else");
}

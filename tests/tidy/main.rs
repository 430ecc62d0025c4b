//! The invariants of the source tree that no compiler checks.

mod code;
mod planted;
mod rules;
mod source;

use std::fs;

use source::{root, sources};

fn assert_none(found: Vec<String>, rule: &str) {
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}

/// Where code is written by hand.
const FOLDERS: [&str; 5] = ["host/src", "guest-sdk", "transforms", "tests", "xtask"];

#[test]
fn a_crate_is_named_in_its_room_alone() {
    assert_none(rules::rooms(&sources("host/src")), "only its room names a crate");
}

#[test]
fn floor_0_does_no_io() {
    assert_none(rules::floor_0(&sources("host/src")), "floor 0 is pure");
}

#[test]
fn a_floor_names_no_higher_one_and_siblings_never_meet() {
    let rule = "what a lower floor must tell a higher one goes through a trait of the lower floor";
    assert_none(rules::floors(&sources("host/src")), rule);
}

#[test]
fn metric_names_stand_in_one_list() {
    assert_none(rules::metric_names(&sources("host/src")), "metric names stand in telemetry alone");
}

#[test]
fn there_is_no_global_state_and_no_unfinished_work() {
    let found = FOLDERS.iter().flat_map(|folder| rules::words(&sources(folder)));
    assert_none(found.collect(), "no global state, nothing left for later");
}

#[test]
fn files_hold_one_idea_and_have_names() {
    let found = FOLDERS.iter().flat_map(|folder| rules::names_and_sizes(&sources(folder)));
    assert_none(found.collect(), "a file is one idea");
}

#[test]
fn a_sample_transform_fits_on_a_screen() {
    assert_none(rules::sample_sizes(&sources("transforms")), "a sample has at most 80 lines");
}

#[test]
fn the_host_never_depends_on_the_sdk() {
    let manifest = fs::read_to_string(root().join("host/Cargo.toml")).expect("the host's manifest");
    assert!(!manifest.contains("tidemill-sdk"), "host and guest-sdk meet in wit/ alone");
}

#[test]
fn the_top_level_shows_the_product_alone() {
    let shown = [
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE",
        "README.md",
        "dashboard",
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
    let entries = fs::read_dir(root()).expect("the root can be read");
    let names = entries.map(|entry| {
        entry.expect("the root can be read").file_name().into_string().expect("a name is text")
    });
    let other = names.filter(|name| !name.starts_with('.') && !shown.contains(&name.as_str()));
    assert_none(other.collect(), "the top level has nothing else");
}

//! The rules: each takes the sources of the host and says where it does not hold.

use crate::source::Source;

/// Crates that their rooms alone may name: one, but for who a host is to AWS, which a bucket and a cluster want to know.
const ROOMS: [(&str, &[&str]); 9] = [
    ("wasmtime", &["host/src/engine"]),
    ("wasmtime_wasi", &["host/src/engine"]),
    ("rdkafka", &["host/src/kafka"]),
    ("rdkafka_sys", &["host/src/kafka"]),
    ("object_store", &["host/src/store"]),
    ("aws_config", &["host/src/store", "host/src/kafka/token.rs"]),
    ("aws_credential_types", &["host/src/store", "host/src/kafka/token.rs"]),
    ("axum", &["host/src/api"]),
    ("notify", &["host/src/registry"]),
];

/// Rooms that are pure.
const FLOOR_0: [&str; 7] = ["budget", "record", "schema", "config", "fault", "commit", "generator"];

/// What a pure room does not name.
const OUTSIDE: [&str; 17] = [
    "tokio",
    "std::fs",
    // Addresses are values; these are sockets.
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::UdpSocket",
    "std::process",
    "std::env",
    "crate::store",
    "crate::kafka",
    "crate::engine",
    "crate::parquet",
    "crate::decode",
    "crate::registry",
    "crate::pipeline",
    "crate::api",
    "crate::cli",
    "crate::telemetry",
];

/// Rooms of floor 1, which meet one outside thing each, and not each other.
const SIBLINGS: [&str; 5] = ["engine", "kafka", "decode", "store", "parquet"];

/// Only its room names a crate.
pub(crate) fn rooms(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        for (name, rooms) in ROOMS {
            let is_at_home = rooms.iter().any(|room| source.below(room) || source.path == *room);
            if !is_at_home && source.code().names(name) {
                found.push(format!("{} names {name}", source.path));
            }
        }
    }
    found
}

/// Floor 0 is pure.
pub(crate) fn floor_0(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources.iter().filter(|source| !source.is_test()) {
        if FLOOR_0.iter().any(|room| source.below(&format!("host/src/{room}"))) {
            let named = OUTSIDE.into_iter().filter(|name| source.code().names(name));
            found.extend(named.map(|name| format!("{} names {name}", source.path)));
        }
    }
    found
}

/// What a lower floor must tell a higher one goes through a trait of the lower floor; siblings never meet.
pub(crate) fn floors(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        let room = SIBLINGS.iter().find(|room| source.below(&format!("host/src/{room}")));
        let forbidden: Vec<&str> = match room {
            Some(room) => {
                let others = SIBLINGS.iter().filter(|other| other != &room).copied();
                others.chain(["registry", "pipeline", "api", "cli"]).collect()
            }
            None if source.below("host/src/registry") => vec!["pipeline", "api", "cli"],
            None if source.below("host/src/pipeline") => vec!["api", "cli"],
            None if source.below("host/src/api") => vec!["cli"],
            None => continue,
        };
        for other in forbidden {
            if source.code().names(&format!("crate::{other}")) {
                found.push(format!("{} names crate::{other}", source.path));
            }
        }
    }
    found
}

/// Metric names stand in one list.
pub(crate) fn metric_names(sources: &[Source]) -> Vec<String> {
    let elsewhere = sources.iter().filter(|source| {
        !source.is_test() && !source.below("host/src/telemetry") && source.code().says("tidemill_")
    });
    elsewhere.map(|source| source.path.clone()).collect()
}

/// Nothing is global, nothing is left for later.
pub(crate) fn words(sources: &[Source]) -> Vec<String> {
    // Spelled in two halves, so that this file does not find itself.
    let words = [
        concat!("static", " mut"),
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("#[", "ignore"),
        concat!("lazy", "_static"),
    ];
    let mut found = Vec::new();
    for source in sources {
        let has = words.iter().filter(|word| source.text.contains(**word));
        found.extend(has.map(|word| format!("{}: {word}", source.path)));
    }
    found
}

/// A file is one idea, and its name says which.
pub(crate) fn names_and_sizes(sources: &[Source]) -> Vec<String> {
    const EMPTY: [&str; 7] = ["mod", "utils", "util", "common", "manager", "helpers", "misc"];
    let mut found = Vec::new();
    for source in sources {
        let file = source.path.rsplit('/').next().unwrap_or_default();
        if EMPTY.contains(&file.trim_end_matches(".rs")) {
            found.push(format!("{} has a name that says nothing", source.path));
        }
        let lines = source.text.lines().count();
        if lines > 500 {
            found.push(format!("{} has {lines} lines: it is two ideas", source.path));
        }
    }
    found
}

/// A sample transform fits on a screen.
pub(crate) fn sample_sizes(sources: &[Source]) -> Vec<String> {
    let long = sources.iter().filter(|source| source.text.lines().count() > 80);
    long.map(|source| source.path.clone()).collect()
}

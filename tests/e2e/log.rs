//! The log of a pipeline as it lies in the store, read without the host's code.

use std::{fs, path::Path};

use serde_json::Value;

/// The manifests of a pipeline, in order, of all epochs.
pub(crate) fn manifests(store: &Path, pipeline: &str) -> Vec<Value> {
    let below = |folder: &Path| {
        let entries = fs::read_dir(folder).into_iter().flatten();
        entries.filter_map(|entry| Some(entry.ok()?.path())).collect::<Vec<_>>()
    };
    let epochs = below(&store.join("_log").join(pipeline));
    let epochs = epochs.iter().filter(|folder| !folder.ends_with("stage"));
    let mut paths: Vec<_> = epochs.flat_map(|epoch| below(epoch)).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    paths.iter().filter_map(|path| serde_json::from_slice(&fs::read(path).ok()?).ok()).collect()
}

/// The keys of the files that a manifest names.
pub(crate) fn files(manifest: &Value) -> Vec<&str> {
    let files = manifest["files"].as_array().map(Vec::as_slice).unwrap_or_default();
    files.iter().map(|file| file["key"].as_str().expect("a file has a key")).collect()
}

/// How many records all manifests together cover.
pub(crate) fn records(store: &Path, pipeline: &str) -> u64 {
    let counts = |manifest: &Value| manifest["counts"].as_array().cloned().unwrap_or_default();
    let records = |counts: Value| counts["records"].as_u64().expect("counts have records");
    manifests(store, pipeline).iter().flat_map(counts).map(records).sum()
}

/// How many files all manifests together name.
pub(crate) fn file_count(store: &Path, pipeline: &str) -> usize {
    manifests(store, pipeline).iter().map(|manifest| files(manifest).len()).sum()
}

//! The folder of pipeline files: which are new, changed or gone.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use crate::config::PipelineFile;

/// What the names of pipeline files end with.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// The folder, as it was seen last.
#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
    seen: BTreeMap<PathBuf, Seen>,
}

#[derive(Debug)]
struct Seen {
    signature: Signature,
    /// Whether it was read as it is.
    read: bool,
    /// Looks in which it was not there.
    missed: u32,
}

/// What tells whether a file is still the same: device, inode, size, and when it was changed.
type Signature = (u64, u64, u64, i64, i64);

/// What there is to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The file is new or another, and nobody is writing it.
    Changed(PipelineFile),
    /// The file is gone.
    Gone(String),
}

impl Files {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, seen: BTreeMap::new() }
    }

    /// Looks at the folder. A file counts once it is the same in two looks, also one that is gone; with `at_once`, as it is.
    pub(super) fn look(&mut self, at_once: bool) -> io::Result<Vec<Found>> {
        let mut found = Vec::new();
        let paths = paths(&self.folder)?;
        for path in &paths {
            // Links are followed: a ConfigMap's files are links, and change by the link of their folder.
            let Ok(meta) = fs::metadata(path) else { continue };
            let signature = (meta.dev(), meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec());
            let still = self.seen.get(path).is_some_and(|seen| seen.signature == signature);
            if !still {
                self.seen.insert(path.clone(), Seen { signature, read: false, missed: 0 });
            }
            let Some(seen) = self.seen.get_mut(path) else { continue };
            seen.missed = 0;
            if seen.read || !(still || at_once) {
                continue;
            }
            if let Some(text) = read(path) {
                seen.read = true;
                found.push(Found::Changed(PipelineFile { name: shown(path), text }));
            }
        }
        self.seen.retain(|path, seen| {
            seen.missed += u32::from(!paths.contains(path));
            let gone = seen.missed > 1;
            if gone && seen.read {
                found.push(Found::Gone(shown(path)));
            }
            !gone
        });
        Ok(found)
    }

    /// A file is to be read again: what was wrong with it may have passed.
    pub(super) fn again(&mut self, name: &str) {
        let seen = self.seen.iter_mut().filter(|(path, _)| shown(path) == name);
        seen.for_each(|(_, seen)| seen.read = false);
    }
}

/// The files of a folder that hold pipelines, in the order of their names.
///
/// # Errors
/// When the folder can't be read.
pub fn paths(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let kind = path.extension().and_then(|kind| kind.to_str());
        if !hidden && path.is_file() && kind.is_some_and(|kind| EXTENSIONS.contains(&kind)) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> Option<String> {
    fs::read_to_string(path)
        .inspect_err(|error| {
            tracing::warn!(path = shown(path), "pipeline file can't be read: {error}")
        })
        .ok()
}

/// A path as the user would write it from here.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(found: &[Found]) -> Vec<&str> {
        let text = |found| match found {
            &Found::Changed(PipelineFile { ref text, .. }) => text.as_str(),
            Found::Gone(_) => "gone",
        };
        found.iter().map(text).collect()
    }

    #[test]
    fn a_file_counts_once_it_is_still_and_is_gone_when_it_stays_away() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.yaml");
        fs::write(&file, "1").unwrap();
        fs::write(folder.path().join(".hidden.yaml"), "no").unwrap();
        fs::write(folder.path().join("notes.txt"), "no").unwrap();
        let mut files = Files::new(folder.path().into());
        let mut look = || files.look(false).unwrap();
        assert_eq!(changed(&look()), [""; 0], "it may be half written");
        assert_eq!(changed(&look()), ["1"]);
        assert_eq!(changed(&look()), [""; 0], "it is the same");
        fs::write(&file, "22").unwrap();
        assert_eq!(changed(&look()), [""; 0]);
        assert_eq!(changed(&look()), ["22"]);
        fs::rename(&file, folder.path().join("b")).unwrap();
        assert_eq!(changed(&look()), [""; 0], "it may be on its way back");
        fs::rename(folder.path().join("b"), &file).unwrap();
        assert_eq!(changed(&look()), [""; 0]);
        fs::remove_file(&file).unwrap();
        assert_eq!(changed(&look()), [""; 0]);
        assert_eq!(changed(&look()), ["gone"]);
        assert_eq!(changed(&look()), [""; 0]);
    }

    #[test]
    fn at_a_start_all_is_there_at_once_and_may_be_read_again() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.yaml"), "1").unwrap();
        let mut files = Files::new(folder.path().into());
        let found = files.look(true).unwrap();
        assert_eq!(changed(&found), ["1"]);
        assert_eq!(files.look(true).unwrap(), []);
        let Found::Changed(PipelineFile { name, .. }) = &found[0] else { panic!("it changed") };
        files.again(name);
        assert_eq!(files.look(false).unwrap(), found);
        assert!(Files::new(folder.path().join("none")).look(true).is_err());
    }
}

//! The watched folder: which files are worth a try now.
//!
//! A file that was written in place may not be whole yet: it is left alone until it stays the same for a moment, and is
//! refused for good only when it was left alone for longer. One that was renamed into its place is whole.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::config::is_name;

/// What the names of components' files end with.
const EXTENSION: &str = ".wasm";
/// A file that does not change for so long is tried.
pub(super) const STILL: Duration = Duration::from_millis(300);
/// A file that does not change for so long is whole, whatever is wrong with it.
pub(super) const WHOLE: Duration = Duration::from_secs(5);
/// Bytes of a component at most.
const MAX_BYTES: u64 = 256 << 20;

/// The folder, and what was seen in it.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    seen: BTreeMap<String, Seen>,
    /// Names that no component can have, each told of once.
    strange: BTreeSet<String>,
}

/// What tells whether a file is still the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Signature {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

#[derive(Debug)]
struct Seen {
    signature: Signature,
    since: Instant,
    renamed: bool,
    /// The pipelines for which it was tried.
    tried: Option<String>,
}

/// A file that is worth a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    /// The component's name.
    pub name: String,
    /// Whether the file is known to be whole: what is wrong with it is its own fault.
    pub whole: bool,
    signature: Signature,
}

impl Folder {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, seen: BTreeMap::new(), strange: BTreeSet::new() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The file of a component.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}{EXTENSION}"))
    }

    /// Looks at all files: those worth a try, and whether one has to be looked at again soon. `renamed` has the names of
    /// files that are known to have been renamed into their place; `against` tells for which pipelines a component is tried.
    pub(super) fn scan(
        &mut self,
        renamed: &BTreeSet<String>,
        now: Instant,
        against: impl Fn(&str) -> String,
    ) -> io::Result<(Vec<Candidate>, bool)> {
        let (mut candidates, mut soon) = (Vec::new(), false);
        let mut names = BTreeSet::new();
        for entry in fs::read_dir(&self.path)? {
            let Ok(file) = entry?.file_name().into_string() else { continue };
            let Some(name) = self.component(&file) else { continue };
            // Links are followed: a ConfigMap's files are links, and change by the link of their folder.
            let Ok(meta) = fs::metadata(self.path.join(&file)) else { continue };
            if !meta.is_file() {
                continue;
            }
            names.insert(name.clone());
            let signature = Signature::of(&meta);
            let fresh = || Seen { signature, since: now, renamed: false, tried: None };
            let seen = self.seen.entry(name.clone()).or_insert_with(fresh);
            if seen.signature != signature {
                *seen = fresh();
            }
            seen.renamed |= renamed.contains(&file);
            if seen.tried.as_ref() == Some(&against(&name)) {
                continue;
            }
            let age = now.saturating_duration_since(seen.since);
            if seen.renamed || age >= STILL {
                let whole = seen.renamed || age >= WHOLE;
                candidates.push(Candidate { name, whole, signature });
            } else {
                soon = true;
            }
        }
        self.seen.retain(|name, _| names.contains(name));
        Ok((candidates, soon))
    }

    /// All files, each worth a try: what is there at a start is whole, as far as anybody knows.
    pub(super) fn all(&mut self, against: impl Fn(&str) -> String) -> io::Result<Vec<Candidate>> {
        let now = Instant::now();
        self.scan(&BTreeSet::new(), now, &against)?;
        self.seen.values_mut().for_each(|seen| seen.renamed = true);
        Ok(self.scan(&BTreeSet::new(), now, against)?.0)
    }

    /// The bytes of a candidate; `None` when it has changed since: it is looked at again.
    pub(super) fn read(&self, candidate: &Candidate) -> io::Result<Option<Vec<u8>>> {
        let path = self.file(&candidate.name);
        if candidate.signature.bytes > MAX_BYTES {
            let text = format!("it is larger than {} MiB", MAX_BYTES >> 20);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
        }
        let bytes = fs::read(&path)?;
        let same = Signature::of(&fs::metadata(&path)?) == candidate.signature;
        Ok(same.then_some(bytes))
    }

    /// A candidate need not be tried again before it changes, or others use it.
    pub(super) fn tried(&mut self, candidate: &Candidate, against: String) {
        let seen = self.seen.get_mut(&candidate.name);
        if let Some(seen) = seen.filter(|seen| seen.signature == candidate.signature) {
            seen.tried = Some(against);
        }
    }

    /// The component that a file's name names.
    fn component(&mut self, file: &str) -> Option<String> {
        let name = file.strip_suffix(EXTENSION).filter(|name| !name.starts_with('.'))?;
        if is_name(name) {
            return Some(name.to_owned());
        }
        if self.strange.insert(file.to_owned()) {
            tracing::warn!(
                file,
                "ignored: a component's name has lower-case letters, digits and `-`, at most 63"
            );
        }
        None
    }
}

impl Signature {
    fn of(meta: &fs::Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            bytes: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    struct Watched {
        place: TempDir,
        folder: Folder,
        start: Instant,
    }

    impl Watched {
        fn new() -> Self {
            let place = tempfile::tempdir().unwrap();
            let folder = Folder::new(place.path().into());
            Self { place, folder, start: Instant::now() }
        }

        fn write(&self, file: &str, bytes: &[u8]) {
            fs::write(self.place.path().join(file), bytes).unwrap();
        }

        /// The candidates (name, whether it is whole) at a time, and whether to look again soon.
        fn at(&mut self, time: Duration, renamed: &[&str]) -> (Vec<(String, bool)>, bool) {
            let renamed = renamed.iter().map(|name| (*name).to_owned()).collect();
            let (found, soon) =
                self.folder.scan(&renamed, self.start + time, |_| String::new()).unwrap();
            (found.into_iter().map(|found| (found.name, found.whole)).collect(), soon)
        }

        fn tried(&mut self, time: Duration) {
            let (found, _) =
                self.folder.scan(&BTreeSet::new(), self.start + time, |_| String::new()).unwrap();
            for candidate in found {
                assert!(self.folder.read(&candidate).unwrap().is_some());
                self.folder.tried(&candidate, String::new());
            }
        }
    }

    fn of(name: &str, whole: bool) -> Vec<(String, bool)> {
        vec![(name.to_owned(), whole)]
    }

    #[test]
    fn a_file_that_is_being_written_is_left_alone() {
        let mut watched = Watched::new();
        watched.write("a.wasm", b"half");
        assert_eq!(watched.at(Duration::ZERO, &[]), (vec![], true));
        watched.write("a.wasm", b"the whole of it");
        assert_eq!(watched.at(STILL, &[]), (vec![], true), "it has changed");
        assert_eq!(watched.at(2 * STILL, &[]), (of("a", false), false));
        assert_eq!(watched.at(STILL + WHOLE, &[]), (of("a", true), false));
        watched.tried(STILL + WHOLE);
        assert_eq!(watched.at(2 * WHOLE, &[]), (vec![], false), "once is enough");
        watched.write("a.wasm", b"another");
        assert_eq!(watched.at(2 * WHOLE, &[]), (vec![], true));
    }

    #[test]
    fn a_file_that_was_renamed_into_its_place_is_whole() {
        let mut watched = Watched::new();
        watched.write("a.wasm.part", b"half");
        assert_eq!(watched.at(WHOLE, &[]), (vec![], false));
        let path = |name: &str| watched.place.path().join(name);
        fs::rename(path("a.wasm.part"), path("a.wasm")).unwrap();
        assert_eq!(watched.at(WHOLE, &["a.wasm"]), (of("a", true), false));
    }

    #[test]
    fn the_same_file_is_tried_again_for_other_pipelines() {
        let mut watched = Watched::new();
        watched.write("a.wasm", b"a");
        let all = watched.folder.all(|_| "p".into()).unwrap();
        assert_eq!(all.len(), 1, "at a start, all that is there is tried");
        watched.folder.tried(&all[0], "p".into());
        let mut scan = |against: &str| {
            watched.folder.scan(&BTreeSet::new(), watched.start, |_| against.into()).unwrap().0
        };
        assert_eq!((scan("p").len(), scan("q").len()), (0, 1));
    }

    #[test]
    fn a_link_that_leads_elsewhere_is_a_change() {
        let mut watched = Watched::new();
        let path = |name: &str| watched.place.path().join(name);
        for (folder, text) in [("..1", "one"), ("..2", "two")] {
            fs::create_dir(path(folder)).unwrap();
            fs::write(path(folder).join("a.wasm"), text).unwrap();
        }
        symlink("..1", path("..data")).unwrap();
        symlink("..data/a.wasm", path("a.wasm")).unwrap();
        watched.at(Duration::ZERO, &[]);
        watched.tried(WHOLE);
        let path = |name: &str| watched.place.path().join(name);
        symlink("..2", path("..new")).unwrap();
        fs::rename(path("..new"), path("..data")).unwrap();
        assert_eq!(watched.at(WHOLE, &[]), (vec![], true));
        let candidate = of("a", false);
        assert_eq!(watched.at(WHOLE + STILL, &[]), (candidate, false));
    }

    #[test]
    fn only_components_are_looked_at() {
        let mut watched = Watched::new();
        for name in [".a.wasm", "A.wasm", "a_b.wasm", "a.wasm~", "b.txt", ".wasm", "ä.wasm"] {
            watched.write(name, b"x");
        }
        watched.write(&format!("{}.wasm", "a".repeat(64)), b"x");
        fs::create_dir(watched.place.path().join("d.wasm")).unwrap();
        symlink("nowhere", watched.place.path().join("e.wasm")).unwrap();
        assert_eq!(watched.at(Duration::ZERO, &[]), (vec![], false));
        assert!(is_name("a-1") && is_name(&"a".repeat(63)) && !is_name("") && !is_name("a/b"));
    }

    #[test]
    fn a_file_that_changes_while_it_is_read_is_read_again() {
        let mut watched = Watched::new();
        watched.write("a.wasm", b"one");
        let candidate = watched.folder.all(|_| String::new()).unwrap().remove(0);
        watched.write("a.wasm", b"longer");
        assert_eq!(watched.folder.read(&candidate).unwrap(), None);
        fs::remove_file(watched.place.path().join("a.wasm")).unwrap();
        assert!(watched.folder.read(&candidate).is_err());
    }
}

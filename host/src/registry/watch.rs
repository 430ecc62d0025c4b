//! Watches the folder and the log. A notification only says that it is time to look: where none come, as on network file
//! systems, looking now and then is enough.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt as _,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread::{self, ScopedJoinHandle},
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, bounded, select};
use notify::{
    EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode, ModifyKind, RenameMode},
};

use super::{Registry, Users, folder::STILL, road::Next};
use crate::fault::Fault;

/// How often it looks without having been told to.
const POLL: Duration = Duration::from_secs(2);
/// How long it waits for more after a notification.
const DEBOUNCE: Duration = Duration::from_millis(200);

/// Between two files that wait, so that an upload gets its turn.
const TURN: Duration = Duration::from_millis(5);

/// The thread that watches ends when this is dropped, or after the version that it is busy with.
#[derive(Debug)]
pub struct Watch {
    _stop: Sender<()>,
}

impl Registry {
    /// Watches until the answer is dropped.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn watch(self: &Arc<Self>, users: Arc<dyn Users>) -> Result<Watch, Fault> {
        let (stop, stopped) = bounded(0);
        let registry = Arc::clone(self);
        let path = registry.works().folder.path().to_owned();
        thread::Builder::new()
            .name("registry".to_owned())
            .spawn(move || registry.run(&*users, path, &stopped))
            .map_err(|error| Fault::outside("start a thread").caused_by(error).permanent())?;
        Ok(Watch { _stop: stop })
    }

    fn run(&self, users: &dyn Users, path: PathBuf, stopped: &Receiver<()>) {
        let (mut notices, told) = Notices::of(path);
        thread::scope(|scope| {
            let mut compiling: Option<ScopedJoinHandle<'_, ()>> = None;
            loop {
                notices.keep();
                let renamed = notices.take_renamed();
                // Whatever is wrong with a file, the next one has its turn.
                let turn = catch_unwind(AssertUnwindSafe(|| self.works().turn(users, &renamed)));
                let turn = turn.unwrap_or_else(|_| {
                    tracing::error!(
                        "a fault of tidemill itself, components wait: please report it"
                    );
                    Next::Later
                });
                let wait = match turn {
                    Next::Now => TURN,
                    // One at a time, while others may change something, and what they choose is followed.
                    Next::Compiled => {
                        let is_free = compiling.as_ref().is_none_or(ScopedJoinHandle::is_finished);
                        if let Some((name, wasm)) = self.works().wanted.take().filter(|_| is_free) {
                            let wake = notices.wake.clone();
                            compiling = Some(scope.spawn(move || {
                                drop(self.compile_ahead(&name, &wasm));
                                // It is heard already, if somebody else woke it.
                                wake.try_send(()).ok();
                            }));
                        }
                        POLL
                    }
                    Next::Soon => STILL,
                    Next::Later => POLL,
                };
                select! {
                    recv(stopped) -> _ => return,
                    recv(told) -> _ => notices.settle(stopped, &told),
                    default(wait) => {}
                }
            }
        });
    }
}

/// What the system tells of a folder, for as long as it is the same folder.
struct Notices {
    path: PathBuf,
    renamed: Arc<Mutex<BTreeSet<String>>>,
    wake: Sender<()>,
    /// With the folder's device and inode.
    watcher: Option<(RecommendedWatcher, (u64, u64))>,
}

impl Notices {
    fn of(path: PathBuf) -> (Self, Receiver<()>) {
        let (wake, told) = bounded(1);
        (Self { path, renamed: Arc::default(), wake, watcher: None }, told)
    }

    /// Watches the folder that has the path now.
    fn keep(&mut self) {
        let found = fs::metadata(&self.path).ok().map(|meta| (meta.dev(), meta.ino()));
        if self.watcher.as_ref().map(|(_, watched)| *watched) == found {
            return;
        }
        self.watcher = None;
        let Some(found) = found else { return };
        let (renamed, wake) = (Arc::clone(&self.renamed), self.wake.clone());
        let tell = move |event: notify::Result<notify::Event>| {
            if event.as_ref().is_ok_and(|event| !is_news(event.kind)) {
                return;
            }
            let names = event.iter().filter_map(renamed_to);
            renamed.lock().expect("nothing panics while it holds this lock").extend(names);
            // One wake-up is enough for all that comes before it is heard.
            wake.try_send(()).ok();
        };
        let watcher = notify::recommended_watcher(tell).and_then(|mut watcher| {
            watcher.watch(&self.path, RecursiveMode::NonRecursive)?;
            Ok(watcher)
        });
        match watcher {
            Ok(watcher) => self.watcher = Some((watcher, found)),
            Err(error) => {
                tracing::debug!(%error, path = %self.path.display(), "no notifications: looking every {POLL:?}");
            }
        }
    }

    fn take_renamed(&self) -> BTreeSet<String> {
        std::mem::take(&mut *self.renamed.lock().expect("nothing panics while it holds this lock"))
    }

    /// Waits for what comes with a notification; a file that was renamed is whole, and waits for nothing.
    fn settle(&self, stopped: &Receiver<()>, told: &Receiver<()>) {
        let whole =
            || !self.renamed.lock().expect("nothing panics while it holds this lock").is_empty();
        let end = crossbeam_channel::after(DEBOUNCE);
        while !whole() {
            select! {
                recv(stopped) -> _ => return,
                recv(end) -> _ => return,
                recv(told) -> _ => {}
            }
        }
    }
}

/// Whether something changed. That somebody looked is no news: it is this host itself that looks, each time it is told.
fn is_news(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

/// The name that a file was renamed to.
fn renamed_to(event: &notify::Event) -> Option<String> {
    let path: &Path = match event.kind {
        EventKind::Modify(ModifyKind::Name(RenameMode::To)) => event.paths.first()?,
        EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => event.paths.get(1)?,
        _ => return None,
    };
    Some(path.file_name()?.to_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rename_into_the_folder_is_told_with_its_name() {
        let (place, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (mut notices, told) = Notices::of(place.path().into());
        let (_stop, stopped) = bounded(0);
        notices.keep();
        fs::write(place.path().join("a.wasm"), "written in place").unwrap();
        told.recv_timeout(Duration::from_secs(10)).unwrap();
        notices.settle(&stopped, &told);
        assert!(notices.take_renamed().is_empty());
        for (from, name) in [(place.path(), "b.wasm"), (elsewhere.path(), "c.wasm")] {
            fs::write(from.join("part"), "whole").unwrap();
            fs::rename(from.join("part"), place.path().join(name)).unwrap();
            let mut renamed = BTreeSet::new();
            while !renamed.contains(name) {
                told.recv_timeout(Duration::from_secs(10)).unwrap();
                renamed.extend(notices.take_renamed());
            }
        }
    }

    /// Else it would look again and again, for ever.
    #[test]
    fn looking_is_no_news() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("a.wasm");
        fs::write(&file, "x").unwrap();
        let (mut notices, told) = Notices::of(place.path().into());
        notices.keep();
        for _ in 0..3 {
            fs::read_dir(place.path()).unwrap().for_each(drop);
            fs::read(&file).unwrap();
        }
        // What comes after is told after: the system keeps the order.
        let (watched, seen) = crossbeam_channel::unbounded();
        let mut other =
            notify::recommended_watcher(move |event| drop(watched.send(event))).unwrap();
        other.watch(place.path(), RecursiveMode::NonRecursive).unwrap();
        fs::read(&file).unwrap();
        let looked: notify::Event = seen.recv_timeout(Duration::from_secs(10)).unwrap().unwrap();
        assert!(!is_news(looked.kind), "{looked:?}");
        fs::write(&file, "changed").unwrap();
        told.recv_timeout(Duration::from_secs(10)).unwrap();
    }

    #[test]
    fn a_folder_that_comes_later_or_anew_is_watched() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("transforms");
        let (mut notices, told) = Notices::of(folder.clone());
        notices.keep();
        assert!(notices.watcher.is_none());
        for _ in 0..2 {
            fs::create_dir(&folder).unwrap();
            notices.keep();
            fs::write(folder.join("a.wasm"), "x").unwrap();
            told.recv_timeout(Duration::from_secs(10)).unwrap();
            fs::rename(&folder, place.path().join("old")).unwrap();
            notices.keep();
            assert!(notices.watcher.is_none());
            fs::remove_dir_all(place.path().join("old")).unwrap();
            told.try_iter().for_each(drop);
        }
    }
}

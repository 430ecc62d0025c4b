//! The rename stager: a local file beside the log.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use super::folder;
use crate::{
    commit::manifest::Stage,
    fault::Fault,
    store::{Store, faults},
};

pub(super) struct StageFile {
    store: Store,
    /// Its key.
    id: String,
    path: PathBuf,
    file: File,
    finished: bool,
}

impl StageFile {
    /// Creates the staged file of a final key.
    pub(super) fn create(store: &Store, root: &Path, key: &str) -> Result<Self, Fault> {
        let mut segments = key.split('/');
        let (Some("data"), Some(pipeline), Some(name)) =
            (segments.next(), segments.next(), segments.next_back())
        else {
            return Err(Fault::bug(format!(
                "stage {key}: the key is not like `data/<pipeline>/…/<name>`"
            )));
        };
        let id = format!("{}/{name}", folder(pipeline));
        let path = root.join(&id);
        let folder = path.parent().expect("a key has a folder");
        store.folder_stands("stage", &id)?;
        let create = || {
            make_durable_folder(root, folder)?;
            File::create_new(&path)
        };
        match create() {
            Ok(file) => Ok(Self { store: store.clone(), id, path, file, finished: false }),
            Err(error) => Err(faults::disk(store.url(), "stage", &id, &error)),
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.file.write_all(bytes).map_err(|error| self.fault(&error))
    }

    /// Returns once the file survives a power cut.
    pub(super) fn finish(mut self) -> Result<Stage, Fault> {
        let folder = self.path.parent().expect("a key has a folder");
        self.file
            .sync_all()
            .and_then(|()| sync_folder(folder))
            .map_err(|error| self.fault(&error))?;
        self.finished = true;
        Ok(Stage::Rename { id: std::mem::take(&mut self.id) })
    }

    fn fault(&self, error: &io::Error) -> Fault {
        faults::disk(self.store.url(), "stage", &self.id, error)
    }
}

impl Drop for StageFile {
    fn drop(&mut self) {
        if !self.finished
            && let Err(error) = fs::remove_file(&self.path)
        {
            let fault = self.fault(&error);
            tracing::debug!(%fault, "a staged file stays");
        }
    }
}

/// Makes a folder below `root`, whose entries in its parents survive a power cut.
fn make_durable_folder(root: &Path, folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(folder)?;
    folder
        .ancestors()
        .skip(1)
        .take_while(|parent| parent.starts_with(root))
        .try_for_each(sync_folder)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

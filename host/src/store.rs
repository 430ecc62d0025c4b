//! Object stores: a local folder, S3 (and servers that speak its protocol) or memory, behind one type.
//!
//! Keys are relative to the root of the store's URL: `data/<pipeline>/…` and `_log/<pipeline>/…`.
//! A file reaches its key in two steps: it is **staged** (written and durable, but visible nowhere), then **published**.
//! Two stagers do that: an open multipart upload that is completed, or a local file that is renamed.

mod faults;
mod probe;
mod publish;
mod s3;
mod stage;

use std::{fmt, fs, io, ops::Range, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::TryStreamExt as _;
use object_store::{
    ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, local::LocalFileSystem,
    memory::InMemory, multipart::MultipartStore, path::Path,
};

use crate::{config, fault::Fault};

pub use publish::Published;
pub use stage::{PART_BYTES, PARTS_IN_FLIGHT, StageWriter, Staged};

/// The longest key, in bytes, the prefix in the store's URL included: S3's limit.
const MAX_KEY_BYTES: usize = 1024;

/// An open store. Clones share it.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    url: String,
    objects: Arc<dyn ObjectStore>,
    backend: Backend,
    /// Bytes of a key that the prefix in the URL takes.
    prefix_bytes: usize,
    /// How long to wait between the looks that must all miss a file before it is called lost.
    looks: &'static [Duration],
}

/// What differs between the stores.
#[derive(Clone)]
enum Backend {
    S3(Arc<dyn MultipartStore>),
    Memory(Arc<dyn MultipartStore>),
    Local(PathBuf),
}

/// How a store stages files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StagerKind {
    /// An open multipart upload of the file's key.
    Multipart,
    /// A local file that is renamed.
    Rename,
}

/// The answer to a put-if-absent.
#[derive(Debug)]
pub enum Created {
    /// The object is there, and these are its bytes.
    Ok,
    /// Anything else, also "exists already": whether the bytes arrived is known only after reading the key back.
    Other(Fault),
}

/// An object in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its key.
    pub key: String,
    /// Its size.
    pub bytes: u64,
}

impl Store {
    /// Opens the store of the settings. Makes the folder of a local store; asks a remote one nothing: see [`Store::probe`].
    ///
    /// `memory://` gives a new, empty store at each call, and serves tests of one process.
    ///
    /// # Errors
    /// The URL names no store, the folder cannot be made, or no region is known.
    pub async fn open(settings: &config::Store) -> Result<Self, Fault> {
        match settings.url.scheme() {
            "file" => Self::local(settings),
            "s3" => s3::open(settings).await,
            "memory" => {
                let memory = Arc::new(InMemory::new());
                let multipart = Arc::clone(&memory);
                Ok(Self(Arc::new(Inner {
                    url: settings.url.to_string(),
                    objects: memory,
                    backend: Backend::Memory(multipart),
                    prefix_bytes: 0,
                    looks: &[],
                })))
            }
            scheme => Err(Fault::config(format!(
                "open the store {}: `{scheme}` is not a kind of store",
                settings.url
            ))
            .help("give a URL like `file:///folder` or `s3://bucket/prefix`")),
        }
    }

    fn local(settings: &config::Store) -> Result<Self, Fault> {
        let url = settings.url.to_string();
        let folder = settings.url.to_file_path().map_err(|()| {
            Fault::config(format!("open the store {url}: it names no local folder"))
                .help("write `file:///folder`")
        })?;
        let failed = |error: io::Error| {
            faults::disk(&url, "open the folder", &folder.display().to_string(), &error)
        };
        fs::create_dir_all(&folder).map_err(failed)?;
        let root = folder.canonicalize().map_err(failed)?;
        let disk = LocalFileSystem::new_with_prefix(&root)
            .map_err(|error| failed(io::Error::other(error)))?;
        Ok(Self(Arc::new(Inner {
            objects: Arc::new(disk.with_fsync(true)),
            backend: Backend::Local(root),
            prefix_bytes: 0,
            looks: &[],
            url,
        })))
    }

    /// How long a key may be, in bytes: what the prefix in the URL leaves.
    pub fn max_key_bytes(&self) -> usize {
        MAX_KEY_BYTES.saturating_sub(self.0.prefix_bytes)
    }

    /// Its URL, as it was configured.
    pub fn url(&self) -> &str {
        &self.0.url
    }

    /// How it stages files.
    pub fn stager(&self) -> StagerKind {
        match &self.0.backend {
            Backend::S3(_) | Backend::Memory(_) => StagerKind::Multipart,
            Backend::Local(_) => StagerKind::Rename,
        }
    }

    /// Creates an object that does not exist yet. Of several writers at most one gets [`Created::Ok`].
    pub async fn create(&self, key: &str, bytes: Bytes) -> Created {
        let created = async {
            let path = self.path(key)?;
            self.folder_stands("create", key)?;
            self.put_if_absent(&path, bytes)
                .await
                .map_err(|error| self.fault("create", key, &error))
        };
        match created.await {
            Ok(()) => Created::Ok,
            Err(fault) => Created::Other(fault),
        }
    }

    async fn put_if_absent(&self, path: &Path, bytes: Bytes) -> object_store::Result<()> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        self.0.objects.put_opts(path, bytes.into(), options).await.map(drop)
    }

    /// Writes an object, over one that exists.
    ///
    /// # Errors
    /// The store refuses or does not answer.
    pub async fn put(&self, key: &str, bytes: Bytes) -> Result<(), Fault> {
        let path = self.path(key)?;
        self.folder_stands("write", key)?;
        self.0
            .objects
            .put(&path, bytes.into())
            .await
            .map(drop)
            .map_err(|error| self.fault("write", key, &error))
    }

    /// Reads an object; `None` if there is none.
    ///
    /// # Errors
    /// The store refuses or does not answer, or its bucket or folder is gone: an absent store is not an empty one.
    pub async fn get(&self, key: &str) -> Result<Option<Bytes>, Fault> {
        let path = self.path(key)?;
        let read = async { self.0.objects.get(&path).await?.bytes().await };
        self.unless_absent("read", key, read.await)
    }

    /// Reads bytes of an object that exists. A range that ends past the object gives what is there.
    ///
    /// # Errors
    /// The store refuses or does not answer, there is no such object, or the range starts past its end.
    pub async fn range(&self, key: &str, range: Range<u64>) -> Result<Bytes, Fault> {
        let path = self.path(key)?;
        let options = object_store::GetOptions {
            range: Some(range.into()),
            ..object_store::GetOptions::default()
        };
        let read = async { self.0.objects.get_opts(&path, options).await?.bytes().await };
        read.await.map_err(|error| self.fault("read", key, &error))
    }

    /// The size of an object; `None` if there is none.
    ///
    /// # Errors
    /// The store refuses or does not answer, or its folder is gone.
    pub async fn size(&self, key: &str) -> Result<Option<u64>, Fault> {
        let path = self.path(key)?;
        let meta = self.0.objects.head(&path).await;
        self.unless_absent("look at", key, meta.map(|meta| meta.size))
    }

    /// Every object below `prefix` (whole segments: `a/b` does not list `a/bc`) and, if given, after a key; ascending by key.
    ///
    /// # Errors
    /// The store refuses or does not answer, or its bucket or folder is gone.
    pub async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Vec<Object>, Fault> {
        let mut objects: Vec<Object> = self
            .metas(prefix, after)
            .await?
            .into_iter()
            .map(|meta| Object { key: meta.location.into(), bytes: meta.size })
            .collect();
        objects.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(objects)
    }

    async fn metas(
        &self,
        prefix: &str,
        after: Option<&str>,
    ) -> Result<Vec<object_store::ObjectMeta>, Fault> {
        let folder = match prefix.trim_end_matches('/') {
            "" => Path::default(),
            prefix => self.path(prefix)?,
        };
        self.folder_stands("list", prefix)?;
        let found = match after {
            Some(after) => self.0.objects.list_with_offset(Some(&folder), &self.path(after)?),
            None => self.0.objects.list(Some(&folder)),
        };
        found.try_collect().await.map_err(|error| self.fault("list", prefix, &error))
    }

    /// Deletes an object. One that is absent is no error.
    async fn delete(&self, key: &str) -> Result<(), Fault> {
        let deleted = self.0.objects.delete(&self.path(key)?).await;
        self.unless_absent("delete", key, deleted).map(drop)
    }

    /// The path of a key. Keys are made by this program, so one that could leave the root or fit no store is its bug.
    fn path(&self, key: &str) -> Result<Path, Fault> {
        let refuse = |why: String| {
            Fault::bug(format!("use the key `{key}` in the store {}: {why}", self.0.url))
        };
        if key.starts_with('/') || key.ends_with('/') {
            return Err(refuse("it begins or ends with a slash".into()));
        }
        if key.len() > self.max_key_bytes() {
            return Err(refuse(format!("it is longer than {MAX_KEY_BYTES} bytes")));
        }
        if matches!(self.0.backend, Backend::Local(_))
            && key.split('/').any(|name| name.len() > 255)
        {
            return Err(refuse(
                "a part of it is longer than 255 bytes, and the disk takes no longer names".into(),
            ));
        }
        // Refuses `.`, `..`, empty segments and control characters.
        let path = Path::parse(key).map_err(|error| refuse(error.to_string()))?;
        if path.as_ref().is_empty() { Err(refuse("it is empty".into())) } else { Ok(path) }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store").field(&self.0.url).finish()
    }
}

#[cfg(test)]
mod tests;

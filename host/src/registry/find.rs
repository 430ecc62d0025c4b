//! Versions by their names and digests, from the folder or from the store.

use std::{fs, sync::Arc};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::{Known, log::Refusal, missing, road::RoadWorks};
use crate::{engine::Component, fault::Fault, schema::Output};

impl Known for RoadWorks {
    fn pick(&mut self, name: &str, pin: Option<&str>) -> Result<Arc<Component>, Fault> {
        match pin {
            Some(digest) => self.pinned(name, digest),
            None => self.current(name),
        }
    }

    fn written(&self, pipeline: &str) -> Option<Vec<Output>> {
        self.journal.log().written(pipeline).cloned()
    }
}

impl RoadWorks {
    /// The version that all users of a name are to run.
    pub(super) fn current(&mut self, name: &str) -> Result<Arc<Component>, Fault> {
        if let Some(running) = self.running.get(name) {
            return Ok(Arc::clone(running));
        }
        let Some(digest) = self.journal.log().current(name) else {
            let history = self.journal.log().component(name);
            return Err(match history.and_then(|history| history.refused.last()) {
                Some(Refusal { reason, .. }) => {
                    Fault::config(format!("no build of component {name} was accepted: {reason}"))
                }
                None => self.missing(name),
            });
        };
        let component = self.load(name, &self.bytes(name, digest)?)?;
        self.running.insert(name.to_owned(), Arc::clone(&component));
        Ok(component)
    }

    pub(super) fn pinned(&mut self, name: &str, digest: &str) -> Result<Arc<Component>, Fault> {
        if let Some(running) = self.running.get(name).filter(|running| running.digest() == digest) {
            return Ok(Arc::clone(running));
        }
        match self.find(name, digest)? {
            Ok(wasm) => self.load(name, &wasm),
            Err(Some(other)) => {
                let text =
                    format!("{name}@sha256:{digest} is pinned, the folder has sha256:{other}");
                let help = "put the pinned build into the folder, or change the pin";
                Err(Fault::config(text).help(help))
            }
            Err(None) => Err(self.missing(name)),
        }
    }

    fn missing(&self, name: &str) -> Fault {
        let components = self.journal.log().components.iter();
        let others = components.filter(|(_, history)| history.current.is_some());
        missing(&self.folder, name, others.map(|(name, _)| name))
    }

    /// The bytes of an accepted version.
    pub(super) fn bytes(&self, name: &str, digest: &str) -> Result<Bytes, Fault> {
        self.find(name, digest)?.map_err(|_| {
            let text = format!("the bytes of {name}@sha256:{digest} are gone from the store");
            Fault::outside(text)
                .permanent()
                .help("restore them from the bucket's versions, or upload the component again")
        })
    }

    /// Bytes of a digest, from the folder or the store; else the digest that the folder has.
    fn find(&self, name: &str, digest: &str) -> Result<Result<Bytes, Option<String>>, Fault> {
        let mut other = None;
        if let Ok(wasm) = fs::read(self.folder.file(name)) {
            let found = hex::encode(Sha256::digest(&wasm));
            if found == digest {
                return Ok(Ok(wasm.into()));
            }
            other = Some(found);
        }
        let kept = self.runtime.block_on(self.journal.kept(digest))?;
        let kept = kept.filter(|wasm| hex::encode(Sha256::digest(wasm)) == digest);
        Ok(kept.ok_or(other))
    }
}

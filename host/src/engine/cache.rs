//! Compiled components on disk: `<digest>-<engine>.cwasm`, a SHA-256 first, of the component's digest and of the artefact.
//! One that is damaged, or another component's, is compiled again.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io::Write,
    path::PathBuf,
};

use sha2::{Digest, Sha256};
use wasmtime::component::Component;

use super::limits;
use crate::fault::Fault;

/// Bytes of the seal before an artefact.
const SEAL: usize = 32;

/// The folder of artefacts.
#[derive(Debug)]
pub(super) struct Cache {
    folder: PathBuf,
    /// Artefacts of another wasmtime, or of other settings, are left alone.
    engine: String,
}

impl Cache {
    pub(super) fn new(folder: PathBuf, engine: &wasmtime::Engine) -> Result<Self, Fault> {
        fs::create_dir_all(&folder).map_err(|error| {
            Fault::outside(format!("make {}", folder.display())).permanent().caused_by(error).help(
                "the scratch folder must be writable: name another one with `scratch` (--scratch)",
            )
        })?;
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Ok(Self { folder, engine: format!("{:016x}", hasher.finish()) })
    }

    fn path(&self, digest: &str) -> PathBuf {
        self.folder.join(format!("{digest}-{}.cwasm", self.engine))
    }

    /// Whether there is an artefact of a component, sound or not.
    pub(super) fn has(&self, digest: &str) -> bool {
        self.path(digest).exists()
    }

    /// The artefact of a component, if there is one that can be trusted.
    pub(super) fn load(&self, engine: &wasmtime::Engine, digest: &str) -> Option<Component> {
        let path = self.path(digest);
        let bytes = fs::read(&path).ok()?;
        let whole = bytes
            .split_at_checked(SEAL)
            .filter(|(found, artefact)| seal(digest, artefact) == *found);
        let component = whole.and_then(|(_, artefact)| deserialize(engine, artefact).ok());
        if component.is_none() {
            tracing::warn!(path = %path.display(), "a compiled component is damaged, it is compiled again");
        }
        component
    }

    /// Keeps an artefact that was just compiled, and loads it. Where it can't be kept, the next start compiles again.
    pub(super) fn store(
        &self,
        engine: &wasmtime::Engine,
        name: &str,
        digest: &str,
        artefact: &[u8],
    ) -> Result<Component, Fault> {
        let component =
            deserialize(engine, artefact).map_err(|error| unloadable(name, artefact, &error))?;
        let path = self.path(digest);
        let written = tempfile::NamedTempFile::new_in(&self.folder).and_then(|mut file| {
            file.write_all(&seal(digest, artefact))?;
            file.write_all(artefact)?;
            file.persist(&path).map_err(|error| error.error)
        });
        if let Err(error) = written {
            tracing::warn!(path = %path.display(), %error, "a compiled component can't be kept");
        }
        Ok(component)
    }
}

/// Why an artefact that was just compiled can't be loaded.
fn unloadable(name: &str, artefact: &[u8], error: &wasmtime::Error) -> Fault {
    // Without the limits of instances it can be: then it is they that it passes.
    let plain = wasmtime::Engine::new(&limits::compile_config());
    if plain.is_ok_and(|plain| deserialize(&plain, artefact).is_ok()) {
        let text = format!("component {name} needs more than a host gives a component: {error:#}");
        return Fault::transform(text)
            .help("build it with fewer core instances, memories and tables, or smaller ones");
    }
    let text = format!("the compiler's artefact does not fit this host: {error:#}");
    Fault::bug(text)
}

/// What an artefact in the cache is known by.
fn seal(digest: &str, artefact: &[u8]) -> [u8; SEAL] {
    Sha256::new().chain_update(digest).chain_update(artefact).finalize().into()
}

#[expect(unsafe_code, reason = "wasmtime has no other way to load compiled code")]
fn deserialize(engine: &wasmtime::Engine, artefact: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the bytes come from our own compiler: just now through a pipe, or from a file of ours whose seal, written
    // with it, was checked. Who can write that file as this user can run any code as this user anyway.
    unsafe { Component::deserialize(engine, artefact) }
}

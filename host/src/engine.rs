//! Components: compiled apart, linked to what the host offers, called batch by batch under limits.

mod answer;
mod cache;
mod carry;
mod compile;
mod descriptor;
mod guest;
mod instance;
mod lift;
mod limits;
mod lines;
mod lower;
mod metrics;
mod refuse;
#[cfg(test)]
mod tests;
mod v0_1;
mod wait;

use std::{
    collections::BTreeMap,
    fmt, iter,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use arrow_array::{ArrayRef, RecordBatch};
use sha2::{Digest, Sha256};
use wasmtime::component::{HasSelf, Linker};

use self::{cache::Cache, guest::Guest, instance::Running, limits::EPOCH, metrics::Series};
pub use self::{
    compile::{Compiler, child as compile_child},
    instance::Instance,
    lines::LogRate,
    metrics::GuestMetrics,
};
use crate::{
    config::Limits,
    fault::{Blame, Fault},
    record::Lineage,
    schema::Descriptor,
};

/// Interruptions of the compiler, one after the other, after which a component is refused.
const MAX_INTERRUPTIONS: u32 = 3;

/// Loads components. One a process.
pub struct Engine {
    engine: wasmtime::Engine,
    linker: Linker<Guest>,
    cache: Cache,
    compiler: Compiler,
    /// How often the compiler was interrupted since it last came to an end, by digest.
    interrupted: Mutex<BTreeMap<String, u32>>,
    /// Ends the thread that counts epochs when it is dropped.
    _ticker: Sender<()>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("cache", &self.cache).finish_non_exhaustive()
    }
}

/// A component that was loaded: compiled, and found to import and export what it may.
pub struct Component {
    engine: Arc<Engine>,
    name: String,
    digest: String,
    linked: v0_1::TransformerPre<Guest>,
    compiled_in: Option<Duration>,
    /// Of all its instances.
    series: Arc<Series>,
}

impl fmt::Debug for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Component")
            .field("name", &self.name)
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

/// For whom an instance works: in its log lines.
#[derive(Clone, Debug)]
pub struct GuestContext {
    /// The pipeline.
    pub pipeline: String,
    /// What all instances of a transform share.
    pub log_rate: Arc<LogRate>,
}

/// The records of a batch, as a transform takes them.
#[derive(Clone, Copy, Debug)]
pub enum Payload<'a> {
    /// All records, undecoded.
    Raw,
    /// The records that could be decoded.
    Rows {
        /// One a top-level field of the descriptor's input, read or carried.
        columns: &'a [ArrayRef],
        /// For each row, its place in the batch; ascending.
        rows: &'a [u32],
    },
}

/// What became of a batch. Places are places in the batch.
#[derive(Debug, Default)]
pub struct Processed {
    /// Rows, by output; an output without rows may be left out.
    pub outputs: Vec<Rows>,
    /// Rejected records, ascending.
    pub rejections: Vec<Rejection>,
}

/// Rows of an output.
#[derive(Debug)]
pub struct Rows {
    /// The output's place in the descriptor.
    pub output: usize,
    /// For each row, the record that it was made from.
    pub lineage: Lineage,
    /// The rows, carried fields included.
    pub rows: RecordBatch,
}

/// A record that the transform rejects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Its place in the batch.
    pub index: u32,
    /// Why.
    pub reason: String,
}

impl Engine {
    /// An engine that keeps compiled components in a folder.
    ///
    /// # Errors
    /// When the folder can't be made, or the machine has no room for the address space of instances.
    pub fn new(cache: PathBuf, compiler: Compiler) -> Result<Arc<Self>, Fault> {
        let engine = wasmtime::Engine::new(&limits::host_config())
            .map_err(|error| Fault::outside("set wasmtime up").permanent().caused_by(error))?;
        let cache = Cache::new(cache, &engine)?;
        let mut linker = Linker::new(&engine);
        let link = wasmtime_wasi::p2::add_to_linker_sync(&mut linker)
            .and_then(|()| wait::link(&mut linker))
            .and_then(|()| {
                v0_1::Transformer::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)
            });
        link.map_err(|error| Fault::bug("link the host's functions").caused_by(error))?;
        let ticker = tick(engine.clone())?;
        let interrupted = Mutex::default();
        Ok(Arc::new(Self { engine, linker, cache, compiler, interrupted, _ticker: ticker }))
    }

    /// Whether a component of this digest was compiled before, so that loading it takes no time.
    pub fn has(&self, digest: &str) -> bool {
        self.cache.has(digest)
    }

    /// Loads a component: from the cache, or compiled in a child process under limits.
    ///
    /// # Errors
    /// When it is no component of a contract that this host knows, imports what the host does not offer, or can't be
    /// compiled within the limits. The text says what it has and what the host accepts.
    pub fn load(self: &Arc<Self>, name: &str, wasm: &[u8]) -> Result<Arc<Component>, Fault> {
        let digest = hex::encode(Sha256::digest(wasm));
        refuse::shape(name, wasm)?;
        let (compiled, compiled_in) = match self.cache.load(&self.engine, &digest) {
            Some(compiled) => (compiled, None),
            None => {
                let start = Instant::now();
                let artefact = self.compile(name, &digest, wasm)?;
                let compiled = self.cache.store(&self.engine, name, &digest, &artefact)?;
                (compiled, Some(start.elapsed()))
            }
        };
        refuse::world(&self.engine, name, &compiled)?;
        let linked = self
            .linker
            .instantiate_pre(&compiled)
            .and_then(v0_1::TransformerPre::new)
            .map_err(|error| refuse::unlinkable(name, error))?;
        Ok(Arc::new(Component {
            engine: Arc::clone(self),
            name: name.to_owned(),
            digest,
            linked,
            compiled_in,
            series: Arc::default(),
        }))
    }

    /// Compiles. One whose compiler is interrupted again and again is taken for the reason of it: nobody tries it for ever.
    fn compile(&self, name: &str, digest: &str, wasm: &[u8]) -> Result<Vec<u8>, Fault> {
        let compiled = self.compiler.compile(name, wasm);
        let mut interrupted =
            self.interrupted.lock().expect("nothing panics while it holds this lock");
        let fault = match &compiled {
            Err(fault) if fault.code == Some(compile::INTERRUPTED) => fault,
            _ => {
                interrupted.remove(digest);
                return compiled;
            }
        };
        let times = interrupted.entry(digest.to_owned()).or_default();
        *times += 1;
        if *times < MAX_INTERRUPTIONS {
            return compiled;
        }
        *times = 0;
        let text =
            format!("component {name} can't be compiled, {MAX_INTERRUPTIONS} times: {fault}");
        Err(Fault::transform(text).help("if it is not the component's fault, upload it"))
    }
}

impl Component {
    /// Its name: that of its file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How long it took to compile; `None` when it came from the cache.
    pub fn compiled_in(&self) -> Option<Duration> {
        self.compiled_in
    }

    /// SHA-256 of its file, 64 hexadecimal digits.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Tries the component in a throw-away instance, with a configuration and a batch without records.
    ///
    /// # Errors
    /// When it refuses the configuration, fails the batch, traps, passes a limit, or describes what can't be.
    pub fn probe(
        self: &Arc<Self>,
        context: &GuestContext,
        config: &serde_json::Value,
        limits: &Limits,
    ) -> Result<Descriptor, Fault> {
        Running::new(Arc::clone(self), context, limits, None)?.init(&config.to_string())?.probed()
    }

    /// Looks at a component that nobody uses yet: it must start and describe itself, or say that it can't without a
    /// configuration.
    ///
    /// # Errors
    /// When it traps, passes a limit, or describes what can't be.
    pub fn look(self: &Arc<Self>) -> Result<(), Fault> {
        let context = GuestContext { pipeline: String::new(), log_rate: Arc::default() };
        let described =
            Running::new(Arc::clone(self), &context, &Limits::default(), None)?.describe("{}");
        match described {
            Err(fault) if fault.blame != Blame::Config => Err(fault),
            _ => Ok(()),
        }
    }

    /// An instance that is ready for batches.
    ///
    /// # Errors
    /// When it refuses the configuration, traps, passes a limit, or describes what can't be.
    pub fn instantiate(
        self: &Arc<Self>,
        context: GuestContext,
        config: &serde_json::Value,
        limits: &Limits,
        metrics: Arc<dyn GuestMetrics>,
    ) -> Result<Instance, Fault> {
        Running::new(Arc::clone(self), &context, limits, Some(metrics))?.init(&config.to_string())
    }
}

/// Counts epochs for as long as the answer lives: what deadlines are measured in.
fn tick(engine: wasmtime::Engine) -> Result<Sender<()>, Fault> {
    let (alive, ended) = channel();
    let count = move || {
        let waits = iter::repeat_with(|| ended.recv_timeout(EPOCH));
        waits
            .take_while(|wait| *wait == Err(RecvTimeoutError::Timeout))
            .for_each(|_| engine.increment_epoch());
    };
    let spawned = thread::Builder::new().name("epochs".to_owned()).spawn(count);
    spawned
        .map(|_| alive)
        .map_err(|error| Fault::outside("start a thread").permanent().caused_by(error))
}

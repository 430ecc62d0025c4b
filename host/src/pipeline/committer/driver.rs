//! The task that carries the core's commands out. It ends when the last `Committer` is gone, or with a halt.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, OnceLock},
    time::Duration,
};

use futures::{
    StreamExt,
    future::{BoxFuture, join_all},
    stream::FuturesUnordered,
};
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval_at, sleep},
};

use super::{Pace, Request};
use crate::{
    commit::{
        log::{Checkpoint, Log},
        manifest::{File, Manifest},
        names,
        protocol::{self, Command, Done, Event, Halt, Writer},
    },
    fault::Fault,
    store::{Created, Published, Store},
};

/// How long a store that fails is left alone, at most.
const MAX_WAIT: Duration = Duration::from_secs(10);
/// Files that are published at the same time, at most.
const PUBLISHES: usize = 32;
/// Manifests that are read at the same time, at most.
const READ_AHEAD: u64 = 32;

/// Why the pipeline must stop.
#[derive(Clone, Debug)]
pub(super) struct Halted {
    code: Option<&'static str>,
    text: String,
    help: String,
}

impl Halted {
    fn new(code: &'static str, text: String, help: &str) -> Self {
        Self { code: Some(code), text, help: help.to_owned() }
    }

    pub(super) fn fault(&self) -> Fault {
        let Self { code, text, help } = self;
        Fault { code: *code, ..Fault::outside(text.clone()).permanent().help(help.clone()) }
    }
}

impl From<Fault> for Halted {
    fn from(fault: Fault) -> Self {
        let (code, help) = (fault.code, fault.help.clone().unwrap_or_default());
        // The code is told apart from the text.
        let text = Fault { code: None, ..fault }.to_string();
        Self { code, text, help }
    }
}

impl From<Halt> for Halted {
    fn from(halt: Halt) -> Self {
        match halt {
            Halt::StageLost(seq, key) => Self::new(
                "STAGE_LOST",
                format!("{key} of manifest {seq} is neither visible nor staged"),
                "its upload was aborted by somebody else, or the file was deleted before it was claimed: look for a lifecycle \
                 rule that aborts uploads too early; `tidemill repair PIPELINE --void SEQ` goes on without its rows",
            ),
            Halt::Fork(text) => Self::new(
                "LOG_FORK",
                text,
                "a manifest was edited or deleted by hand, or two pipelines share a log: `tidemill verify` says where it breaks",
            ),
        }
    }
}

/// What ended: an event for the core.
struct Ended {
    event: Event,
    /// Manifests that were read beyond it.
    ahead: Vec<Manifest>,
    /// How many manifests to read at once the next time.
    reach: u64,
}

impl From<Event> for Ended {
    fn from(event: Event) -> Self {
        Self { event, ahead: vec![], reach: 1 }
    }
}

type Running = FuturesUnordered<BoxFuture<'static, Result<Ended, Halted>>>;

/// Owns what is under way.
pub(super) struct Driver {
    store: Store,
    pipeline: String,
    epoch: u16,
    pace: Pace,
    writer: Arc<Mutex<Writer>>,
    halted: Arc<OnceLock<Halted>>,
    running: Running,
    publishes: Arc<Semaphore>,
    appends: HashMap<String, oneshot::Sender<Done>>,
    /// Who is answered when the log was read up to its end.
    followers: Vec<oneshot::Sender<()>>,
    /// Who asked while it was being read, so that it may have ended earlier: answered one time later.
    late_followers: Vec<oneshot::Sender<()>>,
    /// Who is answered when nothing is being published.
    helped: Vec<oneshot::Sender<()>>,
    /// Creates that failed one after the other.
    failed_creates: u32,
    /// Attempts to publish that failed, by key.
    failed_publishes: HashMap<String, u32>,
    /// Manifests that were read ahead: they never change. That there is none is never kept.
    ahead: BTreeMap<u64, Manifest>,
    /// How many manifests to read at once: twice as many as the last time, for as long as all of them are there.
    reach: u64,
    checkpointed: u64,
    unclaimed_since: BTreeMap<u64, Instant>,
}

impl Driver {
    pub(super) fn new(
        store: Store,
        pipeline: &str,
        epoch: u16,
        writer: Arc<Mutex<Writer>>,
        halted: Arc<OnceLock<Halted>>,
        pace: Pace,
    ) -> Self {
        let checkpointed = lock(&writer).log().settled();
        Self {
            store,
            pipeline: pipeline.to_owned(),
            epoch,
            pace,
            writer,
            halted,
            running: FuturesUnordered::new(),
            publishes: Arc::new(Semaphore::new(PUBLISHES)),
            appends: HashMap::new(),
            followers: Vec::new(),
            late_followers: Vec::new(),
            helped: Vec::new(),
            failed_creates: 0,
            failed_publishes: HashMap::new(),
            ahead: BTreeMap::new(),
            reach: 1,
            checkpointed,
            unclaimed_since: BTreeMap::new(),
        }
    }

    pub(super) async fn run(
        mut self,
        mut requests: mpsc::Receiver<Request>,
        recovered: oneshot::Sender<()>,
    ) {
        self.followers.push(recovered);
        // Requests find the door closed only after the reason hangs on it.
        if let Err(halted) = self.serve(&mut requests).await {
            let Halted { code, text, help } = &halted;
            let (pipeline, code) = (&self.pipeline, code.unwrap_or_default());
            tracing::error!(pipeline, code, help, "{text}");
            self.halted.set(halted).expect("a driver halts once");
        }
    }

    async fn serve(&mut self, requests: &mut mpsc::Receiver<Request>) -> Result<(), Halted> {
        let mut ticks =
            interval_at(Instant::now() + self.pace.follow_every, self.pace.follow_every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut commands = self.step(Event::Recover);
        loop {
            commands.drain(..).try_for_each(|command| self.carry_out(command))?;
            self.checkpoint();
            if !lock(&self.writer).is_publishing() {
                // Whoever asked may have stopped waiting.
                for helped in self.helped.drain(..) {
                    helped.send(()).ok();
                }
            }
            commands = tokio::select! {
                biased;
                Some(ended) = self.running.next() => {
                    let Ended { event, ahead, reach } = ended?;
                    self.reach = reach;
                    self.ahead.extend(ahead.into_iter().map(|manifest| (manifest.seq, manifest)));
                    self.step(event)
                }
                _ = ticks.tick() => self.tick(),
                request = requests.recv() => match request {
                    Some(Request::Append(append, answer)) => {
                        self.appends.insert(append.nonce.clone(), answer);
                        self.step(Event::Commit(*append))
                    }
                    Some(Request::Follow(answer)) => {
                        let late = lock(&self.writer).is_following();
                        if late { &mut self.late_followers } else { &mut self.followers }.push(answer);
                        self.step(Event::Follow)
                    }
                    Some(Request::Help(answer)) => {
                        self.helped.push(answer);
                        let unclaimed = self.unclaimed();
                        self.step(Event::Help(unclaimed))
                    }
                    None => return Ok(()),
                },
            };
        }
    }

    fn step(&mut self, event: Event) -> Vec<Command> {
        match &event {
            Event::Created(false) => self.failed_creates += 1,
            Event::Created(true) | Event::Read(_, Some(_)) => self.failed_creates = 0,
            Event::Published(_, key, protocol::Outcome::Unknown) => {
                *self.failed_publishes.entry(key.clone()).or_default() += 1;
            }
            Event::Published(_, key, _) => drop(self.failed_publishes.remove(key)),
            _ => {}
        }
        lock(&self.writer).step(event)
    }

    /// Reads on, and helps writers that died between manifest and publish.
    fn tick(&mut self) -> Vec<Command> {
        let unclaimed = self.unclaimed();
        let now = Instant::now();
        self.unclaimed_since.retain(|seq, _| unclaimed.contains(seq));
        let mut due = Vec::new();
        for seq in unclaimed {
            let since = *self.unclaimed_since.entry(seq).or_insert(now);
            if now.duration_since(since) >= self.pace.help_after {
                due.push(seq);
            }
        }
        let mut commands = if due.is_empty() { vec![] } else { self.step(Event::Help(due)) };
        commands.extend(self.step(Event::Follow));
        commands
    }

    /// The manifests that nobody claims to have published.
    fn unclaimed(&self) -> Vec<u64> {
        lock(&self.writer).log().unpublished().keys().copied().collect()
    }

    fn carry_out(&mut self, command: Command) -> Result<(), Halted> {
        let store = self.store.clone();
        match command {
            Command::Create(manifest) => {
                let key = names::manifest_key(&self.pipeline, self.epoch, manifest.seq);
                let wait = back_off(self.failed_creates);
                self.running.push(Box::pin(create(store, key, manifest, wait)));
            }
            Command::Read(seq) => self.read(seq),
            Command::Publish(seq, file) => {
                let wait = back_off(self.failed_publishes.get(&file.key).copied().unwrap_or(0));
                let turns = Arc::clone(&self.publishes);
                self.running.push(Box::pin(publish(store, seq, file, wait, turns)));
            }
            Command::Discard(files) => {
                tokio::spawn(async move { discard(&store, &files).await });
            }
            Command::Followed => {
                let late = std::mem::take(&mut self.late_followers);
                for follower in std::mem::replace(&mut self.followers, late) {
                    // Whoever asked may have stopped waiting.
                    follower.send(()).ok();
                }
            }
            Command::Done(nonce, done) => {
                if let Some(answer) = self.appends.remove(&nonce) {
                    answer.send(done).ok();
                }
            }
            Command::Halt(halt) => return Err(halt.into()),
        }
        Ok(())
    }

    fn read(&mut self, seq: u64) {
        self.ahead.retain(|&ahead, _| ahead >= seq);
        if let Some(manifest) = self.ahead.remove(&seq) {
            let reach = self.reach;
            let ended = Ended { reach, ..Event::Read(seq, Some(manifest)).into() };
            return self.running.push(Box::pin(async { Ok(ended) }));
        }
        let keys = manifest_keys(&self.pipeline, self.epoch, seq, self.reach);
        self.running.push(Box::pin(read(self.store.clone(), seq, keys)));
    }

    fn checkpoint(&mut self) {
        let checkpoint = {
            let writer = lock(&self.writer);
            if writer.log().settled() - self.checkpointed < self.pace.checkpoint_every {
                return;
            }
            writer.checkpoint()
        };
        self.checkpointed = checkpoint.seq;
        let (store, key) =
            (self.store.clone(), names::checkpoint_key(&self.pipeline, self.epoch, checkpoint.seq));
        tokio::spawn(async move {
            let bytes = serde_json::to_vec(&checkpoint).expect("a checkpoint is JSON");
            if let Err(fault) = store.put(&key, bytes.into()).await {
                tracing::warn!(
                    key,
                    "a checkpoint could not be written, the next start reads more of the log: {fault}"
                );
            }
        });
    }
}

fn lock(writer: &Mutex<Writer>) -> MutexGuard<'_, Writer> {
    writer.lock().expect("nothing panics while it holds this lock")
}

/// How long to wait after failures that came one after the other.
fn back_off(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(10);
    let wait = Duration::from_millis(100) * 2_u32.pow(doublings);
    if failures == 0 { Duration::ZERO } else { wait.min(MAX_WAIT) }
}

async fn create(
    store: Store,
    key: String,
    manifest: Manifest,
    wait: Duration,
) -> Result<Ended, Halted> {
    sleep(wait).await;
    let created = store.create(&key, manifest.encode().into()).await;
    if let Created::Other(fault) = &created {
        // The first time it is mostly another replica that was faster.
        if wait.is_zero() {
            tracing::debug!(key, "the manifest may not be there, it is read back: {fault}");
        } else {
            tracing::warn!(key, ?wait, "the log can't be written, trying again: {fault}");
        }
    }
    Ok(Event::Created(matches!(created, Created::Ok)).into())
}

fn manifest_keys(pipeline: &str, epoch: u16, seq: u64, count: u64) -> Vec<String> {
    (seq..seq + count).map(|seq| names::manifest_key(pipeline, epoch, seq)).collect()
}

/// Reads manifest `seq`, of the first key, and those that follow it without a hole, for as long as the store fails.
async fn read(store: Store, seq: u64, keys: Vec<String>) -> Result<Ended, Halted> {
    let found = join_all(keys.iter().map(|key| read_one(&store, key))).await;
    let mut manifests = Vec::with_capacity(found.len());
    for manifest in found {
        match manifest? {
            Some(manifest) => manifests.push(manifest),
            None => break,
        }
    }
    let reach = if manifests.len() == keys.len() { keys.len() as u64 * 2 } else { 1 };
    let mut manifests = manifests.into_iter();
    let event = Event::Read(seq, manifests.next());
    Ok(Ended { event, ahead: manifests.collect(), reach: reach.min(READ_AHEAD) })
}

async fn read_one(store: &Store, key: &str) -> Result<Option<Manifest>, Halted> {
    let mut failures = 0;
    loop {
        match store.get(key).await {
            Ok(None) => return Ok(None),
            Ok(Some(bytes)) => return Ok(Some(Manifest::decode(key, &bytes)?)),
            Err(fault) => {
                failures += 1;
                let wait = back_off(failures);
                tracing::warn!(key, ?wait, "the log can't be read, trying again: {fault}");
                sleep(wait).await;
            }
        }
    }
}

async fn publish(
    store: Store,
    seq: u64,
    file: File,
    wait: Duration,
    turns: Arc<Semaphore>,
) -> Result<Ended, Halted> {
    sleep(wait).await;
    let _turn = turns.acquire().await.expect("nobody closes the semaphore");
    let outcome = match store.publish(&file).await {
        Published::Done | Published::Already => protocol::Outcome::Visible,
        Published::Lost(text) => {
            tracing::error!(key = file.key, "{text}");
            protocol::Outcome::Lost
        }
        Published::Unknown(fault) => {
            let key = &file.key;
            tracing::warn!(key, "nobody knows whether it is visible, trying again: {fault}");
            protocol::Outcome::Unknown
        }
    };
    Ok(Event::Published(seq, file.key, outcome).into())
}

/// Throws staged files away, for as far as the store lets it.
pub(super) async fn discard(store: &Store, files: &[File]) {
    let discards = files.iter().map(|file| async move {
        if let Err(fault) = store.discard(&file.key, &file.stage).await {
            tracing::warn!(
                key = file.key,
                "a staged file could not be discarded, the bucket's lifecycle rule will: {fault}"
            );
        }
    });
    join_all(discards).await;
}

/// The log from its newest readable checkpoint on.
pub(super) async fn newest_checkpoint(
    store: &Store,
    pipeline: &str,
    epoch: u16,
) -> Result<Log, Fault> {
    let folder = names::checkpoint_folder(pipeline, epoch);
    for object in store.list(folder.trim_end_matches('/'), None).await?.into_iter().rev() {
        let Some(seq) = names::seq_of(&object.key) else { continue };
        let bytes = store.get(&object.key).await?.unwrap_or_default();
        match serde_json::from_slice::<Checkpoint>(&bytes) {
            Ok(checkpoint) if checkpoint.v == 1 && checkpoint.seq == seq => {
                return Ok(Log::resume(checkpoint));
            }
            // It only saves reading: an older one will do, or none.
            _ => tracing::warn!(key = object.key, "a checkpoint can't be read and is left out"),
        }
    }
    Ok(Log::default())
}

/// The newest epoch of a pipeline that has begun: 1 where none has.
pub(super) async fn newest_epoch(store: &Store, pipeline: &str) -> Result<u16, Fault> {
    let mut epoch = 1;
    while store.get(&names::manifest_key(pipeline, epoch + 1, 0)).await?.is_some() {
        epoch += 1;
    }
    Ok(epoch)
}

/// The log of an epoch up to its end, only read.
pub(super) async fn read_through(store: &Store, pipeline: &str, epoch: u16) -> Result<Log, Fault> {
    let mut log = newest_checkpoint(store, pipeline, epoch).await?;
    let mut reach = 1;
    loop {
        let keys = manifest_keys(pipeline, epoch, log.next(), reach);
        let found = read(store.clone(), log.next(), keys).await.map_err(|halted| halted.fault())?;
        let Event::Read(_, Some(first)) = found.event else { return Ok(log) };
        for manifest in std::iter::once(first).chain(found.ahead) {
            log.fold(&manifest)?;
        }
        reach = found.reach;
    }
}

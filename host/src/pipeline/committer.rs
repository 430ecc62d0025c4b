//! The driver of the commit protocol: carries the core's commands out against the store. One a pipeline in a process, so
//! that its workers take turns at the log.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock},
    time::{Duration, Instant},
};

use chrono::{SecondsFormat, Utc};
use futures::{
    StreamExt,
    future::{BoxFuture, join_all},
    stream::FuturesUnordered,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{MissedTickBehavior, interval, sleep},
};

use crate::{
    commit::{
        log::{Checkpoint, Log},
        manifest::{Counts, File, InputRange, Kind, Manifest, TransformId},
        names,
        protocol::{self, Append, Command, Done, Event, Halt, Writer},
    },
    fault::Fault,
    record::Lane,
    store::{Created, Published, Store},
};

/// Requests that wait at most: one a worker, and some for rebalances.
const QUEUE: usize = 64;
/// A foreign manifest that nobody claims for this long is published by whoever sees it.
const HELP_AFTER: Duration = Duration::from_secs(30);
/// How often an idle writer reads what others appended.
const FOLLOW_EVERY: Duration = Duration::from_secs(15);
/// A checkpoint after this many manifests.
const CHECKPOINT_EVERY: u64 = 64;
/// How long a store that fails is left alone, at most.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// The writer of a pipeline's log in this process.
pub struct Committer {
    store: Store,
    writer: Arc<Mutex<Writer>>,
    requests: mpsc::Sender<Request>,
    halt: Arc<OnceLock<HaltNote>>,
}

/// A flush whose files are staged.
#[derive(Clone, Debug)]
pub struct Flush {
    /// Unique to the attempt; in the names of its files.
    pub nonce: String,
    /// The offsets that it covers.
    pub inputs: Vec<InputRange>,
    /// The transforms that made the rows.
    pub transforms: Vec<TransformId>,
    /// Its files.
    pub files: Vec<File>,
    /// What became of the records, in the order of `inputs`.
    pub counts: Vec<Counts>,
}

/// How a commit ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The flush is manifest `seq`; its files are visible.
    Committed {
        /// The manifest's number.
        seq: u64,
    },
    /// Another writer moved a lane: nothing of the flush is committed, its files are discarded.
    Fenced {
        /// The lane.
        lane: Lane,
        /// Where the log says it is.
        position: i64,
    },
}

enum Request {
    Append(Append, oneshot::Sender<Done>),
    Follow(oneshot::Sender<()>),
}

#[derive(Clone, Debug)]
struct HaltNote {
    code: &'static str,
    text: String,
    help: &'static str,
}

impl fmt::Debug for Committer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Committer").field("store", &self.store).finish_non_exhaustive()
    }
}

impl Committer {
    /// Recovers a pipeline's log: folds it, publishes every manifest that nobody claims, and begins it where it is empty.
    ///
    /// # Errors
    /// When the store can't be read, or the log can't be continued (`LOG_FORK`, `STAGE_LOST`).
    pub async fn open(
        store: Store,
        pipeline: &str,
        epoch: u16,
        name: String,
    ) -> Result<Arc<Self>, Fault> {
        let log = newest_checkpoint(&store, pipeline, epoch).await?;
        let writer = Arc::new(Mutex::new(Writer::new(pipeline, epoch, &name, log)));
        let (requests, queued) = mpsc::channel(QUEUE);
        let halt = Arc::new(OnceLock::new());
        let driver = Driver {
            store: store.clone(),
            pipeline: pipeline.to_owned(),
            epoch,
            writer: Arc::clone(&writer),
            halt: Arc::clone(&halt),
            running: FuturesUnordered::new(),
            appends: HashMap::new(),
            followers: Vec::new(),
            failures: 0,
            checkpointed: 0,
            unclaimed_since: BTreeMap::new(),
        };
        tokio::spawn(driver.run(queued));
        let committer = Arc::new(Self { store, writer, requests, halt });
        committer.follow().await?;
        if committer.writer().log().next() == 0 {
            committer.append(append(names::nonce(rand::random()), Kind::Genesis)).await?;
        }
        Ok(committer)
    }

    /// Reads what others appended.
    ///
    /// # Errors
    /// When the log can't be continued. A store that fails is asked again, for as long as it takes.
    pub async fn follow(&self) -> Result<(), Fault> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(Request::Follow(answer)).await.map_err(|_| self.gone())?;
        answered.await.map_err(|_| self.gone())
    }

    /// The next offset of a lane, as far as the log was read.
    pub fn position(&self, lane: &Lane) -> Option<i64> {
        self.writer().log().position(lane)
    }

    /// All lanes that the log names, with their positions.
    pub fn lanes(&self) -> Vec<(Lane, i64)> {
        self.writer()
            .log()
            .positions()
            .iter()
            .map(|(lane, position)| (lane.clone(), *position))
            .collect()
    }

    /// The number of the next manifest, if nobody is faster.
    pub fn next_seq(&self) -> u64 {
        self.writer().log().next()
    }

    /// Fixes the first offsets of lanes. Answers the truth: where another replica was faster, its offsets.
    ///
    /// # Errors
    /// When the log can't be continued.
    pub async fn start(&self, starts: Vec<(Lane, i64)>) -> Result<Vec<(Lane, i64)>, Fault> {
        let lanes: Vec<Lane> = starts.iter().map(|(lane, _)| lane.clone()).collect();
        let inputs = starts
            .into_iter()
            .map(|(lane, start)| InputRange { lane, start, end: start })
            .collect();
        self.append(Append { inputs, ..append(names::nonce(rand::random()), Kind::Start) }).await?;
        let position = |lane: Lane| {
            let position =
                self.position(&lane).ok_or_else(|| Fault::bug(format!("{lane} has no start")))?;
            Ok((lane, position))
        };
        lanes.into_iter().map(position).collect()
    }

    /// Commits a flush and publishes its files. Waits for as long as the store fails.
    ///
    /// # Errors
    /// When the log can't be continued (`LOG_FORK`), or a staged file is gone (`STAGE_LOST`).
    pub async fn commit(&self, flush: Flush) -> Result<Outcome, Fault> {
        let Flush { nonce, inputs, transforms, files, counts } = flush;
        let done = self
            .append(Append { inputs, transforms, files, counts, ..append(nonce, Kind::Data) })
            .await?;
        Ok(match done {
            Done::Committed(seq) => Outcome::Committed { seq },
            Done::Fenced(lane) => {
                let position = self.position(&lane).unwrap_or_default();
                Outcome::Fenced { lane, position }
            }
        })
    }

    /// Appends what is known to be published, at the end of a drain: files that a user deletes afterwards are then not
    /// missed at the next start.
    ///
    /// # Errors
    /// When the log can't be continued.
    pub async fn claim(&self) -> Result<(), Fault> {
        self.append(append(names::nonce(rand::random()), Kind::Claim)).await.map(drop)
    }

    /// Throws away files that were staged for a flush that no manifest names.
    pub async fn discard(&self, files: &[File]) {
        discard(&self.store, files).await;
    }

    async fn append(&self, append: Append) -> Result<Done, Fault> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(Request::Append(append, answer)).await.map_err(|_| self.gone())?;
        answered.await.map_err(|_| self.gone())
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().expect("nothing panics while it holds this lock")
    }

    fn gone(&self) -> Fault {
        match self.halt.get() {
            Some(HaltNote { code, text, help }) => {
                Fault::outside(text.clone()).permanent().code(code).help(*help)
            }
            None => Fault::bug("the writer of the log is gone"),
        }
    }
}

fn append(nonce: String, kind: Kind) -> Append {
    let ts = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
    Append { nonce, kind, inputs: vec![], transforms: vec![], files: vec![], counts: vec![], ts }
}

async fn newest_checkpoint(store: &Store, pipeline: &str, epoch: u16) -> Result<Log, Fault> {
    let folder = names::checkpoint_folder(pipeline, epoch);
    let Some(newest) = store.list(folder.trim_end_matches('/'), None).await?.pop() else {
        return Ok(Log::default());
    };
    let bytes = store.get(&newest.key).await?.unwrap_or_default();
    match serde_json::from_slice::<Checkpoint>(&bytes) {
        Ok(checkpoint) if checkpoint.v == 1 => Ok(Log::resume(checkpoint)),
        _ => {
            // It only saves reading: without it the whole log is folded.
            tracing::warn!(
                pipeline,
                key = newest.key,
                "a checkpoint can't be read, so the whole log is"
            );
            Ok(Log::default())
        }
    }
}

async fn discard(store: &Store, files: &[File]) {
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

type Running = FuturesUnordered<BoxFuture<'static, Result<Event, Fault>>>;

/// The task that owns what is under way.
struct Driver {
    store: Store,
    pipeline: String,
    epoch: u16,
    writer: Arc<Mutex<Writer>>,
    halt: Arc<OnceLock<HaltNote>>,
    running: Running,
    appends: HashMap<String, oneshot::Sender<Done>>,
    followers: Vec<oneshot::Sender<()>>,
    /// Creates that failed one after the other.
    failures: u32,
    checkpointed: u64,
    unclaimed_since: BTreeMap<u64, Instant>,
}

impl Driver {
    /// Runs until the last `Committer` is gone, or the pipeline must stop.
    async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut ticks = interval(FOLLOW_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick comes at once, and is recovery.
        let mut recovered = false;
        loop {
            let commands = tokio::select! {
                biased;
                Some(event) = self.running.next() => match event {
                    Ok(event) => self.step(event),
                    Err(fault) => vec![Command::Halt(Halt::Fork(fault.to_string()))],
                },
                _ = ticks.tick() => {
                    let commands = if recovered { self.tick() } else { self.writer().recover() };
                    recovered = true;
                    commands
                }
                request = requests.recv(), if recovered => match request {
                    Some(Request::Append(append, answer)) => {
                        self.appends.insert(append.nonce.clone(), answer);
                        self.step(Event::Commit(append))
                    }
                    Some(Request::Follow(answer)) => {
                        self.followers.push(answer);
                        // Recovery answers it, or whatever reads the log now.
                        if self.is_following() { vec![] } else { self.step(Event::Follow) }
                    }
                    None => return,
                },
            };
            for command in commands {
                if let Err(note) = self.carry_out(command) {
                    tracing::error!(
                        pipeline = self.pipeline,
                        code = note.code,
                        help = note.help,
                        "{}",
                        note.text
                    );
                    self.halt.set(note).ok();
                    return;
                }
            }
            self.checkpoint();
        }
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().expect("nothing panics while it holds this lock")
    }

    fn step(&mut self, event: Event) -> Vec<Command> {
        match &event {
            Event::Created(false) => self.failures += 1,
            Event::Created(true) | Event::Read(_, Some(_)) => self.failures = 0,
            _ => {}
        }
        self.writer().step(event)
    }

    fn is_following(&self) -> bool {
        self.writer().is_following()
    }

    /// Reads on, and helps writers that died between manifest and publish.
    fn tick(&mut self) -> Vec<Command> {
        let unclaimed: Vec<u64> = self.writer().log().unpublished().keys().copied().collect();
        let now = Instant::now();
        self.unclaimed_since.retain(|seq, _| unclaimed.contains(seq));
        let mut due = Vec::new();
        for seq in unclaimed {
            if now.duration_since(*self.unclaimed_since.entry(seq).or_insert(now)) >= HELP_AFTER {
                due.push(seq);
            }
        }
        let mut commands = if due.is_empty() { vec![] } else { self.step(Event::Help(due)) };
        commands.extend(self.step(Event::Follow));
        commands
    }

    fn carry_out(&mut self, command: Command) -> Result<(), HaltNote> {
        let (store, wait) = (self.store.clone(), self.wait());
        match command {
            Command::Create(manifest) => {
                let key = names::manifest_key(&self.pipeline, self.epoch, manifest.seq);
                let first = self.failures == 0;
                self.running.push(Box::pin(async move {
                    if !first {
                        sleep(wait).await;
                    }
                    let created = store.create(&key, manifest.encode().into()).await;
                    if let Created::Other(fault) = &created {
                        tracing::debug!(
                            key,
                            "the manifest may not be there, it is read back: {fault}"
                        );
                    }
                    Ok(Event::Created(matches!(created, Created::Ok)))
                }));
            }
            Command::Read(seq) => {
                let key = names::manifest_key(&self.pipeline, self.epoch, seq);
                self.running.push(Box::pin(read(store, key, seq)));
            }
            Command::Publish(seq, file) => self.running.push(Box::pin(publish(store, seq, file))),
            Command::Discard(files) => {
                tokio::spawn(async move { discard(&store, &files).await });
            }
            Command::Followed => {
                for follower in self.followers.drain(..) {
                    // Whoever asked may have stopped waiting.
                    follower.send(()).ok();
                }
            }
            Command::Done(nonce, done) => {
                if let Some(answer) = self.appends.remove(&nonce) {
                    answer.send(done).ok();
                }
            }
            Command::Halt(Halt::StageLost(seq, key)) => {
                return Err(HaltNote {
                    code: "STAGE_LOST",
                    text: format!("{key} of manifest {seq} is neither visible nor staged"),
                    help: "its upload was aborted by somebody else, or the file was deleted before it was claimed: \
                           look for a lifecycle rule that aborts uploads too early",
                });
            }
            Command::Halt(Halt::Fork(text)) => {
                return Err(HaltNote {
                    code: "LOG_FORK",
                    text,
                    help: "a manifest was edited or deleted by hand, or two pipelines share a log: `tidemill verify` says where it breaks",
                });
            }
        }
        Ok(())
    }

    /// How long to wait before the next Create.
    fn wait(&self) -> Duration {
        (Duration::from_millis(50) * 2_u32.saturating_pow(self.failures.min(10))).min(MAX_WAIT)
    }

    fn checkpoint(&mut self) {
        let checkpoint = {
            let writer = self.writer();
            let due = writer.log().next() >= self.checkpointed + CHECKPOINT_EVERY;
            due.then(|| writer.log().checkpoint()).flatten()
        };
        let Some(checkpoint) = checkpoint else { return };
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

/// Reads a manifest, for as long as the store fails.
async fn read(store: Store, key: String, seq: u64) -> Result<Event, Fault> {
    let mut wait = Duration::from_millis(100);
    loop {
        match store.get(&key).await {
            Ok(None) => return Ok(Event::Read(seq, None)),
            Ok(Some(bytes)) => {
                return Manifest::decode(&key, &bytes)
                    .map(|manifest| Event::Read(seq, Some(manifest)));
            }
            Err(fault) => {
                tracing::warn!(key, wait = ?wait, "the log can't be read, trying again: {fault}")
            }
        }
        sleep(wait).await;
        wait = (wait * 2).min(MAX_WAIT);
    }
}

async fn publish(store: Store, seq: u64, file: File) -> Result<Event, Fault> {
    let outcome = match store.publish(&file).await {
        Published::Done | Published::Already => protocol::Outcome::Visible,
        Published::Lost(text) => {
            tracing::error!(key = file.key, "{text}");
            protocol::Outcome::Lost
        }
        Published::Unknown(fault) => {
            tracing::warn!(
                key = file.key,
                "nobody knows whether the file is visible, trying again: {fault}"
            );
            sleep(Duration::from_secs(1)).await;
            protocol::Outcome::Unknown
        }
    };
    Ok(Event::Published(seq, file.key, outcome))
}

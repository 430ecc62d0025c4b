//! The worker loop: fetch, decode, transform, partition and encode, on one thread from start to end.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Select, Sender};
use tokio::runtime::Handle;

use super::{
    closer::{Job, SealedFile, SealedFlush},
    committer::Committer,
    control::{Control, Mailbox, Swap, Swapped},
    lanes::Lanes,
    ledger::{Fit, Ledger},
    meters::Meters,
    rows::Rows,
    shared::Shared,
};
use crate::{
    budget::{Budget, Share},
    commit::{manifest::TransformId, names},
    config,
    events::Cut,
    fault::Fault,
    kafka::{Placed, Rewind, Source, WorkerQueue},
    parquet::{Files, OutputSpec, Sealed},
    record::{Batch, Lane},
    store::{StageWriter, Store},
};

/// Records of a batch at most: enough to make the cost of a guest call small, few enough to stay in the cache.
const BATCH_RECORDS: usize = 4096;
/// Bytes of a batch at most.
const BATCH_BYTES: usize = 4 << 20;
/// How long a fetch waits for records, so that control messages and deadlines are seen.
const FETCH_WAIT: Duration = Duration::from_millis(50);
/// How long it waits for memory before it looks again.
const MEMORY_WAIT: Duration = Duration::from_millis(10);

/// What the workers of a pipeline share.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub pipeline: Arc<str>,
    pub store: Store,
    pub committer: Arc<Committer>,
    pub source: Arc<Source>,
    pub lanes: Arc<Lanes>,
    pub shared: Arc<Shared>,
    pub meters: Meters,
    pub outputs: Arc<[OutputSpec]>,
    pub budget: Arc<Budget>,
    pub scratch: PathBuf,
    pub flush: config::Flush,
    pub transforms: Arc<[TransformId]>,
    pub runtime: Handle,
}

/// A worker.
#[derive(Debug)]
pub(super) struct Worker {
    number: usize,
    setting: Setting,
    ways: Ways,
    rows: Rows,
    ledger: Ledger,
    share: Arc<Share>,
    files: Files<StageWriter>,
    flush: Option<OpenFlush>,
    /// Counts rewinds, from 1.
    era: u64,
    last_record: Instant,
    /// Whether it reads nothing, as it was told.
    rests: bool,
}

/// How a worker hears of the others, and they of it.
#[derive(Debug)]
pub(super) struct Ways {
    pub queue: WorkerQueue,
    pub controls: Receiver<Control>,
    pub swaps: Arc<Mailbox<Swap>>,
    /// Whether it is to read nothing for now.
    pub paused: Arc<AtomicBool>,
    pub closer: Sender<Job>,
    /// Written by the closer: the last era of which a flush was fenced by another replica, which moved a lane.
    pub fenced: Arc<AtomicU64>,
}

/// The flush that is being filled.
#[derive(Debug)]
struct OpenFlush {
    nonce: String,
    began: Instant,
    began_ms: i64,
    files: u32,
}

impl Worker {
    pub(super) fn new(
        number: usize,
        setting: Setting,
        ways: Ways,
        rows: Rows,
    ) -> Result<Self, Fault> {
        let share = setting.budget.share();
        let files = open_files(&setting, &share)?;
        let (ledger, last_record) = (Ledger::default(), Instant::now());
        Ok(Self {
            number,
            setting,
            ways,
            rows,
            ledger,
            share,
            files,
            flush: None,
            era: 1,
            last_record,
            rests: false,
        })
    }

    /// Runs until it is drained, or something fails.
    pub(super) fn run(mut self) {
        let shared = Arc::clone(&self.setting.shared);
        while !shared.failed() {
            match self.turn() {
                Ok(true) => {
                    let (open, bytes) = (self.files.open_files(), self.share.used());
                    self.setting.meters.holds(self.number, open, bytes);
                    self.rows.chain.links().iter().for_each(|link| link.measure(self.number));
                }
                Ok(false) => return,
                Err(fault) => shared.fail(fault),
            }
        }
    }

    /// One turn of the loop; `false` ends it.
    fn turn(&mut self) -> Result<bool, Fault> {
        if !self.controls()? {
            return Ok(false);
        }
        if let Some(reason) = self.due() {
            self.seal(reason, Vec::new())?;
        }
        self.swap()?;
        let paused = self.ways.paused.load(Ordering::Acquire);
        if paused && self.flush.is_some() {
            self.seal("pause", Vec::new())?;
        }
        if paused != self.rests {
            self.rests = paused;
            self.setting.shared.worker_rests(self.number, paused);
        }
        if paused {
            self.wait(FETCH_WAIT);
            return Ok(true);
        }
        if self.share.should_wait() {
            self.wait(MEMORY_WAIT);
            return Ok(true);
        }
        let fetch = Instant::now();
        let batches = self.ways.queue.fetch(FETCH_WAIT, BATCH_RECORDS, BATCH_BYTES)?;
        if batches.is_empty() {
            return Ok(true);
        }
        self.setting.meters.stage("fetch", fetch.elapsed());
        // An assignment is announced before its lanes are read: what was fetched just now may need it.
        if !self.controls()? {
            return Ok(false);
        }
        for batch in batches {
            self.batch(batch)?;
        }
        let full = self.files.take_sealed();
        if !full.is_empty() {
            self.setting.meters.closed(&full);
            let files = self.sealed(full);
            let nonce = self
                .flush
                .as_ref()
                .map(|flush| flush.nonce.clone())
                .expect("files are open only in a flush");
            self.send(Job::Files(nonce, files))?;
        }
        Ok(true)
    }

    /// Reads nothing for a while: the brokers keep what is not fetched. A control message ends the wait.
    fn wait(&self, at_most: Duration) {
        let mut told = Select::new();
        told.recv(&self.ways.controls);
        told.ready_timeout(at_most).ok();
    }

    /// Why a flush is due.
    fn due(&self) -> Option<&'static str> {
        let flush = self.flush.as_ref()?;
        if flush.began.elapsed() >= self.setting.flush.every {
            return Some("age");
        }
        (self.last_record.elapsed() >= self.setting.flush.idle).then_some("idle")
    }

    /// Goes over to other versions or settings, if there are any: what the old one made is sealed, and committed in the background. While
    /// the closer is busy and has work waiting, the old one goes on, so that no record waits for a commit.
    fn swap(&mut self) -> Result<(), Fault> {
        if self.flush.is_some() && self.ways.closer.is_full() {
            return Ok(());
        }
        let Some(Swap { plan, rows, flush, meters, done }) = self.ways.swaps.take() else {
            return Ok(());
        };
        let start = Instant::now();
        self.seal("swap", Vec::new())?;
        self.setting.outputs = Arc::clone(&plan.outputs);
        self.setting.transforms = Arc::clone(&plan.transforms);
        self.setting.flush = flush;
        self.setting.meters = meters;
        self.files = open_files(&self.setting, &self.share)?;
        let retired = std::mem::replace(&mut self.rows, rows);
        let pause = start.elapsed();
        self.setting.meters.swapped(pause);
        let offset = |(lane, _)| {
            let offset = self.ledger.next(&lane)?;
            Some(Cut { lane, offset })
        };
        let cut = self.ledger.lanes().into_iter().filter_map(offset).collect();
        // Whoever asked may have gone on to a newer version.
        done.try_send(Swapped { cut, pause, retired }).ok();
        Ok(())
    }

    /// Does what it was told; `false` ends the loop.
    fn controls(&mut self) -> Result<bool, Fault> {
        if self.ways.fenced.load(Ordering::Acquire) == self.era {
            self.rewind()?;
        }
        while let Ok(control) = self.ways.controls.try_recv() {
            match control {
                Control::Assign(placed) => {
                    for Placed { lane, start, assignment, .. } in placed {
                        self.ledger.assign(lane, assignment, start);
                    }
                }
                Control::Revoke(lanes, answer) => {
                    self.seal("revoke", vec![answer])?;
                    lanes.iter().for_each(|lane| self.ledger.revoke(lane));
                }
                Control::Drain(answer) => {
                    self.seal("drain", vec![answer])?;
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn batch(&mut self, batch: Batch) -> Result<(), Fault> {
        let (batch, hole) = match self.ledger.fit(&batch.lane, batch.assignment, &batch.offsets) {
            Fit::Stale | Fit::Old => return Ok(()),
            Fit::New { first: 0, hole } => (batch, hole),
            Fit::New { first, hole } => (batch.slice(first..batch.len()), hole),
        };
        if hole && !self.hole_is_harmless(&batch.lane)? {
            return Ok(());
        }
        self.last_record = Instant::now();
        let nonce = || names::nonce(rand::random());
        let flush = self.flush.get_or_insert_with(|| OpenFlush {
            nonce: nonce(),
            began: Instant::now(),
            began_ms: chrono::Utc::now().timestamp_millis(),
            files: 0,
        });
        let Setting { pipeline, store, committer, runtime, outputs, .. } = &self.setting;
        let share = &self.share;
        let seq = committer.next_seq();
        let mut open = |place: &crate::parquet::Place| {
            flush.files += 1;
            let output = &outputs[place.output].name;
            let key = names::data_key(
                pipeline,
                output,
                &place.hive_path,
                flush.began_ms,
                seq,
                &flush.nonce,
                flush.files,
            );
            Ok(store.stage(key, runtime.clone(), share))
        };
        let counts = self.rows.process(&batch, &mut self.files, &mut open)?;
        let last = *batch.offsets.last().expect("a batch that fits has a new record");
        self.ledger.add(&batch.lane, last + 1, &counts);
        self.setting.meters.processed(&counts, batch.values.data().len());
        self.setting.meters.read_up_to(batch.timestamps[batch.len() - 1]);
        self.setting.shared.processed(&counts);
        self.setting.shared.records_come(&batch.lane);
        Ok(())
    }

    /// Whether compaction or a transaction made the hole. Offsets below the low watermark are gone unread: the lane halts.
    fn hole_is_harmless(&mut self, lane: &Lane) -> Result<bool, Fault> {
        let next = self.ledger.next(lane).expect("the lane was just found to be the worker's");
        // As of the fetch that brought the record, or newer: it only rises.
        let Setting { source, shared, runtime, .. } = &self.setting;
        let fetched =
            source.lags().into_iter().find(|lag| lag.lane == *lane).and_then(|lag| lag.watermarks);
        let low = match fetched {
            Some(watermarks) => watermarks.start,
            None => shared.patiently(runtime, || source.offsets().watermarks(lane))?.start,
        };
        if next >= low {
            return Ok(true);
        }
        let fault = Fault::outside(format!("offsets {next} to {low} of {lane} were deleted before they were read"))
            .permanent()
            .code("OFFSET_GAP")
            .help("the topic's retention is shorter than the pipeline's lag: raise it; `tidemill repair PIPELINE --skip-gap` goes on without what is gone");
        self.setting.shared.halt(lane, &fault);
        // What was read of it before the gap is kept and committed by the next flush.
        self.seal("halt", Vec::new())?;
        self.ledger.revoke(lane);
        Ok(false)
    }

    /// Ends the flush, hands it to the closer and goes on. Without a record since the last one, the answers still wait
    /// for the flush before.
    fn seal(&mut self, reason: &'static str, answers: Vec<Sender<()>>) -> Result<(), Fault> {
        let files = self.files.seal();
        self.setting.meters.closed(&files);
        let files = self.sealed(files);
        let (inputs, counts) = self.ledger.seal();
        if inputs.is_empty() && answers.is_empty() {
            return Ok(());
        }
        let (nonce, began) = match self.flush.take() {
            Some(OpenFlush { nonce, began, .. }) => (nonce, began),
            None => (String::new(), Instant::now()),
        };
        let transforms = self.setting.transforms.to_vec();
        let era = self.era;
        self.send(Job::Flush(SealedFlush {
            era,
            nonce,
            began,
            reason,
            inputs,
            counts,
            transforms,
            files,
            answers,
        }))
    }

    /// Adds to each file what its footer says. It may hold any of the records that the flush has so far.
    fn sealed(&self, files: Vec<Sealed<StageWriter>>) -> Vec<SealedFile> {
        let offsets = serde_json::to_string(&self.ledger.inputs()).expect("offsets are JSON");
        let transforms = serde_json::to_string(&self.setting.transforms).expect("digests are JSON");
        let seal = |file: Sealed<StageWriter>| {
            let output = self.setting.outputs[file.place().output].name.clone();
            let footer = [
                ("tidemill.pipeline", &*self.setting.pipeline),
                ("tidemill.output", &output),
                ("tidemill.offsets", &offsets),
                ("tidemill.transforms", &transforms),
                ("tidemill.host_version", env!("CARGO_PKG_VERSION")),
            ];
            let footer = footer.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
            SealedFile { output, file, footer }
        };
        files.into_iter().map(seal).collect()
    }

    /// Throws the open flush away and reads every lane again from where the log says.
    fn rewind(&mut self) -> Result<(), Fault> {
        self.era += 1;
        self.flush = None;
        self.files = open_files(&self.setting, &self.share)?;
        let assignment = self.setting.lanes.next_assignment();
        let mut rewinds = Vec::new();
        for (lane, replaces) in self.ledger.lanes() {
            let start = self
                .setting
                .committer
                .position(&lane)
                .ok_or_else(|| Fault::bug("a lane has no position"))?;
            self.ledger.assign(lane.clone(), assignment, start);
            let placed = Placed { lane, worker: self.number, start, assignment };
            rewinds.push(Rewind { replaces, placed });
        }
        self.setting.source.rewind(rewinds);
        Ok(())
    }

    fn send(&self, job: Job) -> Result<(), Fault> {
        // A closer ends before its worker only after it has failed the pipeline with the reason.
        self.ways.closer.send(job).map_err(|_| Fault::bug("the closer of a worker is gone"))
    }
}

fn open_files(setting: &Setting, share: &Arc<Share>) -> Result<Files<StageWriter>, Fault> {
    Files::new(
        Arc::clone(&setting.outputs),
        Arc::clone(share),
        setting.scratch.clone(),
        setting.store.max_key_bytes(),
    )
}

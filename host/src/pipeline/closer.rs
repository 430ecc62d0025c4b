//! The closer: one thread a worker that ends sealed files and commits flushes, while the worker reads on.
//!
//! ```text
//! worker --(1 job)--> closer: last pages and footer -> last part -> manifest -> publish -> Kafka's offsets
//! ```

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender};
use tokio::{runtime::Handle, task::JoinHandle};

use super::{
    committer::{Committer, Flush, Outcome},
    meters::Meters,
    shared::Shared,
};
use crate::{
    budget::Budget,
    commit::manifest::{self, Counts, InputRange, TransformId},
    fault::Fault,
    kafka::Source,
    parquet::Sealed,
    store::StageWriter,
};

/// How many jobs wait at most. A worker that is further ahead than that waits: one flush is being committed, one waits, one
/// is filled.
pub(super) const QUEUE: usize = 1;
/// A flush that is older is thrown away and read again: its staged files may have been taken for forgotten ones.
pub(super) const STAGE_MAX_AGE: Duration = Duration::from_secs(12 * 3600);
/// How many files of a flush the store takes at the same time, at most.
const FILES_AT_ONCE: usize = 8;

/// What a worker hands over.
#[derive(Debug)]
pub(super) enum Job {
    /// Files of the open flush (its nonce) that are full.
    Files(String, Vec<SealedFile>),
    /// The end of a flush.
    Flush(SealedFlush),
}

/// A file that gets no more rows.
#[derive(Debug)]
pub(super) struct SealedFile {
    /// The output's name.
    pub output: String,
    /// The file.
    pub file: Sealed<StageWriter>,
    /// Key-values of its footer.
    pub footer: Vec<(String, String)>,
}

/// A flush that gets no more records.
#[derive(Debug)]
pub(super) struct SealedFlush {
    /// Counts the worker's rewinds: a fenced flush takes the later ones of its era with it.
    pub era: u64,
    pub nonce: String,
    pub began: Instant,
    pub reason: &'static str,
    pub inputs: Vec<InputRange>,
    pub counts: Vec<Counts>,
    pub transforms: Vec<TransformId>,
    /// Files that were still open.
    pub files: Vec<SealedFile>,
    /// Told when the flush is committed or fenced.
    pub answers: Vec<Sender<()>>,
}

/// Files that were staged before their flush was sealed.
#[derive(Debug, Default)]
struct Early {
    nonce: String,
    files: Vec<manifest::File>,
}

fn answer(answer: &Sender<()>) {
    // Whoever asked may have stopped waiting.
    answer.send(()).ok();
}

/// The closer's side of a worker.
#[derive(Debug)]
pub(super) struct Closer {
    /// The number of its worker.
    pub number: usize,
    pub committer: Arc<Committer>,
    pub source: Arc<Source>,
    /// For the worker: the last of its eras that was fenced. No message, so that neither ever waits for the other.
    pub fenced: Arc<AtomicU64>,
    pub shared: Arc<Shared>,
    pub meters: Meters,
    pub budget: Arc<Budget>,
    pub runtime: Handle,
}

impl Closer {
    /// Runs until the worker hangs up, or a flush can't be committed.
    pub(super) fn run(self, jobs: &Receiver<Job>) {
        let mut early = Early::default();
        let mut fenced = None;
        for job in jobs {
            if let Err(fault) = self.job(job, &mut early, &mut fenced) {
                self.shared.fail(fault);
                self.runtime.block_on(self.committer.discard(&early.files));
                return;
            }
        }
    }

    fn job(&self, job: Job, early: &mut Early, fenced: &mut Option<u64>) -> Result<(), Fault> {
        let flush = match job {
            Job::Files(nonce, files) => {
                let staged = self.stage(files)?;
                self.forget_other(early, &nonce);
                early.files.extend(staged);
                return Ok(());
            }
            Job::Flush(flush) => flush,
        };
        self.forget_other(early, if *fenced == Some(flush.era) { "" } else { &flush.nonce });
        let answers = flush.answers.clone();
        // Files that are dropped before they were staged abandon their uploads.
        if *fenced != Some(flush.era) && !flush.inputs.is_empty() {
            self.flush(flush, early, fenced)?;
        }
        answers.iter().for_each(answer);
        Ok(())
    }

    /// Discards files that were staged early for a flush which was thrown away since.
    fn forget_other(&self, early: &mut Early, nonce: &str) {
        if early.nonce != nonce {
            self.runtime.block_on(self.committer.discard(&early.files));
            *early = Early { nonce: nonce.to_owned(), files: Vec::new() };
        }
    }

    fn flush(
        &self,
        flush: SealedFlush,
        early: &mut Early,
        fenced: &mut Option<u64>,
    ) -> Result<(), Fault> {
        let upload = Instant::now();
        early.files.extend(self.stage(flush.files)?);
        self.meters.stage("upload", upload.elapsed());
        let files = std::mem::take(&mut early.files);
        if flush.began.elapsed() > STAGE_MAX_AGE {
            tracing::warn!(
                "a flush could not be committed for {STAGE_MAX_AGE:?}: it is read again"
            );
            self.runtime.block_on(self.committer.discard(&files));
            self.fence(flush.era, fenced);
            return Ok(());
        }
        let summary = Summary::of(&flush.counts, &files, flush.reason);
        let offsets: Vec<_> =
            flush.inputs.iter().map(|input| (input.lane.clone(), input.end)).collect();
        let SealedFlush { nonce, inputs, counts, transforms, .. } = flush;
        let worker = self.number;
        let commit =
            self.committer.commit(Flush { nonce, worker, inputs, transforms, files, counts });
        let start = Instant::now();
        let outcome = self.runtime.block_on(commit)?;
        self.meters.stage("commit", start.elapsed());
        match outcome {
            Outcome::Committed { seq } => {
                self.committed(seq, &offsets, &summary);
            }
            Outcome::Fenced { lane, position } => {
                tracing::warn!(%lane, position, "fenced: another replica moved a lane, its flush is read again");
                self.meters.fenced();
                self.shared.update(|status| status.fenced += 1);
                self.fence(flush.era, fenced);
            }
        }
        Ok(())
    }

    /// The worker throws away what it reads in this era, and so does the closer.
    fn fence(&self, era: u64, fenced: &mut Option<u64>) {
        *fenced = Some(era);
        self.fenced.store(era, Ordering::Release);
    }

    /// Ends files and waits until all their bytes are staged: of all files, or of none.
    ///
    /// Files are encoded one after the other on this thread, since each thread that encodes keeps memory for the next
    /// time; what the store still takes is waited for elsewhere.
    fn stage(&self, files: Vec<SealedFile>) -> Result<Vec<manifest::File>, Fault> {
        let (mut staged, mut first) = (Vec::with_capacity(files.len()), None);
        let mut waiting = VecDeque::new();
        let mut settle = |staging: JoinHandle<_>| match self.runtime.block_on(staging) {
            Ok(Ok(file)) => staged.push(file),
            Ok(Err(fault)) => first = first.take().or(Some(fault)),
            Err(panic) => {
                let fault = Fault::bug("the thread that stages a file panicked").caused_by(panic);
                first = first.take().or(Some(fault));
            }
        };
        let mut broken = None;
        for file in files {
            match file.end() {
                Ok(ended) => {
                    waiting.push_back(self.runtime.spawn_blocking(move || ended.stage()));
                }
                Err(fault) => {
                    broken = Some(fault);
                    break;
                }
            }
            // What waits is memory: less of it while there is too little.
            let scarce = || self.budget.used() > self.budget.limit();
            while waiting.len() >= FILES_AT_ONCE || (scarce() && !waiting.is_empty()) {
                waiting.pop_front().map(&mut settle);
            }
        }
        waiting.into_iter().for_each(settle);
        match broken.or(first) {
            None => Ok(staged),
            Some(fault) => {
                self.runtime.block_on(self.committer.discard(&staged));
                Err(fault)
            }
        }
    }

    fn committed(&self, seq: u64, offsets: &[(crate::record::Lane, i64)], summary: &Summary) {
        tracing::info!(
            seq,
            reason = summary.reason,
            records = summary.counts.records,
            files = summary.files,
            bytes = summary.bytes,
            "flush committed"
        );
        self.meters.committed(summary.reason, summary.files, summary.bytes);
        self.shared.committed(|status| {
            status.committed.add(&summary.counts);
            status.files += summary.files;
            status.bytes += summary.bytes;
            status.flushes += 1;
        });
        // A hint for lag tools: the log is the truth.
        if let Err(fault) = self.source.commit_offsets(offsets, &seq.to_string()) {
            tracing::debug!(seq, "kafka did not take the committed offsets: {fault}");
        }
    }
}

impl SealedFile {
    /// Writes the last pages and the footer.
    fn end(self) -> Result<EndedFile, Fault> {
        let rows = self.file.rows();
        Ok(EndedFile { output: self.output, rows, writer: self.file.close(self.footer)? })
    }
}

/// A file whose bytes are all on their way.
struct EndedFile {
    output: String,
    rows: u64,
    writer: StageWriter,
}

impl EndedFile {
    fn stage(self) -> Result<manifest::File, Fault> {
        let staged = self.writer.finish()?;
        Ok(manifest::File {
            output: self.output,
            key: staged.key,
            rows: self.rows,
            bytes: staged.bytes,
            sha256: staged.sha256,
            stage: staged.stage,
        })
    }
}

/// What is said of a flush when it is committed.
struct Summary {
    reason: &'static str,
    counts: Counts,
    files: u64,
    bytes: u64,
}

impl Summary {
    fn of(lanes: &[Counts], files: &[manifest::File], reason: &'static str) -> Self {
        let mut counts = Counts::default();
        lanes.iter().for_each(|lane| counts.add(lane));
        Self {
            reason,
            counts,
            files: files.len() as u64,
            bytes: files.iter().map(|file| file.bytes).sum(),
        }
    }
}

//! The proof that a pipeline kept its promise, from its log and the listing of its files.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::Serialize;

use super::{
    log::{Checkpoint, Log},
    manifest::{File, Kind, Manifest, Stage},
    names,
};

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The pipeline.
    pub pipeline: String,
    /// The newest epoch of its log.
    pub epoch: u16,
    /// Manifests that were read, of all epochs.
    pub manifests: u64,
    /// Files that they name.
    pub files: u64,
    /// Rows in these files, dead letters included.
    pub rows: u64,
    /// Records that were read.
    pub records: u64,
    /// Offsets that no record was read of: of compaction and of transactions.
    pub empty_offsets: u64,
    /// Files of manifests that nobody claims as published, not visible yet: a running host, or the next start, publishes them.
    pub pending: u64,
    /// Files that are lost, as a person has taken note of (`repair --void`).
    pub void_files: u64,
    /// The rows in them.
    pub void_rows: u64,
    /// Offsets that were given up unread, as a person decided (`repair --skip-gap`).
    pub skipped_offsets: u64,
    /// Where each lane stands: topic, partition, next offset.
    pub positions: Vec<(String, i32, i64)>,
    /// What is wrong: gaps and overlaps of offsets, forks, wrong checkpoints, missing, damaged and unexpected files.
    pub problems: Vec<String>,
}

/// What a pipeline has in its store.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// All manifests of its log, of all epochs, key and bytes, from the first on.
    pub manifests: Vec<(String, Vec<u8>)>,
    /// All checkpoints of its log, key and bytes.
    pub checkpoints: Vec<(String, Vec<u8>)>,
    /// All objects below its data folder.
    pub files: Vec<Found>,
    /// The staged files of a local store; `None` where stages can't be listed.
    pub stages: Option<BTreeSet<String>>,
}

/// An object below a pipeline's data folder.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its key.
    pub key: String,
    /// Its size.
    pub bytes: u64,
    /// The rows that its footer states, or why it has no footer.
    pub rows: Result<u64, String>,
    /// Its digest, if it was read whole.
    pub sha256: Option<String>,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pipeline, epoch, manifests, files, rows, records, positions, problems, .. } =
            self;
        writeln!(
            f,
            "{pipeline}: {manifests} manifests, {files} files, {rows} rows of {records} records"
        )?;
        if *epoch > 1 {
            writeln!(f, "  epoch {epoch} of its log goes on where those before were sealed")?;
        }
        if self.empty_offsets > 0 {
            let empty = self.empty_offsets;
            writeln!(f, "  {empty} offsets without a record: compaction, transactions")?;
        }
        if self.pending > 0 {
            let pending = self.pending;
            writeln!(
                f,
                "  {pending} files not published yet: a running host, or the next start, does"
            )?;
        }
        if self.void_files > 0 {
            let (files, rows) = (self.void_files, self.void_rows);
            writeln!(f, "  {files} files with {rows} rows are lost, which somebody took note of")?;
        }
        if self.skipped_offsets > 0 {
            let skipped = self.skipped_offsets;
            writeln!(f, "  {skipped} offsets were given up unread, as somebody decided")?;
        }
        for (topic, partition, position) in positions {
            writeln!(f, "  {topic}/{partition} next offset {position}")?;
        }
        for problem in problems {
            writeln!(f, "  wrong: {problem}")?;
        }
        match problems.len() {
            0 => write!(f, "  no gap, no overlap, no missing and no unexpected file"),
            problems => write!(f, "  {problems} problem{}", if problems == 1 { "" } else { "s" }),
        }
    }
}

/// Checks a pipeline.
pub fn verify(pipeline: &str, evidence: &Evidence) -> Report {
    let mut report = Report { pipeline: pipeline.to_owned(), ..Report::default() };
    let (mut epoch, mut log) = (1, Log::default());
    let mut named: BTreeMap<String, Named> = BTreeMap::new();
    let mut checkpoints = Checkpoints::new(&evidence.checkpoints, &mut report.problems);
    let mut voids = BTreeSet::new();
    for (key, bytes) in sorted(&evidence.manifests) {
        let manifest = match Manifest::decode(key, bytes) {
            Ok(manifest) => manifest,
            Err(fault) => {
                report.problems.push(fault.to_string());
                break;
            }
        };
        let place = (names::epoch_of(key), names::seq_of(key));
        if place != (Some(manifest.epoch), Some(manifest.seq)) || manifest.pipeline != pipeline {
            report.problems.push(format!(
                "{key} says that it is manifest {} of epoch {} of {}",
                manifest.seq, manifest.epoch, manifest.pipeline
            ));
        }
        if manifest.epoch != epoch {
            checkpoints.compare(epoch, &log, &mut report.problems);
            if !goes_on(epoch, &log, &manifest) {
                let text = format!("{key} does not go on where epoch {epoch} was sealed");
                report.problems.push(text);
            }
            (epoch, log) = (manifest.epoch, Log::default());
        }
        checkpoints.compare(epoch, &log, &mut report.problems);
        if let Err(fault) = log.fold(&manifest) {
            report.problems.push(format!("{key}: {fault}"));
            break;
        }
        report.manifests += 1;
        audit(key, &manifest, &mut report);
        voids.extend(manifest.voids.iter().map(|seq| (manifest.epoch, *seq)));
        for file in manifest.files {
            report.files += 1;
            report.rows += file.rows;
            let place = (manifest.epoch, manifest.seq);
            if let Some(Named { file, .. }) = named.insert(file.key.clone(), Named { place, file })
            {
                report.problems.push(format!("{} is named by two manifests", file.key));
            }
        }
    }
    report.epoch = epoch;
    checkpoints.compare(epoch, &log, &mut report.problems);
    checkpoints.left(&mut report.problems);
    compare_files(&named, evidence, &log, &voids, &mut report);
    let positions = log.positions().iter();
    report.positions = positions
        .map(|(lane, position)| (lane.topic.to_string(), lane.partition, *position))
        .collect();
    report
}

/// A file of a manifest.
struct Named {
    /// The manifest: epoch, number.
    place: (u16, u64),
    file: File,
}

/// Whether a manifest begins the epoch after one that was sealed.
fn goes_on(epoch: u16, log: &Log, first: &Manifest) -> bool {
    let said = first.handover.clone().map(|handover| (first.inputs.clone(), handover));
    Some(first.epoch) == epoch.checked_add(1) && said.is_some() && said == log.next_epoch()
}

/// Holds the files that manifests name against those that are there.
fn compare_files(
    named: &BTreeMap<String, Named>,
    evidence: &Evidence,
    log: &Log,
    voids: &BTreeSet<(u16, u64)>,
    report: &mut Report,
) {
    let there: BTreeMap<&str, &Found> =
        evidence.files.iter().map(|found| (found.key.as_str(), found)).collect();
    for (key, Named { place: (epoch, seq), file }) in named {
        // An epoch is begun only when all that those before it name is visible.
        let open = *epoch == report.epoch && log.unpublished().contains_key(seq);
        match there.get(key.as_str()) {
            Some(found) => report.problems.extend(damage(file, found)),
            None if voids.contains(&(*epoch, *seq)) => {
                report.void_files += 1;
                report.void_rows += file.rows;
            }
            None if open && may_come(file, evidence) => {
                report.pending += 1;
            }
            None => report.problems.push(format!("{key} is missing")),
        }
    }
    let unexpected = there.keys().filter(|key| !named.contains_key(**key));
    report.problems.extend(unexpected.map(|key| format!("{key} is in no manifest")));
}

/// Whether a file that is not there may still be published.
fn may_come(file: &File, evidence: &Evidence) -> bool {
    match (&file.stage, &evidence.stages) {
        (Stage::Rename { id }, Some(stages)) => stages.contains(id),
        _ => true,
    }
}

/// What is wrong with a file that is there.
fn damage(file: &File, found: &Found) -> Option<String> {
    let key = &file.key;
    if found.bytes != file.bytes {
        return Some(format!("{key} has {} bytes, its manifest says {}", found.bytes, file.bytes));
    }
    match &found.rows {
        Err(why) => return Some(format!("{key}: {why}")),
        Ok(rows) if *rows != file.rows => {
            return Some(format!("{key} has {rows} rows, its manifest says {}", file.rows));
        }
        Ok(_) => {}
    }
    let sha256 = found.sha256.as_ref().filter(|sha256| **sha256 != file.sha256)?;
    Some(format!("{key} has the digest {sha256}, its manifest says {}", file.sha256))
}

/// Checkpoints that were not compared yet, by their epoch and what they say they reach.
struct Checkpoints(BTreeMap<(u16, u64), (String, Checkpoint)>);

impl Checkpoints {
    fn new(objects: &[(String, Vec<u8>)], problems: &mut Vec<String>) -> Self {
        let mut checkpoints = BTreeMap::new();
        for (key, bytes) in objects {
            match serde_json::from_slice::<Checkpoint>(bytes) {
                Ok(checkpoint) if names::seq_of(key) == Some(checkpoint.seq) => {
                    let epoch = names::epoch_of(key).unwrap_or_default();
                    checkpoints.insert((epoch, checkpoint.seq), (key.clone(), checkpoint));
                }
                Ok(checkpoint) => {
                    problems.push(format!("{key} says that it reaches {}", checkpoint.seq));
                }
                Err(error) => problems.push(format!("{key} is no checkpoint: {error}")),
            }
        }
        Self(checkpoints)
    }

    /// Compares the one that reaches as far as the log was folded. A start trusts it.
    fn compare(&mut self, epoch: u16, log: &Log, problems: &mut Vec<String>) {
        let Some((key, checkpoint)) = self.0.remove(&(epoch, log.next())) else { return };
        let positions: BTreeMap<_, _> = checkpoint.positions.into_iter().collect();
        if checkpoint.prev != log.prev()
            || positions != *log.positions()
            || checkpoint.given_up != *log.given_up()
        {
            problems.push(format!("{key} is not what the manifests below it say"));
        }
    }

    fn left(self, problems: &mut Vec<String>) {
        let keys = self.0.into_values().map(|(key, _)| key);
        problems.extend(keys.map(|key| format!("{key} reaches past the end of the log")));
    }
}

fn sorted(manifests: &[(String, Vec<u8>)]) -> Vec<(&str, &[u8])> {
    let mut sorted: Vec<_> =
        manifests.iter().map(|(key, bytes)| (key.as_str(), bytes.as_slice())).collect();
    sorted.sort_unstable();
    sorted
}

/// The counts of a manifest must add up: no more records than offsets, each record one thing, as many rows as the files have.
fn audit(key: &str, manifest: &Manifest, report: &mut Report) {
    let mut rows: BTreeMap<&str, u64> = BTreeMap::new();
    if manifest.kind == Kind::Data && manifest.inputs.len() != manifest.counts.len() {
        let (inputs, counts) = (manifest.inputs.len(), manifest.counts.len());
        report.problems.push(format!("{key} has {inputs} inputs and counts for {counts}"));
    }
    if manifest.kind == Kind::Skip {
        let skipped = manifest.inputs.iter().map(|input| input.end - input.start).sum::<i64>();
        report.skipped_offsets += u64::try_from(skipped).unwrap_or_default();
    }
    for (input, counts) in manifest.inputs.iter().zip(&manifest.counts) {
        report.records += counts.records;
        let sum = counts.emitted + counts.dropped + counts.rejected + counts.broken;
        let offsets = u64::try_from(input.end - input.start).unwrap_or_default();
        report.empty_offsets += offsets.saturating_sub(counts.records);
        if counts.records > offsets || sum != counts.records {
            report.problems.push(format!(
                "{key}: {} has {} records of {offsets} offsets, {sum} are accounted for",
                input.lane, counts.records
            ));
        }
        for (output, count) in &counts.rows {
            *rows.entry(output).or_default() += count;
        }
    }
    let mut written: BTreeMap<&str, u64> = BTreeMap::new();
    for file in &manifest.files {
        *written.entry(&file.output).or_default() += file.rows;
    }
    let outputs: BTreeSet<&str> = rows.keys().chain(written.keys()).copied().collect();
    for output in outputs {
        let (counted, written) = (
            rows.get(output).copied().unwrap_or_default(),
            written.get(output).copied().unwrap_or_default(),
        );
        if counted != written {
            report.problems.push(format!(
                "{key}: output {output} has {counted} rows by its counts, {written} in its files"
            ));
        }
    }
}

#[cfg(test)]
mod tests;

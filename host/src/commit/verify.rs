//! The proof that a pipeline kept its promise, from its log and the listing of its files.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::Serialize;

use super::{log::Log, manifest::Manifest, names};

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The pipeline.
    pub pipeline: String,
    /// Manifests that were read.
    pub manifests: u64,
    /// Files that they name.
    pub files: u64,
    /// Rows in these files, dead letters included.
    pub rows: u64,
    /// Records that were read.
    pub records: u64,
    /// Where each lane stands: topic, partition, next offset.
    pub positions: Vec<(String, i32, i64)>,
    /// What is wrong: gaps and overlaps of offsets, forks, missing and unexpected files.
    pub problems: Vec<String>,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pipeline, manifests, files, rows, records, positions, problems } = self;
        writeln!(
            f,
            "{pipeline}: {manifests} manifests, {files} files, {rows} rows of {records} records"
        )?;
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

/// Checks a pipeline. `manifests` are all objects of its log (key and bytes) from the first on, `files` all objects below
/// its data folder (key and size).
///
/// A file of a manifest that nobody claims as published may be missing while a host runs: it is reported all the same.
pub fn verify(pipeline: &str, manifests: &[(String, Vec<u8>)], files: &[(String, u64)]) -> Report {
    let mut report = Report { pipeline: pipeline.to_owned(), ..Report::default() };
    let mut log = Log::default();
    let mut named: BTreeMap<String, u64> = BTreeMap::new();
    for (key, bytes) in sorted(manifests) {
        let manifest = match Manifest::decode(key, bytes) {
            Ok(manifest) => manifest,
            Err(fault) => {
                report.problems.push(fault.to_string());
                break;
            }
        };
        if names::seq_of(key) != Some(manifest.seq) || manifest.pipeline != pipeline {
            report.problems.push(format!(
                "{key} says that it is manifest {} of {}",
                manifest.seq, manifest.pipeline
            ));
        }
        if let Err(fault) = log.fold(&manifest) {
            report.problems.push(format!("{key}: {fault}"));
            break;
        }
        report.manifests += 1;
        audit(key, &manifest, &mut report);
        for file in manifest.files {
            report.files += 1;
            report.rows += file.rows;
            if named.insert(file.key.clone(), file.bytes).is_some() {
                report.problems.push(format!("{} is named by two manifests", file.key));
            }
        }
    }
    let there: BTreeMap<&str, u64> =
        files.iter().map(|(key, bytes)| (key.as_str(), *bytes)).collect();
    for (key, bytes) in &named {
        match there.get(key.as_str()) {
            None => report.problems.push(format!("{key} is missing")),
            Some(found) if found != bytes => {
                report.problems.push(format!("{key} has {found} bytes, its manifest says {bytes}"))
            }
            Some(_) => {}
        }
    }
    let unexpected = there.keys().filter(|key| !named.contains_key(**key));
    report.problems.extend(unexpected.map(|key| format!("{key} is in no manifest")));
    let positions = log.positions().iter();
    report.positions = positions
        .map(|(lane, position)| (lane.topic.to_string(), lane.partition, *position))
        .collect();
    report
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
    for (input, counts) in manifest.inputs.iter().zip(&manifest.counts) {
        report.records += counts.records;
        let sum = counts.emitted + counts.dropped + counts.rejected + counts.broken;
        let offsets = u64::try_from(input.end - input.start).unwrap_or_default();
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
mod tests {
    use super::*;
    use crate::{
        commit::manifest::{Counts, File, InputRange, Kind, Published, Stage},
        record::Lane,
    };

    type Manifests = Vec<(String, Vec<u8>)>;
    type Files = Vec<(String, u64)>;

    fn log() -> (Manifests, Files) {
        let mut log = Log::default();
        let (mut manifests, mut files) = (Vec::new(), Vec::new());
        for (kind, start, end) in [(Kind::Start, 0, 0), (Kind::Data, 0, 3), (Kind::Data, 3, 5)] {
            let records = u64::try_from(end - start).unwrap();
            let data = kind == Kind::Data;
            let file = File {
                output: "clean".into(),
                key: format!("data/p/clean/{end}.parquet"),
                rows: records,
                bytes: 10,
                sha256: String::new(),
                stage: Stage::Rename { id: "s".into() },
            };
            let counts = Counts {
                records,
                emitted: records,
                rows: [("clean".to_owned(), records)].into(),
                ..Counts::default()
            };
            let manifest = Manifest {
                v: 1,
                pipeline: "p".into(),
                epoch: 1,
                seq: log.next(),
                nonce: format!("{end}"),
                prev: log.prev().to_owned(),
                kind,
                inputs: vec![InputRange { lane: Lane::new("t", 0), start, end }],
                transforms: vec![],
                files: if data { vec![file.clone()] } else { vec![] },
                counts: if data { vec![counts] } else { vec![] },
                published: Published::default(),
                writer: String::new(),
                ts: String::new(),
            };
            log.fold(&manifest).unwrap();
            manifests.push((names::manifest_key("p", 1, manifest.seq), manifest.encode()));
            if data {
                files.push((file.key, 10));
            }
        }
        (manifests, files)
    }

    fn problems(manifests: &[(String, Vec<u8>)], files: &[(String, u64)]) -> String {
        verify("p", manifests, files).problems.join("\n")
    }

    #[test]
    fn a_kept_promise_is_clean() {
        let (manifests, files) = log();
        let report = verify("p", &manifests, &files);
        assert_eq!(
            (report.problems.clone(), report.manifests, report.files, report.rows, report.records),
            (vec![], 3, 2, 5, 5)
        );
        assert_eq!(report.positions, [("t".to_owned(), 0, 5)]);
    }

    #[test]
    fn every_breach_is_found() {
        let (manifests, files) = log();
        assert!(problems(&manifests, &files[1..]).contains("data/p/clean/3.parquet is missing"));
        let more = [&files[..], &[("data/p/clean/x.parquet".to_owned(), 1)]].concat();
        assert!(problems(&manifests, &more).contains("x.parquet is in no manifest"));
        let mut other = files.clone();
        other[0].1 = 11;
        assert!(problems(&manifests, &other).contains("has 11 bytes"));
        let gap = [manifests[0].clone(), manifests[2].clone()];
        assert!(problems(&gap, &files).contains("LOG_FORK"));
        let mut edited = manifests.clone();
        edited[1].1 = String::from_utf8(edited[1].1.clone())
            .unwrap()
            .replace("\"end\":3", "\"end\":4")
            .into_bytes();
        assert!(
            problems(&edited, &files).contains("4 offsets")
                || problems(&edited, &files).contains("LOG_FORK")
        );
        let mut cut = manifests;
        cut[1].1.truncate(20);
        assert!(problems(&cut, &files).contains("is no manifest"));
    }
}

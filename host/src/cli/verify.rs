//! `tidemill verify`: proves from the log and the files that nothing is lost, doubled or foreign.

use futures::{StreamExt, TryStreamExt, stream};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::{flags::HostFlags, footer, print};
use crate::{
    commit::verify::{Evidence, Found, Report, verify},
    config::Pipeline,
    fault::{Blame, Fault},
    store::{Object, StagerKind, Store},
};

/// How many objects are read at once.
const READS: usize = 16;
/// Bytes of a file that are read at once.
const READ_BYTES: u64 = 8 << 20;

/// Proves from the log and the files that there is no gap, overlap, missing or unexpected file.
#[derive(Debug, clap::Args)]
pub(super) struct Verify {
    #[command(flatten)]
    flags: HostFlags,
    /// Only this pipeline; all without it
    #[arg(value_name = "PIPELINE")]
    pipeline: Option<String>,
    /// Read every file whole and compare its digest
    #[arg(long)]
    deep: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub(super) async fn run(self) -> Result<(), Fault> {
        let pipelines = match &self.pipeline {
            Some(name) => vec![self.flags.one(name).await?],
            None => self.flags.all().await?,
        };
        let mut reports = Vec::new();
        for pipeline in &pipelines {
            reports.push((pipeline.name.as_str(), check(pipeline, self.deep).await?));
        }
        let dirty: Vec<_> = reports
            .iter()
            .filter(|(_, report)| !report.is_clean())
            .map(|(name, _)| *name)
            .collect();
        if self.json {
            let reports: serde_json::Map<_, _> = reports
                .iter()
                .map(|(name, report)| {
                    ((*name).to_owned(), json!({ "clean": report.is_clean(), "report": report }))
                })
                .collect();
            print(json!({ "clean": dirty.is_empty(), "pipelines": reports }))?;
        } else {
            reports.iter().try_for_each(|(_, report)| print(report))?;
        }
        if dirty.is_empty() {
            return Ok(());
        }
        let help =
            "keep the store as it is; `tidemill explain FILE.parquet` tells where a file came from";
        Err(Fault::outside(format!("the log and the files of {} disagree", dirty.join(", ")))
            .permanent()
            .help(help))
    }
}

async fn check(pipeline: &Pipeline, deep: bool) -> Result<Report, Fault> {
    let store = &Store::open(&pipeline.store).await?;
    let name = &pipeline.name;
    // Files first: a file that appears between the two listings is in a manifest by then.
    let files = store.list(&format!("data/{name}/"), None).await?;
    let keys: Vec<_> = store
        .list(&format!("_log/{name}/"), None)
        .await?
        .into_iter()
        .map(|object| object.key)
        .collect();
    let read_all = async |wanted: fn(&str) -> bool| {
        let keys = keys.iter().filter(|key| wanted(key)).cloned();
        stream::iter(keys).map(|key| read(store, key)).buffered(READS).try_collect::<Vec<_>>().await
    };
    let manifests = read_all(|key| is_numbered(key, "")).await?;
    if manifests.is_empty() {
        let text = format!("pipeline {name} has no log in {}/_log/{name}", store.url());
        return Err(
            Fault::config(text).help("check `store.url`; a pipeline that never ran has none")
        );
    }
    let checkpoints = read_all(|key| is_numbered(key, "checkpoint/")).await?;
    let found = stream::iter(files).map(|file| look(store, file, deep));
    let files = found.buffered(READS).try_collect().await?;
    let stages = (store.stager() == StagerKind::Rename).then(|| keys.into_iter().collect());
    Ok(verify(name, &Evidence { manifests, checkpoints, files, stages }))
}

/// Reads the footer of a file, or all of it.
async fn look(store: &Store, object: Object, deep: bool) -> Result<Found, Fault> {
    let Object { key, bytes, .. } = object;
    let rows = match footer::read(store, &key, bytes).await {
        Ok(footer) => Ok(footer.rows),
        Err(fault) if fault.blame == Blame::Config => Err(fault.to_string()),
        Err(fault) => return Err(fault),
    };
    let sha256 = if deep { Some(digest(store, &key, bytes).await?) } else { None };
    Ok(Found { key, bytes, rows, sha256 })
}

async fn digest(store: &Store, key: &str, bytes: u64) -> Result<String, Fault> {
    let mut digest = Sha256::new();
    let mut start = 0;
    while start < bytes {
        let end = bytes.min(start + READ_BYTES);
        digest.update(&store.range(key, start..end).await?);
        start = end;
    }
    Ok(hex::encode(digest.finalize()))
}

/// Whether a key below `_log/<pipeline>/` is `e0000/<folder>00000000000000000000.json`: a manifest's, or a checkpoint's.
fn is_numbered(key: &str, folder: &str) -> bool {
    let digits =
        |text: &str, count| text.len() == count && text.bytes().all(|b| b.is_ascii_digit());
    let Some((epoch, rest)) = key.splitn(3, '/').nth(2).and_then(|rest| rest.split_once('/'))
    else {
        return false;
    };
    epoch.strip_prefix('e').is_some_and(|epoch| digits(epoch, 4))
        && rest
            .strip_prefix(folder)
            .and_then(|number| number.strip_suffix(".json"))
            .is_some_and(|number| digits(number, 20))
}

async fn read(store: &Store, key: String) -> Result<(String, Vec<u8>), Fault> {
    match store.get(&key).await? {
        Some(bytes) => Ok((key, bytes.to_vec())),
        None => Err(Fault::outside(format!("{key} was listed and is gone"))
            .help("nothing may delete what is in _log/")),
    }
}

#[cfg(test)]
mod tests {
    use super::is_numbered;

    #[test]
    fn manifests_are_told_from_their_neighbours() {
        assert!(is_numbered("_log/clicks/e0001/00000000000000000012.json", ""));
        let checkpoint = "_log/clicks/e0001/checkpoint/00000000000000000012.json";
        assert!(is_numbered(checkpoint, "checkpoint/") && !is_numbered(checkpoint, ""));
        assert!(!is_numbered("_log/clicks/e0001/00000000000000000012.json", "checkpoint/"));
        assert!(!is_numbered("_log/clicks/e0001/12.json", ""));
        assert!(!is_numbered("_log/clicks/stage/00000000000000000012.json", ""));
        assert!(!is_numbered("_log/clicks/.probe", ""));
    }
}

//! `tidemill verify`: proves from the log and the files that nothing is lost, doubled or foreign.

use futures::{StreamExt, TryStreamExt, stream};
use serde_json::json;

use super::{flags::HostFlags, print};
use crate::{
    commit::verify::{Report, verify},
    config::Pipeline,
    fault::Fault,
    store::Store,
};

/// How many manifests are read at once.
const READS: usize = 16;

/// Proves from the log and the files that there is no gap, overlap, missing or unexpected file.
#[derive(Debug, clap::Args)]
pub(super) struct Verify {
    #[command(flatten)]
    flags: HostFlags,
    /// Only this pipeline; all without it
    #[arg(value_name = "PIPELINE")]
    pipeline: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub(super) async fn run(self) -> Result<(), Fault> {
        let (_, mut pipelines) = self.flags.load()?;
        if let Some(name) = &self.pipeline {
            let known: Vec<_> = pipelines.iter().map(|pipeline| pipeline.name.clone()).collect();
            pipelines.retain(|pipeline| pipeline.name == *name);
            if pipelines.is_empty() {
                let help = format!("the pipelines are {}", known.join(", "));
                return Err(Fault::config(format!("there is no pipeline `{name}`")).help(help));
            }
        }
        let mut reports = Vec::new();
        for pipeline in &pipelines {
            reports.push((pipeline.name.as_str(), check(pipeline).await?));
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

async fn check(pipeline: &Pipeline) -> Result<Report, Fault> {
    let store = Store::open(&pipeline.store).await?;
    let name = &pipeline.name;
    // Files first: a file that appears between the two listings is in a manifest by then.
    let files = store.list(&format!("data/{name}/"), None).await?;
    let files: Vec<_> = files.into_iter().map(|file| (file.key, file.bytes)).collect();
    let keys =
        store.list(&format!("_log/{name}/"), None).await?.into_iter().map(|object| object.key);
    let manifests = stream::iter(keys.filter(|key| is_manifest(key)))
        .map(|key| read(&store, key))
        .buffered(READS)
        .try_collect::<Vec<_>>()
        .await?;
    Ok(verify(name, &manifests, &files))
}

/// Whether a key below `_log/<pipeline>/` is a manifest's: `e0000/00000000000000000000.json`.
fn is_manifest(key: &str) -> bool {
    let mut segments = key.split('/').skip(2);
    let (epoch, number, rest) = (segments.next(), segments.next(), segments.next());
    let digits =
        |text: &str, count| text.len() == count && text.bytes().all(|b| b.is_ascii_digit());
    epoch.and_then(|epoch| epoch.strip_prefix('e')).is_some_and(|epoch| digits(epoch, 4))
        && number
            .and_then(|number| number.strip_suffix(".json"))
            .is_some_and(|number| digits(number, 20))
        && rest.is_none()
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
    use super::is_manifest;

    #[test]
    fn manifests_are_told_from_their_neighbours() {
        assert!(is_manifest("_log/clicks/e0001/00000000000000000012.json"));
        assert!(!is_manifest("_log/clicks/e0001/checkpoint/00000000000000000012.json"));
        assert!(!is_manifest("_log/clicks/e0001/12.json"));
        assert!(!is_manifest("_log/clicks/stage/00000000000000000012.json"));
        assert!(!is_manifest("_log/clicks/.probe"));
    }
}

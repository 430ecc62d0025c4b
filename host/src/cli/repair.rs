//! `tidemill repair`: what only a person may decide, since it gives something up. Shows it first, acts with `--yes`.

use serde_json::json;

use super::{flags::HostFlags, print};
use crate::{fault::Fault, pipeline::repair::NewEpoch};

/// The way on where only a person may decide: shows what it would do and what is given up by it, does it with --yes.
#[derive(Debug, clap::Args)]
pub(super) struct Repair {
    #[command(flatten)]
    flags: HostFlags,
    /// The pipeline
    #[arg(value_name = "PIPELINE")]
    pipeline: String,
    /// Go on with the topics that the pipeline names now (OTHER_LOG): seals the log's epoch and begins the next one
    #[arg(long, required = true)]
    new_epoch: bool,
    /// Do it
    #[arg(long)]
    yes: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Repair {
    pub(super) async fn run(self) -> Result<(), Fault> {
        let pipeline = self.flags.one(&self.pipeline).await?;
        let writer = format!("repair/{}", std::process::id());
        match NewEpoch::begin(&pipeline, &writer, self.yes).await? {
            Some(epoch) if self.json => print(json!(epoch)),
            Some(epoch) => print(epoch),
            None if self.json => print(json!({ "pipeline": pipeline.name, "done": false })),
            None => print(format!(
                "{}: its log reads the topics that it names: no new epoch is needed",
                pipeline.name
            )),
        }
    }
}

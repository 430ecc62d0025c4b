//! `tidemill repair`: what only a person may decide, since it gives something up. Shows it first, acts with `--yes`.

use serde_json::json;

use super::{flags::HostFlags, print};
use crate::{
    fault::Fault,
    pipeline::repair::{self, Way},
};

/// The way out of a halt, where only a person may decide: shows what it would do and what is given up, does it with --yes.
#[derive(Debug, clap::Args)]
pub(super) struct Repair {
    #[command(flatten)]
    flags: HostFlags,
    /// The pipeline
    #[arg(value_name = "PIPELINE")]
    pipeline: String,
    #[command(flatten)]
    what: What,
    /// Do it
    #[arg(long)]
    yes: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// One of these.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct What {
    /// OTHER_LOG: go on with the topics that the pipeline names now; seals the log's epoch and begins the next one
    #[arg(long)]
    new_epoch: bool,
    /// TOPIC_RECREATED: read this topic as the new one that it is, in a new epoch
    #[arg(long, value_name = "TOPIC")]
    adopt_topic: Option<String>,
    /// OFFSET_GAP: go on behind the offsets that the topic does not have any more
    #[arg(long)]
    skip_gap: bool,
    /// STAGE_LOST: go on without the lost files of this manifest
    #[arg(long, value_name = "SEQ")]
    void: Option<u64>,
}

impl Repair {
    pub(super) async fn run(self) -> Result<(), Fault> {
        let pipeline = self.flags.one(&self.pipeline).await?;
        let writer = format!("repair/{}", std::process::id());
        let way = match self.what {
            What { adopt_topic: Some(topic), .. } => Way::AdoptTopic(topic),
            What { void: Some(seq), .. } => Way::Void(seq),
            What { skip_gap: true, .. } => Way::SkipGap,
            What { .. } => Way::NewEpoch,
        };
        let repair = repair::Repair::look(&pipeline, &way, &writer, self.yes).await?;
        if self.json { print(json!(repair)) } else { print(repair) }
    }
}

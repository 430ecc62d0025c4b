//! `tidemill validate`: all that `run` does before the first record.

use super::{flags::HostFlags, print};
use crate::{fault::Fault, pipeline::Runtime};

/// Checks settings, pipelines, components, brokers and stores, and reads no record.
#[derive(Debug, clap::Args)]
pub(super) struct Validate {
    #[command(flatten)]
    flags: HostFlags,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Validate {
    pub(super) async fn run(self) -> Result<(), Fault> {
        let (host, pipelines) = self.flags.load()?;
        let names: Vec<_> = pipelines.iter().map(|pipeline| pipeline.name.clone()).collect();
        let findings = Runtime::validate(host, pipelines).await?;
        if self.json {
            return print(
                serde_json::json!({ "valid": true, "pipelines": names, "findings": findings }),
            );
        }
        for finding in findings {
            print(finding)?;
        }
        print(format_args!("valid: {}", names.join(", ")))
    }
}

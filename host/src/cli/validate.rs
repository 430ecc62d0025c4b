//! `tidemill validate`: all that `run` does before the first record.

use std::{io, net::SocketAddr};

use super::{flags::HostFlags, print};
use crate::{api::Server, fault::Fault, pipeline::Runtime};

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
        let taken = address_in_use(host.listen).await?;
        let mut findings = Runtime::validate(host, pipelines).await?;
        findings.extend(taken);
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

/// Takes the address of the HTTP server for a moment. That it is in use is worth a line and no more: most likely the host
/// runs already, and its next settings are being checked.
async fn address_in_use(listen: SocketAddr) -> Result<Option<String>, Fault> {
    let Err(fault) = Server::bind(listen).await else { return Ok(None) };
    let cause = fault.source.as_ref().and_then(|cause| cause.downcast_ref::<io::Error>());
    match cause.map(io::Error::kind) {
        Some(io::ErrorKind::AddrInUse) => {
            Ok(Some(format!("{fault}: right if the host runs already")))
        }
        _ => Err(fault),
    }
}

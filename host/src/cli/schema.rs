//! `tidemill schema`: the JSON Schemas of the files, for editors.

use super::print;
use crate::{config, fault::Fault};

/// Prints the JSON Schema of pipeline files or host settings.
#[derive(Debug, clap::Args)]
pub(super) struct Schema {
    /// Which file
    #[arg(value_enum, default_value_t)]
    of: Of,
}

#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum Of {
    /// `tidemill.toml`
    Host,
    /// A pipeline file
    #[default]
    Pipeline,
}

impl Schema {
    pub(super) fn run(self) -> Result<(), Fault> {
        let schema = match self.of {
            Of::Host => config::host_schema(),
            Of::Pipeline => config::pipeline_schema(),
        };
        print(format_args!("{schema:#}"))
    }
}

//! Whether a run lost or doubled a record: what DuckDB, which knows nothing of the host, finds in its files.

use std::{path::Path, process::Command};

use anyhow::{Context, Result, bail};
use xshell::{Shell, cmd};

use super::{Bed, host::Site};

/// What DuckDB found.
#[derive(Debug)]
pub(super) struct Verdict {
    /// Rows and dead letters.
    pub rows: u64,
    /// Records that are rows or dead letters of the other run, and not of this one.
    pub lost: u64,
    /// The other way round.
    pub foreign: u64,
    /// Rows too many for the records that they are of.
    pub doubled: u64,
}

impl Verdict {
    pub(super) fn is_good(&self) -> bool {
        (self.lost, self.foreign, self.doubled) == (0, 0, 0) && self.rows > 0
    }
}

/// Compares the rows of two runs over the same topic.
pub(super) fn compare(shell: &Shell, bed: &Bed, run: &Site, other: &Site) -> Result<Verdict> {
    let python = bed.tools.python();
    let data = |site: &Site| site.folder.join("store/data/clicks");
    let (run, other) = (data(run), data(other));
    let found = cmd!(shell, "{python} - {run} {other}")
        .quiet()
        .stdin(include_str!("judge.py"))
        .read()
        .context("DuckDB could not read the files")?;
    let numbers: Vec<u64> = found.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    let [rows, lost, foreign, doubled] = numbers[..] else { bail!("no four numbers: {found}") };
    Ok(Verdict { rows, lost, foreign, doubled })
}

/// Has `tidemill verify` prove that the log and the files of a run have no gap and no overlap.
pub(super) fn verify(tidemill: &Path, site: &Site) -> Result<()> {
    let mut command: Command = site.command(tidemill, "verify");
    let output = command.output().context("failed to run tidemill verify")?;
    if !output.status.success() {
        bail!(
            "tidemill verify: {}",
            String::from_utf8_lossy(&[output.stdout, output.stderr].concat())
        );
    }
    Ok(())
}

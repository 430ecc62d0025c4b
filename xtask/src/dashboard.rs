//! The page: built by Vite into the folder that the host embeds.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

use crate::{node::Node, setup};

const SOURCES: &str = "dashboard";
/// What the build depends on, in the folder of the sources.
const PARTS: [&str; 6] =
    ["index.html", "package.json", "package-lock.json", "src", "tsconfig.json", "vite.config.ts"];
/// The folder from which the host embeds it; ignored by git.
const BUILT: &str = "host/dashboard";
/// In that folder: which sources it was built from.
const KEY: &str = ".sources";

/// Checks and builds the page, unless it was built from the same sources.
pub(crate) fn build(shell: &Shell) -> Result<()> {
    let key = key(&shell.current_dir().join(SOURCES))?;
    let built = shell.current_dir().join(BUILT);
    if fs::read_to_string(built.join(KEY)).is_ok_and(|from| from == key) {
        return Ok(());
    }
    let node = Node::find(shell)?;
    node.packages(shell, SOURCES)?;
    let _node = node.enter(shell)?;
    {
        let _folder = shell.push_dir(SOURCES);
        cmd!(shell, "npm run --silent check").run().context("the page has wrong types")?;
        cmd!(shell, "npm run --silent build -- --logLevel warn")
            .run()
            .context("the page can't be built")?;
    }
    // Not Vite's own output folder: what lies in this one is whole, or is made again.
    shell.remove_path(built.join(KEY))?;
    shell.remove_path(built.join("assets"))?;
    shell.create_dir(built.join("assets"))?;
    let fresh = shell.current_dir().join(SOURCES).join("dist");
    for file in files(&fresh)? {
        let to = built.join(file.strip_prefix(&fresh).context("it lies below the folder")?);
        shell.copy_file(&file, to)?;
    }
    shell.write_file(built.join(KEY), key)?;
    Ok(())
}

/// Tests the parts of the page that need no browser.
pub(crate) fn test(shell: &Shell) -> Result<()> {
    let node = Node::find(shell)?;
    node.packages(shell, SOURCES)?;
    let _node = node.enter(shell)?;
    let _folder = shell.push_dir(SOURCES);
    cmd!(shell, "npm test --silent").run().context("a test of the page failed")?;
    Ok(())
}

/// Tells sources apart by their content: times of files mean nothing in a fresh clone.
fn key(folder: &Path) -> Result<String> {
    let mut hasher = DefaultHasher::new();
    for part in PARTS {
        let path = folder.join(part);
        let all = if path.is_dir() { files(&path)? } else { vec![path] };
        for file in all {
            file.strip_prefix(folder)?.hash(&mut hasher);
            let content = fs::read(&file);
            content
                .with_context(|| format!("failed to read {}", file.display()))?
                .hash(&mut hasher);
        }
    }
    Ok(format!("{:016x}", hasher.finish()))
}

/// All files below a folder, in an order that does not depend on the disk.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// What a person sees of the chore.
pub(crate) fn by_hand(shell: &Shell) -> Result<()> {
    build(shell)?;
    setup::say(&format!("the page is in {BUILT}: the next build of tidemill has it"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_changes_with_names_and_content_alone() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        fs::create_dir_all(folder.path().join("src/view")).unwrap();
        for part in PARTS.iter().filter(|part| **part != "src") {
            write(part, part);
        }
        write("src/view/a.tsx", "a");
        let first = key(folder.path()).unwrap();
        write("src/view/a.tsx", "a");
        assert_eq!(key(folder.path()).unwrap(), first);
        write("src/view/a.tsx", "b");
        let other = key(folder.path()).unwrap();
        assert_ne!(other, first);
        fs::rename(folder.path().join("src/view/a.tsx"), folder.path().join("src/a.tsx")).unwrap();
        assert_ne!(key(folder.path()).unwrap(), other);
        fs::remove_file(folder.path().join("index.html")).unwrap();
        assert!(key(folder.path()).is_err());
    }
}

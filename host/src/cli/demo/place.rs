//! The demo's folder: component, pipeline file, settings.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rust_embed::RustEmbed;

use crate::fault::Fault;

/// The sample components that the build put into this binary.
#[derive(RustEmbed)]
#[folder = "components/"]
struct Components;

/// The demo's component.
const COMPONENT: &str = "clean-clicks.wasm";
/// The next version of it, to be swapped in.
const NEXT: &str = "clean-clicks-2.wasm";

/// The demo's pipeline.
pub(super) const PIPELINE: &str = "clicks";

/// Says that a folder was made by a demo: the next one may clean it.
const MARK: &str = ".made-by-tidemill-demo";

/// A prepared folder.
pub(super) struct Place {
    /// The folder, absolute.
    pub(super) folder: PathBuf,
    /// The settings of the host.
    pub(super) settings: String,
}

/// How to swap the next version in.
pub(super) fn swap(folder: &str) -> String {
    format!("cp {folder}/next/{COMPONENT} {folder}/transforms/")
}

impl Place {
    /// Makes the folder, or cleans it if an earlier demo made it, and writes what a host needs.
    pub(super) fn prepare(folder: &Path, topic: &str, brokers: &str) -> Result<Self, Fault> {
        let component = |name| {
            Components::get(name).ok_or_else(|| {
                Fault::config("this build of tidemill holds no sample components")
                    .help("build them in with `cargo xtask demo`, from a clone of the repository")
            })
        };
        let (current, next) = (component(COMPONENT)?, component(NEXT)?);
        clean(folder)?;
        let written = || {
            fs::create_dir_all(folder.join("transforms"))?;
            fs::create_dir_all(folder.join("pipelines"))?;
            fs::write(
                folder.join(MARK),
                "The next `tidemill demo` deletes what is in this folder.\n",
            )?;
            fs::write(folder.join("transforms").join(COMPONENT), &current.data)?;
            fs::create_dir_all(folder.join("next"))?;
            fs::write(folder.join("next").join(COMPONENT), &next.data)?;
            fs::write(folder.join("pipelines/clicks.yaml"), pipeline(topic))?;
            let settings = settings(brokers);
            fs::write(folder.join("tidemill.toml"), &settings)?;
            Ok(Self { folder: folder.canonicalize()?, settings })
        };
        written().map_err(|error| cannot("write to", folder, error))
    }
}

fn cannot(what: &str, folder: &Path, error: io::Error) -> Fault {
    let fault = Fault::outside(format!("cannot {what} the folder {}", folder.display()));
    fault.permanent().caused_by(error).help("choose another with --dir DIR")
}

/// Deletes what an earlier demo made; refuses a folder with anything else in it.
fn clean(folder: &Path) -> Result<(), Fault> {
    let entries = match fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(cannot("read", folder, error)),
    };
    if entries && !folder.join(MARK).exists() {
        let text = format!("the folder {} holds files that no demo made", folder.display());
        return Err(Fault::config(text).help("choose an empty or new folder with --dir DIR"));
    }
    fs::remove_dir_all(folder).map_err(|error| cannot("clean", folder, error))
}

fn pipeline(topic: &str) -> String {
    format!(
        "# The demo's pipeline. deploy/pipelines/clicks.yaml has it with comments, for your own Kafka and bucket.
name: {PIPELINE}
source:
  kafka:
    topics: [{topic}]
    format: json
transforms:
  - component: clean-clicks
outputs:
  clean:
    parquet:
      partition_by: [country]
flush: {{ every: 1s, idle: 100ms }}
"
    )
}

fn settings(brokers: &str) -> String {
    let brokers: Vec<_> = brokers.split(',').map(|broker| format!("{:?}", broker.trim())).collect();
    format!(
        "# The demo's host.
transforms = \"transforms\"
pipelines = \"pipelines\"
scratch = \"scratch\"
[http]
listen = \"127.0.0.1:0\"
[store]
url = \"store\"
[kafka]
brokers = [{}]
",
        brokers.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn only_an_earlier_demos_folder_is_cleaned() {
        let folder = tempfile::tempdir().unwrap();
        let mine = folder.path().join("thesis.txt");
        fs::write(&mine, "years of work").unwrap();
        assert_eq!(clean(folder.path()).unwrap_err().blame, crate::fault::Blame::Config);
        assert!(mine.exists());
        fs::write(folder.path().join(MARK), "").unwrap();
        clean(folder.path()).unwrap();
        assert!(!folder.path().exists());
        clean(folder.path()).unwrap();
    }

    #[test]
    fn the_demos_files_are_read() {
        let text = settings("a:1, b:2");
        let file = config::File { name: "tidemill.toml", text: &text, folder: Path::new("/demo") };
        let host = config::host(Some(file), &[], Path::new("/"), 2).unwrap();
        assert_eq!(host.kafka.brokers, ["a:1", "b:2"]);
        assert_eq!(host.store.url.as_str(), "file:///demo/store/");
        let file = config::PipelineFile { name: "clicks.yaml".into(), text: pipeline("t-1") };
        let pipelines = config::pipelines(&[file], Path::new("/demo"), &host).unwrap();
        assert_eq!(pipelines[0].source.topics, ["t-1"]);
    }
}

//! Host settings as flags and variables, and the reading of configuration files.

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
};

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, parser::ValueSource};

use crate::{
    config::{self, Given, Host, Pipeline, PipelineFile, SETTINGS, Setting},
    fault::{Blame, Fault},
    pipeline, registry,
    store::Store,
};

/// The configuration file that is read when none is named and it exists.
const FILE: &str = "tidemill.toml";

/// All host settings.
#[derive(Clone, Debug, Default)]
pub(super) struct HostFlags {
    config: Option<PathBuf>,
    /// Variables, then flags: a later one wins.
    given: Vec<Given>,
}

/// The settings of the cluster alone, for commands that only speak to Kafka.
#[derive(Clone, Debug, Default)]
pub(super) struct KafkaFlags(pub(super) HostFlags);

impl HostFlags {
    /// The host's settings.
    pub(super) fn host(&self) -> Result<Host, Fault> {
        let here = std::env::current_dir()
            .map_err(|error| Fault::outside("cannot tell the current folder").caused_by(error))?;
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let default = Path::new(FILE);
        let path = self.config.as_deref().or_else(|| default.exists().then_some(default));
        let Some(path) = path else { return Ok(config::host(None, &self.given, &here, cores)?) };
        let text = read(path, "pass the file with --config FILE")?;
        let folder = here.join(path.parent().unwrap_or(Path::new("")));
        let name = path.display().to_string();
        let file = config::File { name: &name, text: &text, folder: &folder };
        Ok(config::host(Some(file), &self.given, &here, cores)?)
    }

    /// The host's pipelines: those of files, and those that were registered over the API; at least one.
    pub(super) async fn all(&self) -> Result<Vec<Pipeline>, Fault> {
        let host = self.host()?;
        let files = pipeline_files(&host.pipelines).or_else(|fault| match fault.blame {
            Blame::Config => Ok(Vec::new()),
            _ => Err(fault),
        })?;
        let store = Store::open(&host.store).await?;
        let registered = registry::registered(store).await?;
        let named = |(name, text)| PipelineFile { name: format!("pipeline {name}"), text };
        let registered: Vec<_> = registered.into_iter().map(named).collect();
        let mut pipelines = config::pipelines(&registered, &host.pipelines, &host)?;
        for pipeline in config::pipelines(&files, &host.pipelines, &host)? {
            // As a host does: a file does not take the place of one that was registered.
            if !pipelines.iter().any(|known| known.name == pipeline.name) {
                pipelines.push(pipeline);
            }
        }
        some(pipelines, &host)
    }

    /// One of the host's pipelines.
    pub(super) async fn one(&self, name: &str) -> Result<Pipeline, Fault> {
        let mut pipelines = self.all().await?;
        if let Some(place) = pipelines.iter().position(|pipeline| pipeline.name == name) {
            return Ok(pipelines.swap_remove(place));
        }
        let known: Vec<_> = pipelines.iter().map(|pipeline| pipeline.name.as_str()).collect();
        let help = format!("the pipelines are {}", known.join(", "));
        Err(Fault::config(format!("there is no pipeline `{name}`")).help(help))
    }

    /// The host's settings and the pipelines of files; at least one.
    pub(super) fn load(&self) -> Result<(Host, Vec<Pipeline>), Fault> {
        let host = self.host()?;
        let pipelines =
            config::pipelines(&pipeline_files(&host.pipelines)?, &host.pipelines, &host)?;
        let pipelines = some(pipelines, &host)?;
        Ok((host, pipelines))
    }
}

/// Pipelines, if there are any.
fn some(pipelines: Vec<Pipeline>, host: &Host) -> Result<Vec<Pipeline>, Fault> {
    if pipelines.is_empty() {
        let help =
            "write a pipeline file there (name.yaml), or name another folder with --pipelines";
        let text = format!("no pipeline file is in {}", shown(&host.pipelines));
        return Err(Fault::config(text).help(help));
    }
    Ok(pipelines)
}

/// The files of a folder that hold pipelines, in the order of their names.
fn pipeline_files(folder: &Path) -> Result<Vec<PipelineFile>, Fault> {
    let fault = |error: io::Error| {
        let help = "create the folder with a pipeline file in it, or name another with --pipelines";
        outside_or_user(&error, format!("cannot read the pipelines folder {}", shown(folder)))
            .caused_by(error)
            .help(help)
    };
    let paths = pipeline::files(folder).map_err(fault)?;
    let file = |path: &PathBuf| {
        let text = read(path, "make the file readable, or move it elsewhere")?;
        Ok(PipelineFile { name: shown(path), text })
    };
    paths.iter().map(file).collect()
}

fn read(path: &Path, help: &str) -> Result<String, Fault> {
    fs::read_to_string(path).map_err(|error| {
        outside_or_user(&error, format!("cannot read {}", shown(path))).caused_by(error).help(help)
    })
}

/// What is missing or malformed is the user's fault; anything else the disk's.
fn outside_or_user(error: &io::Error, message: String) -> Fault {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::InvalidData | io::ErrorKind::NotADirectory => {
            Fault::config(message)
        }
        _ => Fault::outside(message).permanent(),
    }
}

/// A path as the user would write it from here.
pub(super) fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}

impl Args for HostFlags {
    fn augment_args(command: Command) -> Command {
        augment(command, |_| true)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for HostFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(from_matches(matches, |_| true))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for KafkaFlags {
    fn augment_args(command: Command) -> Command {
        augment(command, of_kafka)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for KafkaFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self(from_matches(matches, of_kafka)))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn of_kafka(setting: &Setting) -> bool {
    setting.key.starts_with("kafka.")
}

fn augment(command: Command, wanted: fn(&Setting) -> bool) -> Command {
    let file = Arg::new("config")
        .long("config")
        .env("TIDEMILL_CONFIG")
        .value_name("FILE")
        .value_parser(clap::value_parser!(PathBuf))
        .help("Settings of the host [default: tidemill.toml, if it exists]");
    let settings = SETTINGS.iter().filter(|setting| wanted(setting)).map(|setting| {
        Arg::new(setting.flag)
            .long(setting.flag)
            .env(setting.variable)
            .value_name(setting.value)
            .help(setting.help)
            .help_heading("Settings (flag > variable > file > default)")
            .action(ArgAction::Append)
            .hide_env_values(true)
    });
    command.arg(file).args(settings)
}

fn from_matches(matches: &ArgMatches, wanted: fn(&Setting) -> bool) -> HostFlags {
    let mut given = Vec::new();
    for setting in SETTINGS.iter().filter(|setting| wanted(setting)) {
        let is_flag = matches.value_source(setting.flag) == Some(ValueSource::CommandLine);
        let origin =
            if is_flag { format!("--{}", setting.flag) } else { setting.variable.to_owned() };
        let texts = matches.get_many::<String>(setting.flag).into_iter().flatten();
        // An empty variable is as good as none: that is how a shell or a container file leaves one out.
        let texts = texts.filter(|text| is_flag || !text.is_empty());
        given.extend(texts.map(|text| Given {
            key: setting.key,
            origin: origin.clone(),
            text: text.clone(),
        }));
    }
    HostFlags { config: matches.get_one("config").cloned(), given }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> HostFlags {
        let command = HostFlags::augment_args(Command::new("tidemill"));
        let matches = command.try_get_matches_from([&["tidemill"], arguments].concat()).unwrap();
        HostFlags::from_arg_matches(&matches).unwrap()
    }

    /// A folder with a settings file and a pipeline file.
    fn folder(settings: &str, pipeline: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("tidemill.toml"), settings).unwrap();
        fs::create_dir(folder.path().join("pipelines")).unwrap();
        fs::write(folder.path().join("pipelines/a.yaml"), pipeline).unwrap();
        fs::write(folder.path().join("pipelines/.hidden.yaml"), "not a pipeline").unwrap();
        fs::write(folder.path().join("pipelines/notes.txt"), "not a pipeline").unwrap();
        folder
    }

    const PIPELINE: &str = "{name: a, source: {kafka: {topics: [t], format: raw}}, \
                            transforms: [{component: c}], outputs: {o: {}}}";

    #[test]
    fn a_flag_wins_over_the_file_and_keeps_its_name() {
        let folder = folder("workers = 3\n[memory]\nbudget = '64MiB'\n", PIPELINE);
        let config = folder.path().join("tidemill.toml").display().to_string();
        let (host, pipelines) = parse(&["--config", &config, "--workers", "5"]).load().unwrap();
        assert_eq!((host.workers, host.memory_budget, pipelines.len()), (5, 64 << 20, 1));
        let fault = parse(&["--config", &config, "--workers", "0"]).host().unwrap_err();
        assert!(fault.to_string().starts_with("--workers: 0 is too small"), "{fault}");
    }

    #[test]
    fn a_pipeline_file_is_named_in_its_refusal() {
        let folder = folder("", "name: a\nsorce: {}\n");
        let config = folder.path().join("tidemill.toml").display().to_string();
        let fault = parse(&["--config", &config]).load().unwrap_err();
        assert!(fault.to_string().contains("pipelines/a.yaml:2:1: unknown key `sorce`"), "{fault}");
    }

    #[test]
    fn missing_files_are_the_users_fault() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path().display().to_string();
        for arguments in [
            &["--config", "/nowhere.toml"][..],
            &["--pipelines", "/nowhere"],
            &["--pipelines", &here],
        ] {
            let fault = parse(arguments).load().unwrap_err();
            assert_eq!(fault.blame, crate::fault::Blame::Config, "{fault}");
            assert!(fault.help.is_some());
        }
    }
}

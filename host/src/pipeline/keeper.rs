//! Keeps the pipelines of a host as the files in the folder and the log of the registry say, while it runs.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    thread,
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, bounded, select};

use super::{
    files::{Files, Found},
    fleet::Fleet,
    status::Origin,
};
use crate::{
    config::{self, PipelineFile},
    events::What,
    fault::Fault,
    registry::Desired,
};

/// How often it looks: at a few files, and at what is known of the log.
const LOOK: Duration = Duration::from_millis(500);
/// Looks before a definition is tried again that the surroundings kept from being tried.
const TRY_AGAIN: u32 = 10;

/// What a host's pipelines are, and where each stands.
#[derive(Debug)]
pub(super) struct Keeper {
    fleet: Arc<Fleet>,
    folder: PathBuf,
    files: Files,
    /// The pipeline that a file defines.
    names: BTreeMap<String, String>,
    /// Definitions in the log that were refused here, by name.
    refused: BTreeMap<String, String>,
    /// Files to be read again, and in how many looks.
    waiting: BTreeMap<String, u32>,
}

/// The thread that keeps ends when this is dropped, or after the change that it is busy with.
#[derive(Debug)]
pub(super) struct Keeping {
    _stop: Sender<()>,
}

impl Keeper {
    pub(super) fn new(fleet: Arc<Fleet>) -> Self {
        let folder = fleet.around.host.pipelines.clone();
        let (names, refused, waiting) = Default::default();
        Self { files: Files::new(folder.clone()), fleet, folder, names, refused, waiting }
    }

    /// Adds all pipelines that there are at the start, and starts none.
    ///
    /// # Errors
    /// What is wrong with the files, when no pipeline is left; or there is neither a folder nor a pipeline.
    pub(super) fn begin(&mut self) -> Result<(), Fault> {
        let found = self.files.look(true);
        let registered = self.fleet.registry.pipelines();
        let mut problems: Option<Fault> = None;
        for found in found.as_deref().unwrap_or_default() {
            let Found::Changed(file) = found else { continue };
            let added = self.read(file).and_then(|pipeline| {
                let name = pipeline.name.clone();
                let desired = registered.get(&name).map(|known| known.desired);
                let origin = Origin::File(file.name.clone());
                self.takes(&name, &file.name)?;
                self.fleet.add(pipeline, origin, desired.unwrap_or_default());
                self.names.insert(file.name.clone(), name);
                Ok(())
            });
            if let Err(fault) = added {
                tracing::error!(file = file.name, "pipeline file refused: {fault}");
                let (mut text, help) = (fault.to_string(), fault.help);
                if let Some(before) = problems.take() {
                    text = format!("{before}\n\n{text}");
                }
                problems = Some(Fault { help, ..Fault::config(text) });
            }
        }
        for (name, known) in registered {
            let Some(text) = known.definition else { continue };
            match self.parse(&name, &text) {
                Ok(pipeline) => drop(self.fleet.add(pipeline, Origin::Api, known.desired)),
                Err(fault) => self.refuse(&name, &text, &fault),
            }
        }
        match (self.fleet.names().is_empty(), problems, found) {
            (true, Some(problems), _) => Err(problems),
            (true, None, Err(error)) => {
                let folder = self.folder.display();
                let help = "create the folder with a pipeline file in it, or name another with --pipelines";
                Err(Fault::config(format!("cannot read the pipelines folder {folder}"))
                    .caused_by(error)
                    .help(help))
            }
            (true, None, Ok(_)) => {
                let folder = self.folder.display();
                tracing::warn!(
                    "no pipeline yet: put a file into {folder}, or PUT /v1/pipelines/NAME"
                );
                Ok(())
            }
            (false, ..) => Ok(()),
        }
    }

    /// Keeps until the answer is dropped.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(super) fn keep(mut self) -> Result<Keeping, Fault> {
        let (stop, stopped) = bounded(0);
        let run = move || {
            while !is_over(&stopped) {
                self.look();
            }
        };
        thread::Builder::new()
            .name("pipelines".to_owned())
            .spawn(run)
            .map_err(|error| Fault::outside("start a thread").caused_by(error).permanent())?;
        Ok(Keeping { _stop: stop })
    }

    fn look(&mut self) {
        self.waiting.retain(|file, looks| {
            *looks -= 1;
            if *looks == 0 {
                self.files.again(file);
            }
            *looks > 0
        });
        // A folder that can't be read says nothing of the files in it.
        for found in self.files.look(false).unwrap_or_default() {
            match found {
                Found::Changed(file) => self.changed(&file),
                Found::Gone(file) => self.gone(&file),
            }
        }
        self.follow();
    }

    /// Does what a file says.
    fn changed(&mut self, file: &PipelineFile) {
        let before = self.names.get(&file.name).cloned();
        let taken = self.read(file).and_then(|pipeline| {
            let name = pipeline.name.clone();
            self.takes(&name, &file.name)?;
            if let Some(other) = before.as_ref().filter(|before| **before != name) {
                self.fleet.remove(other);
            }
            self.names.insert(file.name.clone(), name.clone());
            let origin = Origin::File(file.name.clone());
            match self.fleet.known(&name) {
                // It waits for whatever keeps it from running, and shows it.
                None | Some((_, false, _)) => self.fleet.define_unready(pipeline, &origin),
                Some(_) => self.fleet.define(pipeline, &origin, None, false).map(drop),
            }
        });
        let Err(fault) = taken else { return };
        if fault.retry {
            self.waiting.insert(file.name.clone(), TRY_AGAIN);
        }
        match self.names.get(&file.name) {
            Some(name) => self.fleet.refuse(name, Some(fault.to_string())),
            None => {
                let (pipeline, reason) = (file.name.clone(), fault.to_string());
                self.fleet.around.events.tell(What::DefinitionRefused { pipeline, reason });
            }
        }
    }

    /// A file is gone: its pipeline ends.
    fn gone(&mut self, file: &str) {
        if let Some(name) = self.names.remove(file) {
            self.fleet.remove(&name);
        }
    }

    /// Does what the log says of pipelines that were registered over the API, and of what pipelines are to do.
    fn follow(&mut self) {
        let registered = {
            // Held, so that what is being registered right now is seen as a whole.
            let _held = self.fleet.registry.hold();
            self.fleet.registry.pipelines()
        };
        for (name, known) in &registered {
            let Some(text) = &known.definition else { continue };
            match self.fleet.described(name) {
                Some((status, _)) if status.origin != Origin::Api => continue,
                Some((_, running)) if running.text() == text => continue,
                _ if self.refused.get(name) == Some(text) => continue,
                _ => {}
            }
            let taken = self.parse(name, text).and_then(|pipeline| match self.fleet.known(name) {
                None | Some((_, false, _)) => self.fleet.define_unready(pipeline, &Origin::Api),
                Some(_) => self.fleet.define(pipeline, &Origin::Api, None, false).map(drop),
            });
            match taken {
                Err(fault) if fault.retry => {
                    tracing::warn!(pipeline = name, "not changed yet: {fault}")
                }
                Err(fault) => self.refuse(name, text, &fault),
                Ok(()) => drop(self.refused.remove(name)),
            }
        }
        let defined: BTreeSet<_> = registered
            .iter()
            .filter(|(_, known)| known.definition.is_some())
            .map(|(name, _)| name.clone())
            .collect();
        for name in self.fleet.names() {
            let Some((origin, _, desired)) = self.fleet.known(&name) else { continue };
            if origin == Origin::Api && !defined.contains(&name) {
                self.fleet.remove(&name);
                continue;
            }
            let wanted = registered.get(&name).map_or(Desired::Running, |known| known.desired);
            if wanted != desired {
                self.fleet.desire(&name, wanted);
            }
        }
    }

    fn refuse(&mut self, name: &str, text: &str, fault: &Fault) {
        self.refused.insert(name.to_owned(), text.to_owned());
        let (pipeline, reason) = (name.to_owned(), fault.to_string());
        if self.fleet.known(name).is_some() {
            return self.fleet.refuse(name, Some(reason));
        }
        self.fleet.around.events.tell(What::DefinitionRefused { pipeline, reason });
    }

    /// Whether a file may define a pipeline of this name.
    fn takes(&self, name: &str, file: &str) -> Result<(), Fault> {
        match self.fleet.known(name).map(|(origin, ..)| origin) {
            Some(Origin::File(other)) if other != file => {
                let text = format!("{file}: a pipeline `{name}` stands in {other} already");
                Err(Fault::config(text).help("give one of them another name"))
            }
            Some(Origin::Api) => {
                let text = format!("{file}: a pipeline `{name}` was registered over the API");
                let help =
                    format!("give this one another name, or DELETE /v1/pipelines/{name} first");
                Err(Fault::config(text).help(help))
            }
            _ => Ok(()),
        }
    }

    fn read(&self, file: &PipelineFile) -> Result<config::Pipeline, Fault> {
        read(file, &self.fleet)
    }

    fn parse(&self, name: &str, text: &str) -> Result<config::Pipeline, Fault> {
        let file = PipelineFile { name: format!("pipeline {name}"), text: text.to_owned() };
        read(&file, &self.fleet)
    }
}

fn read(file: &PipelineFile, fleet: &Fleet) -> Result<config::Pipeline, Fault> {
    let host = &fleet.around.host;
    let mut read = config::pipelines(std::slice::from_ref(file), &host.pipelines, host)?;
    read.pop().ok_or_else(|| Fault::bug("a pipeline file without a pipeline was read"))
}

/// Waits until it is time to look again; whether there is nothing more to keep.
fn is_over(stopped: &Receiver<()>) -> bool {
    select! {
        recv(stopped) -> _ => true,
        default(LOOK) => false,
    }
}

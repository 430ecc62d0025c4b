//! Keeps the pipelines of a host as the files in the folder and the log of the registry say, while it runs.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::Arc,
    thread,
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, bounded, select};

use super::{
    How, changes,
    files::{Files, Found},
    fleet::Fleet,
    status::Origin,
    supervisor::Supervised,
};
use crate::{
    config::{self, PipelineFile},
    events::What,
    fault::Fault,
};

/// How often it looks: at a few files, and at what is known of the log.
const LOOK: Duration = Duration::from_millis(500);
/// Looks before a definition is tried again that the surroundings kept from being tried.
const TRY_AGAIN: u32 = 10;
/// Looks before a definition is tried again that was refused.
const TRY_LATER: u32 = 120;
/// The code of a file whose pipeline is defined elsewhere: it is taken when it no longer is.
const NAME_TAKEN: &str = "NAME_TAKEN";
/// What is no fault of the file alone: another pipeline goes, or a new epoch is begun.
const MENDED_ELSEWHERE: [&str; 2] = [NAME_TAKEN, changes::OTHER_LOG];

/// What a host's pipelines are, and where each stands.
#[derive(Debug)]
pub(super) struct Keeper {
    fleet: Arc<Fleet>,
    folder: PathBuf,
    files: Files,
    /// The pipeline that a file defines.
    names: BTreeMap<String, String>,
    /// Definitions in the log that were refused here, by name, and in how many looks they are tried again.
    refused: BTreeMap<String, (String, u32)>,
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
        // As while the host runs: a file does not take the place of one that was registered before.
        for (name, known) in &registered {
            let Some(text) = &known.definition else { continue };
            match self.parse(name, text) {
                Ok(pipeline) => drop(self.fleet.add(pipeline, Origin::Api, known.wish)),
                Err(fault) => self.refuse(name, text, &fault),
            }
        }
        let mut problems: Option<Fault> = None;
        for found in found.as_deref().unwrap_or_default() {
            let Found::Changed(file) = found else { continue };
            let added = self.read(file).and_then(|pipeline| {
                let name = pipeline.name.clone();
                let wish = registered.get(&name).map(|known| known.wish);
                let origin = Origin::File(file.name.clone());
                self.takes(&name, &file.name)?;
                self.fleet.add(pipeline, origin, wish.unwrap_or_default());
                self.names.insert(file.name.clone(), name);
                Ok(())
            });
            if let Err(fault) = added {
                if fault.code == Some(NAME_TAKEN) {
                    self.waiting.insert(file.name.clone(), TRY_AGAIN);
                }
                self.stray(Origin::File(file.name.clone()), None, &fault);
                tracing::error!(file = file.name, "pipeline file refused: {fault}");
                let (mut text, help) = (fault.to_string(), fault.help);
                if let Some(before) = problems.take() {
                    text = format!("{before}\n\n{text}");
                }
                problems = Some(Fault { help, ..Fault::config(text) });
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
                // Whatever is wrong with a definition, the next look is at all of them.
                if catch_unwind(AssertUnwindSafe(|| self.look())).is_err() {
                    tracing::error!(
                        "a fault of tidemill itself, definitions wait: please report it"
                    );
                }
            }
        };
        thread::Builder::new()
            .name("pipelines".to_owned())
            .spawn(run)
            .map_err(|error| Fault::outside("start a thread").caused_by(error).permanent())?;
        Ok(Keeping { _stop: stop })
    }

    fn look(&mut self) {
        self.refused.retain(|_, (_, looks)| {
            *looks -= 1;
            *looks > 0
        });
        self.waiting.retain(|file, looks| {
            *looks -= 1;
            if *looks == 0 {
                self.files.again(file);
            }
            *looks > 0
        });
        // A folder that can't be read says nothing of the files in it.
        let mut found = self.files.look(false).unwrap_or_default();
        // A file that was renamed is gone before it is there again.
        found.sort_by_key(|found| matches!(found, Found::Changed(_)));
        for found in found {
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
                drop(self.fleet.end(self.fleet.take_out(other)));
            }
            self.names.insert(file.name.clone(), name.clone());
            let origin = Origin::File(file.name.clone());
            match self.fleet.known(&name) {
                // It waits for whatever keeps it from running, and shows it.
                None | Some((_, false, _)) => self.fleet.define_unready(pipeline, &origin),
                Some(_) => self.fleet.define(pipeline, &origin, None, How::default()).map(drop),
            }
        });
        let Err(fault) = taken else {
            self.fleet.forget_stray(&file.name);
            return;
        };
        let soon = fault.retry || fault.code.is_some_and(|code| MENDED_ELSEWHERE.contains(&code));
        self.waiting.insert(file.name.clone(), if soon { TRY_AGAIN } else { TRY_LATER });
        match self.names.get(&file.name) {
            Some(name) => self.fleet.refuse(name, Some(fault.to_string())),
            None => self.stray(Origin::File(file.name.clone()), None, &fault),
        }
    }

    /// Shows a definition that no pipeline can be made of, and tells of it once.
    fn stray(&self, origin: Origin, name: Option<&str>, fault: &Fault) {
        let reason = fault.to_string();
        let pipeline = match (&origin, name) {
            (Origin::File(file), _) => file.clone(),
            (Origin::Api, name) => name.unwrap_or_default().to_owned(),
        };
        if self.fleet.refuse_stray(origin, name, &reason) {
            self.fleet.around.events.tell(What::DefinitionRefused { pipeline, reason });
        }
    }

    /// A file is gone: its pipeline ends.
    fn gone(&mut self, file: &str) {
        self.fleet.forget_stray(file);
        if let Some(name) = self.names.remove(file) {
            drop(self.fleet.end(self.fleet.take_out(&name)));
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
                Some((_, running)) if running.text() == text => {
                    self.fleet.refuse(name, None);
                    self.refused.remove(name);
                    continue;
                }
                _ if self.refused.get(name).is_some_and(|(refused, _)| refused == text) => continue,
                _ => {}
            }
            let taken = self.parse(name, text).and_then(|pipeline| match self.fleet.known(name) {
                None | Some((_, false, _)) => self.fleet.define_unready(pipeline, &Origin::Api),
                Some(_) => {
                    self.fleet.define(pipeline, &Origin::Api, None, How::default()).map(drop)
                }
            });
            match taken {
                Err(fault) if fault.retry => {
                    tracing::warn!(pipeline = name, "not changed yet: {fault}")
                }
                Err(fault) => self.refuse(name, text, &fault),
                Ok(()) => {
                    self.refused.remove(name);
                    self.fleet.forget_stray(name);
                }
            }
        }
        for name in self.fleet.names() {
            drop(self.fleet.end(self.obey(&name)));
        }
    }

    /// Does what the log says of a pipeline right now; what is to be ended of one that is no more.
    fn obey(&self, name: &str) -> Option<Supervised> {
        let _held = self.fleet.registry.hold();
        let known = self.fleet.registry.pipelines().remove(name).unwrap_or_default();
        let (origin, _, wish) = self.fleet.known(name)?;
        if origin == Origin::Api && known.definition.is_none() {
            return self.fleet.take_out(name);
        }
        if known.wish != wish {
            self.fleet.desire(name, known.wish);
        }
        None
    }

    /// A definition of the log does not run here. It is tried again: what kept it from that may have passed.
    fn refuse(&mut self, name: &str, text: &str, fault: &Fault) {
        self.refused.insert(name.to_owned(), (text.to_owned(), TRY_LATER));
        if self.fleet.known(name).is_some() {
            return self.fleet.refuse(name, Some(fault.to_string()));
        }
        self.stray(Origin::Api, Some(name), fault);
    }

    /// Whether a file may define a pipeline of this name.
    fn takes(&self, name: &str, file: &str) -> Result<(), Fault> {
        match self.fleet.known(name).map(|(origin, ..)| origin) {
            Some(Origin::File(other)) if other != file => {
                let text = format!("{file}: a pipeline `{name}` stands in {other} already");
                Err(Fault::config(text).code(NAME_TAKEN).help("give one of them another name"))
            }
            Some(Origin::Api) => {
                let text = format!("{file}: a pipeline `{name}` was registered over the API");
                let help =
                    format!("give this one another name, or DELETE /v1/pipelines/{name} first");
                Err(Fault::config(text).code(NAME_TAKEN).help(help))
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

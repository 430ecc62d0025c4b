//! What people choose of versions that are there: an earlier one again, none any more.

use std::{fs, io};

use super::{
    Objection, Outcome, Users,
    log::{Change, Log, Road},
    road::RoadWorks,
};
use crate::{events::What, fault::Fault};

impl RoadWorks {
    pub(super) fn roll_back(
        &mut self,
        users: &dyn Users,
        name: &str,
        digest: &str,
    ) -> Result<Outcome, Fault> {
        self.runtime.block_on(self.journal.follow())?;
        let log = self.journal.log();
        let from = log.current(name).map(str::to_owned);
        if from.as_deref() == Some(digest) {
            return Ok(Outcome::Unchanged);
        }
        if log.component(name).and_then(|history| history.version(digest)).is_none() {
            let text = format!("component {name} has no version sha256:{digest}");
            return Err(Fault::config(text)
                .code("UNKNOWN_VERSION")
                .help(format!("see /v1/components/{name}/versions")));
        }
        let wasm = self.bytes(name, digest)?;
        let good = match self.try_out(users, name, &wasm, false)? {
            Ok(good) => good,
            Err(Objection { reason, .. }) => return Ok(Outcome::Refused(reason)),
        };
        let (component, to) = (name.to_owned(), digest.to_owned());
        let outputs = good.outputs();
        let choose = |log: &Log| {
            let (component, digest, outputs) = (component.clone(), to.clone(), outputs.clone());
            (log.current(name) != Some(digest.as_str())).then_some(Change::Choose {
                component,
                digest,
                outputs,
            })
        };
        if self.runtime.block_on(self.journal.append(choose))? {
            self.events.tell(What::RolledBack {
                component: component.clone(),
                from,
                to: to.clone(),
            });
        }
        self.run(good);
        Ok(Outcome::Accepted)
    }

    /// Makes a version the current one instead of one that was accepted and can't be run after all, which is then shown
    /// among the refused ones.
    pub(super) fn withdraw(
        &mut self,
        users: &dyn Users,
        name: &str,
        from: &str,
        to: &str,
        why: &Fault,
    ) -> Result<(), Fault> {
        self.runtime.block_on(self.journal.follow())?;
        if self.journal.log().current(name) != Some(from) {
            return Ok(());
        }
        let history = self.journal.log().component(name);
        let version = history.and_then(|history| history.version(from));
        let road = version.map_or(Road::Folder, |version| version.road);
        let (component, against) = (name.to_owned(), users.against(name));
        let reason = format!("it was accepted, but can't be started: {why}");
        let refuse = |log: &Log| {
            let (component, digest) = (component.clone(), from.to_owned());
            let (reason, against) = (reason.clone(), against.clone());
            let is_chosen_again = log.current(name) == Some(from);
            (!is_chosen_again).then_some(Change::Refuse {
                component,
                digest,
                reason,
                against,
                road,
            })
        };
        // First of all: as long as it can't be gone back from, it is no refused one.
        if let Outcome::Refused(reason) = self.roll_back(users, name, to)? {
            return Err(Fault::transform(reason));
        }
        if self.runtime.block_on(self.journal.append(refuse))? {
            let digest = from.to_owned();
            self.events.tell(What::Refused { component, digest, road: road.name(), reason });
        }
        self.show();
        Ok(())
    }

    pub(super) fn remove(
        &mut self,
        users: &dyn Users,
        name: &str,
        force: bool,
    ) -> Result<bool, Fault> {
        self.runtime.block_on(self.journal.follow())?;
        let named_by = users.users(name);
        if !named_by.is_empty() {
            let text = format!("component {name} is used by {}", named_by.join(", "));
            return Err(Fault::config(text).code("IN_USE").help("delete the pipeline first"));
        }
        // Another host may have a pipeline by a file that this one does not have.
        let elsewhere: Vec<_> = self.journal.log().users(name).map(String::as_str).collect();
        if !elsewhere.is_empty() && !force {
            let text =
                format!("component {name} was used by {} on another host", elsewhere.join(", "));
            let help = "if no host has such a pipeline any more, say so by ?force=true";
            return Err(Fault::config(text).code("IN_USE").help(help));
        }
        let path = self.folder.file(name);
        let deleted = match fs::remove_file(&path) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => {
                let text = format!("delete {}", path.display());
                return Err(Fault::outside(text).permanent().caused_by(error));
            }
        };
        let component = name.to_owned();
        let remove = |log: &Log| {
            let component = component.clone();
            log.component(name).map(|_| Change::Remove { component })
        };
        let forgotten = self.runtime.block_on(self.journal.append(remove))?;
        self.running.remove(name);
        self.show();
        Ok(deleted || forgotten)
    }
}

//! The files of components that somebody is about to use, taken in at once instead of when the folder is looked at next.

use std::{collections::BTreeSet, thread, time::Instant};

use sha2::{Digest, Sha256};

use super::{
    Users,
    folder::{Candidate, STILL},
    log::Road,
    road::RoadWorks,
};
use crate::fault::Fault;

impl RoadWorks {
    /// Takes in the files of these components as they lie in the folder. `starting` says that nobody writes there yet.
    pub(super) fn settle(
        &mut self,
        users: &dyn Users,
        names: &BTreeSet<&str>,
        keeping: bool,
        starting: bool,
    ) -> Result<(), Fault> {
        // A folder that is not there is told of when a component is picked from it.
        let candidates = if starting {
            self.folder.all(|name| users.against(name)).unwrap_or_default()
        } else {
            self.still(users, names)
        };
        for candidate in candidates {
            let name = &candidate.name;
            if !names.contains(name.as_str()) {
                continue;
            }
            let against = users.against(name);
            let Ok(Some(wasm)) = self.folder.read(&candidate) else { continue };
            let digest = hex::encode(Sha256::digest(&wasm));
            if !self.knows(name, &digest, &against) {
                let tried = match self.try_out(users, name, &wasm, true) {
                    // The earlier version runs, and the file is tried again while it does.
                    Err(fault) if keeping && self.journal.log().current(name).is_some() => {
                        tracing::warn!(
                            component = name,
                            help = fault.help,
                            "not tried yet: {fault}"
                        );
                        continue;
                    }
                    tried => tried?,
                };
                match tried {
                    Ok(good) if keeping => self.accept(users, good, wasm.into(), Road::Folder)?,
                    Ok(good) => drop(self.running.insert(name.clone(), good.component)),
                    Err(objection) if !keeping || self.journal.log().current(name).is_none() => {
                        return Err(*objection.fault);
                    }
                    Err(objection) => {
                        self.refuse(users, name, &digest, objection.reason, Road::Folder)?;
                    }
                }
            }
            if keeping {
                self.folder.tried(&candidate, against);
            }
        }
        Ok(())
    }

    /// The files of these components that nobody writes any more: it waits a moment for those that may still be written.
    fn still(&mut self, users: &dyn Users, names: &BTreeSet<&str>) -> Vec<Candidate> {
        let deadline = Instant::now() + 3 * STILL;
        loop {
            let scanned =
                self.folder.scan(&BTreeSet::new(), Instant::now(), |name| users.against(name));
            let Ok((candidates, soon)) = scanned else { return Vec::new() };
            let has = |name: &&&str| candidates.iter().any(|candidate| candidate.name == ***name);
            let missing = names.iter().filter(|name| self.journal.log().current(name).is_none());
            if !soon || missing.filter(|name| !has(name)).count() == 0 || Instant::now() > deadline
            {
                return candidates;
            }
            thread::park_timeout(STILL / 3);
        }
    }
}

//! Making staged files visible, or getting rid of them.

use std::{
    collections::HashSet,
    time::{Duration, SystemTime},
};

use object_store::{Error, RenameOptions, multipart::PartId};

use super::{Backend, Store, stage};
use crate::{
    commit::manifest::{File, Stage},
    fault::Fault,
};

/// What became of an attempt to publish a file.
#[derive(Debug)]
pub enum Published {
    /// It is visible now.
    Done,
    /// It was visible before.
    Already,
    /// Neither the file nor its staged bytes are there, for sure. The text says what was found.
    Lost(String),
    /// Not known: try again.
    Unknown(Fault),
}

impl Store {
    /// Makes a staged file visible. Anybody may do so, any number of times: it is one-shot (it consumes the staged bytes),
    /// so a late attempt cannot bring back a file that somebody deleted since.
    ///
    /// "No such upload" must be seen several times over a minute, together with "no such file", before a file on S3 is called lost.
    pub async fn publish(&self, file: &File) -> Published {
        let published = match &file.stage {
            Stage::Multipart { id, parts } => self.complete(file, id, parts).await,
            Stage::Rename { id } => self.rename(file, id).await,
        };
        published.unwrap_or_else(Published::Unknown)
    }

    async fn complete(
        &self,
        file: &File,
        id: &String,
        parts: &[String],
    ) -> Result<Published, Fault> {
        let (Backend::S3(multipart) | Backend::Memory(multipart)) = &self.0.backend else {
            return Err(self.foreign_stage(&file.key));
        };
        let path = self.path(&file.key)?;
        let mut looks = self.0.looks.iter();
        loop {
            let parts = parts.iter().map(|part| PartId { content_id: part.clone() }).collect();
            let Err(error) = multipart.complete_multipart(&path, id, parts).await else {
                return Ok(Published::Done);
            };
            // The answer alone proves nothing: the completion may have been carried out all the same, now or long ago.
            let found = self.size(&file.key).await?;
            if found == Some(file.bytes) {
                return Ok(Published::Already);
            }
            if !self.says_no_such_upload(&error) {
                return Err(self.fault("publish", &file.key, &error));
            }
            match looks.next() {
                Some(pause) => tokio::time::sleep(*pause).await,
                None => return Ok(Published::Lost(lost(file, "the upload", id, found))),
            }
        }
    }

    async fn rename(&self, file: &File, id: &str) -> Result<Published, Fault> {
        let Backend::Local(_) = &self.0.backend else { return Err(self.foreign_stage(&file.key)) };
        let (from, to) = (self.path(id)?, self.path(&file.key)?);
        match self.size(&file.key).await? {
            Some(bytes) if bytes == file.bytes => return Ok(Published::Already),
            // Names carry a nonce, so this is nobody's race, but something that a person put there.
            Some(_) if self.size(id).await?.is_some() => {
                return Err(Fault::outside(format!(
                    "publish {} in the store {}: another file stands there",
                    file.key, self.0.url
                ))
                .permanent()
                .help("move it away"));
            }
            Some(_) | None => {}
        }
        // Makes the folders, and syncs them and the stage's.
        match self.0.objects.rename_opts(&from, &to, RenameOptions::default()).await {
            Ok(()) => Ok(Published::Done),
            Err(Error::NotFound { .. }) => match self.size(&file.key).await? {
                Some(bytes) if bytes == file.bytes => Ok(Published::Already),
                found => Ok(Published::Lost(lost(file, "the staged file", id, found))),
            },
            Err(error) => Err(self.fault("publish", &file.key, &error)),
        }
    }

    /// Gets rid of staged bytes; no error if there are none. Never for a stage that a manifest may name.
    ///
    /// # Errors
    /// The store refuses or does not answer.
    pub async fn discard(&self, key: &str, stage: &Stage) -> Result<(), Fault> {
        match (stage, &self.0.backend) {
            (Stage::Multipart { id, .. }, Backend::S3(multipart) | Backend::Memory(multipart)) => {
                match multipart.abort_multipart(&self.path(key)?, id).await {
                    Err(error) if !self.says_no_such_upload(&error) => {
                        Err(self.fault("discard", key, &error))
                    }
                    Ok(()) | Err(_) => Ok(()),
                }
            }
            (Stage::Rename { id }, Backend::Local(_)) => self.delete(id).await,
            _ => Err(self.foreign_stage(key)),
        }
    }

    /// Deletes the staged files of a pipeline that no manifest names (`named`: the ids of [`Stage::Rename`]) and that were
    /// last written longer ago than `older_than`; tells how many. Open uploads cannot be listed: a lifecycle rule of the
    /// bucket ends those.
    ///
    /// # Errors
    /// The store refuses or does not answer.
    pub async fn sweep(
        &self,
        pipeline: &str,
        named: &HashSet<String>,
        older_than: Duration,
    ) -> Result<u64, Fault> {
        let Backend::Local(_) = &self.0.backend else { return Ok(0) };
        let mut swept = 0;
        for meta in self.metas(&stage::folder(pipeline), None).await? {
            let age =
                SystemTime::now().duration_since(meta.last_modified.into()).unwrap_or_default();
            if age > older_than && !named.contains(meta.location.as_ref()) {
                self.delete(meta.location.as_ref()).await?;
                swept += 1;
            }
        }
        Ok(swept)
    }

    fn foreign_stage(&self, key: &str) -> Fault {
        Fault::config(format!(
            "publish {key} in the store {}: it was staged in a store of another kind",
            self.0.url
        ))
        .help("give the pipeline the store that its log was written to")
    }
}

fn lost(file: &File, what: &str, id: &str, found: Option<u64>) -> String {
    match found {
        None => format!("{}: neither the file nor {what} {id} exists", file.key),
        Some(bytes) => format!(
            "{}: {what} {id} is gone, and the file has {bytes} bytes instead of {}",
            file.key, file.bytes
        ),
    }
}

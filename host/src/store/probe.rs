//! What a store must be able to do, tried before anything depends on it.

use bytes::Bytes;
use futures::future::join_all;
use object_store::{Error, path::Path};

use super::{Backend, Store};
use crate::fault::Fault;

const ROUNDS: usize = 4;
const WRITERS: usize = 8;

impl Store {
    /// Reads, lists, stages, and lets several writers create the same object at once, all under `_log/.probe/`.
    ///
    /// # Errors
    /// Something is not allowed or the store does not answer; or it let two writers create the same object
    /// (`NO_PUT_IF_ABSENT`): nothing can be exactly-once there.
    pub async fn probe(&self) -> Result<(), Fault> {
        let name = format!("_log/.probe/{:032x}", rand::random::<u128>());
        // A store that hides what exists from whoever may not list answers "forbidden" for a key that is absent.
        if self.get(&name).await?.is_some() {
            return Err(self.no_put_if_absent("it shows an object that nobody wrote"));
        }
        let keys: Vec<String> = (0..ROUNDS).map(|round| format!("{name}-{round}")).collect();
        let mut raced = Ok(());
        for key in &keys {
            raced = self.race(key).await;
            if raced.is_err() {
                break;
            }
        }
        let listed = self.list("_log/.probe", None).await;
        for key in &keys {
            if let Err(fault) = self.delete(key).await {
                tracing::debug!(%fault, "a probe stays in the store");
            }
        }
        raced?;
        listed?;
        self.try_upload(&name).await
    }

    async fn race(&self, key: &str) -> Result<(), Fault> {
        let path = self.path(key)?;
        let bodies: Vec<Bytes> =
            (0..WRITERS).map(|writer| Bytes::from(format!("writer {writer}"))).collect();
        let results =
            join_all(bodies.iter().map(|body| self.put_if_absent(&path, body.clone()))).await;
        let winners: Vec<&Bytes> = results
            .iter()
            .zip(&bodies)
            .filter(|(result, _)| result.is_ok())
            .map(|(_, body)| body)
            .collect();
        if winners.len() > 1 {
            return Err(self.no_put_if_absent("it let two writers create the same object"));
        }
        let refused = results.iter().find_map(|result| match result {
            Ok(()) | Err(Error::AlreadyExists { .. }) => None,
            Err(error) => Some(self.fault("create", key, error)),
        });
        match (self.get(key).await?, winners.first(), refused) {
            (Some(found), Some(winner), _) if found != **winner => {
                Err(self.no_put_if_absent("a writer that was refused wrote over the one that won"))
            }
            (Some(_), _, _) => Ok(()),
            (None, _, Some(fault)) => Err(fault),
            (None, _, None) => Err(self.no_put_if_absent("what it said to exist cannot be read")),
        }
    }

    async fn try_upload(&self, key: &str) -> Result<(), Fault> {
        let (Backend::S3(multipart) | Backend::Memory(multipart)) = &self.0.backend else {
            return Ok(());
        };
        let path: Path = self.path(key)?;
        let upload = async {
            let id = multipart.create_multipart(&path).await?;
            multipart.abort_multipart(&path, &id).await
        };
        upload.await.map_err(|error| self.fault("begin and abort an upload of", key, &error))
    }

    fn no_put_if_absent(&self, why: &str) -> Fault {
        Fault::config(format!("write exactly once to the store {}: {why}", self.0.url))
            .code("NO_PUT_IF_ABSENT")
            .help("use a store with conditional writes (`If-None-Match: *`), such as S3, MinIO, R2 or a local disk")
    }
}

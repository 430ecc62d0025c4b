//! The multipart stager: an upload that stays open.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use object_store::{MultipartId, multipart::MultipartStore, path::Path};
use tokio::{runtime::Handle, sync::OnceCell, task::JoinHandle, time::sleep};

use super::{PART_BYTES, PARTS_IN_FLIGHT};
use crate::{budget::Share, commit::manifest::Stage, fault::Fault, store::Store};

/// S3 takes no more.
const MAX_PARTS: usize = 10_000;

/// Pauses before a part is sent again, on top of the retries of the client: a lost part costs a whole flush.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(5)];

pub(super) struct Upload {
    target: Arc<Target>,
    runtime: Handle,
    /// In the order of the parts.
    under_way: VecDeque<JoinHandle<Result<String, Fault>>>,
    /// Parts that arrived, in order.
    parts: Vec<String>,
    finished: bool,
}

struct Target {
    store: Store,
    multipart: Arc<dyn MultipartStore>,
    key: String,
    path: Path,
    /// Begun by the first part that gets there, so that the writer need not wait for it.
    id: OnceCell<MultipartId>,
}

impl Upload {
    pub(super) fn new(
        store: &Store,
        multipart: &Arc<dyn MultipartStore>,
        key: &str,
        runtime: Handle,
    ) -> Result<Self, Fault> {
        let target = Arc::new(Target {
            store: store.clone(),
            multipart: Arc::clone(multipart),
            key: key.to_owned(),
            path: store.path(key)?,
            id: OnceCell::new(),
        });
        Ok(Self { target, runtime, under_way: VecDeque::new(), parts: Vec::new(), finished: false })
    }

    /// Sends a part in the background, once fewer than [`PARTS_IN_FLIGHT`] are under way.
    pub(super) fn send(&mut self, part: Bytes, share: &Arc<Share>) -> Result<(), Fault> {
        while self.under_way.len() >= PARTS_IN_FLIGHT {
            self.settle_oldest()?;
        }
        let index = self.parts.len() + self.under_way.len();
        if index == MAX_PARTS {
            let most = MAX_PARTS * PART_BYTES;
            return Err(Fault::config(format!(
                "stage {}: the file is larger than {most} bytes",
                self.target.key
            ))
            .help("lower `max_file_bytes` of the output"));
        }
        let target = Arc::clone(&self.target);
        let memory = share.reserve_closing(u64::try_from(part.len()).expect("usize fits u64"));
        self.under_way.push_back(self.runtime.spawn(async move {
            let sent = target.send(index, part).await;
            drop(memory);
            sent
        }));
        Ok(())
    }

    /// Waits for all parts.
    pub(super) fn finish(mut self) -> Result<Stage, Fault> {
        while !self.under_way.is_empty() {
            self.settle_oldest()?;
        }
        let id = self.target.id.get().expect("a part arrived, so the upload began").clone();
        self.finished = true;
        Ok(Stage::Multipart { id, parts: std::mem::take(&mut self.parts) })
    }

    fn settle_oldest(&mut self) -> Result<(), Fault> {
        if let Some(part) = self.under_way.pop_front() {
            let sent = self.runtime.block_on(part).map_err(|error| {
                Fault::outside(format!("stage {}: its upload was cut off", self.target.key))
                    .caused_by(error)
            })?;
            self.parts.push(sent?);
        }
        Ok(())
    }
}

impl Drop for Upload {
    /// Aborts an upload that was not finished, after its parts: one that arrives late would stay.
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        let target = Arc::clone(&self.target);
        let under_way = std::mem::take(&mut self.under_way);
        self.runtime.spawn(async move {
            for part in under_way {
                drop(part.await);
            }
            if let Some(id) = target.id.get() {
                let stage = Stage::Multipart { id: id.clone(), parts: Vec::new() };
                if let Err(fault) = target.store.discard(&target.key, &stage).await {
                    tracing::debug!(%fault, "an upload stays open");
                }
            }
        });
    }
}

impl Target {
    async fn send(&self, index: usize, part: Bytes) -> Result<String, Fault> {
        let mut pauses = PAUSES.iter();
        loop {
            let fault = match self.try_send(index, part.clone()).await {
                Ok(id) => return Ok(id),
                Err(error) => self.store.fault("stage", &self.key, &error),
            };
            match pauses.next().filter(|_| fault.retry) {
                Some(pause) => sleep(*pause).await,
                None => return Err(fault),
            }
        }
    }

    async fn try_send(&self, index: usize, part: Bytes) -> object_store::Result<String> {
        let begin = || self.multipart.create_multipart(&self.path);
        let id = self.id.get_or_try_init(begin).await?;
        Ok(self.multipart.put_part(&self.path, id, index, part.into()).await?.content_id)
    }
}

//! Reads and appends the registry's log. Appending is optimistic, as for the log of a pipeline: whoever creates entry `k`
//! has it for ever; the others read it, and decide again.

use bytes::Bytes;
use chrono::{SecondsFormat, Utc};
use futures::{StreamExt as _, stream};

use super::log::{Change, Entry, Log, component_key, key};
use crate::{
    commit::names,
    fault::Fault,
    store::{Created, Store},
};

/// Entries that are read at the same time at the start.
const READ_AHEAD: usize = 16;
/// How often an entry is tried to be written before the caller hears of it.
const ATTEMPTS: u32 = 3;

/// The log, as far as it was read, and where it lies.
#[derive(Debug)]
pub(super) struct Journal {
    store: Store,
    /// Who this process is, for people.
    writer: String,
    log: Log,
}

impl Journal {
    /// Reads all of the log. Writes nothing.
    pub(super) async fn open(store: Store, writer: String) -> Result<Self, Fault> {
        let mut journal = Self { store, writer, log: Log::default() };
        journal.read_on(READ_AHEAD).await?;
        Ok(journal)
    }

    pub(super) fn log(&self) -> &Log {
        &self.log
    }

    /// Reads what others appended.
    pub(super) async fn follow(&mut self) -> Result<(), Fault> {
        self.read_on(1).await
    }

    async fn read_on(&mut self, at_once: usize) -> Result<(), Fault> {
        let store = self.store.clone();
        let reads = stream::iter(self.log.next..)
            .map(|seq| {
                let (store, key) = (store.clone(), key(seq));
                async move { store.get(&key).await }
            })
            .buffered(at_once);
        let mut reads = std::pin::pin!(reads);
        while let Some(read) = reads.next().await {
            let Some(bytes) = read? else { break };
            self.log.fold(Entry::decode(&key(self.log.next), &bytes)?)?;
        }
        Ok(())
    }

    /// Appends what `decide` makes of the log, which it may see several times: newer each time. `None` appends nothing. Says
    /// whether something was appended.
    ///
    /// # Errors
    /// The store refuses or does not answer. The entry may be there all the same: the next one that is read tells.
    pub(super) async fn append(
        &mut self,
        decide: impl Fn(&Log) -> Option<Change>,
    ) -> Result<bool, Fault> {
        let nonce = names::nonce(rand::random());
        let mut failures = 0;
        while let Some(change) = decide(&self.log) {
            let ts = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
            let entry = Entry::new(&self.log, nonce.clone(), change, &self.writer, ts);
            let key = key(entry.seq);
            let Created::Other(fault) = self.store.create(&key, entry.encode().into()).await else {
                self.log.fold(entry)?;
                return Ok(true);
            };
            // "It exists" may be our own write that was answered by an error.
            match self.store.get(&key).await? {
                Some(bytes) => {
                    let found = Entry::decode(&key, &bytes)?;
                    let mine = found.nonce == nonce;
                    self.log.fold(found)?;
                    if mine {
                        return Ok(true);
                    }
                }
                None => {
                    failures += 1;
                    if !fault.retry || failures == ATTEMPTS {
                        return Err(fault);
                    }
                }
            }
        }
        Ok(false)
    }

    /// Keeps a component's bytes, if nobody did before.
    pub(super) async fn keep(&self, digest: &str, wasm: Bytes) -> Result<(), Fault> {
        let key = component_key(digest);
        if self.store.size(&key).await? == Some(wasm.len() as u64) {
            return Ok(());
        }
        self.store.put(&key, wasm).await
    }

    /// A component's bytes; `None` when nobody kept them.
    pub(super) async fn kept(&self, digest: &str) -> Result<Option<Bytes>, Fault> {
        self.store.get(&component_key(digest)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config, registry::log::Road};

    async fn store() -> Store {
        let url = "memory://".parse().unwrap();
        let settings = config::Store { url, endpoint: None, path_style: false, region: None };
        Store::open(&settings).await.unwrap()
    }

    fn accept(digest: String) -> Change {
        let component = "c".to_owned();
        Change::Accept {
            component,
            digest,
            version: None,
            bytes: 1,
            road: Road::Folder,
            outputs: [].into(),
        }
    }

    #[tokio::test]
    async fn two_writers_agree_and_the_same_is_not_accepted_twice() {
        let store = store().await;
        let mut one = Journal::open(store.clone(), "one".into()).await.unwrap();
        let mut two = Journal::open(store.clone(), "two".into()).await.unwrap();
        let unless_known = |log: &Log, digest: &str| {
            let known = log.component("c").is_some_and(|history| history.knows(digest, ""));
            (!known).then(|| accept(digest.to_owned()))
        };
        assert!(one.append(|log| unless_known(log, "a")).await.unwrap());
        assert!(!two.append(|log| unless_known(log, "a")).await.unwrap(), "the other was first");
        assert!(two.append(|log| unless_known(log, "b")).await.unwrap());
        assert_eq!(one.log().current("c"), Some("a"));
        one.follow().await.unwrap();
        assert_eq!((one.log(), one.log().current("c")), (two.log(), Some("b")));
    }

    #[tokio::test]
    async fn many_entries_are_read_in_order() {
        let store = store().await;
        let mut writer = Journal::open(store.clone(), "w".into()).await.unwrap();
        for n in 0..50 {
            writer.append(|_| Some(accept(format!("{n}")))).await.unwrap();
        }
        let reader = Journal::open(store, "r".into()).await.unwrap();
        assert_eq!(reader.log(), writer.log());
        assert_eq!(reader.log().component("c").unwrap().versions.len(), 50);
    }
}

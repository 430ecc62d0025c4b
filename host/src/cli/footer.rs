//! The footer of a Parquet file in a store.

use tokio::{runtime::Handle, task::spawn_blocking};

use crate::{
    fault::Fault,
    parquet::{self, Footer},
    store::Store,
};

/// Reads the footer of a file of a known size.
///
/// # Errors
/// When the store does not answer, or the file is not Parquet.
pub(super) async fn read(store: &Store, key: &str, size: u64) -> Result<Footer, Fault> {
    let (store, key, runtime) = (store.clone(), key.to_owned(), Handle::current());
    let read = move || {
        let footer = parquet::footer(size, |range| runtime.block_on(store.range(&key, range)));
        footer.map_err(|fault| Fault { message: format!("{key}: {}", fault.message), ..fault })
    };
    spawn_blocking(read)
        .await
        .map_err(|panic| Fault::bug("reading a footer panicked").caused_by(panic))?
}

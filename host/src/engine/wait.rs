//! Waiting under the deadline of a call: a guest that sleeps is inside the host, where no epoch ends it.

use std::time::Instant;

use wasmtime::{
    Trap,
    component::{HasData, Linker, Resource, ResourceTable},
};
use wasmtime_wasi::{
    p2::{
        DynPollable,
        bindings::{io::poll as wasi, sync::io::poll},
    },
    runtime::in_tokio,
};

use super::guest::Guest;

/// `wasi:io/poll`, through which every wait of a guest goes.
pub(super) struct Waits<'a> {
    pub table: &'a mut ResourceTable,
    /// When the call is over.
    pub deadline: Instant,
}

/// Puts these waits in the place of those that have no end.
pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    struct Own;
    impl HasData for Own {
        type Data<'a> = Waits<'a>;
    }
    linker.allow_shadowing(true);
    poll::add_to_linker::<_, Own>(linker, Guest::waits)?;
    linker.allow_shadowing(false);
    Ok(())
}

/// The answer of a wait, or the end of the call.
fn until<T>(
    deadline: Instant,
    wait: impl Future<Output = wasmtime::Result<T>>,
) -> wasmtime::Result<T> {
    in_tokio(async {
        tokio::time::timeout_at(deadline.into(), wait)
            .await
            .unwrap_or_else(|_| Err(Trap::Interrupt.into()))
    })
}

impl poll::Host for Waits<'_> {
    fn poll(&mut self, pollables: Vec<Resource<DynPollable>>) -> wasmtime::Result<Vec<u32>> {
        until(self.deadline, wasi::Host::poll(self.table, pollables))
    }
}

impl poll::HostPollable for Waits<'_> {
    fn ready(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<bool> {
        until(self.deadline, wasi::HostPollable::ready(self.table, pollable))
    }

    fn block(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        until(self.deadline, wasi::HostPollable::block(self.table, pollable))
    }

    fn drop(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        wasi::HostPollable::drop(self.table, pollable)
    }
}

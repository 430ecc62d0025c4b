//! Every limit of a guest, in one place: the engine's configuration, and the function that makes a store.

use std::time::Duration;

use wasmtime::{
    Config, InstanceAllocationStrategy, PoolingAllocationConfig, ResourceLimiter, Store,
};

use super::guest::Guest;
use crate::{config::Limits, fault::Fault};

/// An epoch: deadlines are rounded up to it.
pub(super) const EPOCH: Duration = Duration::from_millis(10);
/// Linear memory that an instance may be allowed at most.
pub(super) const MAX_MEMORY: u64 = 1 << 30;
/// Instances of a host at most: address space is reserved for each.
const MAX_INSTANCES: u32 = 512;
/// Entries of a guest's tables at most.
const MAX_TABLE: usize = 100_000;

/// What decides how code is compiled: the same in the host and in the process that compiles.
pub(super) fn compile_config() -> Config {
    let mut config = Config::new();
    config.epoch_interruption(true);
    config.wasm_component_model(true);
    config
}

/// What decides, beyond that, how instances run.
pub(super) fn host_config() -> Config {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(MAX_INSTANCES);
    // A component of the usual tool chains has a core module, adapters and shims.
    pool.total_core_instances(4 * MAX_INSTANCES);
    pool.total_memories(MAX_INSTANCES);
    pool.total_tables(2 * MAX_INSTANCES);
    pool.max_core_instances_per_component(20);
    pool.max_tables_per_component(20);
    pool.max_core_instance_size(1 << 20);
    pool.max_component_instance_size(1 << 20);
    pool.table_elements(MAX_TABLE);
    pool.max_memory_size(usize::try_from(MAX_MEMORY).expect("1 GiB is a size on 64 bits"));
    let mut config = compile_config();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}

/// A store with all limits of a guest but the deadline, which each call sets.
pub(super) fn store(engine: &wasmtime::Engine, guest: Guest) -> Store<Guest> {
    let mut store = Store::new(engine, guest);
    store.limiter(|guest| &mut guest.limiter);
    store.epoch_deadline_trap();
    store
}

/// Gives a store time for one call.
pub(super) fn set_deadline(store: &mut Store<Guest>, limits: &Limits) {
    let epochs = limits.call_timeout.as_millis().div_ceil(EPOCH.as_millis());
    store.set_epoch_deadline(u64::try_from(epochs).unwrap_or(u64::MAX / 2) + 1);
}

/// Bounds the memory and the tables of an instance, and remembers what was refused.
#[derive(Debug)]
pub(super) struct Limiter {
    /// Bytes of linear memory.
    memory: usize,
    /// What the guest has.
    pub used: usize,
    /// What it wanted when it was refused.
    pub refused: Option<usize>,
}

impl Limiter {
    pub(super) fn new(limits: &Limits) -> Result<Self, Fault> {
        super::check_limits(limits)?;
        let memory =
            usize::try_from(limits.memory).map_err(|_| Fault::bug("1 GiB is a size on 64 bits"))?;
        Ok(Self { memory, used: 0, refused: None })
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        _: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let allowed = desired <= self.memory;
        if allowed {
            self.used = self.used.max(desired);
        } else {
            self.refused = Some(desired);
        }
        Ok(allowed)
    }

    fn table_growing(
        &mut self,
        _: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= MAX_TABLE)
    }
}

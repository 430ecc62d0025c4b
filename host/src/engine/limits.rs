//! Every limit of a guest, in one place: the engine's configuration, and the function that makes a store.

use std::time::{Duration, Instant};

use wasmtime::{
    Config, InstanceAllocationStrategy, PoolingAllocationConfig, ResourceLimiter, Store,
};

use super::guest::Guest;
use crate::{config::Limits, fault::Fault};

/// An epoch: deadlines are rounded up to it.
pub(super) const EPOCH: Duration = Duration::from_millis(10);
/// Linear memory that an instance may be allowed at most.
const MAX_MEMORY: u64 = 1 << 30;
/// How long a call may be allowed to take at most.
const MAX_CALL: Duration = Duration::from_secs(3600);
/// Bytes of output that a call may be allowed at most: an Arrow array of bytes holds 2 GiB.
const MAX_OUTPUT: u64 = 1 << 30;
/// Instances of a host at most: address space is reserved for each.
const MAX_INSTANCES: u32 = 512;
/// Linear memories of an instance at most.
const MAX_MEMORIES: u32 = 4;
/// Entries of a guest's tables at most.
const MAX_TABLE: usize = 100_000;
/// Bytes of a guest's call stack.
const MAX_STACK: usize = 512 << 10;
/// Resources of WASI (streams, things to wait for) that a guest holds at most.
pub(super) const MAX_RESOURCES: usize = 10_000;
/// Bytes that a guest may hand to the host in one call beside rows: a descriptor, log lines, how rows are laid out.
const MAX_ASIDE: u64 = 4 << 20;

/// What decides how code is compiled: the same in the host and in the process that compiles.
pub(super) fn compile_config() -> Config {
    let mut config = Config::new();
    config.epoch_interruption(true);
    config.wasm_component_model(true);
    config.max_wasm_stack(MAX_STACK);
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
    pool.max_memories_per_component(MAX_MEMORIES);
    pool.max_tables_per_component(20);
    pool.max_core_instance_size(1 << 20);
    pool.max_component_instance_size(1 << 20);
    pool.table_elements(MAX_TABLE);
    pool.max_memory_size(usize::try_from(MAX_MEMORY).expect("1 GiB is a size on 64 bits"));
    let mut config = compile_config();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}

/// Whether limits that a configuration asks for can be granted.
pub(super) fn check(limits: &Limits) -> Result<(), Fault> {
    if limits.memory > MAX_MEMORY || limits.call_timeout > MAX_CALL || limits.output > MAX_OUTPUT {
        let (memory, output) = (MAX_MEMORY >> 20, MAX_OUTPUT >> 20);
        let text = format!(
            "a transform has {memory} MiB of memory, {output} MiB of output and an hour a call at most"
        );
        return Err(Fault::config(text).help("lower `transforms.limits`"));
    }
    Ok(())
}

/// A store with all limits of a guest but the deadline, which each call sets.
pub(super) fn store(engine: &wasmtime::Engine, guest: Guest, limits: &Limits) -> Store<Guest> {
    let mut store = Store::new(engine, guest);
    store.limiter(|guest| &mut guest.limiter);
    store.epoch_deadline_trap();
    // Checked while lists are copied out of the guest, so that lists that share memory can't multiply in the host.
    store.set_hostcall_fuel(
        usize::try_from(limits.output.saturating_add(MAX_ASIDE)).unwrap_or(usize::MAX),
    );
    store
}

/// Gives a guest time for one call; what it said and was refused before is not about this one.
pub(super) fn begin_call(store: &mut Store<Guest>, limits: &Limits) {
    let epochs = limits.call_timeout.as_millis().div_ceil(EPOCH.as_millis());
    store.set_epoch_deadline(u64::try_from(epochs).expect("an hour has few epochs") + 1);
    let guest = store.data_mut();
    guest.deadline = Instant::now() + limits.call_timeout;
    guest.limiter.refused = None;
    guest.lines.begin_call();
}

/// Bounds the memory and the tables of an instance, and remembers what was refused.
#[derive(Debug)]
pub(super) struct Limiter {
    /// Bytes of all linear memories together.
    memory: usize,
    /// What the guest has.
    pub used: usize,
    /// What it wanted in all when it was refused.
    pub refused: Option<usize>,
}

impl Limiter {
    pub(super) fn new(limits: &Limits) -> Result<Self, Fault> {
        check(limits)?;
        Ok(Self {
            memory: usize::try_from(limits.memory).expect("1 GiB is a size on 64 bits"),
            used: 0,
            refused: None,
        })
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let wanted = self.used.saturating_add(desired.saturating_sub(current));
        let allowed = wanted <= self.memory;
        if allowed {
            self.used = wanted;
        } else {
            self.refused = Some(wanted);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_memories_of_an_instance_count_together() {
        let limits = Limits { memory: 100, call_timeout: EPOCH, output: 0, log_lines: 0 };
        let mut limiter = Limiter::new(&limits).unwrap();
        assert!(limiter.memory_growing(0, 60, None).unwrap());
        assert!(!limiter.memory_growing(0, 60, None).unwrap(), "a second one");
        assert_eq!((limiter.used, limiter.refused), (60, Some(120)));
        assert!(
            !limiter.memory_growing(60, 80, Some(70)).unwrap(),
            "past what the memory itself allows"
        );
        assert!(limiter.memory_growing(60, 100, Some(100)).unwrap());
        assert_eq!(limiter.used, 100);
    }
}

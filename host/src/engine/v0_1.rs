//! The bindings of `wit/v0.1`: lists go in as slices, so that a column is copied once.

wasmtime::component::bindgen!({
    path: "../wit/v0.1",
    world: "transformer",
    ownership: Borrowing { duplicate_if_necessary: true },
});

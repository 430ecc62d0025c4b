//! Why a file is refused: what it has, and what the host accepts.

use wasmtime::component::Component;

use crate::fault::Fault;

/// What the exports of a component are looked up by: the version is decided once, here.
const CONTRACT: &str = "tidemill:transform/transform@0.1.";
/// Imports that the host satisfies, by their beginnings.
const OFFERED: [&str; 8] = [
    "tidemill:transform/host@0.1.",
    "tidemill:transform/types@0.1.",
    "wasi:cli/",
    "wasi:clocks/",
    "wasi:filesystem/",
    "wasi:io/",
    "wasi:random/",
    "wasi:sockets/",
];

/// Whether the file is a component at all.
pub(super) fn shape(name: &str, wasm: &[u8]) -> Result<(), Fault> {
    let what = match wasm {
        [0, b'a', b's', b'm', _, _, 1, 0, ..] => return Ok(()),
        [0, b'a', b's', b'm', _, _, 0, 0, ..] => "a core WebAssembly module, not a component",
        [0, b'a', b's', b'm', ..] => "cut off, or no WebAssembly that this host knows",
        [] => "empty",
        _ => "no WebAssembly component",
    };
    let help = "build it by `cargo build --release --target wasm32-wasip2`, or see wit/README.md for other languages";
    Err(Fault::transform(format!("component {name} is {what}")).help(help))
}

/// Whether the component exports the contract, and imports only what the host offers.
pub(super) fn world(
    engine: &wasmtime::Engine,
    name: &str,
    component: &Component,
) -> Result<(), Fault> {
    let ty = component.component_type();
    let exports: Vec<&str> = ty.exports(engine).map(|(name, _)| name).collect();
    let imports: Vec<&str> = ty.imports(engine).map(|(name, _)| name).collect();
    if !exports.iter().any(|export| export.starts_with(CONTRACT)) {
        let text = format!(
            "component {name} is no transform: it exports {}, and imports {}",
            list(&exports),
            list(&imports)
        );
        return Err(Fault::transform(text)
            .help(format!("the host accepts components that export {CONTRACT}x")));
    }
    let foreign: Vec<&str> = imports
        .iter()
        .copied()
        .filter(|import| !OFFERED.iter().any(|offered| import.starts_with(offered)))
        .collect();
    if !foreign.is_empty() {
        let text =
            format!("component {name} imports what the host does not offer: {}", list(&foreign));
        return Err(Fault::transform(text).help(format!(
            "it exports {}; the host offers {}",
            list(&exports),
            list(&OFFERED)
        )));
    }
    Ok(())
}

/// An import or export has the right name and the wrong type or version.
pub(super) fn unlinkable(name: &str, error: wasmtime::Error) -> Fault {
    let text = format!("component {name} does not fit the host: {error:#}");
    Fault::transform(text).help("build it against wit/v0.1 of this host, and WASI 0.2")
}

fn list(names: &[&str]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

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

/// Names that a text lists at most, and bytes of them.
const LISTED: (usize, usize) = (40, 4000);

/// Names for people. A component may have a million of them, each of many bytes.
fn list(names: &[&str]) -> String {
    if names.is_empty() {
        return "nothing".to_owned();
    }
    let mut bytes = 0;
    let fits = names.iter().take(LISTED.0).take_while(|name| {
        bytes += name.len();
        bytes <= LISTED.1
    });
    let listed = fits.count();
    match names.len() - listed {
        0 => names.join(", "),
        more if listed == 0 => format!("{more} with long names"),
        more => format!("{} and {more} more", names[..listed].join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_lists_some_names_and_counts_the_others() {
        assert_eq!(list(&[]), "nothing");
        assert_eq!(list(&["a:b/c", "d:e/f"]), "a:b/c, d:e/f");
        let many = list(&["a"; 100_000]);
        assert!(many.len() < 200 && many.ends_with("a, a and 99960 more"), "{many}");
        let long = "x".repeat(100_000);
        assert_eq!(list(&[&long, "a"]), "2 with long names");
        assert_eq!(list(&["a", &long, "b"]), "a and 2 more");
    }
}

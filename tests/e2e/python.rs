//! A component in Python, 18 MB large: it takes many seconds to compile, and no record waits for that.

use std::collections::BTreeMap;

use tidemill_tests::{eventually, guest, host::StoreKind};

use crate::{
    identity::Identity,
    log,
    swaps::{FILE, Load, build, digest, judged_by, runs_within, site},
};

/// The number in its rows: `STAMP` of `tests/guests-python/stamped.py`.
const STAMP: u32 = 314;

#[test]
fn the_build_in_rust_runs_on_while_one_in_python_is_compiled_and_then_follows() {
    let identity = Identity::new(4);
    let site = site(StoreKind::Folder, &identity);
    let python = guest("stamped_python.wasm");
    assert!(python.len() > 10 << 20, "the interpreter is in the file");
    let host = site.run().ready();
    let load = Load::start(identity);

    site.rename_into(FILE, &python);
    eventually("the compiler has it", 20, || {
        host.events("compiling").iter().any(|event| event["bytes"] == python.len()).then_some(())
    });
    let (flushes, before) =
        (log::manifests(&site.store, "copy").len(), log::records(&site.store, "copy"));
    eventually("flushes of the old build are committed", 20, || {
        (log::manifests(&site.store, "copy").len() >= flushes + 4).then_some(())
    });
    assert!(log::records(&site.store, "copy") > before);
    let is_loaded = |event: &serde_json::Value| event["digest"] == *digest(&python);
    assert!(!host.events("component loaded").iter().any(is_loaded), "it was compiled by then");

    runs_within(&host, &python, 300);
    let mut identity = load.end();
    identity.produce(100);
    identity.committed(&site, 40);
    host.drain();
    identity.judge(&site);
    let builds = BTreeMap::from([(digest(&build(0)), 0), (digest(&python), STAMP)]);
    let files = judged_by(&site, builds);
    assert_eq!(files.into_keys().collect::<Vec<_>>(), [0, STAMP]);
}

//! A transform that is never ready: what its module runs at its start has no end.

use tidemill_sdk::prelude::*;

/// What to do.
#[derive(Row, Debug)]
pub struct Order<'a> {
    act: &'a str,
}

/// What was done.
#[derive(Row, Debug, PartialEq)]
pub struct Done<'a> {
    act: &'a str,
}

#[transform]
fn done(order: Order<'_>, out: &mut Output<Done<'_>>) {
    out.emit(Done { act: order.act });
}

/// Called while the component is instantiated, before any of its exports.
#[cfg(target_family = "wasm")]
#[expect(unsafe_code, reason = "what runs first is found by its symbol")]
#[unsafe(no_mangle)]
pub extern "C" fn _initialize() {
    loop {
        std::hint::black_box(());
    }
}

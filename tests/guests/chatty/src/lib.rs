//! A transform that speaks on every channel that a guest has: for the tests of the host's log.

use tidemill_sdk::prelude::*;

/// What to say.
#[derive(Row, Debug)]
pub struct Order<'a> {
    word: &'a str,
}

/// What was said.
#[derive(Row, Debug, PartialEq)]
pub struct Said<'a> {
    word: &'a str,
}

#[transform]
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "what becomes of it is tested")]
fn said(Order { word }: Order<'_>, out: &mut Output<Said<'_>>) {
    println!("{word} on standard output");
    eprintln!("{word} on standard error");
    log::info!("{word} for information");
    log::warn!("{word} as a warning");
    out.emit(Said { word });
}

//! A transform whose rows say which build made them: tests make builds by writing another stamp into the finished file.

use tidemill_sdk::prelude::*;

/// Long enough to stand in the file in one piece, and to be found there.
static STAMP: &str =
    "tidemill-stamp:00000000:tidemill-stamp:the-digits-are-replaced-in-the-finished-file";

/// A record, and who handled it.
#[derive(Row, Debug, PartialEq)]
pub struct Stamped<'a> {
    value: Option<&'a [u8]>,
    stamp: i32,
}

#[transform]
fn records(raw: Raw<'_>, out: &mut Output<Stamped<'_>>) {
    let digits = std::hint::black_box(STAMP).split(':').nth(1).unwrap_or_default();
    assert!(digits != "66666666", "told to trap");
    out.emit(Stamped { value: raw.value, stamp: digits.parse().unwrap_or(-1) });
}

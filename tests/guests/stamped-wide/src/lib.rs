//! What `stamped` may become: a wider type, a field that may be null.

use tidemill_sdk::prelude::*;

/// A record, and who handled it.
#[derive(Row, Debug, PartialEq)]
pub struct Stamped<'a> {
    value: Option<&'a [u8]>,
    stamp: i64,
    note: Option<&'a str>,
}

#[transform]
fn records(raw: Raw<'_>, out: &mut Output<Stamped<'_>>) {
    out.emit(Stamped { value: raw.value, stamp: 1 << 40, note: Some("wide") });
}

//! The first transform of a chain: a row for each word of a record.

use tidemill_sdk::prelude::*;

/// A text.
#[derive(Row, Debug)]
pub struct Text<'a> {
    text: &'a str,
}

/// A word of it.
#[derive(Row, Debug, PartialEq)]
pub struct Word<'a> {
    id: Carry<i64>,
    word: &'a str,
}

#[transform]
fn words(text: Text<'_>, out: &mut Output<Word<'_>>) {
    for word in text.text.split_whitespace() {
        out.emit(Word { id: Carry, word });
    }
}

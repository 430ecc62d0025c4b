//! A later transform of a chain: its rows are of the form that it reads, so it may follow itself.

use tidemill_sdk::prelude::*;

/// A word.
#[derive(Row, Debug)]
pub struct Word<'a> {
    word: &'a str,
}

/// The word, louder.
#[derive(Row, Debug, PartialEq)]
pub struct Loud {
    id: Carry<i64>,
    word: String,
}

#[transform]
fn loud(word: Word<'_>, out: &mut Output<Loud>) -> Result<(), Reject> {
    match word.word {
        "quiet" => return Ok(()),
        "bad" => return Err("a bad word".into()),
        "BAD!" => return Err("a bad word, shouted".into()),
        word => assert!(!word.starts_with("boom"), "told to trap"),
    }
    out.emit(Loud { id: Carry, word: format!("{}!", word.word.to_uppercase()) });
    Ok(())
}

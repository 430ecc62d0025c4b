//! A guest that answers what can't be: for the tests of what a host believes.
//!
//! It is written against the contract itself, since the SDK can't be made to lie. What goes wrong at its start is said by
//! its configuration, what goes wrong later by a record.

mod bindings {
    wit_bindgen::generate!({
        path: "../../../wit/v0.1",
        world: "transformer",
        additional_derives: [Clone],
        pub_export_macro: true,
    });
}
mod answer;
mod schema;
mod spoil;

use std::sync::atomic::{AtomicU32, Ordering};

use bindings::{
    exports::tidemill::transform::transform::Guest,
    tidemill::transform::types::{Batch, Descriptor, Payload, Processed, Values},
};

use self::{answer::Answer, spoil::spoil};

/// The component.
#[derive(Debug)]
pub struct Component;

#[cfg(target_family = "wasm")]
#[expect(unsafe_code, unreachable_pub, reason = "the macro spells the symbols of a component")]
mod symbols {
    use crate::{Component, bindings};

    bindings::export!(Component with_types_in bindings);
}

/// Counts the calls of `describe`.
static DESCRIBED: AtomicU32 = AtomicU32::new(0);

impl Guest for Component {
    fn describe(config: String) -> Result<Descriptor, String> {
        let times = DESCRIBED.fetch_add(1, Ordering::Relaxed);
        match told(&config) {
            "trap while describing" => panic!("told to trap"),
            "describe forever" => forever(),
            "describe by chance" => Ok(schema::descriptor(&format!("0.0.{times}"))),
            "describe a list of nothing" => Ok(schema::without_element()),
            "describe too much" => Ok(schema::too_wide()),
            _ => Ok(schema::descriptor("0.1.0")),
        }
    }

    fn init(config: String) -> Result<(), String> {
        match told(&config) {
            "trap in init" => panic!("told to trap"),
            "init forever" => forever(),
            "refuse" => Err("told to refuse".to_owned()),
            "eat in init" => eat(),
            "trap without records" => {
                TRAPS_WITHOUT_RECORDS.store(1, Ordering::Relaxed);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn process(batch: Batch) -> Result<Processed, String> {
        let acts = acts(&batch)?;
        assert!(
            !acts.is_empty() || TRAPS_WITHOUT_RECORDS.load(Ordering::Relaxed) == 0,
            "told to trap without records"
        );
        let mut answer = Answer::of(&acts);
        // One a batch: two could undo each other.
        let first = acts.iter().position(|act| !act.starts_with("fine"));
        if let Some(record) = first {
            spoil(&mut answer, record, &acts[record])?;
        }
        Ok(answer.into_processed())
    }
}

static TRAPS_WITHOUT_RECORDS: AtomicU32 = AtomicU32::new(0);

/// What the configuration tells the guest to do at its start: `{"start":"…"}`.
fn told(config: &str) -> &str {
    config.split('"').nth(3).unwrap_or_default()
}

fn forever() -> ! {
    loop {
        std::hint::black_box(());
    }
}

fn eat() -> ! {
    let mut eaten = Vec::new();
    loop {
        eaten.push(vec![1_u8; 1 << 20]);
        std::hint::black_box(&eaten);
    }
}

/// The one field of each record.
fn acts(batch: &Batch) -> Result<Vec<String>, String> {
    let Payload::Rows(rows) = &batch.payload else { return Err("no rows".to_owned()) };
    let [column] = &rows.columns[..] else { return Err("not one column".to_owned()) };
    let Values::Bytes(bytes) = &column.values else { return Err("no texts".to_owned()) };
    let mut start = 0;
    let texts = bytes.ends.iter().map(|&end| {
        let text = &bytes.data[start as usize..end as usize];
        start = end;
        String::from_utf8(text.to_vec()).map_err(|error| error.to_string())
    });
    texts.collect()
}

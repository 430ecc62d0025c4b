//! What a case's own pipeline has written, against what is expected.

use serde_json::{Value, json};
use tidemill_tests::{host::Site, reader};

use crate::{case::Case, component::digest};

/// Each record is a row, or a dead letter with its class and its reason, or gone.
pub(crate) fn each_record(case: &Case, site: &Site, topic: &str, wasm: &[u8]) {
    rows(case, site);
    let letters = case.expected.records.iter().filter(|record| record.class.is_some());
    let letters: Vec<_> = letters.collect();
    let below = format!("data/{}/dead_letters", case.name);
    if letters.is_empty() {
        assert!(!site.store.join(below).exists(), "no record died");
        return;
    }
    let sql = "SELECT topic, partition, \"offset\", decode(payload), stage, class, component, digest, error FROM rows ORDER BY \"offset\"";
    let found = reader::query(&site.place, &below, sql);
    assert_eq!(found.len(), letters.len(), "dead letters: {found:?}");
    for (found, record) in found.iter().zip(letters) {
        let payload = json!({ "act": case.act(record.offset) }).to_string();
        let (component, digest) = (&case.name, digest(wasm));
        let expected =
            json!([topic, 0, record.offset, payload, "transform", record.class, component, digest]);
        assert_eq!(json!(found[..8]), expected, "{found:?}");
        let error = found[8].as_str().expect("a reason is a text");
        for text in &record.says {
            assert!(error.contains(text), "offset {}: {error} does not say {text}", record.offset);
        }
    }
}

/// Each record is a row but those that became dead letters or are gone.
pub(crate) fn rows(case: &Case, site: &Site) {
    let stays = |offset: &usize| {
        case.record(*offset).is_none_or(|record| record.class.is_none() && !record.gone)
    };
    let mut expected: Vec<_> =
        (0..case.expected.count).filter(stays).map(|offset| case.act(offset)).collect();
    expected.sort();
    let found = reader::query(
        &site.place,
        &format!("data/{}/done", case.name),
        "SELECT act FROM rows ORDER BY act COLLATE C",
    );
    let found: Vec<&Value> = found.iter().map(|row| &row[0]).collect();
    assert_eq!(json!(found), json!(expected));
}

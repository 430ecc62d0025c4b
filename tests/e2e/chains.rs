//! Several transforms in a row: rows of one are the input of the next, and a record keeps its name through all of them.

use serde_json::{Value, json};
use tidemill_tests::{
    eventually, guest,
    host::{Site, StoreKind},
    kafka::{self, Record},
    reader, unique,
};

use crate::{
    log,
    swaps::{digest, refused, runs},
};

/// A site whose one pipeline has these transforms.
fn site(topic: &str, transforms: &[&str]) -> Site {
    let site = Site::new(StoreKind::Folder);
    site.write("transforms/words.wasm", guest("words.wasm"));
    site.write("transforms/loud.wasm", guest("loud.wasm"));
    let transforms: String =
        transforms.iter().map(|name| format!("  - {{ component: {name} }}\n")).collect();
    let pipeline = format!(
        "name: p\nsource:\n  kafka: {{ topics: [{topic}], group_id: {topic}, format: json }}\n\
         transforms:\n{transforms}outputs: {{ loud: {{ parquet: {{ kafka_columns: true }} }} }}\n\
         flush: {{ every: 300ms, idle: 300ms }}\n"
    );
    site.write("pipelines/p.yaml", pipeline);
    site
}

/// Produces texts to the one partition; the first has the id `first`.
fn produce(topic: &str, first: usize, texts: &[&str]) {
    let records = texts
        .iter()
        .enumerate()
        .map(|(n, text)| Record::of(0, json!({ "id": first + n, "text": text }).to_string()));
    kafka::produce(topic, records, &[]);
}

fn committed(site: &Site, records: u64) {
    let done = || (log::records(&site.store, "p") >= records).then_some(());
    eventually("all is committed", 40, done);
}

/// The same component with a few bytes more that mean nothing: a custom section.
fn another_build(wasm: &[u8]) -> Vec<u8> {
    [wasm, &[0, 5, 4], b"note"].concat()
}

const ROWS: &str = "SELECT id, word, _kafka_offset FROM rows ORDER BY ALL";

#[test]
fn rows_of_a_transform_are_the_input_of_the_next() {
    let topic = unique("chain");
    kafka::create_topic(&topic, 1, &[]);
    let site = site(&topic, &["words", "loud", "loud"]);
    // The third is rejected by the second transform, the fourth by the last one, the fifth makes one trap.
    let texts = ["a b", "", "c bad d", "e bad!", "f boom g", "quiet", "quiet h", "i"];
    let host = site.run().ready();
    produce(&topic, 0, &texts);
    let headers = vec![("trace".to_owned(), Some(b"abc".to_vec())), ("empty".to_owned(), None)];
    kafka::produce(&topic, [Record { headers, ..Record::of(0, "no JSON") }], &[]);
    committed(&site, 9);
    host.drain();
    site.verify();
    let rows = reader::query(&site.place, "data/p/loud", ROWS);
    let expected = json!([
        [0, "A!!", 0],
        [0, "B!!", 0],
        [3, "E!!", 3],
        [3, "BAD!!!", 3],
        [6, "H!!", 6],
        [7, "I!!", 7]
    ]);
    let sorted = |value: Value| {
        let mut rows = value.as_array().expect("rows").clone();
        rows.sort_by_key(ToString::to_string);
        rows
    };
    assert_eq!(sorted(json!(rows)), sorted(expected));
    let sql = "SELECT \"offset\", decode(payload), stage, class, component, digest, error FROM rows ORDER BY 1";
    let letters = reader::query(&site.place, "data/p/dead_letters", sql);
    let loud = digest(&guest("loud.wasm"));
    let expected = [
        (2, "transform", "REJECTED", "loud", "a bad word"),
        (4, "transform", "TRAP", "loud", "told to trap"),
        (8, "decode", "NOT_JSON", "words", ""),
    ];
    assert_eq!(letters.len(), expected.len(), "{letters:?}");
    for (letter, (offset, stage, class, component, error)) in letters.iter().zip(expected) {
        assert_eq!(
            (&letter[0], &letter[2], &letter[3], &letter[4]),
            (&json!(offset), &json!(stage), &json!(class), &json!(component))
        );
        assert!(component == "words" || letter[5] == loud, "{letter:?}");
        assert!(letter[6].to_string().contains(error), "{letter:?}");
    }
    assert_eq!(
        letters[0][1],
        json!(json!({ "id": 2, "text": "c bad d" }).to_string()),
        "the record as it came"
    );
    let sql = "SELECT len(headers), headers[1].name, decode(headers[1].value), headers[2].value IS NULL FROM rows WHERE stage = 'decode'";
    let headers = reader::query(&site.place, "data/p/dead_letters", sql);
    assert_eq!(json!(headers), json!([[2, "trace", "abc", true]]));
    let manifests = log::manifests(&site.store, "p");
    let data = manifests.iter().find(|manifest| manifest["kind"] == "data").expect("a flush");
    let names: Vec<_> =
        data["transforms"].as_array().expect("a list").iter().map(|t| &t["name"]).collect();
    assert_eq!(names, ["words", "loud", "loud"]);
    let counts = |key: &str| -> u64 {
        let all = manifests.iter().filter_map(|manifest| manifest["counts"].as_array());
        all.flatten().filter_map(|counts| counts[key].as_u64()).sum()
    };
    let found = ["records", "emitted", "dropped", "rejected", "broken"].map(counts);
    assert_eq!(found, [9, 4, 2, 2, 1]);
}

#[test]
fn one_transform_of_a_chain_is_swapped_and_the_others_go_on() {
    let topic = unique("chain");
    kafka::create_topic(&topic, 1, &[]);
    let site = site(&topic, &["words", "loud"]);
    let host = site.run().ready();
    produce(&topic, 0, &["a b", "c"]);
    committed(&site, 2);
    let next = another_build(&guest("loud.wasm"));
    site.rename_into("transforms/loud.wasm", &next);
    runs(&host, &next);
    produce(&topic, 2, &["d", "e f"]);
    committed(&site, 4);
    // It reads what `words` does not write.
    let misfit = guest("misbehaves.wasm");
    site.rename_into("transforms/loud.wasm", &misfit);
    let reason = refused(&host, &misfit);
    assert!(reason.contains("reads act (utf8), which words does not write"), "{reason}");
    produce(&topic, 4, &["g"]);
    committed(&site, 5);
    host.drain();
    site.verify();
    let words = reader::query(
        &site.place,
        "data/p/loud",
        "SELECT count(*), count(DISTINCT word) FROM rows",
    );
    assert_eq!(json!(words), json!([[7, 7]]));
    let digests: Vec<Vec<String>> = log::manifests(&site.store, "p")
        .iter()
        .filter(|manifest| manifest["kind"] == "data")
        .map(|manifest| {
            let transforms = manifest["transforms"].as_array().expect("a list").iter();
            transforms.map(|t| t["sha256"].as_str().expect("a digest").to_owned()).collect()
        })
        .collect();
    let words = digest(&guest("words.wasm"));
    assert!(digests.iter().all(|digests| digests[0] == words));
    assert_eq!(digests[0][1], digest(&guest("loud.wasm")));
    assert_eq!(digests.last().expect("a flush")[1], digest(&next));
}

#[test]
fn transforms_that_do_not_fit_together_are_refused_with_what_is_missing() {
    let topic = unique("chain");
    kafka::create_topic(&topic, 1, &[]);
    for (transforms, texts) in [
        (
            &["loud", "words"][..],
            [
                "reads text (utf8)",
                "which loud does not write",
                "loud writes id (int64), word (utf8)",
            ],
        ),
        (
            &["fan-out", "loud"],
            ["fan-out has 2 outputs", "only the last transform", "pipelines/p.yaml:6:"],
        ),
        (
            &["words", "passthrough-raw"],
            ["reads undecoded records, not rows", "put it first", "pipelines/p.yaml:6:"],
        ),
    ] {
        let site = site(&topic, transforms);
        let output =
            site.tidemill(&["validate", "--config", "tidemill.toml", "--listen", "127.0.0.1:0"]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{error}");
        for text in texts {
            assert!(error.contains(text), "{text:?} is not in {error}");
        }
    }
}

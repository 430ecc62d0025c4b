//! A log that goes on in another epoch: with other topics, by a repair or over REST.

use std::fs;

use serde_json::{Value, json};
use tidemill_tests::{
    eventually,
    host::{Host, Site, StoreKind},
    reader,
};

use crate::pipelines::{ask, becomes, committed, copy, file, produce, status, topic};

/// A topic that is given up is not read, and nothing of it is lost or doubled when it is taken up again.
#[test]
fn a_new_epoch_goes_on_with_other_topics() {
    for kind in [StoreKind::Folder, StoreKind::S3] {
        let (first, second) = (topic(1), topic(1));
        let site = Site::new(kind);
        let define = |topics: &[&String]| {
            let mut definition = copy("p", &first);
            definition["source"]["kafka"]["topics"] = json!(topics);
            site.write(&file("p"), definition.to_string());
        };
        let repair = |more: &[&str]| {
            let output = site.tidemill(&[&["repair", "p", "--new-epoch"], more].concat());
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
            said
        };
        let refused = |host: &Host, text: &str| {
            let says =
                || Some(status(host, "p")["refused"].as_str()?.contains(text)).filter(|says| *says);
            eventually("the definition is refused", 40, says);
        };
        define(&[&first]);
        let host = site.run().ready();
        produce(&first, 10);
        committed(&site, "p", 10);
        assert!(repair(&["--yes"]).contains("nothing needs this repair"));

        define(&[&second]);
        refused(&host, "positions of topic");
        let shown = repair(&[]);
        for says in [
            format!("{first}/0 is given up at offset 10"),
            format!("{second} begins"),
            "--yes".to_owned(),
        ] {
            assert!(shown.contains(&says), "{says}: {shown}");
        }
        produce(&first, 10);
        committed(&site, "p", 20);
        let done: Value = serde_json::from_str(&repair(&["--yes", "--json"])).expect("it is JSON");
        assert_eq!((&done["done"], &done["gives_up"]), (&json!(true), &json!([[first, 0, 20]])));
        produce(&first, 5);
        produce(&second, 7);
        committed(&site, "p", 27);
        becomes(&host, "p", "RUNNING");

        // Nobody is asked to read again what was given up, until a later epoch does, from where it stood.
        define(&[&second, &first]);
        refused(&host, "gave topic");
        repair(&["--yes"]);
        committed(&site, "p", 32);
        host.drain();
        site.verify();
        let sql = "SELECT count(*), count(DISTINCT (_kafka_topic, _kafka_offset)) FROM rows";
        let found = reader::query(&site.place, "data/p/records", sql);
        assert_eq!(json!(found), json!([[32, 32]]));
    }
}

#[test]
fn a_new_epoch_begins_over_rest() {
    let (first, second) = (topic(1), topic(1));
    let site = Site::new(StoreKind::S3);
    let host = site.run().ready();
    let put = |query: &str, topic: &str| {
        ask(&host, "PUT", &format!("/v1/pipelines/p{query}"), &copy("p", topic))
    };
    assert_eq!(put("?new_epoch=true", &first).0, 201, "a new log needs none");
    produce(&first, 10);
    committed(&site, "p", 10);
    let (code, problem) = put("", &second);
    assert_eq!((code, &problem["code"]), (422, &json!("OTHER_LOG")), "{problem}");
    assert!(problem["detail"].to_string().contains("?new_epoch=true"), "{problem}");
    assert_eq!(put("?new_epoch=true&dry_run=true", &second).0, 200);
    assert_eq!(put("", &second).0, 422, "that was only a try");
    let (code, answer) = put("?new_epoch=true", &second);
    assert_eq!((code, answer["changes"].as_array().map(Vec::len)), (200, Some(2)), "{answer}");
    produce(&first, 5);
    produce(&second, 7);
    committed(&site, "p", 17);
    assert_eq!(put("?new_epoch=true", &first).0, 200);
    committed(&site, "p", 22);
    assert_eq!(put("?new_epoch=true", &first).1["changes"], json!([]));
    host.drain();
    site.verify();
    let epochs = fs::read_dir(site.store.join("_log/p")).expect("it has a log").count();
    assert_eq!(epochs, 3, "the same again begins none");
}

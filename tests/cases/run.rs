//! Runs a case beside the healthy pipeline, in one host.

use rustix::process::Signal;
use serde_json::{Value, json};
use tidemill_tests::{
    eventually, guest,
    host::{Host, Site, StoreKind},
    kafka, unique,
};

use crate::{
    case::{Case, Outcome},
    component,
    healthy::{self, Healthy},
    judge,
};

/// The guest that runs before one that is refused.
const BEFORE: &str = "misbehaves.wasm";
/// Records of the healthy pipeline in each partition, before and after the case has misbehaved.
const HEALTHY: u64 = 100;

/// A case that is under way.
struct Run<'a> {
    case: &'a Case,
    site: Site,
    topic: String,
    healthy: Healthy,
    wasm: Vec<u8>,
}

/// Runs a case and judges what came of it.
pub(crate) fn run(case: &Case) {
    let site = Site::new(StoreKind::Folder);
    let topic = unique(&case.name);
    kafka::create_topic(&topic, 1, &[]);
    site.write(&format!("pipelines/{}.yaml", case.name), case.pipeline(&topic).to_string());
    let mut healthy = Healthy::new(&site);
    healthy.produce(HEALTHY);
    let mut run = Run { case, site, topic, healthy, wasm: component::of(case).bytes() };
    match &case.outcome {
        Outcome::Runs => run.runs(),
        Outcome::Failed(failed) => run.fails(failed.code.as_deref(), &failed.says),
        Outcome::Refused(refused) => run.is_refused(&refused.says),
    }
    // Whatever the case did, the log has no gap and no file is missing, and the neighbour is whole.
    run.site.verify();
    run.healthy.judge(&run.site);
}

impl Run<'_> {
    /// Each record becomes what is said of it.
    fn runs(&mut self) {
        self.produce(0, self.case.expected.count);
        self.install(&self.wasm);
        let host = self.site.run().ready();
        self.goes_on(&host);
        self.committed(&host, &self.case.name, self.case.expected.count as u64);
        self.ends(host, 0);
        judge::each_record(self.case, &self.site, &self.topic, &self.wasm);
    }

    /// The pipeline stops, and writes nothing.
    fn fails(&mut self, code: Option<&str>, says: &[String]) {
        self.produce(0, self.case.expected.count);
        self.install(&self.wasm);
        let host = self.site.run();
        let reason = eventually("the pipeline fails", 40, || {
            let pipeline = pipeline(&host, &self.case.name)?;
            (pipeline["state"] == "FAILED").then(|| pipeline["reason"].to_string())
        });
        let code = code.map(|code| format!("\"{code}: "));
        for text in says.iter().chain(&code).map(|text| text.replace("TOPIC", &self.topic)) {
            assert!(reason.contains(&text), "{reason} does not say {text}");
        }
        self.goes_on(&host);
        let (status, body) = host.get("/readyz").expect("the host answers");
        assert!(status == 503 && body.contains("FAILED"), "{status} {body}");
        // It is the user's to mend.
        self.ends(host, 2);
        let written = self.site.store.join("data").join(&self.case.name);
        assert!(!written.exists(), "no record of it is visible, and no dead letter");
    }

    /// A component that runs is to be replaced by this one, which is refused: the old one runs on. A host that has no
    /// other one does not even start with it.
    fn is_refused(&mut self, says: &[String]) {
        let half = self.case.expected.count / 2;
        self.produce(0, half);
        let before = guest(BEFORE);
        self.install(&before);
        let host = self.site.run().ready();
        self.committed(&host, &self.case.name, half as u64);
        self.install(&self.wasm);
        let path = format!("/v1/components/{}", self.case.name);
        let component = eventually("the component is refused", 60, || {
            let (_, body) = host.get(&path)?;
            let component: Value = serde_json::from_str(&body).ok()?;
            component["refused"].get(0).is_some().then_some(component)
        });
        let refused = &component["refused"][0];
        assert_eq!(refused["digest"], component::digest(&self.wasm));
        assert_eq!(component["current"]["digest"], component::digest(&before));
        for text in says {
            let reason = refused["reason"].as_str().expect("a reason is a text");
            assert!(reason.contains(text), "{reason} does not say {text}");
        }
        self.never_starts(says);
        self.produce(half, self.case.expected.count);
        self.goes_on(&host);
        self.committed(&host, &self.case.name, self.case.expected.count as u64);
        self.ends(host, 0);
        judge::each_record(self.case, &self.site, &self.topic, &before);
    }

    /// With a store in which nothing has run yet, the component is what the pipeline would have to start with.
    fn never_starts(&self, says: &[String]) {
        let store = format!("file://{}", self.site.path().join("empty").display());
        let arguments = ["--config", "tidemill.toml", "--store", &store, "--listen", "127.0.0.1:0"];
        let output = self.site.tidemill(&[&["validate"], &arguments[..]].concat());
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{error}");
        for text in says {
            assert!(error.contains(text), "{error} does not say {text}");
        }
    }

    /// Produces the records of the case from one offset to another.
    fn produce(&self, start: usize, end: usize) {
        let record =
            |offset| kafka::Record::of(0, json!({ "act": self.case.act(offset) }).to_string());
        kafka::produce(&self.topic, (start..end).map(record), &[]);
    }

    /// Puts a component in its place.
    fn install(&self, wasm: &[u8]) {
        self.site.rename_into(&format!("transforms/{}.wasm", self.case.name), wasm);
    }

    /// The healthy pipeline has done its work, and does more.
    fn goes_on(&mut self, host: &Host) {
        self.committed(host, healthy::NAME, self.healthy.records());
        self.healthy.produce(HEALTHY);
        self.committed(host, healthy::NAME, self.healthy.records());
    }

    /// Waits until so many records of a pipeline are committed.
    fn committed(&self, host: &Host, name: &str, records: u64) {
        let what = format!("{records} records of {name} are committed");
        let state = eventually(&what, 50, || {
            let pipeline = pipeline(host, name)?;
            (pipeline["committed"]["records"] == records).then(|| pipeline["state"].clone())
        });
        assert_eq!(state, "RUNNING", "{name}");
    }

    /// Drains the host, which has lived until now. Its log has what is expected, and not more of it.
    fn ends(&self, mut host: Host, code: i32) {
        host.signal(Signal::TERM);
        let status = host.ended(30);
        let log = host.log();
        assert_eq!(status.code(), Some(code), "{log}");
        for text in &self.case.expected.log.says {
            assert!(log.contains(text), "the log does not say {text}:\n{log}");
        }
        for (text, most) in &self.case.expected.log.at_most {
            let lines = log.lines().filter(|line| line.contains(text)).count();
            assert!(lines <= *most, "{lines} lines of the log say {text}");
        }
    }
}

/// What the host says of a pipeline.
fn pipeline(host: &Host, name: &str) -> Option<Value> {
    let (_, body) = host.get(&format!("/v1/pipelines/{name}"))?;
    serde_json::from_str(&body).ok()
}

//! The engine with real components: `cargo xtask test` builds them and says where they are.

mod answers;
mod columns;
mod descriptors;

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use arrow_array::{
    Array, ArrayRef, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray,
    cast::AsArray,
    types::{Int64Type, TimestampMicrosecondType},
};
use serde_json::json;

use super::*;
use crate::{
    fault::Blame,
    record::{Batch, Lane},
    schema::{Field, Input, Usage},
};

const LIMITS: Limits = Limits {
    memory: 64 << 20,
    call_timeout: Duration::from_secs(3),
    output: 64 << 20,
    log_lines: 100,
};

#[derive(Debug, Default)]
struct Recorded(Mutex<Vec<String>>);

impl GuestMetrics for Recorded {
    fn counter_add(&self, name: &str, labels: &[(String, String)], value: u64) {
        self.0.lock().unwrap().push(format!("{name}{labels:?} +{value}"));
    }

    fn gauge_set(&self, name: &str, _: &[(String, String)], value: f64) {
        self.0.lock().unwrap().push(format!("{name} ={value}"));
    }

    fn histogram_record(&self, name: &str, _: &[(String, String)], value: f64) {
        self.0.lock().unwrap().push(format!("{name} ~{value}"));
    }
}

fn wasm(variable: &str, file: &str) -> Vec<u8> {
    let folder = std::env::var(variable)
        .unwrap_or_else(|_| panic!("{variable} is not set: run the tests by `cargo xtask test`"));
    fs::read(PathBuf::from(folder).join(file)).unwrap()
}

fn sample(name: &str) -> Vec<u8> {
    wasm("TIDEMILL_TEST_COMPONENTS", &format!("{name}.wasm"))
}

fn engine() -> (Arc<Engine>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (Engine::new(folder.path().to_owned(), Compiler::InProcess).unwrap(), folder)
}

fn instance(
    component: &Arc<Component>,
    config: serde_json::Value,
    limits: &Limits,
) -> Result<Instance, Fault> {
    component.instantiate(
        GuestContext { pipeline: "p".into(), log_rate: Arc::default() },
        &config,
        limits,
        Arc::new(Recorded::default()),
    )
}

fn batch(values: &[&str]) -> Batch {
    let mut batch = Batch::new(Lane::new("clicks", 3), 1);
    for (offset, value) in (100..).zip(values) {
        batch.offsets.push(offset);
        batch.timestamps.push(1_700_000_000_000 + offset);
        batch.keys.push(Some(b"k"));
        batch.values.push(Some(value.as_bytes()));
    }
    batch
}

/// Columns for clean-clicks: values by the names of its input fields.
fn clicks(input: &Input, emails: Vec<Option<&str>>, amounts: Vec<f64>) -> Vec<ArrayRef> {
    let Input::Rows(fields) = input else { panic!("it reads decoded records") };
    let (rows, emails, amounts) =
        (amounts.len(), Arc::new(StringArray::from(emails)), Arc::new(Float64Array::from(amounts)));
    let text = |prefix: &str| {
        Arc::new(StringArray::from_iter_values((0..rows).map(|row| format!("{prefix}{row}"))))
    };
    let numbers = || (0..rows).map(|row| i64::try_from(row).unwrap());
    let column = |(field, _): &(Field, Usage)| -> ArrayRef {
        match field.name.as_str() {
            "email" => Arc::clone(&emails) as ArrayRef,
            "amount" => Arc::clone(&amounts) as ArrayRef,
            "ts" => Arc::new(
                TimestampMicrosecondArray::from_iter_values(numbers()).with_timezone("UTC"),
            ),
            "items" => Arc::new(Int64Array::from_iter_values(numbers())),
            name => text(name),
        }
    };
    fields.iter().map(column).collect()
}

#[test]
fn a_batch_goes_through_and_carried_fields_follow_their_rows() {
    let (engine, _folder) = engine();
    let component = engine.load("clean-clicks", &sample("clean-clicks")).unwrap();
    let mut instance = instance(&component, json!({}), &LIMITS).unwrap();
    let input = instance.descriptor().input.clone();
    let Input::Rows(fields) = &input else { panic!("it reads decoded records") };
    let read: Vec<_> = fields
        .iter()
        .filter(|(_, usage)| *usage == Usage::Read)
        .map(|(field, _)| field.name.as_str())
        .collect();
    assert_eq!(read, ["email", "amount"], "only these enter the guest");
    // Record 1 of 5 is broken: the rows are those of places 0, 2, 3, 4.
    let columns = clicks(
        &input,
        vec![Some("a@X.org"), None, Some("b@Y.org"), Some("c@Z.org")],
        vec![1.25, 1.0, -1.0, 2.0],
    );
    for _ in 0..2 {
        let payload = Payload::Rows { columns: &columns, rows: &[0, 2, 3, 4] };
        let processed = instance.process(&batch(&["", "", "", "", ""]), payload).unwrap();
        assert_eq!(
            processed.rejections,
            [Rejection { index: 2, reason: "no e-mail address".into() }]
        );
        let rows = &processed.outputs[0];
        assert_eq!(rows.lineage, [0, 4]);
        assert_eq!(rows.rows["amount_cents"].as_primitive::<Int64Type>().values(), &[125, 200]);
        assert_eq!(
            rows.rows["domain"].as_string::<i32>().iter().flatten().collect::<Vec<_>>(),
            ["x.org", "z.org"]
        );
        assert_eq!(rows.rows["ts"].as_primitive::<TimestampMicrosecondType>().values(), &[0, 3]);
        assert_eq!(
            rows.rows["country"].as_string::<i32>().iter().flatten().collect::<Vec<_>>(),
            ["country0", "country3"]
        );
    }
    assert!(instance.memory_bytes() > 0);
}

#[test]
fn raw_records_come_through_with_their_headers() {
    let (engine, _folder) = engine();
    let component = engine.load("passthrough-raw", &sample("passthrough-raw")).unwrap();
    let mut instance = instance(&component, json!({}), &LIMITS).unwrap();
    let mut batch = batch(&["a", "b"]);
    batch.values.push(None);
    batch.keys.push(None);
    batch.offsets.push(200);
    batch.timestamps.push(-1);
    batch.headers.names.push(Some(b"h"));
    batch.headers.values.push(None);
    batch.headers.ends = vec![0, 1, 1];
    let processed = instance.process(&batch, Payload::Raw).unwrap();
    let rows = &processed.outputs[0].rows;
    assert_eq!(rows["offset"].as_primitive::<Int64Type>().values(), &[100, 101, 200]);
    assert_eq!(
        rows["value"].as_binary::<i32>().iter().collect::<Vec<_>>(),
        [Some(&b"a"[..]), Some(b"b"), None]
    );
    assert_eq!(rows["timestamp"].null_count(), 1);
    assert_eq!(
        (0..3).map(|row| rows["headers"].as_list::<i32>().value_length(row)).collect::<Vec<_>>(),
        [0, 1, 0]
    );
}

#[test]
fn a_configuration_is_taken_or_refused_with_the_components_words() {
    let (engine, _folder) = engine();
    let component = engine.load("enrich", &sample("enrich")).unwrap();
    let config = json!({ "countries": { "DE": { "name": "Germany", "currency": "EUR" } } });
    assert!(instance(&component, config, &LIMITS).is_ok());
    let fault = instance(&component, json!({ "contries": {} }), &LIMITS).unwrap_err();
    assert_eq!(fault.blame, Blame::Config);
    assert!(fault.to_string().contains("contries"), "{fault}");
}

/// A guest that does what a record tells it to.
fn misbehaves(act: &str, limits: Limits) -> Fault {
    let (engine, _folder) = engine();
    let component =
        engine.load("misbehaves", &wasm("TIDEMILL_TEST_GUESTS", "misbehaves.wasm")).unwrap();
    let mut instance = instance(&component, json!({}), &limits).unwrap();
    let columns: [ArrayRef; 1] = [Arc::new(StringArray::from(vec![act]))];
    let payload = Payload::Rows { columns: &columns, rows: &[0] };
    let fault = instance.process(&batch(&[""]), payload).unwrap_err();
    assert_eq!(fault.blame, Blame::Transform);
    assert!(
        fault.to_string().contains("clicks/3 offsets 100 to 101")
            && !fault.to_string().contains('\n'),
        "{fault}"
    );
    assert!(fault.to_string().contains(&component.digest()[..12]), "{fault}");
    assert!(instance.is_poisoned());
    assert_eq!(instance.process(&batch(&[""]), payload).unwrap_err().blame, Blame::Bug);
    fault
}

#[test]
fn a_batch_that_is_not_decoded_as_asked_is_no_fault_of_the_guest() {
    let (engine, _folder) = engine();
    let component =
        engine.load("misbehaves", &wasm("TIDEMILL_TEST_GUESTS", "misbehaves.wasm")).unwrap();
    let mut instance = instance(&component, json!({}), &LIMITS).unwrap();
    let columns: [ArrayRef; 1] = [Arc::new(StringArray::from(vec!["emit"]))];
    for wrong in [
        Payload::Raw,
        Payload::Rows { columns: &[], rows: &[0] },
        Payload::Rows { columns: &columns, rows: &[1] },
    ] {
        assert_eq!(instance.process(&batch(&[""]), wrong).unwrap_err().blame, Blame::Bug);
    }
    let processed =
        instance.process(&batch(&[""]), Payload::Rows { columns: &columns, rows: &[0] }).unwrap();
    assert_eq!(processed.outputs[0].lineage, [0], "the instance is whole");
}

#[test]
fn a_panic_says_its_text_and_its_place() {
    let text = misbehaves("panic", LIMITS).to_string();
    assert!(text.contains("told to panic") && text.contains("lib.rs:"), "{text}");
}

#[test]
fn a_guest_that_never_returns_meets_its_deadline() {
    let text = misbehaves("spin", Limits { call_timeout: Duration::from_millis(100), ..LIMITS })
        .to_string();
    assert!(text.contains("deadline of 100ms"), "{text}");
}

#[test]
fn a_guest_that_sleeps_meets_its_deadline() {
    let text = misbehaves("sleep", Limits { call_timeout: Duration::from_millis(100), ..LIMITS })
        .to_string();
    assert!(text.contains("deadline of 100ms"), "{text}");
}

#[test]
fn a_guest_that_exits_says_its_status() {
    let text = misbehaves("exit", LIMITS).to_string();
    assert!(text.contains("exited with status 1"), "WASI says no more than that it failed: {text}");
}

#[test]
fn a_guest_that_eats_memory_meets_its_limit() {
    let text = misbehaves("eat", Limits { memory: 16 << 20, ..LIMITS }).to_string();
    assert!(text.contains("ran out of memory") && text.contains("16 MiB"), "{text}");
}

#[test]
fn too_much_output_is_refused() {
    let (engine, _folder) = engine();
    let component = engine.load("passthrough-raw", &sample("passthrough-raw")).unwrap();
    let mut instance = instance(&component, json!({}), &Limits { output: 1000, ..LIMITS }).unwrap();
    let long = "x".repeat(2000);
    let fault = instance.process(&batch(&[&long]), Payload::Raw).unwrap_err();
    assert!(
        fault.code == Some("OUTPUT_LIMIT") && fault.to_string().contains("limit of 1000"),
        "{fault}"
    );
}

#[test]
fn far_too_much_output_is_not_even_copied() {
    let (engine, _folder) = engine();
    let component = engine.load("passthrough-raw", &sample("passthrough-raw")).unwrap();
    let mut instance = instance(&component, json!({}), &Limits { output: 1000, ..LIMITS }).unwrap();
    let long = "x".repeat(6 << 20);
    let fault = instance.process(&batch(&[&long]), Payload::Raw).unwrap_err();
    assert!(
        fault.code == Some("OUTPUT_LIMIT") && fault.to_string().ends_with("limit of 1000 bytes"),
        "{fault}"
    );
}

#[test]
fn what_is_no_transform_is_refused() {
    let (engine, _folder) = engine();
    let refused = |wasm: &[u8]| engine.load("x", wasm).unwrap_err();
    assert!(refused(b"").message.contains("empty"));
    assert!(refused(b"hello, world").message.contains("no WebAssembly component"));
    assert!(refused(b"\0asm\x01\0\0\0").message.contains("core WebAssembly module"));
    assert!(refused(b"\0asm\x0d\0\x01\0garbage").message.contains("can't be compiled"));
    let half = sample("clean-clicks");
    assert!(refused(&half[..half.len() / 2]).message.contains("can't be compiled"));
    let other = refused(&wasm("TIDEMILL_TEST_GUESTS", "wrong-world.wasm"));
    assert!(other.message.contains("wasi:cli/run"), "{other}");
    assert!(other.help.unwrap().contains("tidemill:transform/transform@0.1."));
}

#[test]
fn a_component_that_needs_more_than_an_instance_can_have_is_refused() {
    let (engine, _folder) = engine();
    // An empty module, and thirty instances of it.
    let module = [&[1, 8][..], b"\0asm\x01\0\0\0"].concat();
    let instances = [&[2, 91, 30][..], &[0; 90]].concat();
    let wasm = [&b"\0asm\x0d\0\x01\0"[..], &module, &instances].concat();
    let fault = engine.load("x", &wasm).unwrap_err();
    assert_eq!(fault.blame, Blame::Transform, "trying again does not help: {fault}");
    let text = fault.to_string();
    assert!(text.contains("component x needs more than a host gives"), "{text}");
    assert!(text.contains("30 core module instances"), "{text}");
}

#[test]
fn a_damaged_artefact_is_compiled_again_and_never_trusted() {
    let (engine, folder) = engine();
    let wasm = sample("clean-clicks");
    engine.load("clean-clicks", &wasm).unwrap();
    let artefact = || {
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>()
    };
    let [path] = &artefact()[..] else { panic!("one artefact") };
    let whole = fs::read(path).unwrap();
    for damaged in [
        whole[..whole.len() / 2].to_vec(),
        Vec::new(),
        [&whole[..40], &[whole[40] ^ 1][..], &whole[41..]].concat(),
    ] {
        fs::write(path, damaged).unwrap();
        engine.load("clean-clicks", &wasm).unwrap();
        assert_eq!(fs::read(path).unwrap(), whole);
    }
    let other = engine.load("enrich", &sample("enrich")).unwrap();
    let others = artefact().into_iter().find(|found| found != path).unwrap();
    fs::copy(&others, path).unwrap();
    engine.load("clean-clicks", &wasm).unwrap();
    assert_eq!(fs::read(path).unwrap(), whole, "{} is not taken for it", other.name());
    let modified = fs::metadata(path).unwrap().modified().unwrap();
    engine.load("clean-clicks", &wasm).unwrap();
    assert_eq!(
        fs::metadata(path).unwrap().modified().unwrap(),
        modified,
        "a whole artefact is taken as it is"
    );
}

#[test]
fn the_binary_compiles_in_a_child_what_this_process_can_load() {
    let binary = std::env::var("TIDEMILL_TEST_BIN")
        .expect("TIDEMILL_TEST_BIN is not set: run the tests by `cargo xtask test`");
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::new(folder.path().to_owned(), Compiler::Child(binary.into())).unwrap();
    let component =
        engine.load("misbehaves", &wasm("TIDEMILL_TEST_GUESTS", "misbehaves.wasm")).unwrap();
    assert!(instance(&component, json!({}), &LIMITS).is_ok());
    let fault = engine.load("x", b"\0asm\x0d\0\x01\0garbage").unwrap_err();
    assert!(fault.to_string().contains("component x can't be compiled"), "{fault}");
}

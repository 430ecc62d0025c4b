//! Every rule finds what is planted against it, in whatever style it is written, and nothing that only looks like it.

use crate::{rules, source::Source};

type Rule = fn(&[Source]) -> Vec<String>;

/// A name in each of the ways in which code can name it.
fn styles(crate_path: &str) -> Vec<String> {
    let (first, rest) = crate_path.split_once("::").unwrap_or((crate_path, ""));
    let nested = match rest.split_once("::") {
        _ if rest.is_empty() => format!("use {{std::fmt,\n    {first}}};"),
        None => format!("use {first}::{{other::Thing,\n    {rest}::{{self, Thing as Another}}}};"),
        Some((a, b)) => format!("use {first}::{{other::Thing,\n    {a}::{{{b}::Thing}}}};"),
    };
    vec![
        format!("use {crate_path}::Thing;"),
        format!("use {crate_path} as other;"),
        format!("use {crate_path}::*;"),
        nested,
        format!("fn f() {{ {crate_path}::thing(); }}"),
        format!("fn f(a: Option<{crate_path}::Thing>) {{}}"),
        format!("fn f() {{ assert!({crate_path}::thing(1)); }}"),
        format!("#[derive({crate_path}::Thing)] struct S;"),
        format!("macro_rules! m {{ () => {{ $x({crate_path}::thing()) }} }}"),
        format!("#[cfg(test)]\nmod tests;\n\nfn f() {{ {crate_path}::thing(); }}"),
        format!("mod inner {{ use {crate_path}::Thing; }}"),
    ]
}

/// Text in which the name stands where no rule looks, or is another.
fn innocent(crate_path: &str) -> Vec<String> {
    vec![
        format!("// {crate_path}::thing\n/// Not {crate_path}::Thing.\nstruct S;"),
        format!("const A: &str = \"{crate_path}::thing\";"),
        format!("#[cfg(test)]\nmod tests {{ use {crate_path}::Thing; }}"),
        format!("#[cfg(test)]\nfn f() {{ {crate_path}::thing(); }}"),
        format!("impl S {{ #[cfg(test)] fn f() {{ {crate_path}::thing(); }} }}"),
        format!("fn f() {{ #[cfg(test)] {{ {crate_path}::thing(); }} }}"),
        format!("use {crate_path}_and_more::Thing;"),
        format!("fn f() {{ own::{}::thing(); }}", crate_path.replace("crate::", "")),
    ]
}

fn assert_rule(rule: Rule, path: &str, names: &[&str]) {
    for name in names {
        for text in styles(name) {
            assert!(!rule(&[Source::new(path, &text)]).is_empty(), "not found in {path}: {text}");
        }
        for text in innocent(name) {
            assert_eq!(rule(&[Source::new(path, &text)]), [""; 0], "found in {path}: {text}");
        }
    }
}

#[test]
fn a_crate_in_another_room() {
    let names = ["wasmtime", "rdkafka", "object_store", "aws_config", "axum"];
    assert_rule(rules::rooms, "host/src/pipeline/worker.rs", &names);
    for text in styles("wasmtime") {
        let found = rules::rooms(&[Source::new("host/src/engine/cache.rs", &text)]);
        assert_eq!(found, [""; 0], "its own room may: {text}");
    }
}

#[test]
fn io_on_floor_0() {
    let names =
        ["std::fs", "std::net::TcpStream", "std::env", "tokio", "crate::store", "crate::telemetry"];
    assert_rule(rules::floor_0, "host/src/commit/protocol.rs", &names);
    assert_rule(rules::floor_0, "host/src/fault.rs", &names);
}

#[test]
fn a_sibling_or_a_higher_floor() {
    let names = ["crate::store", "crate::pipeline", "crate::api"];
    assert_rule(rules::floors, "host/src/parquet/file.rs", &names);
    assert_rule(rules::floors, "host/src/pipeline.rs", &["crate::api", "crate::cli"]);
    assert_rule(rules::floors, "host/src/api/answer.rs", &["crate::cli"]);
}

#[test]
fn a_way_through_super() {
    for (path, text) in [
        ("host/src/parquet.rs", "use super::store::Store;"),
        ("host/src/parquet/file.rs", "use super::super::store::Store;"),
        ("host/src/parquet/file.rs", "fn f() { super::super::store::open(); }"),
        ("host/src/parquet.rs", "use super::*;"),
        ("host/src/parquet.rs", "mod inner { use super::super::store::Store; }"),
        ("host/src/parquet/file.rs", "fn f() { assert!(super::super::store::open()); }"),
    ] {
        assert!(!rules::floors(&[Source::new(path, text)]).is_empty(), "not found: {text}");
    }
    for (path, text) in [
        ("host/src/parquet/file.rs", "use super::store::Store;"),
        ("host/src/parquet.rs", "use self::store::Store;"),
        ("host/src/parquet/file.rs", "use super::*;"),
    ] {
        assert_eq!(rules::floors(&[Source::new(path, text)]), [""; 0], "found: {text}");
    }
}

#[test]
fn a_metric_name_elsewhere() {
    let found = |path: &str, text: &str| rules::metric_names(&[Source::new(path, text)]).len();
    let rows = "const ROWS: &str = \"tidemill_rows_total\";";
    assert_eq!(found("host/src/pipeline.rs", rows), 1);
    assert_eq!(found("host/src/pipeline.rs", &format!("#[cfg(test)]\nmod tests;\n{rows}")), 1);
    let in_macro = "fn f() { counter!(\"tidemill_rows_total\").increment(1); }";
    assert_eq!(found("host/src/pipeline.rs", in_macro), 1);
    assert_eq!(found("host/src/telemetry.rs", rows), 0);
    assert_eq!(found("host/src/pipeline.rs", "/// `tidemill_rows_total`\nstruct S;"), 0);
    assert_eq!(found("host/src/pipeline.rs", &format!("#[cfg(test)]\n{rows}")), 0);
}

#[test]
fn words_names_and_sizes() {
    let source = |path: &str, text: &str| [Source::new(path, text)];
    let later = concat!("// TO", "DO: later");
    assert_eq!(rules::words(&source("host/src/a.rs", later)).len(), 1);
    assert_eq!(rules::words(&source("host/src/a.rs", "// done")).len(), 0);
    let long = "fn f() {}\n".repeat(501);
    assert_eq!(rules::names_and_sizes(&source("host/src/a.rs", &long)).len(), 1);
    assert_eq!(rules::names_and_sizes(&source("host/src/engine/mod.rs", "")).len(), 1);
    assert_eq!(rules::names_and_sizes(&source("host/src/engine/cache.rs", "")).len(), 0);
    assert_eq!(rules::sample_sizes(&source("transforms/a/src/lib.rs", &long[..810])).len(), 1);
    assert_eq!(rules::sample_sizes(&source("transforms/a/src/lib.rs", &long[..800])).len(), 0);
}

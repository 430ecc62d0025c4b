//! The judge: DuckDB and pyarrow read what the host wrote, knowing nothing of how.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::setting;

/// Where files are read from.
#[derive(Clone, Debug)]
pub enum Place {
    /// A folder.
    Folder(std::path::PathBuf),
    /// `bucket/prefix` on the S3 server.
    S3(String),
}

/// Runs a query over all Parquet files below a place (relative to its root), by their hive partitions; the table is `rows`. One JSON array a result row.
///
/// # Panics
/// When a file can't be read, or the query is wrong.
pub fn query(place: &Place, below: &str, sql: &str) -> Vec<Vec<Value>> {
    let (kind, root) = match place {
        Place::Folder(folder) => ("file", folder.display().to_string()),
        Place::S3(prefix) => ("s3", prefix.clone()),
    };
    let endpoint = if kind == "s3" { setting("TIDEMILL_TEST_S3_ENDPOINT") } else { String::new() };
    let mut child = Command::new(setting("TIDEMILL_TEST_PYTHON"))
        .args(["-", kind, &format!("{root}/{below}"), sql, &endpoint])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python runs");
    child
        .stdin
        .take()
        .expect("it is piped")
        .write_all(include_bytes!("reader.py"))
        .expect("python reads its program");
    let output = child.wait_with_output().expect("python ends");
    assert!(
        output.status.success(),
        "the reader failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let rows: Value = serde_json::from_slice(&output.stdout).expect("the reader prints JSON");
    let rows = rows.as_array().expect("an array of rows");
    rows.iter().map(|row| row.as_array().expect("a row is an array").clone()).collect()
}

/// How many rows pyarrow finds in the same files.
///
/// # Panics
/// When there is no file, or one can't be read.
pub fn pyarrow_rows(place: &Place, below: &str) -> u64 {
    query(place, below, "pyarrow")[0][0].as_u64().expect("a count")
}

/// The one number that a query gives.
///
/// # Panics
/// When it gives anything else.
pub fn number(place: &Place, below: &str, sql: &str) -> i64 {
    query(place, below, sql)[0][0].as_i64().expect("a whole number")
}

//! Where things lie in a store: keys of the log, of stages and of data files.
//!
//! ```text
//! data/<pipeline>/<output>/<k=v>/…/<yyyymmddThhmmss>-<seq hint>-<nonce>-<n3>.parquet
//! _log/<pipeline>/e<epoch4>/<seq20>.json
//! _log/<pipeline>/e<epoch4>/checkpoint/<seq20>.json
//! _log/<pipeline>/stage/…                       (local disk)
//! ```

use std::fmt;

use chrono::DateTime;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// The folder name of a null or empty hive value, as Hive and Spark write it.
pub const NULL_VALUE: &str = "__HIVE_DEFAULT_PARTITION__";
/// Bytes of a hive folder (`key=value`, encoded) at most: what file systems allow.
const MAX_SEGMENT: usize = 255;
/// What stands in a hive value as it is.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'.').remove(b'_').remove(b'-');

/// Why a hive value can't be a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The folder `key=value` of a hive partition, encoded. Null and empty values share a folder.
///
/// # Errors
/// When the value is `.` or `..`, or too long.
pub fn hive_segment(key: &str, value: Option<&str>) -> Result<String, Refusal> {
    let value = value.filter(|value| !value.is_empty()).unwrap_or(NULL_VALUE);
    if value == "." || value == ".." {
        return Err(Refusal(format!("{value:?} can't be the value of the hive partition {key}")));
    }
    let segment = format!("{key}={}", utf8_percent_encode(value, ENCODED));
    if segment.len() > MAX_SEGMENT {
        let text = format!(
            "the folder of the hive partition {key} would have {} bytes, {MAX_SEGMENT} are possible",
            segment.len()
        );
        return Err(Refusal(text));
    }
    Ok(segment)
}

/// 128 random bits as 32 hexadecimal digits: what tells one flush attempt from every other.
pub fn nonce(bits: u128) -> String {
    format!("{bits:032x}")
}

/// The key of a data file. `hive_path` is empty or encoded folders, `opened` is in milliseconds since 1970, `seq_hint` is
/// the manifest's number if nobody is faster, `number` counts the files of the flush.
pub fn data_key(
    pipeline: &str,
    output: &str,
    hive_path: &str,
    opened: i64,
    seq_hint: u64,
    nonce: &str,
    number: u32,
) -> String {
    let opened =
        DateTime::from_timestamp_millis(opened).unwrap_or_default().format("%Y%m%dT%H%M%S");
    let folder = if hive_path.is_empty() { String::new() } else { format!("{hive_path}/") };
    format!("data/{pipeline}/{output}/{folder}{opened}-{seq_hint}-{nonce}-{number:03}.parquet")
}

/// The folder of a pipeline's data.
pub fn data_folder(pipeline: &str) -> String {
    format!("data/{pipeline}/")
}

/// The folder of a pipeline's log.
pub fn log_folder(pipeline: &str, epoch: u16) -> String {
    format!("_log/{pipeline}/e{epoch:04}/")
}

/// The key of a manifest.
pub fn manifest_key(pipeline: &str, epoch: u16, seq: u64) -> String {
    format!("{}{seq:020}.json", log_folder(pipeline, epoch))
}

/// The folder of a pipeline's checkpoints.
pub fn checkpoint_folder(pipeline: &str, epoch: u16) -> String {
    format!("{}checkpoint/", log_folder(pipeline, epoch))
}

/// The key of a checkpoint.
pub fn checkpoint_key(pipeline: &str, epoch: u16, seq: u64) -> String {
    format!("{}{seq:020}.json", checkpoint_folder(pipeline, epoch))
}

/// The epoch in the key of a manifest or checkpoint.
pub fn epoch_of(key: &str) -> Option<u16> {
    let digits = key.split('/').nth(2)?.strip_prefix('e')?;
    let plain = digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok())?
}

/// The number in the key of a manifest or checkpoint.
pub fn seq_of(key: &str) -> Option<u64> {
    let digits = key.rsplit('/').next()?.strip_suffix(".json")?;
    let plain = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_sort_as_their_numbers() {
        assert_eq!(manifest_key("clicks", 1, 42), "_log/clicks/e0001/00000000000000000042.json");
        assert_eq!(seq_of(&checkpoint_key("clicks", 1, 42)), Some(42));
        assert_eq!(epoch_of(&checkpoint_key("clicks", 12, 42)), Some(12));
        assert_eq!(epoch_of("_log/e0001/e0002/x"), Some(2));
        assert_eq!(epoch_of("_log/clicks/stage/x"), None);
        assert_eq!(seq_of("_log/clicks/e0001/x.json"), None);
        assert_eq!(seq_of("_log/clicks/e0001/+0000000000000000042.json"), None);
        assert_eq!(
            data_key("clicks", "clean", "dt=2026-11-01", 1_793_491_200_000, 7, "ab", 3),
            "data/clicks/clean/dt=2026-11-01/20261101T000000-7-ab-003.parquet"
        );
    }

    #[test]
    fn nothing_leaves_its_folder() {
        assert_eq!(hive_segment("k", None).unwrap(), "k=__HIVE_DEFAULT_PARTITION__");
        assert_eq!(hive_segment("k", Some("")).unwrap(), "k=__HIVE_DEFAULT_PARTITION__");
        assert_eq!(hive_segment("k", Some("../../etc")).unwrap(), "k=..%2F..%2Fetc");
        assert!(hive_segment("k", Some("..")).is_err());
        assert!(hive_segment("k", Some(&"ü".repeat(50))).is_err());
    }

    proptest! {
        #[test]
        fn a_hive_value_is_one_plain_folder_and_can_be_read_back(value in ".{1,40}") {
            if let Ok(segment) = hive_segment("k", Some(&value)) {
                prop_assert!(segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"=._-%".contains(&byte)));
                let read = percent_encoding::percent_decode_str(&segment[2..]).decode_utf8().unwrap().into_owned();
                prop_assert_eq!(read, value);
            }
        }
    }
}

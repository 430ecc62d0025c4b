//! Segments of hive paths.

use std::fmt;

/// Why a value cannot stand in a path.
#[derive(Debug)]
pub(super) struct Refusal(String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `key=value`, percent-encoded.
pub(super) fn hive_segment(key: &str, value: Option<&str>) -> Result<String, Refusal> {
    let value = value.filter(|value| !value.is_empty()).unwrap_or("__HIVE_DEFAULT_PARTITION__");
    if value == "." || value == ".." {
        return Err(Refusal(format!("the value of hive partition `{key}` is `{value}`")));
    }
    let mut encoded = String::new();
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-' => {
                encoded.push(char::from(byte))
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    if encoded.len() > 255 {
        return Err(Refusal(format!(
            "the value of hive partition `{key}` has {} bytes; 255 may stand in a path",
            encoded.len()
        )));
    }
    Ok(format!("{key}={encoded}"))
}

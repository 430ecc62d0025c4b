//! Names of objects.

use std::fmt::{self, Write};

/// What a null or empty value is called in a path.
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// A value may have this many bytes in a path, encoded.
const MAX_VALUE_BYTES: usize = 255;

/// Why a value cannot stand in a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The segment `key=value` of a hive path: all but `[A-Za-z0-9._-]` of the value percent-encoded.
///
/// # Errors
/// For the values `.` and `..`, which stores and file systems resolve, and for values of more than 255 bytes.
pub fn hive_segment(key: &str, value: Option<&str>) -> Result<String, Refusal> {
    let value = value.filter(|value| !value.is_empty()).unwrap_or(NULL);
    if value == "." || value == ".." {
        return Err(Refusal(format!("the value of hive partition `{key}` is `{value}`")));
    }
    let mut segment = format!("{key}=");
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-' => {
                segment.push(char::from(byte))
            }
            _ => write!(segment, "%{byte:02X}").expect("a string takes all text"),
        }
    }
    let bytes = segment.len() - key.len() - 1;
    if bytes > MAX_VALUE_BYTES {
        return Err(Refusal(format!(
            "the value of hive partition `{key}` has {bytes} bytes; {MAX_VALUE_BYTES} may stand in a path"
        )));
    }
    Ok(segment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_encoded() {
        let segment = |value| hive_segment("k", value).unwrap();
        assert_eq!(segment(Some("aZ09._-")), "k=aZ09._-");
        assert_eq!(segment(Some("a/b=c %é")), "k=a%2Fb%3Dc%20%25%C3%A9");
        assert_eq!(segment(Some("...")), "k=...");
        assert_eq!(segment(None), "k=__HIVE_DEFAULT_PARTITION__");
        assert_eq!(segment(Some("")), segment(None));
    }

    #[test]
    fn some_values_are_refused() {
        assert!(hive_segment("k", Some("x".repeat(255).as_str())).is_ok());
        for value in [".", "..", &"x".repeat(256), &" ".repeat(86)] {
            assert!(
                hive_segment("country", Some(value)).unwrap_err().to_string().contains("`country`"),
                "{value}"
            );
        }
    }
}

//! `partition_by`: `country`, `dt = date(ts)`, `shard = bucket(8, user)`.

use super::{Compression, Expression, PartitionBy};

/// The functions, for error texts.
const FUNCTIONS: [&str; 6] = ["date", "hour", "year", "month", "day", "bucket"];

/// Reads `field`, `key = field` or `key = function(field)`. An error is what is wrong, and what to write instead.
pub(super) fn partition_by(text: &str) -> Result<PartitionBy, (String, String)> {
    let (key, expression) = match text.split_once('=') {
        Some((key, expression)) => (key.trim(), expression.trim()),
        None => (text.trim(), text.trim()),
    };
    if let (None, Some((function, field))) = (text.find('='), text.split_once('(')) {
        let (function, field) = (
            function.trim(),
            field.trim_end_matches(')').rsplit(',').next().unwrap_or(field).trim(),
        );
        let key = if function == "date" { "dt" } else { function };
        let help = format!("write `{key} = {text}`, or another key for the folder");
        return Err((format!("the folder for `{function}` of `{field}` has no key"), help));
    }
    if !is_word(key) {
        let help = "write letters, digits, `_` and `-`: `country`, `dt = date(ts)`";
        return Err((format!("`{key}` cannot be the key of a folder"), help.into()));
    }
    Ok(PartitionBy { key: key.to_owned(), expression: expression_of(expression)? })
}

fn expression_of(text: &str) -> Result<Expression, (String, String)> {
    let Some((function, rest)) = text.split_once('(') else {
        return field(text).map(Expression::Field);
    };
    let Some(arguments) = rest.strip_suffix(')') else {
        return Err((format!("`{text}` has no closing bracket"), format!("write `{text})`")));
    };
    let function = function.trim();
    match function {
        "date" => field(arguments).map(Expression::Date),
        "hour" => field(arguments).map(Expression::Hour),
        "year" => field(arguments).map(Expression::Year),
        "month" => field(arguments).map(Expression::Month),
        "day" => field(arguments).map(Expression::Day),
        "bucket" => {
            let help = || "write `bucket(8, user)`: a number from 1 to 4096 and a field".to_owned();
            let wrong = || (format!("`{text}` is not a bucket"), help());
            let (count, name) = arguments.split_once(',').ok_or_else(wrong)?;
            let count: u32 = count.trim().parse().map_err(|_| wrong())?;
            if !(1..=4096).contains(&count) {
                return Err((format!("{count} buckets are out of range"), help()));
            }
            Ok(Expression::Bucket(count, field(name)?))
        }
        _ => {
            let help = match super::de::nearest(function, FUNCTIONS) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("the functions are {}", FUNCTIONS.join(", ")),
            };
            Err((format!("unknown function `{function}`"), help))
        }
    }
}

fn field(text: &str) -> Result<String, (String, String)> {
    let text = text.trim();
    let wrong = text.is_empty() || text.chars().any(|c| c.is_control() || "(),=/".contains(c));
    if wrong {
        return Err((
            format!("`{text}` is not the name of a field"),
            "write a top-level field of the output".into(),
        ));
    }
    Ok(text.to_owned())
}

/// Whether a text is made of letters, digits, `_` and `-`.
pub(super) fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 63
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// Reads `zstd`, `zstd(3)`, `snappy` or `none`.
pub(super) fn compression(text: &str) -> Result<Compression, (String, String)> {
    let level = |text: &str| text.strip_prefix("zstd(")?.strip_suffix(')')?.trim().parse().ok();
    match (text, level(text)) {
        ("zstd", _) => Ok(Compression::Zstd(1)),
        ("snappy", _) => Ok(Compression::Snappy),
        ("none", _) => Ok(Compression::None),
        (_, Some(level @ 1..=22)) => Ok(Compression::Zstd(level)),
        (_, Some(level)) => {
            Err((format!("there is no zstd level {level}"), "write a level from 1 to 22".into()))
        }
        _ => Err((
            format!("unknown compression `{text}`"),
            "write zstd, zstd(3), snappy or none".into(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_read() {
        let read = |text| partition_by(text).map(|p| (p.key, p.expression)).unwrap();
        assert_eq!(read("country"), ("country".into(), Expression::Field("country".into())));
        assert_eq!(read("land = country"), ("land".into(), Expression::Field("country".into())));
        assert_eq!(read("dt=date( ts )"), ("dt".into(), Expression::Date("ts".into())));
        assert_eq!(read("h = hour(ts)"), ("h".into(), Expression::Hour("ts".into())));
        assert_eq!(
            read("shard = bucket(8, user)"),
            ("shard".into(), Expression::Bucket(8, "user".into()))
        );
    }

    #[test]
    fn wrong_partitions_are_refused() {
        for text in [
            "",
            "=",
            "a=",
            "= b",
            "a/b",
            "a = b(",
            "a = date()",
            "a = bucket(0, b)",
            "a = bucket(b)",
            "date(ts)",
        ] {
            assert!(partition_by(text).is_err(), "{text} was read");
        }
    }

    #[test]
    fn compressions_are_read() {
        assert_eq!(compression("zstd").unwrap(), Compression::Zstd(1));
        assert_eq!(compression("zstd(19)").unwrap(), Compression::Zstd(19));
        assert!(compression("zstd(23)").is_err());
        assert!(compression("gzip").is_err());
    }
}

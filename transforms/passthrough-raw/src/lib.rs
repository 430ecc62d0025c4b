//! Keeps records as they came from Kafka: no decoding, nothing lost.

use tidemill_sdk::prelude::*;

/// A record.
#[derive(Row, Debug, PartialEq)]
pub struct Kept<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    timestamp: Option<Timestamp>,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: Vec<Header<'a>>,
}

/// A header of a record. Names may come twice, so headers are a list and no map.
#[derive(Row, Debug, PartialEq)]
pub struct Header<'a> {
    name: &'a str,
    value: Option<&'a [u8]>,
}

#[transform]
fn records(raw: Raw<'_>, out: &mut Output<Kept<'_>>) {
    let Raw { topic, partition, offset, timestamp, key, value, headers } = raw;
    let headers = headers.iter().map(|(name, value)| Header { name, value }).collect();
    out.emit(Kept { topic, partition, offset, timestamp, key, value, headers });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_everything() {
        let headers = [("trace", Some(&b"1"[..])), ("trace", None)];
        let raw = Raw { topic: "clicks", partition: 3, offset: 7, ..Raw::default() };
        let run = records::test([
            Raw { timestamp: Some(Timestamp(1_000)), headers: headers[..].into(), ..raw },
            Raw { offset: 9, key: Some(b"k"), value: Some(b"\xff"), ..raw },
        ]);
        let [first, second] = &run.rows::<Kept<'_>>("records")[..] else { panic!("two records") };
        assert_eq!((first.topic, first.partition, first.offset), ("clicks", 3, 7));
        assert_eq!((first.timestamp, first.key, first.value), (Some(Timestamp(1_000)), None, None));
        assert_eq!(first.headers, headers.map(|(name, value)| Header { name, value }));
        assert_eq!((second.offset, second.timestamp), (9, None));
        assert_eq!((second.key, second.value), (Some(&b"k"[..]), Some(&b"\xff"[..])));
        assert!(second.headers.is_empty());
    }
}

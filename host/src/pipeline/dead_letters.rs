//! Dead letters: records that did not become rows, kept with all that is needed to replay them.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, RecordBatch,
    builder::{
        BinaryBuilder, Int32Builder, Int64Builder, ListBuilder, StringBuilder, StructBuilder,
        TimestampMicrosecondBuilder,
    },
};
use arrow_schema::SchemaRef;

use crate::{
    record::Batch,
    schema::{self, DataType, Field},
};

/// The name of the output.
pub(super) const OUTPUT: &str = "dead_letters";

/// The stage that refused a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Its value does not fit the fields that the transform reads.
    Decode,
    /// The transform rejected it.
    Transform,
    /// A row of it can't be written.
    Sink,
}

impl Stage {
    fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Transform => "transform",
            Self::Sink => "sink",
        }
    }
}

/// Why a record of a batch became a dead letter.
#[derive(Debug)]
pub(super) struct DeadLetter {
    /// Its place in the batch.
    pub index: u32,
    /// Who refused it.
    pub stage: Stage,
    /// The place of the transform that refused it, or that was nearest.
    pub transform: usize,
    /// What kind of error it is, such as `NOT_JSON`.
    pub class: &'static str,
    /// The field at fault, if one is.
    pub field: Option<String>,
    /// What went wrong.
    pub error: String,
}

/// The Arrow schema of dead letters.
pub(super) fn schema() -> SchemaRef {
    let field = |name: &str, data_type, nullable| Field::new(name, data_type, nullable);
    schema::to_arrow(&[
        field("topic", DataType::Utf8, false),
        field("partition", DataType::Int32, false),
        field("offset", DataType::Int64, false),
        field("timestamp", DataType::TimestampMicros, true),
        field("key", DataType::Binary, true),
        field("payload", DataType::Binary, true),
        headers(),
        field("stage", DataType::Utf8, false),
        field("class", DataType::Utf8, false),
        field("field", DataType::Utf8, true),
        field("error", DataType::Utf8, false),
        field("component", DataType::Utf8, false),
        field("digest", DataType::Utf8, false),
    ])
}

/// The headers of a record, in their order; a name may come twice.
fn headers() -> Field {
    let field = |name: &str, data_type, nullable| Field::new(name, data_type, nullable);
    let members =
        vec![field("name", DataType::Utf8, false), field("value", DataType::Binary, true)];
    let header = Field { children: members, ..field("element", DataType::Struct, false) };
    Field { children: vec![header], ..field("headers", DataType::List, true) }
}

/// Builds the column of the headers.
fn headers_builder() -> ListBuilder<StructBuilder> {
    let header = headers().children.remove(0).to_arrow();
    let arrow_schema::DataType::Struct(members) = header.data_type() else {
        unreachable!("a header is a struct");
    };
    let row = StructBuilder::from_fields(members.clone(), 0);
    ListBuilder::new(row).with_field(header)
}

fn append_headers(into: &mut ListBuilder<StructBuilder>, batch: &Batch, index: usize) {
    let mut any = false;
    for (name, value) in batch.headers.of(index) {
        let row = into.values();
        let built = "the builder has a name and a value";
        let names = row.field_builder::<StringBuilder>(0).expect(built);
        names.append_value(String::from_utf8_lossy(name));
        row.field_builder::<BinaryBuilder>(1).expect(built).append_option(value);
        row.append(true);
        any = true;
    }
    into.append(any);
}

/// The rows of dead letters. `builds` are the name and the digest of each transform's component.
pub(super) fn rows(batch: &Batch, letters: &[DeadLetter], builds: &[(&str, &str)]) -> RecordBatch {
    let (mut topic, mut stage, mut class) =
        (StringBuilder::new(), StringBuilder::new(), StringBuilder::new());
    let (mut field, mut error) = (StringBuilder::new(), StringBuilder::new());
    let (mut components, mut digests) = (StringBuilder::new(), StringBuilder::new());
    let (mut partition, mut offset) = (Int32Builder::new(), Int64Builder::new());
    let mut timestamp = TimestampMicrosecondBuilder::new().with_timezone("UTC");
    let (mut key, mut payload) = (BinaryBuilder::new(), BinaryBuilder::new());
    let mut headers = headers_builder();
    for letter in letters {
        let index = letter.index as usize;
        topic.append_value(&batch.lane.topic);
        partition.append_value(batch.lane.partition);
        offset.append_value(batch.offsets[index]);
        timestamp.append_option(micros(batch.timestamps[index]));
        key.append_option(batch.keys.get(index));
        payload.append_option(batch.values.get(index));
        append_headers(&mut headers, batch, index);
        stage.append_value(letter.stage.name());
        class.append_value(letter.class);
        field.append_option(letter.field.as_deref());
        error.append_value(&letter.error);
        let (component, digest) = builds[letter.transform];
        components.append_value(component);
        digests.append_value(digest);
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(topic.finish()),
        Arc::new(partition.finish()),
        Arc::new(offset.finish()),
        Arc::new(timestamp.finish()),
        Arc::new(key.finish()),
        Arc::new(payload.finish()),
        Arc::new(headers.finish()),
        Arc::new(stage.finish()),
        Arc::new(class.finish()),
        Arc::new(field.finish()),
        Arc::new(error.finish()),
        Arc::new(components.finish()),
        Arc::new(digests.finish()),
    ];
    RecordBatch::try_new(schema(), columns).expect("the builders stand in the order of the schema")
}

/// Kafka's timestamp (milliseconds, -1 for none) in microseconds.
pub(super) fn micros(timestamp: i64) -> Option<i64> {
    (timestamp >= 0).then(|| timestamp.saturating_mul(1000))
}

#[cfg(test)]
mod tests {
    use arrow_array::types::{Int64Type, TimestampMicrosecondType};
    use arrow_array::{Array, cast::AsArray};

    use super::{DeadLetter, Stage, rows};
    use crate::record::{Batch, Lane};

    #[test]
    fn a_dead_letter_can_be_replayed() {
        let mut batch = Batch::new(Lane::new("clicks", 3), 1);
        for offset in [7, 8] {
            batch.offsets.push(offset);
            batch.timestamps.push(if offset == 7 { -1 } else { 1_700_000_000_123 });
            batch.keys.push((offset == 8).then_some(&b"k"[..]));
            batch.values.push((offset == 8).then_some(&b"not json"[..]));
            if offset == 8 {
                batch.headers.names.push(Some(b"trace"));
                batch.headers.values.push(Some(b"abc"));
            }
            batch.headers.ends.push(u32::try_from(batch.headers.names.len()).unwrap());
        }
        let letter = |index| DeadLetter {
            index,
            stage: Stage::Decode,
            transform: 0,
            class: "NOT_JSON",
            field: None,
            error: "at byte 0".into(),
        };
        let rows = rows(&batch, &[letter(0), letter(1)], &[("clean-clicks", "ab")]);
        assert_eq!(rows["offset"].as_primitive::<Int64Type>().values(), &[7, 8]);
        let timestamps = rows["timestamp"].as_primitive::<TimestampMicrosecondType>();
        assert_eq!(timestamps.iter().collect::<Vec<_>>(), [None, Some(1_700_000_000_123_000)]);
        assert_eq!(
            rows["payload"].as_binary::<i32>().iter().collect::<Vec<_>>(),
            [None, Some(&b"not json"[..])]
        );
        let headers = rows["headers"].as_list::<i32>();
        assert_eq!((headers.is_null(0), headers.value_length(1)), (true, 1));
        let header = headers.value(1);
        let header = header.as_struct();
        let (name, value) =
            (header.column(0).as_string::<i32>(), header.column(1).as_binary::<i32>());
        assert_eq!((name.value(0), value.value(0)), ("trace", &b"abc"[..]));
        assert_eq!(
            rows["key"].as_binary::<i32>().iter().collect::<Vec<_>>(),
            [None, Some(&b"k"[..])]
        );
    }
}

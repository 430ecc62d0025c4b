//! The columns `_kafka_*`, which say where a row comes from.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow_schema::{Schema, SchemaRef};

use crate::{
    record::Batch,
    schema::{DataType, Field},
};

/// A schema with the four columns after its own.
pub(super) fn extend_schema(schema: &Schema) -> SchemaRef {
    let columns = [
        Field::new("_kafka_topic", DataType::Utf8, false),
        Field::new("_kafka_partition", DataType::Int32, false),
        Field::new("_kafka_offset", DataType::Int64, false),
        Field::new("_kafka_timestamp", DataType::TimestampMicros, true),
    ];
    let fields = schema.fields().iter().cloned();
    Arc::new(Schema::new(
        fields.chain(columns.iter().map(|field| Arc::new(field.to_arrow()))).collect::<Vec<_>>(),
    ))
}

/// Rows with the four columns of the records that they were made from. `schema` is `extend_schema` of theirs.
pub(super) fn extend(
    rows: &RecordBatch,
    schema: &SchemaRef,
    batch: &Batch,
    lineage: &[u32],
) -> RecordBatch {
    let records = || lineage.iter().map(|&index| index as usize);
    let micros = records().map(|index| super::dead_letters::micros(batch.timestamps[index]));
    let mut columns: Vec<ArrayRef> = rows.columns().to_vec();
    columns
        .push(Arc::new(StringArray::from_iter_values(lineage.iter().map(|_| &*batch.lane.topic))));
    columns.push(Arc::new(Int32Array::from_value(batch.lane.partition, lineage.len())));
    columns
        .push(Arc::new(Int64Array::from_iter_values(records().map(|index| batch.offsets[index]))));
    columns.push(Arc::new(micros.collect::<TimestampMicrosecondArray>().with_timezone("UTC")));
    debug_assert!(columns.iter().all(|column| column.len() == rows.num_rows()));
    RecordBatch::try_new(Arc::clone(schema), columns)
        .expect("one value of each column for each row")
}

#[cfg(test)]
mod tests {
    use arrow_array::{cast::AsArray, types::Int64Type};

    use super::*;
    use crate::record::Lane;

    #[test]
    fn a_row_says_where_it_comes_from() {
        let mut batch = Batch::new(Lane::new("clicks", 3), 1);
        batch.offsets = vec![7, 9];
        batch.timestamps = vec![-1, 5];
        let schema = crate::schema::to_arrow(&[Field::new("a", DataType::Int64, false)]);
        let own: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
        let rows = RecordBatch::try_new(Arc::clone(&schema), vec![own]).unwrap();
        let rows = extend(&rows, &extend_schema(&schema), &batch, &[0, 1, 1]);
        assert_eq!(rows["_kafka_offset"].as_primitive::<Int64Type>().values(), &[7, 9, 9]);
        assert_eq!(rows["_kafka_timestamp"].null_count(), 1);
        assert_eq!(rows["_kafka_topic"].as_string::<i32>().value(2), "clicks");
    }
}

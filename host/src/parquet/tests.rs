mod limits;
mod round_trip;

use std::{
    io::{self, Write},
    path::Path,
    sync::Arc,
};

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::{Files, OutputSpec, Place, RefusedRow, Sealed};
use crate::{
    budget::Budget,
    config::{self, Compression, Expression, PartitionBy},
    fault::Fault,
    schema::{self, DataType, Field},
};

/// A finished file.
#[derive(Debug)]
struct Finished {
    path: String,
    bytes: Bytes,
}

fn settings(partition_by: &[(&str, Expression)]) -> config::Parquet {
    let by = |(key, expression): &(&str, Expression)| PartitionBy {
        key: (*key).into(),
        expression: expression.clone(),
    };
    config::Parquet {
        partition_by: partition_by.iter().map(by).collect(),
        compression: Compression::Zstd(1),
        max_file_bytes: 128 << 20,
        max_partitions: 1024,
        kafka_columns: false,
    }
}

fn spec(fields: &[Field], settings: config::Parquet) -> Arc<[OutputSpec]> {
    Arc::new([OutputSpec { name: "clean".into(), schema: schema::to_arrow(fields), settings }])
}

/// `n`, `part` (which the files are by), `at`, `text` (32 characters that do not repeat).
fn numbered(max_file_bytes: u64) -> Arc<[OutputSpec]> {
    let fields = [
        ("n", DataType::Int64),
        ("part", DataType::Utf8),
        ("at", DataType::TimestampMicros),
        ("text", DataType::Utf8),
    ];
    let fields = fields.map(|(name, data_type)| Field::new(name, data_type, false));
    spec(
        &fields,
        config::Parquet {
            max_file_bytes,
            ..settings(&[("part", Expression::Field("part".into()))])
        },
    )
}

/// Rows `first..first + rows` of [`numbered`]; row `n` is in part `n % parts`.
fn numbers(first: i64, rows: i64, parts: i64) -> RecordBatch {
    let noise = |n: i64| {
        n.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64.cast_signed())
            .wrapping_add(n >> 7)
            .wrapping_mul(0x2545_f491_4f6c_dd1d)
    };
    let all = || first..first + rows;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(all())),
        Arc::new(StringArray::from_iter_values(all().map(|n| (n % parts).to_string()))),
        Arc::new(
            TimestampMicrosecondArray::from_iter_values(all().map(|n| n * 1000 + noise(n) % 50))
                .with_timezone("UTC"),
        ),
        Arc::new(StringArray::from_iter_values(
            all().map(|n| format!("{:016x}{:016x}", noise(n), noise(!n))),
        )),
    ];
    RecordBatch::try_new(Arc::clone(&numbered(0)[0].schema), columns).unwrap()
}

fn files<S: Write + Send>(
    outputs: Arc<[OutputSpec]>,
    budget: &Arc<Budget>,
    scratch: &Path,
    max_partitions: usize,
) -> Files<S> {
    let capped = |output: &OutputSpec| OutputSpec {
        settings: config::Parquet { max_partitions, ..output.settings.clone() },
        ..output.clone()
    };
    let outputs = outputs.iter().map(capped).collect();
    Files::new(outputs, budget.share(), scratch.into(), 900).unwrap()
}

/// Writes rows; gives back those that were refused.
fn write(files: &mut Files<Vec<u8>>, rows: &RecordBatch) -> Vec<RefusedRow> {
    let mut sorted = files.sort(0, rows).unwrap();
    let refused = std::mem::take(&mut sorted.refused);
    files.write(sorted, &mut to_memory).unwrap();
    refused
}

fn to_memory(_place: &Place) -> Result<Vec<u8>, Fault> {
    Ok(Vec::new())
}

fn close(sealed: Sealed<Vec<u8>>) -> Finished {
    let (path, rows) = (sealed.place().hive_path.clone(), sealed.rows());
    let bytes =
        Bytes::from(sealed.close(vec![("tidemill.pipeline".into(), "clicks".into())]).unwrap());
    let file = Finished { path, bytes };
    assert_eq!(file.read().num_rows() as u64, rows);
    file
}

impl Finished {
    fn reader(&self) -> ParquetRecordBatchReaderBuilder<Bytes> {
        let options = parquet::arrow::arrow_reader::ArrowReaderOptions::new()
            .with_page_index_policy(parquet::file::metadata::PageIndexPolicy::Required);
        ParquetRecordBatchReaderBuilder::try_new_with_options(self.bytes.clone(), options).unwrap()
    }

    fn read(&self) -> RecordBatch {
        let reader = self.reader().with_batch_size(1 << 20).build().unwrap();
        let schema = arrow_array::RecordBatchReader::schema(&reader);
        let batches: Vec<_> = reader.map(Result::unwrap).collect();
        arrow_select::concat::concat_batches(&schema, &batches).unwrap()
    }

    /// The values of its column `n`.
    fn numbers(&self) -> Vec<i64> {
        self.read().column(0).as_any().downcast_ref::<Int64Array>().unwrap().values().to_vec()
    }
}

/// Each row of [`numbered`] from 0 to `rows` is there once, in its part.
fn assert_all(finished: &[Finished], rows: i64, parts: i64) {
    let mut seen: Vec<_> = finished
        .iter()
        .flat_map(|file| file.numbers().into_iter().map(|n| (n, file.path.as_str())))
        .collect();
    seen.sort_unstable();
    assert_eq!(i64::try_from(seen.len()).unwrap(), rows);
    assert!(
        (0..).zip(seen).all(|(n, (seen, path))| n == seen && path == format!("part={}", n % parts))
    );
}

/// Fails after some bytes, as a full disk or a lost connection does.
struct Failing {
    left: usize,
    fault: Option<Fault>,
}

impl Write for Failing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.left < bytes.len() {
            return Err(self
                .fault
                .take()
                .map_or_else(|| io::Error::other("no route"), io::Error::other));
        }
        self.left -= bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

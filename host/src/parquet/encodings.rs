//! Chooses how the columns of a file are encoded, from the rows that wait for it.

use std::{
    collections::HashSet,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

use arrow_array::{
    Array, ArrayRef, RecordBatch,
    cast::AsArray,
    types::{ArrowPrimitiveType, Date32Type, Int32Type, Int64Type, TimestampMicrosecondType},
};
use arrow_schema::{DataType, SchemaRef};
use parquet::{
    arrow::ArrowSchemaConverter,
    basic::{Compression as Codec, Encoding, ZstdLevel},
    errors::ParquetError,
    file::properties::{EnabledStatistics, WriterProperties, WriterVersion},
    schema::types::ColumnPath,
};

use super::OutputSpec;
use crate::{
    config::{self, Compression},
    fault::Fault,
};

/// A row group ends when its encoded bytes reach this.
const ROW_GROUP_BYTES: u64 = 32 << 20;

/// So few distinct values make a dictionary of any column, however few rows there are.
const FEW_VALUES: usize = 16;

/// A value that comes this often on average makes a dictionary pay.
const REPEATS_FOR_DICTIONARY: usize = 4;

/// Encodings are chosen from at most this many rows: about a millisecond of work.
const SAMPLE_ROWS: usize = 8192;

/// Fewer rows than this say too little for what they choose to be handed on to other files.
const TELLING_ROWS: usize = 1024;

/// How a column is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// Values repeat.
    Dictionary,
    /// Numbers that are close to the one before.
    Delta,
    /// Everything else; compression does what can be done.
    Plain,
}

/// A choice for each leaf column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Encodings(Arc<[Choice]>);

impl Encodings {
    /// Chooses from sample rows.
    pub(super) fn choose(rows: &RecordBatch) -> Self {
        let mut choices = Vec::new();
        rows.columns()
            .iter()
            .for_each(|column| each_leaf(column, &mut |leaf| choices.push(choose(leaf))));
        Self(choices.into())
    }
}

/// The choices that the files of an output hand on to each other.
#[derive(Debug, Default)]
struct Carried {
    encodings: Option<Encodings>,
    /// Whether they were chosen since the last flush began.
    fresh: bool,
}

/// What all files of an output have in common.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) output: String,
    pub(super) schema: SchemaRef,
    pub(super) settings: config::Parquet,
    /// Paths of the leaf columns, in order.
    leaves: Vec<ColumnPath>,
    /// Locked once a file, by the worker and its closer.
    carried: Mutex<Carried>,
}

impl Layout {
    pub(super) fn new(spec: &OutputSpec) -> Result<Self, Fault> {
        let convert = |error| {
            Fault::config(format!("output `{}` cannot be written as Parquet", spec.name))
                .caused_by(error)
        };
        let schema = ArrowSchemaConverter::new()
            .with_coerce_types(true)
            .convert(&spec.schema)
            .map_err(convert)?;
        let leaves = schema.columns().iter().map(|column| column.path().clone()).collect();
        codec(spec.settings.compression).map_err(convert)?;
        Ok(Self {
            output: spec.name.clone(),
            schema: Arc::clone(&spec.schema),
            settings: spec.settings.clone(),
            leaves,
            carried: Mutex::default(),
        })
    }

    /// The number of leaf columns.
    pub(super) fn leaves(&self) -> usize {
        self.leaves.len()
    }

    /// The encodings of a file that begins with these rows: those that another file chose since the last flush, if any.
    pub(super) fn encodings(&self, rows: &RecordBatch) -> Encodings {
        let telling = rows.num_rows() >= TELLING_ROWS;
        let mut carried = self.carried.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(encodings) = &carried.encodings
            && (carried.fresh || !telling)
        {
            return encodings.clone();
        }
        let encodings = Encodings::choose(&rows.slice(0, rows.num_rows().min(SAMPLE_ROWS)));
        if telling {
            *carried = Carried { encodings: Some(encodings.clone()), fresh: true };
        }
        encodings
    }

    /// From now on the next file chooses anew.
    pub(super) fn age(&self) {
        self.carried.lock().unwrap_or_else(PoisonError::into_inner).fresh = false;
    }

    pub(super) fn properties(
        &self,
        encodings: &Encodings,
    ) -> Result<WriterProperties, ParquetError> {
        let row_group = usize::try_from(ROW_GROUP_BYTES.min(self.settings.max_file_bytes.max(1)))
            .expect("fits by its first operand");
        let mut properties = WriterProperties::builder()
            .set_writer_version(WriterVersion::PARQUET_1_0)
            // The form `<application> version <version>` is the format's; readers ignore statistics of a writer that they cannot parse.
            .set_created_by(concat!("tidemill version ", env!("CARGO_PKG_VERSION")).into())
            // Lists and maps get the names that the format asks for.
            .set_coerce_types(true)
            .set_compression(codec(self.settings.compression)?)
            .set_statistics_enabled(EnabledStatistics::Page)
            .set_dictionary_enabled(false)
            .set_max_row_group_bytes(Some(row_group));
        for (path, choice) in self.leaves.iter().zip(&*encodings.0) {
            properties = match choice {
                Choice::Dictionary => properties.set_column_dictionary_enabled(path.clone(), true),
                Choice::Delta => {
                    properties.set_column_encoding(path.clone(), Encoding::DELTA_BINARY_PACKED)
                }
                Choice::Plain => properties.set_column_encoding(path.clone(), Encoding::PLAIN),
            };
        }
        Ok(properties.build())
    }
}

fn codec(compression: Compression) -> Result<Codec, ParquetError> {
    Ok(match compression {
        Compression::Zstd(level) => Codec::ZSTD(ZstdLevel::try_new(level)?),
        Compression::Snappy => Codec::SNAPPY,
        Compression::None => Codec::UNCOMPRESSED,
    })
}

/// Calls `leaf` with each leaf column, in the order of Parquet's leaf columns.
fn each_leaf(column: &ArrayRef, leaf: &mut dyn FnMut(&dyn Array)) {
    match column.data_type() {
        DataType::Struct(_) => {
            column.as_struct().columns().iter().for_each(|member| each_leaf(member, leaf))
        }
        DataType::List(_) => each_leaf(column.as_list::<i32>().values(), leaf),
        DataType::Map(..) => {
            let map = column.as_map();
            each_leaf(map.keys(), leaf);
            each_leaf(map.values(), leaf);
        }
        _ => leaf(column.as_ref()),
    }
}

fn choose(leaf: &dyn Array) -> Choice {
    let valid = leaf.len() - leaf.null_count();
    let few = |distinct| distinct <= FEW_VALUES && distinct * 2 <= valid;
    let repeat = |distinct| distinct * REPEATS_FOR_DICTIONARY <= valid;
    let of_whole = |distinct, ordered, otherwise| match distinct {
        _ if few(distinct) => Choice::Dictionary,
        _ if ordered => Choice::Delta,
        _ if repeat(distinct) => Choice::Dictionary,
        _ => otherwise,
    };
    match leaf.data_type() {
        DataType::Int32 => {
            of_whole(distinct_numbers::<Int32Type>(leaf), ordered::<Int32Type>(leaf), Choice::Plain)
        }
        DataType::Int64 => {
            of_whole(distinct_numbers::<Int64Type>(leaf), ordered::<Int64Type>(leaf), Choice::Plain)
        }
        DataType::Date32 => of_whole(
            distinct_numbers::<Date32Type>(leaf),
            ordered::<Date32Type>(leaf),
            Choice::Delta,
        ),
        DataType::Timestamp(..) => {
            let distinct = distinct_numbers::<TimestampMicrosecondType>(leaf);
            of_whole(distinct, ordered::<TimestampMicrosecondType>(leaf), Choice::Delta)
        }
        // One bit a value already.
        DataType::Boolean => Choice::Plain,
        _ if repeat(distinct_bytes(leaf)) => Choice::Dictionary,
        _ => Choice::Plain,
    }
}

fn distinct<T: Eq + Hash>(values: impl Iterator<Item = T>) -> usize {
    values.collect::<HashSet<_>>().len()
}

fn distinct_numbers<T: ArrowPrimitiveType<Native: Eq + Hash>>(leaf: &dyn Array) -> usize {
    distinct(leaf.as_primitive::<T>().iter().flatten())
}

/// Distinct values of text, bytes, and everything of fixed width.
fn distinct_bytes(leaf: &dyn Array) -> usize {
    match leaf.data_type() {
        DataType::Utf8 => distinct(leaf.as_string::<i32>().iter().flatten()),
        DataType::Binary => distinct(leaf.as_binary::<i32>().iter().flatten()),
        other => {
            let Some(width) = other.primitive_width() else { return leaf.len() };
            let data = leaf.to_data();
            let values = data.buffers()[0].chunks_exact(width).skip(data.offset()).take(leaf.len());
            distinct(
                values.enumerate().filter(|(row, _)| leaf.is_valid(*row)).map(|(_, value)| value),
            )
        }
    }
}

/// Whether at most one value in ten is smaller than the one before it.
fn ordered<T: ArrowPrimitiveType<Native: Ord>>(leaf: &dyn Array) -> bool {
    let values: Vec<_> = leaf.as_primitive::<T>().iter().flatten().collect();
    values.windows(2).filter(|pair| pair[1] < pair[0]).count() * 10
        <= values.len().saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use arrow_array::{Decimal128Array, Int64Array, StringArray, TimestampMicrosecondArray};

    use super::*;

    fn mixed(n: i64) -> i64 {
        n.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64.cast_signed()) >> 20
    }

    #[test]
    fn a_dictionary_only_where_values_repeat() {
        let text = |values: i64| {
            choose(&StringArray::from_iter_values(
                (0..8000).map(|n| format!("v{}", mixed(n).rem_euclid(values))),
            ))
        };
        assert_eq!(text(20), Choice::Dictionary);
        assert_eq!(text(1500), Choice::Dictionary);
        assert_eq!(text(100_000), Choice::Plain);
        let decimal = |values: i64| {
            choose(&Decimal128Array::from_iter_values(
                (0..8000).map(|n| mixed(n).rem_euclid(values).into()),
            ))
        };
        assert_eq!(decimal(20), Choice::Dictionary);
        assert_eq!(decimal(100_000), Choice::Plain);
    }

    #[test]
    fn deltas_for_time_and_for_what_grows() {
        assert_eq!(choose(&Int64Array::from_iter_values(0..8000)), Choice::Delta);
        assert_eq!(choose(&Int64Array::from_iter_values((0..8000).map(mixed))), Choice::Plain);
        assert_eq!(
            choose(&Int64Array::from_iter_values((0..8000).map(|n| mixed(n) & 7))),
            Choice::Dictionary
        );
        assert_eq!(choose(&Int64Array::from_iter_values((0..8000).map(|_| 7))), Choice::Dictionary);
        assert_eq!(
            choose(&Int64Array::from_iter_values((0..8000).map(|n| n / 10))),
            Choice::Delta,
            "each value repeats, but they grow"
        );
        assert_eq!(
            choose(&TimestampMicrosecondArray::from_iter_values((0..8000).map(mixed))),
            Choice::Delta
        );
    }

    #[test]
    fn choices_are_handed_on_until_the_next_flush() {
        let schema = crate::schema::to_arrow(&[crate::schema::Field::new(
            "n",
            crate::schema::DataType::Int64,
            false,
        )]);
        let settings = config::Parquet {
            partition_by: Vec::new(),
            compression: Compression::None,
            max_file_bytes: 1,
            max_partitions: 1024,
            kafka_columns: false,
        };
        let layout = Layout::new(&OutputSpec {
            name: "clean".into(),
            schema: Arc::clone(&schema),
            settings,
        })
        .unwrap();
        let rows = |values: Vec<i64>| {
            RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(Int64Array::from(values))])
                .unwrap()
        };
        let choice = |values| layout.encodings(&rows(values)).0[0];
        let (same, growing) = (vec![7; 5000], (0..5000).collect::<Vec<_>>());
        assert_eq!(choice(vec![1, 2]), Choice::Delta, "two rows choose for themselves");
        assert_eq!(choice(same.clone()), Choice::Dictionary, "but not for others");
        assert_eq!(choice(growing.clone()), Choice::Dictionary);
        layout.age();
        assert_eq!(
            choice(vec![1, 2]),
            Choice::Dictionary,
            "an old choice is better than one by two rows"
        );
        assert_eq!(choice(growing), Choice::Delta);
        assert_eq!(choice(same), Choice::Delta);
    }

    #[test]
    fn nothing_is_known_of_nulls() {
        assert_eq!(choose(&StringArray::new_null(100)), Choice::Dictionary);
        assert_eq!(choose(&Int64Array::new_null(100)), Choice::Dictionary);
        assert_eq!(choose(&Int64Array::from(vec![5])), Choice::Delta);
    }
}

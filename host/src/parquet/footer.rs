//! What the footer of a finished file says.

use std::ops::Range;

use bytes::Bytes;
use parquet::{
    errors::ParquetError,
    file::metadata::{ParquetMetaData, ParquetMetaDataReader},
    schema::printer::print_schema,
};

use crate::fault::{Blame, Fault};

/// Most footers fit: one read is enough.
const FIRST_READ_BYTES: u64 = 64 << 10;

/// What the footer of a Parquet file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footer {
    /// Who wrote the file.
    pub created_by: Option<String>,
    /// Rows in it.
    pub rows: u64,
    /// Its row groups, in order.
    pub row_groups: Vec<RowGroup>,
    /// Key-values, but for the copy of the schema that Arrow puts there.
    pub metadata: Vec<(String, String)>,
    /// The schema in Parquet's own notation.
    pub schema: String,
}

/// A row group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowGroup {
    /// Rows in it.
    pub rows: u64,
    /// Its bytes in the file.
    pub bytes: u64,
}

/// Reads the footer of a file of `size` bytes; `read` gets ranges of its bytes, one or two.
///
/// # Errors
/// Those of `read`; the user's fault when it is not a Parquet file.
pub fn footer(
    size: u64,
    mut read: impl FnMut(Range<u64>) -> Result<Bytes, Fault>,
) -> Result<Footer, Fault> {
    let not_parquet = |error| {
        Fault::new(Blame::Config, "cannot read the footer: this is not a whole Parquet file")
            .caused_by(error)
    };
    let mut reader = ParquetMetaDataReader::new();
    let mut tail = size.min(FIRST_READ_BYTES);
    loop {
        let bytes = read(size - tail..size)?;
        match reader.try_parse_sized(&bytes, size) {
            Ok(()) => {
                return reader.finish().map(|metadata| describe(&metadata)).map_err(not_parquet);
            }
            Err(ParquetError::NeedMoreData(needed))
                if u64::try_from(needed).is_ok_and(|needed| tail < needed && needed <= size) =>
            {
                tail = u64::try_from(needed).expect("usize fits u64");
            }
            Err(error) => return Err(not_parquet(error)),
        }
    }
}

fn describe(metadata: &ParquetMetaData) -> Footer {
    let file = metadata.file_metadata();
    let count = |number: i64| u64::try_from(number).unwrap_or(0);
    let mut schema = Vec::new();
    print_schema(&mut schema, file.schema());
    Footer {
        created_by: file.created_by().map(Into::into),
        rows: count(file.num_rows()),
        row_groups: metadata
            .row_groups()
            .iter()
            .map(|group| RowGroup {
                rows: count(group.num_rows()),
                bytes: count(group.compressed_size()),
            })
            .collect(),
        metadata: file
            .key_value_metadata()
            .into_iter()
            .flatten()
            .filter(|pair| pair.key != parquet::arrow::ARROW_SCHEMA_META_KEY)
            .map(|pair| (pair.key.clone(), pair.value.clone().unwrap_or_default()))
            .collect(),
        schema: String::from_utf8_lossy(&schema).into_owned(),
    }
}

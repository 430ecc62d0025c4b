//! Fields that the host carries across: the rows of an output take them from their records.

use std::ops::Range;

use arrow_array::{Array, ArrayRef, UInt32Array, cast::AsArray};

use crate::schema::{DataType, Field};

/// Which record each row of an output takes its carried fields from.
#[derive(Debug)]
pub(super) enum Carry {
    /// All records, each once: their columns are the rows' as they are.
    All,
    /// These.
    Rows(UInt32Array),
}

impl Carry {
    /// Lineage, never falling, among so many records.
    pub(super) fn new(lineage: &[u32], records: usize) -> Self {
        if lineage.len() == records && is_strict(lineage) {
            Self::All
        } else {
            Self::Rows(lineage.to_vec().into())
        }
    }

    /// The bytes that carrying a column makes: a record that many rows come from is there many times.
    pub(super) fn bytes(&self, field: &Field, column: &ArrayRef) -> u64 {
        match self {
            Self::All => 0,
            Self::Rows(rows) if is_strict(rows.values()) => bytes(field, column, 0..column.len()),
            Self::Rows(rows) => rows
                .values()
                .iter()
                .map(|&row| bytes(field, column, row as usize..row as usize + 1))
                .sum(),
        }
    }

    /// The column of the rows.
    pub(super) fn take(&self, column: &ArrayRef) -> Result<ArrayRef, String> {
        match self {
            Self::All => Ok(ArrayRef::clone(column)),
            Self::Rows(rows) => {
                arrow_select::take::take(column, rows, None).map_err(|error| error.to_string())
            }
        }
    }
}

fn is_strict(lineage: &[u32]) -> bool {
    lineage.windows(2).all(|pair| pair[0] < pair[1])
}

/// The bytes of a range of an array, bitmaps aside.
fn bytes(field: &Field, array: &ArrayRef, range: Range<usize>) -> u64 {
    let len = range.len() as u64;
    let held = |offsets: &[i32]| {
        let place =
            |offset: i32| usize::try_from(offset).expect("Arrow's offsets are never negative");
        place(offsets[range.start])..place(offsets[range.end])
    };
    match field.data_type {
        DataType::Boolean => len,
        DataType::Int32 | DataType::Float32 | DataType::Date => 4 * len,
        DataType::Int64 | DataType::Float64 | DataType::TimestampMicros => 8 * len,
        DataType::Decimal(..) => 16 * len,
        DataType::Utf8 | DataType::Json => {
            4 * len + held(array.as_string::<i32>().value_offsets()).len() as u64
        }
        DataType::Binary => 4 * len + held(array.as_binary::<i32>().value_offsets()).len() as u64,
        DataType::List => {
            let list = array.as_list::<i32>();
            4 * len + bytes(&field.children[0], list.values(), held(list.value_offsets()))
        }
        DataType::Struct => {
            let columns = field.children.iter().zip(array.as_struct().columns());
            columns.map(|(child, column)| bytes(child, column, range.clone())).sum()
        }
        DataType::Map => {
            let map = array.as_map();
            let entries = held(map.value_offsets());
            4 * len
                + bytes(&field.children[0], map.keys(), entries.clone())
                + bytes(&field.children[1], map.values(), entries)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ListArray, StringArray, types::Int32Type};

    use super::*;

    #[test]
    fn rows_take_their_records_values_and_say_what_that_costs() {
        let field = Field::new("t", DataType::Utf8, true);
        let column: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("ccc")]));
        let taken = |lineage: &[u32]| {
            let carry = Carry::new(lineage, 3);
            let rows = carry.take(&column).unwrap();
            (
                rows.as_string::<i32>()
                    .iter()
                    .map(|text| text.map(str::to_owned))
                    .collect::<Vec<_>>(),
                carry.bytes(&field, &column),
            )
        };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(taken(&[0, 1, 2]), (vec![text("a"), None, text("ccc")], 0));
        assert_eq!(
            taken(&[0, 2, 2, 2]),
            (vec![text("a"), text("ccc"), text("ccc"), text("ccc")], 4 * 4 + 1 + 9)
        );
        assert_eq!(
            taken(&[1]),
            (vec![None], 3 * 4 + 4),
            "a selection is no larger than what it selects from"
        );
    }

    #[test]
    fn lists_cost_what_they_hold() {
        let field = Field {
            children: vec![Field::new("e", DataType::Int32, true)],
            ..Field::new("l", DataType::List, true)
        };
        let lists = vec![Some(vec![Some(1); 10]), None, Some(vec![Some(2); 3])];
        let column: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists));
        assert_eq!(Carry::new(&[0, 0, 2], 3).bytes(&field, &column), 3 * 4 + 23 * 4);
    }
}

//! Lists and maps. (Nested rows are made by `#[derive(Row)]`.)

use std::collections::BTreeMap;

use super::{Decode, Element, Encode, Present, Value};
use crate::{
    bindings::tidemill::transform::types::{DataType, Values},
    build::Lists,
    columns::{Columns, counted, span, wrong_type},
    schema::Fields,
};

impl<T: Element> Value for Vec<T> {
    const DATA_TYPE: DataType = DataType::ListOf;

    fn children(fields: &mut Fields) {
        fields.push::<T>("element", None);
    }
}

impl<T: Element> Present for Vec<T> {}

impl<'a, T: Element + Decode<'a>> Decode<'a> for Vec<T> {
    type Reader = (&'a [u32], T::Reader);

    fn reader(columns: &mut Columns<'a>, len: usize) -> Result<Self::Reader, String> {
        let ends = lists(columns, len)?;
        Ok((ends, columns.field::<T>("element", elements(ends))?))
    }

    fn read((ends, reader): &Self::Reader, index: usize) -> Self {
        let (start, end) = span(ends, index);
        (start..end).map(|index| T::read(reader, index)).collect()
    }
}

impl<T: Element + Encode> Encode for Vec<T> {
    type Builder = Lists<T::Builder>;

    fn append(&self, builder: &mut Self::Builder) {
        builder.append(self, T::append);
    }
}

/// The ends of the lists of the next column.
fn lists<'a>(columns: &mut Columns<'a>, len: usize) -> Result<&'a [u32], String> {
    match columns.take()? {
        Values::Lists(ends) => counted(ends, len),
        _ => Err(wrong_type()),
    }
}

/// How many elements lists have.
fn elements(ends: &[u32]) -> usize {
    ends.last().map_or(0, |&end| end as usize)
}

macro_rules! maps {
    ($($type:ty, [$($bound:tt)*], |$entry:ident| $key:expr, $value:expr;)*) => {$(
        impl<K: Present + $($bound)*, V: Element> Value for $type {
            const DATA_TYPE: DataType = DataType::MapOf;

            fn children(fields: &mut Fields) {
                fields.push::<K>("key", None);
                fields.push::<V>("value", None);
            }
        }

        impl<K: Present + $($bound)*, V: Element> Present for $type {}

        impl<'a, K: Present + Decode<'a> + $($bound)*, V: Element + Decode<'a>> Decode<'a> for $type {
            type Reader = (&'a [u32], K::Reader, V::Reader);

            fn reader(columns: &mut Columns<'a>, len: usize) -> Result<Self::Reader, String> {
                let ends = lists(columns, len)?;
                let elements = elements(ends);
                Ok((ends, columns.field::<K>("key", elements)?, columns.field::<V>("value", elements)?))
            }

            fn read((ends, keys, values): &Self::Reader, index: usize) -> Self {
                let (start, end) = span(ends, index);
                (start..end).map(|index| (K::read(keys, index), V::read(values, index))).collect()
            }
        }

        impl<K: Present + Encode + $($bound)*, V: Element + Encode> Encode for $type {
            type Builder = Lists<(K::Builder, V::Builder)>;

            fn append(&self, builder: &mut Self::Builder) {
                builder.append(self, |$entry, columns| {
                    $key.append(&mut columns.0);
                    $value.append(&mut columns.1);
                });
            }
        }
    )*};
}

maps! {
    BTreeMap<K, V>, [Ord], |entry| entry.0, entry.1;
    Vec<(K, V)>, [Sized], |entry| entry.0, entry.1;
}

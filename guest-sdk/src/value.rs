//! The types that fields can have.

mod nested;
mod text;

pub use text::{Json, Lower};

use crate::{
    bindings::tidemill::transform::types::{DataType, Values},
    build::{Bits, Build, Nullable, Number, Numbers, Wide},
    columns::{Columns, bit, bits, counted, wrong_type},
    schema::Fields,
};

/// A type that a field can have.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be a field of a row",
    note = "`#[derive(Row)]` says which types fields can have"
)]
pub trait Value {
    /// Its type in the contract.
    const DATA_TYPE: DataType;
    /// Whether it may be null.
    const NULLABLE: bool = false;
    /// Whether it stays in the host.
    const CARRIED: bool = false;

    /// Lists the fields below it.
    fn children(_: &mut Fields) {}
}

/// A value that is read from columns.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be a field of a row",
    note = "`#[derive(Row)]` says which types fields can have"
)]
pub trait Decode<'a>: Value + Sized {
    /// The columns, ready to be read.
    type Reader;

    /// Takes the value's columns, which hold `len` values.
    ///
    /// # Errors
    /// When the columns are not those of this type.
    fn reader(columns: &mut Columns<'a>, len: usize) -> Result<Self::Reader, String>;

    /// The value at a place.
    fn read(reader: &Self::Reader, index: usize) -> Self;
}

/// A value that is appended to columns.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be a field of a row",
    note = "`#[derive(Row)]` says which types fields can have"
)]
pub trait Encode: Value {
    /// The columns that grow.
    type Builder: Build;

    /// Appends the value.
    fn append(&self, builder: &mut Self::Builder);
}

/// A value that is never null by itself: what an `Option` can hold.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't stand in an `Option`",
    note = "`Carry<Option<T>>` is a carried field that may be null"
)]
pub trait Present: Value {}

/// A value that a list or a map can hold.
#[diagnostic::on_unimplemented(message = "`{Self}` can't stand in a list or map")]
pub trait Element: Value {}
impl<T: Present> Element for T {}
impl<T: Present> Element for Option<T> {}

/// Microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

/// Days since 1970-01-01.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date(pub i32);

/// A fixed-point number of `PRECISION` digits (1 to 38), `SCALE` of them after the point: `Decimal::<9, 2>(1234)` is 12.34.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decimal<const PRECISION: u8, const SCALE: i8>(pub i128);

macro_rules! numbers {
    ($($type:ty, $number:ty, $values:ident, $data_type:ident, |$value:ident| $into:expr, $from:expr;)*) => {$(
        impl Value for $type {
            const DATA_TYPE: DataType = DataType::$data_type;
        }

        impl Present for $type {}

        impl<'a> Decode<'a> for $type {
            type Reader = &'a [$number];

            fn reader(columns: &mut Columns<'a>, len: usize) -> Result<Self::Reader, String> {
                match columns.take()? {
                    Values::$values(values) => counted(values, len),
                    _ => Err(wrong_type()),
                }
            }

            fn read(reader: &Self::Reader, index: usize) -> Self {
                $from(reader[index])
            }
        }

        impl Encode for $type {
            type Builder = Numbers<$number>;

            fn append(&self, builder: &mut Self::Builder) {
                let $value = self;
                builder.append($into);
            }
        }
    )*};
}

numbers! {
    i32, i32, Int32, Int32, |value| *value, std::convert::identity;
    i64, i64, Int64, Int64, |value| *value, std::convert::identity;
    f32, f32, Float32, Float32, |value| *value, std::convert::identity;
    f64, f64, Float64, Float64, |value| *value, std::convert::identity;
    Date, i32, Int32, Date, |value| value.0, Date;
    Timestamp, i64, Int64, TimestampMicros, |value| value.0, Timestamp;
}

macro_rules! columns_of_numbers {
    ($($number:ty, $values:ident;)*) => {$(
        impl Number for $number {
            fn values(values: Vec<Self>) -> Values {
                Values::$values(values)
            }
        }
    )*};
}

columns_of_numbers! {
    i32, Int32;
    i64, Int64;
    f32, Float32;
    f64, Float64;
}

impl Value for bool {
    const DATA_TYPE: DataType = DataType::Boolean;
}

impl Present for bool {}

impl<'a> Decode<'a> for bool {
    type Reader = &'a [u8];

    fn reader(columns: &mut Columns<'a>, len: usize) -> Result<Self::Reader, String> {
        match columns.take()? {
            Values::Bits(values) => bits(values, len),
            _ => Err(wrong_type()),
        }
    }

    fn read(reader: &Self::Reader, index: usize) -> Self {
        bit(reader, index)
    }
}

impl Encode for bool {
    type Builder = Bits;

    fn append(&self, builder: &mut Bits) {
        builder.append(*self);
    }
}

impl<const PRECISION: u8, const SCALE: i8> Value for Decimal<PRECISION, SCALE> {
    const DATA_TYPE: DataType = {
        assert!(PRECISION >= 1 && PRECISION <= 38, "a decimal has 1 to 38 digits");
        assert!(
            SCALE >= 0 && SCALE.unsigned_abs() <= PRECISION,
            "a decimal's scale is 0 to its precision"
        );
        DataType::Decimal((PRECISION, SCALE))
    };
}

impl<const PRECISION: u8, const SCALE: i8> Present for Decimal<PRECISION, SCALE> {}

impl<'a, const PRECISION: u8, const SCALE: i8> Decode<'a> for Decimal<PRECISION, SCALE> {
    type Reader = &'a [[u64; 2]];

    fn reader(columns: &mut Columns<'a>, len: usize) -> Result<Self::Reader, String> {
        match columns.take()? {
            Values::Decimal128(words) if words.len() == len * 2 => Ok(words.as_chunks().0),
            _ => Err(wrong_type()),
        }
    }

    fn read(reader: &Self::Reader, index: usize) -> Self {
        let [low, high] = reader[index];
        Self((u128::from(high) << 64 | u128::from(low)).cast_signed())
    }
}

impl<const PRECISION: u8, const SCALE: i8> Encode for Decimal<PRECISION, SCALE> {
    type Builder = Wide;

    fn append(&self, builder: &mut Wide) {
        builder.append(self.0);
    }
}

impl<T: Present> Value for Option<T> {
    const DATA_TYPE: DataType = T::DATA_TYPE;
    const NULLABLE: bool = true;

    fn children(fields: &mut Fields) {
        T::children(fields);
    }
}

impl<'a, T: Present + Decode<'a>> Decode<'a> for Option<T> {
    type Reader = (Option<&'a [u8]>, T::Reader);

    fn reader(columns: &mut Columns<'a>, len: usize) -> Result<Self::Reader, String> {
        Ok((columns.validity(len)?, T::reader(columns, len)?))
    }

    fn read((validity, reader): &Self::Reader, index: usize) -> Self {
        validity.is_none_or(|validity| bit(validity, index)).then(|| T::read(reader, index))
    }
}

impl<T: Present + Encode> Encode for Option<T> {
    type Builder = Nullable<T::Builder>;

    fn append(&self, builder: &mut Self::Builder) {
        builder.append(self.as_ref(), T::append);
    }
}

//! Text, bytes and JSON.

use std::borrow::Cow;

use super::{Decode, Encode, Present, Value};
use crate::{
    bindings::tidemill::transform::types::{DataType, Values},
    build::Strings,
    columns::{Columns, counted, span, wrong_type},
};

/// A JSON value of any shape, as text: `Json<&str>` borrows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Json<T = String>(pub T);

/// Text that is written in lower case, as domain names and many codes want it, without an allocation where it is ASCII. It is
/// read as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lower<'a>(pub &'a str);

/// A column of byte strings that is read in place.
#[derive(Clone, Copy, Debug)]
pub struct PackedBytes<'a> {
    ends: &'a [u32],
    data: &'a [u8],
}

impl<'a> PackedBytes<'a> {
    fn new(columns: &mut Columns<'a>, len: usize) -> Result<Self, String> {
        match columns.take()? {
            Values::Bytes(bytes) => {
                Ok(Self { ends: counted(&bytes.ends, len)?, data: &bytes.data })
            }
            _ => Err(wrong_type()),
        }
    }

    fn get(&self, index: usize) -> &'a [u8] {
        let (start, end) = span(self.ends, index);
        &self.data[start..end]
    }
}

/// A column of text that is read in place: checked once as a whole, so that a value costs no more than its borders.
#[derive(Clone, Copy, Debug)]
pub struct PackedText<'a> {
    ends: &'a [u32],
    text: &'a str,
}

impl<'a> PackedText<'a> {
    fn new(columns: &mut Columns<'a>, len: usize) -> Result<Self, String> {
        let PackedBytes { ends, data } = PackedBytes::new(columns, len)?;
        let text = str::from_utf8(data)
            .map_err(|error| format!("the host's text is not UTF-8: {error}"))?;
        Ok(Self { ends, text })
    }

    fn get(&self, index: usize) -> &'a str {
        let (start, end) = span(self.ends, index);
        &self.text[start..end]
    }
}

macro_rules! strings {
    ($([$($generics:tt)*] $type:ty, $reader:ident, $data_type:ident, |$value:ident| $append:ident($bytes:expr), $from:expr;)*) => {$(
        impl<$($generics)*> Value for $type {
            const DATA_TYPE: DataType = DataType::$data_type;
        }

        impl<$($generics)*> Present for $type {}

        impl<$($generics)*> Encode for $type {
            type Builder = Strings;

            fn append(&self, builder: &mut Strings) {
                let $value = self;
                builder.$append($bytes);
            }
        }

        impl<'a> Decode<'a> for $type {
            type Reader = $reader<'a>;

            fn reader(columns: &mut Columns<'a>, len: usize) -> Result<Self::Reader, String> {
                $reader::new(columns, len)
            }

            fn read(reader: &Self::Reader, index: usize) -> Self {
                $from(reader.get(index))
            }
        }
    )*};
}

strings! {
    ['a] &'a str, PackedText, Utf8, |value| append(value.as_bytes()), std::convert::identity;
    [] String, PackedText, Utf8, |value| append(value.as_bytes()), str::to_owned;
    ['a] Cow<'a, str>, PackedText, Utf8, |value| append(value.as_bytes()), Cow::Borrowed;
    ['a] Lower<'a>, PackedText, Utf8, |value| append_lower(value.0), Lower;
    ['a] &'a [u8], PackedBytes, Binary, |value| append(value), std::convert::identity;
    [] Vec<u8>, PackedBytes, Binary, |value| append(value), <[u8]>::to_vec;
    ['a] Json<&'a str>, PackedText, Json, |value| append(value.0.as_bytes()), Json;
    [] Json<String>, PackedText, Json, |value| append(value.0.as_bytes()), |text: &str| Json(text.to_owned());
}

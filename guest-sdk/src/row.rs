//! Rows and their carried fields.

use std::{convert::Infallible, marker::PhantomData};

use crate::{
    bindings::tidemill::transform::types::{Column, DataType},
    build::Build,
    columns::Columns,
    schema::Fields,
    value::{Decode, Encode, Value},
};

/// A struct of fields. Made by [`#[derive(Row)]`](derive@crate::Row).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a row",
    note = "add `#[derive(Row)]` to the struct"
)]
pub trait Row: Encode {
    /// The same row with its borrowed fields borrowed for `'x`.
    type At<'x>: Encode<Builder = Self::Builder>;
}

/// A field that is only carried across: the host copies it from the input field of the same name (or the one that
/// `#[row(from = "…")]` names) of the record that the row was made from. The transform never sees its values, so it costs nothing in the guest.
///
/// `T` is the type of the field; the value is written `Carry`. The host also decodes an input field that only outputs name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Carry<T> {
    /// The value: there is nothing to say about it here.
    #[default]
    Carry,
    #[doc(hidden)]
    __Never(Infallible, PhantomData<T>),
}

impl<T: Value> Value for Carry<T> {
    const DATA_TYPE: DataType = T::DATA_TYPE;
    const NULLABLE: bool = T::NULLABLE;
    const CARRIED: bool = true;

    fn children(fields: &mut Fields) {
        T::children(fields);
    }
}

impl<'a, T: Value> Decode<'a> for Carry<T> {
    type Reader = ();

    fn reader(_: &mut Columns<'a>, _: usize) -> Result<(), String> {
        Ok(())
    }

    fn read((): &(), _: usize) -> Self {
        Self::Carry
    }
}

impl<T: Value> Encode for Carry<T> {
    type Builder = Nothing;

    fn append(&self, _: &mut Nothing) {}
}

/// The column of a carried field: it stays in the host.
#[derive(Debug, Default)]
pub struct Nothing;

impl Build for Nothing {
    fn append_null(&mut self) {}
    fn truncate(&mut self, _: usize) {}
    fn finish(self, _: &mut Vec<Column>) {}
}

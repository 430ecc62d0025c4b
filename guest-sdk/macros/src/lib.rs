//! The macros of `tidemill-sdk`, which documents and re-exports them.

mod row;
mod transform;

use proc_macro::TokenStream;
use quote::quote;
use syn::{DeriveInput, Error, ItemFn, ItemStruct, parse_macro_input};

/// Makes a struct a row: something that a transform takes or emits, or a nested value of one.
///
/// | field | column |
/// |---|---|
/// | `bool`, `i32`, `i64`, `f32`, `f64` | the same |
/// | `Timestamp`, `Date`, `Decimal<P, S>` | microseconds UTC, days, fixed point |
/// | `&'a str`, `String`, `Cow<'a, str>` | text |
/// | `Lower<'a>` | text, written in lower case |
/// | `&'a [u8]`, `Vec<u8>` | bytes |
/// | `Json<&'a str>`, `Json` | JSON of any shape |
/// | `Option<T>` | the same, may be null |
/// | `Vec<T>` | list |
/// | `BTreeMap<K, V>`, `Vec<(K, V)>` | map |
/// | a struct with `#[derive(Row)]` | struct |
/// | `Carry<T>` | as `T`; copied by the host, never seen by the transform |
///
/// Borrowed fields are read in place and are the fast ones. `#[row(rename = "user-agent")]` names the column otherwise than the field;
/// `#[row(from = "ua")]` carries a field from an input field of another name.
#[proc_macro_derive(Row, attributes(row))]
pub fn row(item: TokenStream) -> TokenStream {
    row::expand(&parse_macro_input!(item as DeriveInput))
        .unwrap_or_else(Error::into_compile_error)
        .into()
}

/// Makes a function a transform, and the crate a component of it (one a crate).
///
/// The function takes, in any order: by value the input (a row or `Raw<'_>`) and, if wanted, after it a `Record<'_>` that tells where it came from;
/// `&mut Output<Row>` once or more; and, if wanted, `&Config`: any type that serde can read, see [`macro@config`].
/// It returns nothing, or `Result<(), Reject>`. An output is called like its parameter; the one called `out` is called like the function.
///
/// The function can be called as before. Beside it stands a type of the same name, so that `name::test(rows)` runs the transform in a unit test
/// (`name::test_with(&config, rows)` if it has settings).
#[proc_macro_attribute]
pub fn transform(arguments: TokenStream, item: TokenStream) -> TokenStream {
    transform::expand(&arguments.into(), &parse_macro_input!(item as ItemFn))
        .unwrap_or_else(Error::into_compile_error)
        .into()
}

/// Makes a struct the settings of a transform: it can be read from JSON, and unknown keys are refused.
/// It is short for serde's `Deserialize` with `deny_unknown_fields`; serde's attributes work on its fields.
#[proc_macro_attribute]
pub fn config(_: TokenStream, item: TokenStream) -> TokenStream {
    let item = parse_macro_input!(item as ItemStruct);
    quote! {
        #[derive(::tidemill_sdk::serde::Deserialize)]
        #[serde(crate = "::tidemill_sdk::serde", deny_unknown_fields)]
        #item
    }
    .into()
}

/// Where the SDK keeps what the macros name.
fn sdk() -> proc_macro2::TokenStream {
    quote!(::tidemill_sdk::__private)
}

//! Write Tidemill transforms in Rust: a struct in, a struct out, a function between.
//!
//! ```
//! use tidemill_sdk::prelude::*;
//!
//! #[derive(Row)]
//! struct Click<'a> {
//!     email: Option<&'a str>,
//!     amount: f64,
//! }
//!
//! #[derive(Row, Debug, PartialEq)]
//! struct Clean<'a> {
//!     domain: &'a str,
//!     amount: f64,
//!     url: Carry<String>,
//! }
//!
//! #[transform]
//! fn clean(click: Click<'_>, out: &mut Output<Clean<'_>>) -> Result<(), Reject> {
//!     let (_, domain) = click.email.and_then(|email| email.split_once('@')).ok_or("no e-mail domain")?;
//!     if click.amount > 0.0 {
//!         out.emit(Clean { domain, amount: click.amount, url: Carry });
//!     }
//!     Ok(())
//! }
//!
//! let run = clean::test([Click { email: Some("ada@example.com"), amount: 3.5 }, Click { email: None, amount: 1.0 }]);
//! assert_eq!(run.rows::<Clean<'_>>("clean"), [Clean { domain: "example.com", amount: 3.5, url: Carry }]);
//! assert_eq!(run.rejected(), [(1, "no e-mail domain".to_owned())]);
//! ```
//!
//! A crate of type `cdylib` with one [`macro@transform`] becomes a component by `cargo build --target wasm32-wasip2 --release`;
//! the same crate's `cargo test` runs it natively, through the same packed columns, without a host.
//!
//! - [`Row`](derive@Row) lists the types that fields can have; [`Carry`] is a field that the host copies across.
//! - [`Raw`] takes records as they came from Kafka; [`Record`] tells where a decoded row came from.
//! - [`config`] declares the transform's settings, [`log`] and [`metrics`] speak to the host.

mod build;
mod columns;
mod host;
mod input;
mod output;
mod row;
mod schema;
#[cfg(not(target_family = "wasm"))]
mod test;
mod transform;
mod value;

#[doc(hidden)]
pub mod bindings;

pub use host::{log, metrics};
pub use input::{Headers, Input, Raw, Record};
pub use output::Output;
pub use row::{Carry, Row};
pub use serde;
#[cfg(not(target_family = "wasm"))]
pub use test::{Metric, Run};
pub use tidemill_sdk_macros::{Row, config, transform};
pub use transform::{Outcome, Process, Reject, Transform};
pub use value::{Date, Decimal, Decode, Encode, Json, Lower, Timestamp, Value};

/// What a transform needs, in one `use`.
pub mod prelude {
    pub use crate::{
        Carry::{self, *},
        Date, Decimal, Headers, Json, Lower, Output, Raw, Record, Reject, Row, Timestamp,
        Transform, config, log, metrics, transform,
    };
}

/// What the macros' code names; not for people.
#[doc(hidden)]
pub mod __private {
    pub use crate::{
        __export as export,
        bindings::tidemill::transform::types::DataType,
        build::Struct,
        columns::Columns,
        input::Records,
        output::Output,
        row::Row,
        schema::Fields,
        transform::{
            Outcome, Process, Reject, Transform, configure, describe, process, report_panics,
            unconfigured,
        },
        value::{Decode, Encode, Present, Value},
    };
}

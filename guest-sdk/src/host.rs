//! What the host offers. Without a host (in `cargo test`), each thread keeps what was said for its [`Run`](crate::Run).

#[cfg(target_family = "wasm")]
use crate::bindings::tidemill::transform::host as to;
#[cfg(not(target_family = "wasm"))]
use crate::test::recorder as to;

/// Lines in the host's log, beside the pipeline and the component. The host limits their rate.
pub mod log {
    use std::fmt::Arguments;

    pub use crate::{
        __debug as debug, __error as error, __info as info, __trace as trace, __warn as warn,
        bindings::tidemill::transform::host::Level,
    };

    /// Writes a line; the macros of this module are shorter.
    pub fn line(level: Level, message: Arguments<'_>) {
        match message.as_str() {
            Some(message) => super::to::log(level, message),
            None => super::to::log(level, &message.to_string()),
        }
    }
}

/// Numbers for the host's metrics, named `tidemill_guest_<name>`; names are `[a-z0-9_]{1,63}`.
///
/// A call leaves the component, which costs more than transforming a record does: count what is rare.
pub mod metrics {
    use super::to;

    /// Adds to a counter.
    pub fn count(name: &str, labels: &[(&str, &str)], value: u64) {
        to::counter_add(name, labels, value);
    }

    /// Sets a gauge.
    pub fn gauge(name: &str, labels: &[(&str, &str)], value: f64) {
        to::gauge_set(name, labels, value);
    }

    /// Records a value in a histogram.
    pub fn histogram(name: &str, labels: &[(&str, &str)], value: f64) {
        to::histogram_record(name, labels, value);
    }
}

/// Logs a step.
#[doc(hidden)]
#[macro_export]
macro_rules! __trace {
    ($($message:tt)*) => {
        $crate::log::line($crate::log::Level::Trace, ::std::format_args!($($message)*))
    };
}

/// Logs what helps the transform's author.
#[doc(hidden)]
#[macro_export]
macro_rules! __debug {
    ($($message:tt)*) => {
        $crate::log::line($crate::log::Level::Debug, ::std::format_args!($($message)*))
    };
}

/// Logs what is worth knowing.
#[doc(hidden)]
#[macro_export]
macro_rules! __info {
    ($($message:tt)*) => {
        $crate::log::line($crate::log::Level::Info, ::std::format_args!($($message)*))
    };
}

/// Logs what looks wrong.
#[doc(hidden)]
#[macro_export]
macro_rules! __warn {
    ($($message:tt)*) => {
        $crate::log::line($crate::log::Level::Warn, ::std::format_args!($($message)*))
    };
}

/// Logs what is wrong.
#[doc(hidden)]
#[macro_export]
macro_rules! __error {
    ($($message:tt)*) => {
        $crate::log::line($crate::log::Level::Error, ::std::format_args!($($message)*))
    };
}

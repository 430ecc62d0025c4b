//! A transform: what `#[transform]` makes of a function, and what the host calls of it.

use std::{fmt, panic, sync::Once};

use serde::de::DeserializeOwned;

#[cfg(not(target_family = "wasm"))]
use crate::test::Run;
use crate::{
    bindings::tidemill::transform::types::{self as wit, Batch, Descriptor, Processed, Rejection},
    host::log,
    input::{Input, Records},
    output::Outputs,
};

/// Why a record can't be processed. It becomes a dead letter with this reason; the rows that it emitted are taken back.
///
/// `?` makes one of text; [`Reject::new`] makes one of anything that can be shown: `.map_err(Reject::new)?`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject(String);

impl Reject {
    /// A rejection with a reason.
    pub fn new(reason: impl fmt::Display) -> Self {
        Self(reason.to_string())
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for Reject {
    fn from(reason: &str) -> Self {
        Self(reason.to_owned())
    }
}

impl From<String> for Reject {
    fn from(reason: String) -> Self {
        Self(reason)
    }
}

/// What a transform's function may return: nothing, or a result whose error rejects the record.
#[diagnostic::on_unimplemented(
    message = "a transform can't return `{Self}`",
    note = "return nothing, or `Result<(), Reject>`"
)]
pub trait Outcome {
    /// Whether the record is rejected.
    #[doc(hidden)]
    fn outcome(self) -> Result<(), Reject>;
}

impl Outcome for () {
    fn outcome(self) -> Result<(), Reject> {
        Ok(())
    }
}

impl<E: Into<Reject>> Outcome for Result<(), E> {
    fn outcome(self) -> Result<(), Reject> {
        self.map_err(Into::into)
    }
}

/// A transform. Made by [`#[transform]`](macro@crate::transform), which gives it the name of the function.
pub trait Transform: Sized {
    /// Its name; shown to people.
    #[doc(hidden)]
    const NAME: &'static str;
    /// Its version; shown to people.
    #[doc(hidden)]
    const VERSION: &'static str;
    /// The names of its outputs.
    #[doc(hidden)]
    const OUTPUTS: &'static [&'static str];

    /// What it takes.
    type Input<'record>: Input<'record>;
    /// Its settings; `()` if it has none.
    type Config;
    /// What it gives.
    #[doc(hidden)]
    type Outputs<'record>: Outputs;

    /// Reads the settings from JSON.
    ///
    /// # Errors
    /// When they are not what the transform's settings can be; the text is shown to people.
    fn configure(json: &str) -> Result<Self::Config, String>;

    /// Transforms a record.
    #[doc(hidden)]
    fn apply<'record>(
        config: &Self::Config,
        input: Self::Input<'record>,
        records: &Records<'record>,
        index: usize,
        outputs: &mut Self::Outputs<'record>,
    ) -> Result<(), Reject>;

    /// Runs the transform on records, without a host.
    #[cfg(not(target_family = "wasm"))]
    fn test<'record>(records: impl IntoIterator<Item = Self::Input<'record>>) -> Run
    where
        Self: Transform<Config = ()>,
    {
        Run::of::<Self>(&(), Self::Input::batch(records))
    }

    /// Runs the transform with its settings on records, without a host.
    #[cfg(not(target_family = "wasm"))]
    fn test_with<'record>(
        config: &Self::Config,
        records: impl IntoIterator<Item = Self::Input<'record>>,
    ) -> Run {
        Run::of::<Self>(config, Self::Input::batch(records))
    }
}

/// Reads settings.
///
/// # Errors
/// When they do not fit.
pub fn configure<T: DeserializeOwned>(json: &str) -> Result<T, String> {
    serde_json::from_str(json)
        .map_err(|error| format!("the transform's configuration does not fit: {error}"))
}

/// Checks that there are no settings.
///
/// # Errors
/// When there are.
pub fn unconfigured(json: &str) -> Result<(), String> {
    let json: String = json.split_ascii_whitespace().collect();
    match json.as_str() {
        "" | "{}" | "null" => Ok(()),
        _ => Err("the transform takes no configuration: remove it".to_owned()),
    }
}

/// What a transform is, takes and gives.
///
/// # Errors
/// When its input and its outputs do not agree on a carried field.
pub fn describe<T: Transform>() -> Result<Descriptor, String> {
    let outputs = T::Outputs::fields();
    let input = match T::Input::fields() {
        Some(fields) => wit::Input::Rows(fields.into_input(&outputs)?),
        None => wit::Input::Raw,
    };
    Ok(Descriptor {
        name: T::NAME.to_owned(),
        version: T::VERSION.to_owned(),
        input,
        outputs: outputs
            .into_iter()
            .zip(T::OUTPUTS)
            .map(|(fields, name)| fields.into_output(name))
            .collect(),
        config_schema: None,
    })
}

/// How a batch is transformed.
pub type Process<T> = fn(&<T as Transform>::Config, &Batch) -> Result<Processed, String>;

/// Transforms a batch.
///
/// # Errors
/// When the batch is not as the descriptor asked for.
pub fn process<T: Transform>(config: &T::Config, batch: &Batch) -> Result<Processed, String> {
    let records = Records::new(batch)?;
    let reader = T::Input::reader(batch)?;
    let mut outputs = T::Outputs::default();
    let mut processed = Processed { outputs: Vec::new(), rejections: Vec::new() };
    for (index, record_index) in (0..batch.offsets.len()).zip(0..) {
        outputs.start(record_index);
        if let Err(Reject(reason)) =
            T::apply(config, T::Input::read(&reader, index), &records, index, &mut outputs)
        {
            outputs.take_back();
            processed.rejections.push(Rejection { record_index, reason });
        }
    }
    outputs.finish(0, &mut processed.outputs);
    Ok(processed)
}

/// From now on a panic says its message and place to the host, which sees no more than `unreachable` otherwise.
pub fn report_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        panic::set_hook(Box::new(|panic| {
            let message = panic.payload_as_str().unwrap_or("without a message");
            match panic.location() {
                Some(place) => log::error!("panicked at {place}: {message}"),
                None => log::error!("panicked: {message}"),
            }
        }));
    });
}

/// Exports a transform as the component's.
#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    ($transform:ident) => {
        const _: () = {
            use ::std::{result::Result, string::String, sync::OnceLock};
            use $crate::{
                __private as sdk, Transform,
                bindings::exports::tidemill::transform::transform as wit,
            };

            struct Component;

            static CONFIG: OnceLock<<$transform as Transform>::Config> = OnceLock::new();

            impl wit::Guest for Component {
                fn describe(_: String) -> Result<wit::Descriptor, String> {
                    sdk::report_panics();
                    sdk::describe::<$transform>()
                }

                fn init(config: String) -> Result<(), String> {
                    sdk::report_panics();
                    let config = <$transform as Transform>::configure(&config)?;
                    CONFIG.set(config).map_err(|_| String::from("init was called before"))
                }

                fn process(batch: wit::Batch) -> Result<wit::Processed, String> {
                    let config = CONFIG.get().ok_or("process was called before init")?;
                    sdk::process::<$transform>(config, &batch)
                }
            }

    $crate::bindings::export_transformer!(Component with_types_in $crate::bindings);
        };
    };
}

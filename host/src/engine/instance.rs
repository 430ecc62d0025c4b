//! A component at work: one instance, one thread, one call a batch.

use std::{fmt, sync::Arc};

use arrow_array::{Array, ArrayRef, new_empty_array};
use arrow_schema::SchemaRef;
use wasmtime::{Store, Trap};
use wasmtime_wasi::I32Exit;

use super::{
    Component, GuestContext, GuestMetrics, Payload, Processed,
    answer::{self, Refused},
    descriptor,
    guest::Guest,
    lift,
    limits::{self, Limiter},
    lines::Lines,
    lower,
    metrics::Meter,
    v0_1::{
        Transformer,
        tidemill::transform::types::{
            Batch as BatchParam, Headers as HeadersParam, Payload as PayloadParam, Raw as RawParam,
            Rows as RowsParam,
        },
    },
};
use crate::{
    config::Limits,
    fault::Fault,
    record::{Batch, Lane, PackedBytes},
    schema::{Descriptor, Input, Output, Usage},
};

/// Characters of a guest's own text that an error quotes at most.
const MAX_TEXT: usize = 2000;

/// An instance that is ready for batches.
pub struct Instance {
    running: Running,
    descriptor: Descriptor,
    schemas: Vec<SchemaRef>,
    poisoned: bool,
}

/// An instance that may not have been initialised yet.
pub(super) struct Running {
    component: Arc<Component>,
    limits: Limits,
    store: Store<Guest>,
    guest: Transformer,
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let component = &self.running.component;
        f.debug_struct("Instance")
            .field("component", component)
            .field("poisoned", &self.poisoned)
            .finish_non_exhaustive()
    }
}

impl Instance {
    /// What the transform takes and gives.
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// Linear memory that it has, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        self.running.store.data().limiter.used as u64
    }

    /// Whether a call trapped, passed a limit or gave what can't be: then no other is taken, and a new instance is needed.
    /// A batch that the guest itself failed poisons nothing.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned
    }

    /// What the transform takes and gives, once it took a batch without records.
    pub(super) fn probed(mut self) -> Result<Descriptor, Fault> {
        let batch = Batch::new(Lane::new("probe", 0), 0);
        let columns: Vec<ArrayRef> = match &self.descriptor.input {
            Input::Raw => vec![],
            Input::Rows(fields) => fields
                .iter()
                .map(|(field, _)| new_empty_array(field.to_arrow().data_type()))
                .collect(),
        };
        let payload = match &self.descriptor.input {
            Input::Raw => Payload::Raw,
            Input::Rows(_) => Payload::Rows { columns: &columns, rows: &[] },
        };
        self.process(&batch, payload)?;
        Ok(self.descriptor)
    }

    /// Transforms a batch.
    ///
    /// # Errors
    /// When the guest fails the batch (code `BATCH_FAILED`), traps (`TRAP`), passes a limit (`DEADLINE`, `OUT_OF_MEMORY`,
    /// `OUTPUT_LIMIT`), or gives what can't be (`BAD_OUTPUT`): then no row of the batch exists. The text names the records and
    /// quotes the guest's last lines.
    pub fn process(&mut self, batch: &Batch, payload: Payload<'_>) -> Result<Processed, Fault> {
        let first = batch.offsets.first().copied().unwrap_or_default();
        let end = batch.offsets.last().map_or(first, |last| last + 1);
        let task = if batch.is_empty() {
            "process a batch without records".to_owned()
        } else {
            format!("process {} offsets {first} to {end}", batch.lane)
        };
        if self.poisoned {
            return Err(Fault::bug(format!(
                "{} was asked to {task} after a call that poisoned it",
                self.running.name()
            )));
        }
        let records = records(&self.descriptor.input, batch, payload)?;
        // Until the call is known to have left the instance whole.
        self.poisoned = true;
        limits::begin_call(&mut self.running.store, &self.running.limits);
        let called = call(
            &self.running.guest,
            &mut self.running.store,
            &self.descriptor.input,
            batch,
            payload,
        );
        let answer = match called.map_err(|error| self.running.failure(&task, error))? {
            Ok(answer) => answer,
            Err(text) => {
                self.poisoned = false;
                return Err(self.running.fault(&task, "BATCH_FAILED", clip(&text)));
            }
        };
        let checked = answer::check(
            answer,
            &self.descriptor.outputs,
            &self.schemas,
            payload,
            records,
            self.running.limits.output,
        );
        let processed = checked.map_err(|refused| self.running.refused(&task, refused))?;
        self.poisoned = false;
        Ok(processed)
    }
}

impl Running {
    pub(super) fn new(
        component: Arc<Component>,
        context: &GuestContext,
        limits: &Limits,
        metrics: Option<Arc<dyn GuestMetrics>>,
    ) -> Result<Self, Fault> {
        let lines = Lines::new(context, &component.name, &component.digest, limits.log_lines);
        let meter = metrics.map(|sink| Meter::new(sink, Arc::clone(&component.series)));
        let guest = Guest::new(Limiter::new(limits)?, lines, meter);
        let mut store = limits::store(&component.engine.engine, guest, limits);
        limits::begin_call(&mut store, limits);
        match component.linked.instantiate(&mut store) {
            Ok(guest) => Ok(Self { component, limits: *limits, store, guest }),
            Err(error) => Err(failure(&component, &mut store, limits, "start", error)),
        }
    }

    /// What the transform takes and gives; asked twice, since it must not depend on chance.
    pub(super) fn describe(&mut self, config: &str) -> Result<Descriptor, Fault> {
        let first = self.ask(config)?;
        if first != self.ask(config)? {
            return Err(Fault::transform(format!(
                "{} describes itself otherwise when it is asked again",
                self.name()
            )));
        }
        Ok(first)
    }

    fn ask(&mut self, config: &str) -> Result<Descriptor, Fault> {
        limits::begin_call(&mut self.store, &self.limits);
        let asked =
            self.guest.tidemill_transform_transform().call_describe(&mut self.store, config);
        let described = asked
            .map_err(|error| self.failure("describe itself", error))?
            .map_err(|text| self.disliked(&text))?;
        descriptor::check(described)
            .map_err(|text| Fault::transform(format!("{} describes {}", self.name(), clip(&text))))
    }

    pub(super) fn init(mut self, config: &str) -> Result<Instance, Fault> {
        let descriptor = self.describe(config)?;
        limits::begin_call(&mut self.store, &self.limits);
        let asked = self.guest.tidemill_transform_transform().call_init(&mut self.store, config);
        asked
            .map_err(|error| self.failure("initialise", error))?
            .map_err(|text| self.disliked(&text))?;
        let schemas = descriptor.outputs.iter().map(Output::to_arrow).collect();
        Ok(Instance { running: self, descriptor, schemas, poisoned: false })
    }

    fn name(&self) -> String {
        name(&self.component)
    }

    fn disliked(&self, text: &str) -> Fault {
        Fault::config(format!("{} refuses its configuration: {}", self.name(), clip(text)))
            .help("mend `transforms.config`")
    }

    fn fault(&self, task: &str, code: &'static str, why: impl fmt::Display) -> Fault {
        Fault::transform(format!("{} failed to {task}: {why}", self.name())).code(code)
    }

    fn refused(&self, task: &str, refused: Refused) -> Fault {
        match refused {
            Refused::Broken(text) => {
                self.fault(task, "BAD_OUTPUT", format_args!("it gives {}", clip(&text)))
            }
            Refused::TooLarge(bytes) => {
                let why = format!(
                    "its output of {bytes} bytes or more is over the limit of {}",
                    self.limits.output
                );
                self.fault(task, "OUTPUT_LIMIT", why).help(RAISE_OUTPUT)
            }
        }
    }

    fn failure(&mut self, task: &str, error: wasmtime::Error) -> Fault {
        failure(&self.component, &mut self.store, &self.limits, task, error)
    }
}

const RAISE_OUTPUT: &str = "raise `limits.output` of the transform, or let it give less";

/// How errors name a component.
fn name(component: &Component) -> String {
    format!("component {} ({})", component.name, &component.digest[..12])
}

/// Says why a call did not return: a limit, or a trap with what the guest said last.
fn failure(
    component: &Component,
    store: &mut Store<Guest>,
    limits: &Limits,
    task: &str,
    error: wasmtime::Error,
) -> Fault {
    let guest = store.data_mut();
    let said = guest.lines.take_trouble();
    let said = if said.is_empty() {
        String::new()
    } else {
        format!(" (it said: {})", clip(&said.join(" | ")))
    };
    let cause = error.root_cause().to_string();
    let (code, why, help) = match (error.downcast_ref::<Trap>(), guest.limiter.refused) {
        (Some(Trap::Interrupt), _) => (
            "DEADLINE",
            format!("it passed its deadline of {:?}", limits.call_timeout),
            "raise `limits.call_timeout` of the transform, or let it do less a record",
        ),
        (_, Some(wanted)) => (
            "OUT_OF_MEMORY",
            format!(
                "it ran out of memory: it wanted {} MiB of {} MiB",
                wanted.div_ceil(1 << 20),
                limits.memory >> 20
            ),
            "raise `limits.memory` of the transform, or let it keep less",
        ),
        // The type of this error is wasmtime's own, so it is known by its text: a test holds on to it.
        _ if cause.contains("fuel allocated for hostcalls") => (
            "OUTPUT_LIMIT",
            format!("its output is over the limit of {} bytes", limits.output),
            RAISE_OUTPUT,
        ),
        _ => {
            let why = match error.downcast_ref::<I32Exit>() {
                Some(exit) => format!("it exited with status {}", exit.0),
                None => format!("it trapped: {cause}"),
            };
            ("TRAP", why, "mend the transform: nothing of the batch was written")
        }
    };
    Fault::transform(format!("{} failed to {task}: {why}{said}", name(component)))
        .code(code)
        .help(help)
}

/// A guest's own text, as far as an error quotes it.
fn clip(text: &str) -> String {
    match text.char_indices().nth(MAX_TEXT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The number of records that go in, when they come in the form that the transform asked for.
fn records(input: &Input, batch: &Batch, payload: Payload<'_>) -> Result<usize, Fault> {
    let records = match (input, payload) {
        (Input::Raw, Payload::Raw) => Some(batch.len()),
        (Input::Rows(fields), Payload::Rows { columns, rows }) => {
            let fits = fields.len() == columns.len()
                && columns.iter().all(|column: &ArrayRef| column.len() == rows.len());
            let known = rows.last().is_none_or(|&last| (last as usize) < batch.len());
            (fits && known).then_some(rows.len())
        }
        _ => None,
    };
    records.ok_or_else(|| Fault::bug("a batch was not decoded as the transform asked"))
}

type Answer = Result<lift::Processed, String>;

/// Hands a batch over and calls the guest.
fn call(
    guest: &Transformer,
    store: &mut Store<Guest>,
    input: &Input,
    batch: &Batch,
    payload: Payload<'_>,
) -> wasmtime::Result<Answer> {
    let interface = guest.tidemill_transform_transform();
    let (topic, partition) = (&*batch.lane.topic, batch.lane.partition);
    let (offsets, timestamps) = (&batch.offsets[..], &batch.timestamps[..]);
    let keys = lower::packed(&batch.keys);
    match payload {
        Payload::Raw => {
            let values = lower::packed(&batch.values);
            let (names, headers) =
                (lower::packed(&batch.headers.names), lower::packed(&batch.headers.values));
            let headers = HeadersParam {
                ends: &batch.headers.ends,
                names: names.param(),
                values: headers.param(),
            };
            let payload =
                PayloadParam::Raw(RawParam { keys: keys.param(), values: values.param(), headers });
            interface
                .call_process(store, BatchParam { topic, partition, offsets, timestamps, payload })
        }
        Payload::Rows { columns, rows } => {
            let mut lowered = Vec::new();
            if let Input::Rows(fields) = input {
                let read =
                    fields.iter().zip(columns).filter(|((_, usage), _)| *usage == Usage::Read);
                read.for_each(|((field, _), column)| lower::lower(field, column, &mut lowered));
            }
            let columns: Vec<_> = lowered.iter().map(lower::Lowered::param).collect();
            if rows.len() == batch.len() {
                let payload =
                    PayloadParam::Rows(RowsParam { keys: keys.param(), columns: &columns });
                return interface.call_process(
                    store,
                    BatchParam { topic, partition, offsets, timestamps, payload },
                );
            }
            // Some records are broken: what stands beside the columns leaves them out as well.
            let places = || rows.iter().map(|&row| row as usize);
            let mut kept = PackedBytes::default();
            places().for_each(|place| kept.push(batch.keys.get(place)));
            let kept = lower::packed(&kept);
            let offsets: &[i64] = &places().map(|place| offsets[place]).collect::<Vec<_>>();
            let timestamps: &[i64] = &places().map(|place| timestamps[place]).collect::<Vec<_>>();
            let payload = PayloadParam::Rows(RowsParam { keys: kept.param(), columns: &columns });
            interface
                .call_process(store, BatchParam { topic, partition, offsets, timestamps, payload })
        }
    }
}

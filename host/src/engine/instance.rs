//! A component at work: one instance, one thread, one call a batch.

use std::{fmt, sync::Arc};

use arrow_array::{ArrayRef, RecordBatch, UInt32Array};
use arrow_schema::SchemaRef;
use wasmtime::{Store, Trap};

use super::{
    Component, GuestContext, GuestMetrics, Payload, Processed, Rejection, Rows,
    bindings::{
        Transformer,
        tidemill::transform::types::{
            Batch as BatchParam, BytesParam, ColumnParam, Headers as HeadersParam,
            Payload as PayloadParam, Raw as RawParam, Rows as RowsParam, ValuesParam,
        },
    },
    descriptor,
    guest::{Guest, Lines},
    lift,
    limits::{self, Limiter},
    lower::{self, Lowered, Values},
};
use crate::{
    config::Limits,
    fault::Fault,
    record::Batch,
    schema::{Descriptor, Field, Input, Origin, Usage},
};

/// An instance that was asked nothing yet.
pub(super) struct Probe {
    component: Arc<Component>,
    limits: Limits,
    store: Store<Guest>,
    guest: Transformer,
}

/// An instance that is ready for batches. After a trap it is gone: calls are refused.
pub struct Instance {
    component: Arc<Component>,
    descriptor: Descriptor,
    schemas: Vec<SchemaRef>,
    limits: Limits,
    store: Store<Guest>,
    guest: Transformer,
    gone: bool,
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance")
            .field("component", &self.component)
            .field("gone", &self.gone)
            .finish_non_exhaustive()
    }
}

impl Probe {
    pub(super) fn new(
        component: Arc<Component>,
        context: GuestContext,
        limits: &Limits,
        metrics: Option<Arc<dyn GuestMetrics>>,
    ) -> Result<Self, Fault> {
        let lines =
            Lines::new(&context.pipeline, &component.name, &component.digest, limits.log_lines);
        let guest = Guest::new(Limiter::new(limits)?, lines, metrics);
        let mut store = limits::store(&component.engine.engine, guest);
        limits::set_deadline(&mut store, limits);
        let guest = component
            .linked
            .instantiate(&mut store)
            .map_err(|error| failure(&component, &mut store, limits, "start", error))?;
        Ok(Self { component, limits: *limits, store, guest })
    }

    /// What the transform takes and gives; asked twice, since it must not depend on chance.
    pub(super) fn describe(
        mut self,
        config: &serde_json::Value,
    ) -> Result<(Descriptor, Self), Fault> {
        let (first, second) = (self.ask(config)?, self.ask(config)?);
        if first != second {
            return Err(Fault::transform(format!(
                "component {} describes itself otherwise when it is asked again",
                self.component.name
            )));
        }
        Ok((first, self))
    }

    fn ask(&mut self, config: &serde_json::Value) -> Result<Descriptor, Fault> {
        limits::set_deadline(&mut self.store, &self.limits);
        let asked = self
            .guest
            .tidemill_transform_transform()
            .call_describe(&mut self.store, &config.to_string());
        let name = &self.component.name;
        let described = asked
            .map_err(|error| {
                failure(&self.component, &mut self.store, &self.limits, "describe itself", error)
            })?
            .map_err(|text| {
                Fault::config(format!("component {name} refuses its configuration: {text}"))
                    .help("mend `transforms.config`")
            })?;
        descriptor::check(described)
            .map_err(|text| Fault::transform(format!("component {name} describes {text}")))
    }

    pub(super) fn init(self, config: &serde_json::Value) -> Result<Instance, Fault> {
        let (descriptor, probe) = self.describe(config)?;
        let Self { component, limits, mut store, guest } = probe;
        limits::set_deadline(&mut store, &limits);
        guest
            .tidemill_transform_transform()
            .call_init(&mut store, &config.to_string())
            .map_err(|error| failure(&component, &mut store, &limits, "initialise", error))?
            .map_err(|text| {
                Fault::config(format!(
                    "component {} refuses its configuration: {text}",
                    component.name
                ))
                .help("mend `transforms.config`")
            })?;
        let schemas = descriptor.outputs.iter().map(crate::schema::Output::to_arrow).collect();
        Ok(Instance { component, descriptor, schemas, limits, store, guest, gone: false })
    }
}

impl Instance {
    /// What the transform takes and gives.
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// Linear memory that it has, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        self.store.data().limiter.used as u64
    }

    /// Transforms a batch.
    ///
    /// # Errors
    /// When the guest traps, passes a limit, fails the batch, or gives what can't be: then no row of the batch exists. The
    /// text names the records and quotes the guest's last lines.
    pub fn process(&mut self, batch: &Batch, payload: Payload<'_>) -> Result<Processed, Fault> {
        let of = |fault: Fault| {
            let first = batch.offsets.first().copied().unwrap_or_default();
            let end = batch.offsets.last().map_or(first, |last| last + 1);
            Fault {
                message: format!("{} at {} offsets {first} to {end}", fault.message, batch.lane),
                ..fault
            }
        };
        if self.gone {
            return Err(of(Fault::transform(format!(
                "component {} trapped before",
                self.component.name
            ))));
        }
        let result = self.call(batch, payload);
        self.gone |= result.is_err();
        result.map_err(of)
    }

    fn call(&mut self, batch: &Batch, payload: Payload<'_>) -> Result<Processed, Fault> {
        limits::set_deadline(&mut self.store, &self.limits);
        let name = &self.component.name;
        let processed = call(&self.guest, &mut self.store, &self.descriptor.input, batch, payload)
            .map_err(|error| {
                failure(&self.component, &mut self.store, &self.limits, "process a batch", error)
            })?
            .map_err(|text| Fault::transform(format!("component {name} failed a batch: {text}")))?;
        let bytes = lift::size(&processed);
        if bytes > self.limits.output {
            let text = format!(
                "component {name} gave {bytes} bytes for a batch, {} are allowed",
                self.limits.output
            );
            return Err(Fault::transform(text)
                .help("raise `limits.output` of the transform, or let it give less"));
        }
        let records = match payload {
            Payload::Raw => batch.len(),
            Payload::Rows { rows, .. } => rows.len(),
        };
        self.lift(processed, records, payload).map_err(|text| {
            Fault::transform(format!(
                "component {name} ({}) gives {text}",
                &self.component.digest[..12]
            ))
        })
    }

    /// Checks what the guest gave, adds carried fields, and turns places among the rows into places in the batch.
    fn lift(
        &self,
        processed: lift::Processed,
        records: usize,
        payload: Payload<'_>,
    ) -> Result<Processed, String> {
        let place = |row: u32| match payload {
            Payload::Raw => row,
            Payload::Rows { rows, .. } => rows[row as usize],
        };
        let mut rejected = vec![false; records];
        let mut previous = None;
        let mut rejections = Vec::with_capacity(processed.rejections.len());
        for rejection in processed.rejections {
            let index = rejection.record_index;
            if previous.is_some_and(|previous| previous >= index) || index as usize >= records {
                return Err(format!(
                    "rejection of record {index} out of order or of {records} records"
                ));
            }
            previous = Some(index);
            rejected[index as usize] = true;
            rejections.push(Rejection { index: place(index), reason: rejection.reason });
        }
        let mut seen = vec![false; self.descriptor.outputs.len()];
        let mut outputs = Vec::with_capacity(processed.outputs.len());
        for output in processed.outputs {
            let number = output.index as usize;
            if seen.get(number) != Some(&false) {
                return Err(format!("output {number} twice, or it has only {}", seen.len()));
            }
            seen[number] = true;
            let lineage = output.lineage;
            if !lineage.is_sorted() || lineage.last().is_some_and(|&last| last as usize >= records)
            {
                return Err(format!(
                    "lineage that falls, or that names more than {records} records"
                ));
            }
            if let Some(both) = lineage.iter().find(|&&row| rejected[row as usize]) {
                return Err(format!("rows of record {both}, which it rejects"));
            }
            if lineage.is_empty() {
                continue;
            }
            let mut columns = output.columns.into_iter();
            let fields = &self.descriptor.outputs[number].fields;
            let arrays = fields
                .iter()
                .map(|(field, origin)| column(field, origin, &lineage, payload, &mut columns));
            let arrays = arrays.collect::<Result<Vec<_>, String>>()?;
            if columns.next().is_some() {
                return Err("more columns than fields".to_owned());
            }
            let rows = RecordBatch::try_new(Arc::clone(&self.schemas[number]), arrays)
                .map_err(|error| format!("rows that can't be: {error}"))?;
            outputs.push(Rows {
                output: number,
                lineage: lineage.into_iter().map(place).collect(),
                rows,
            });
        }
        Ok(Processed { outputs, rejections })
    }
}

/// A column of an output: lifted, or carried across by lineage.
fn column(
    field: &Field,
    origin: &Origin,
    lineage: &[u32],
    payload: Payload<'_>,
    columns: &mut impl Iterator<Item = lift::Column>,
) -> Result<ArrayRef, String> {
    match (origin, payload) {
        (Origin::Computed, _) => lift::lift(field, lineage.len(), columns),
        (Origin::Input(place), Payload::Rows { columns, .. }) => {
            let rows = UInt32Array::from(lineage.to_vec());
            arrow_select::take::take(&columns[*place], &rows, None)
                .map_err(|error| format!("lineage that can't be followed: {error}"))
        }
        (Origin::Input(_), Payload::Raw) => Err(format!("field {} of raw records", field.name)),
    }
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
    let keys = lower::packed(&batch.keys);
    let interface = guest.tidemill_transform_transform();
    let (topic, partition) = (&*batch.lane.topic, batch.lane.partition);
    match payload {
        Payload::Raw => {
            let values = lower::packed(&batch.values);
            let (names, headers) =
                (lower::packed(&batch.headers.names), lower::packed(&batch.headers.values));
            let headers = HeadersParam {
                ends: &batch.headers.ends,
                names: param(&names),
                values: param(&headers),
            };
            let raw = RawParam { keys: param(&keys), values: param(&values), headers };
            let (offsets, timestamps) = (&batch.offsets[..], &batch.timestamps[..]);
            let payload = PayloadParam::Raw(raw);
            interface
                .call_process(store, BatchParam { topic, partition, offsets, timestamps, payload })
        }
        Payload::Rows { columns, rows } => {
            let mut lowered = Vec::new();
            if let Input::Rows(fields) = input {
                for ((field, usage), column) in fields.iter().zip(columns) {
                    if *usage == Usage::Read {
                        lower::lower(field, column, &mut lowered);
                    }
                }
            }
            let columns: Vec<_> = lowered.iter().map(param).collect();
            if rows.len() == batch.len() {
                let payload =
                    PayloadParam::Rows(RowsParam { keys: param(&keys), columns: &columns });
                let (offsets, timestamps) = (&batch.offsets[..], &batch.timestamps[..]);
                return interface.call_process(
                    store,
                    BatchParam { topic, partition, offsets, timestamps, payload },
                );
            }
            // Some records are broken: what stands beside the columns leaves them out as well.
            let mut kept = crate::record::PackedBytes::default();
            let places = || rows.iter().map(|&row| row as usize);
            places().for_each(|place| kept.push(batch.keys.get(place)));
            let offsets: Vec<i64> = places().map(|place| batch.offsets[place]).collect();
            let timestamps: Vec<i64> = places().map(|place| batch.timestamps[place]).collect();
            let kept = lower::packed(&kept);
            let payload = PayloadParam::Rows(RowsParam { keys: param(&kept), columns: &columns });
            interface.call_process(
                store,
                BatchParam {
                    topic,
                    partition,
                    offsets: &offsets,
                    timestamps: &timestamps,
                    payload,
                },
            )
        }
    }
}

fn param<'a>(lowered: &'a Lowered<'_>) -> ColumnParam<'a> {
    let values = match &lowered.values {
        Values::Bits(bits) => ValuesParam::Bits(bits),
        Values::Int32(values) => ValuesParam::Int32(values),
        Values::Int64(values) => ValuesParam::Int64(values),
        Values::Float32(values) => ValuesParam::Float32(values),
        Values::Float64(values) => ValuesParam::Float64(values),
        Values::Decimal(words) => ValuesParam::Decimal128(words),
        Values::Bytes(ends, data) => ValuesParam::Bytes(BytesParam { ends, data }),
        Values::Lists(ends) => ValuesParam::Lists(ends),
        Values::Structs => ValuesParam::Structs,
    };
    ColumnParam { validity: &lowered.validity, values }
}

/// Says why a call did not return: a deadline, memory, or a trap with what the guest said last.
fn failure(
    component: &Component,
    store: &mut Store<Guest>,
    limits: &Limits,
    what: &str,
    error: wasmtime::Error,
) -> Fault {
    let Component { name, digest, .. } = component;
    let guest = store.data_mut();
    let said = guest.lines.take_trouble();
    let refused = guest.limiter.refused.take();
    let (why, help) = match (error.downcast_ref::<Trap>(), refused) {
        (Some(Trap::Interrupt), _) => (
            format!("it passed its deadline of {:?}", limits.call_timeout),
            "raise `limits.call_timeout` of the transform, or let it do less a record",
        ),
        (_, Some(desired)) => {
            let text = format!(
                "it ran out of memory: it wanted {} MiB of {} MiB",
                desired.div_ceil(1 << 20),
                limits.memory >> 20
            );
            (text, "raise `limits.memory` of the transform, or let it keep less")
        }
        (Some(trap), None) => {
            (format!("it trapped: {trap}"), "mend the transform: nothing of the batch was written")
        }
        (None, None) => {
            (format!("{error:#}"), "mend the transform: nothing of the batch was written")
        }
    };
    let said =
        if said.is_empty() { String::new() } else { format!(" (it said: {})", said.join(" | ")) };
    Fault::transform(format!("component {name} ({}) failed to {what}: {why}{said}", &digest[..12]))
        .help(help)
}

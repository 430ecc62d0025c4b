//! What components make of a pipeline: its outputs, its decoder, what manifests call them. Checked before any record, and
//! before a version is swapped in.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use sha2::{Digest, Sha256};

use super::{dead_letters, kafka_columns};
use crate::{
    commit::manifest::TransformId,
    config::{self, Format},
    decode::Decoder,
    engine::{Component, GuestContext},
    fault::Fault,
    parquet::{self, OutputSpec},
    registry::Objection,
    schema::{self, Descriptor, Field, Input, Output},
};

/// Components that fit a pipeline.
#[derive(Debug)]
pub(super) struct Plan {
    /// One a transform, in order.
    pub steps: Vec<Step>,
    /// The pipeline's outputs; the last one is the dead letters'.
    pub outputs: Arc<[OutputSpec]>,
    /// For each output of the last transform, its place in `outputs`.
    pub places: Vec<usize>,
    pub transforms: Arc<[TransformId]>,
}

/// A transform, with the component that does it.
#[derive(Debug)]
pub(super) struct Step {
    pub component: Arc<Component>,
    pub descriptor: Descriptor,
    /// For each field that it reads or carries, its place among the fields of the transform before; empty for the first.
    pub feed: Vec<usize>,
    /// For all of its instances.
    pub context: GuestContext,
}

impl Plan {
    /// Tries components with a pipeline's configuration, in throw-away instances: one a transform, in order.
    ///
    /// # Errors
    /// What does not fit, and where the pipeline's file says otherwise.
    pub(super) fn new(
        pipeline: &config::Pipeline,
        components: &[Arc<Component>],
    ) -> Result<Self, Objection> {
        let mut steps: Vec<Step> = Vec::with_capacity(components.len());
        for (number, component) in components.iter().enumerate() {
            let step = step(pipeline, number, component, steps.last())?;
            steps.push(step);
        }
        let last = steps.last().expect("a pipeline has a transform");
        let (outputs, places) = outputs(pipeline, &last.descriptor)?;
        let id = |(step, transform): (&Step, &config::Transform)| {
            let config = serde_json::to_vec(&transform.config).expect("a JSON value is JSON");
            TransformId {
                name: step.component.name().to_owned(),
                sha256: step.component.digest().to_owned(),
                version: step.descriptor.version.clone(),
                config_sha256: hex::encode(Sha256::digest(config)),
            }
        };
        let transforms = steps.iter().zip(&pipeline.transforms).map(id).collect();
        Ok(Self { steps, outputs, places, transforms })
    }

    /// What the pipeline writes, dead letters aside.
    pub(super) fn written(&self) -> &[Output] {
        &self.steps.last().expect("a pipeline has a transform").descriptor.outputs
    }

    /// The components that it uses, by name.
    pub(super) fn components(&self) -> BTreeSet<String> {
        self.steps.iter().map(|step| step.component.name().to_owned()).collect()
    }

    /// The digests that run, by component.
    pub(super) fn digests(&self) -> BTreeMap<&str, &str> {
        self.steps.iter().map(|step| (step.component.name(), step.component.digest())).collect()
    }

    /// Whether its rows may join those that are there: fields that can be null may be new, types may be wider.
    ///
    /// # Errors
    /// How they differ.
    pub(super) fn follows(
        &self,
        before: &[Output],
        pipeline: &config::Pipeline,
    ) -> Result<(), Objection> {
        let found = schema::differences(before, self.written());
        if found.is_empty() {
            return Ok(());
        }
        let number = self.steps.len() - 1;
        let Descriptor { name, version, .. } = &self.steps[number].descriptor;
        let text = format!(
            "the rows of {name} {version} do not fit those that are written now: {}",
            found.join(", ")
        );
        let fault = Fault::transform(text).code("SCHEMA_DIFFERS").help(
            "add fields that can be null, or widen types; for anything else give the output another name",
        );
        Err(objection(pipeline, &["transforms", &number.to_string(), "component"], fault))
    }
}

/// What a pipeline has against a component, with the place in its file.
pub(super) fn objection(pipeline: &config::Pipeline, path: &[&str], fault: Fault) -> Objection {
    let mut objection = Objection::new(fault, |fault| pipeline.written.blame(path, fault));
    objection.reason = format!("pipeline {}: {}", pipeline.name, objection.reason);
    objection
}

/// What turns records into the rows that the first transform takes; `None` where it takes the bytes.
pub(super) fn decoder(
    pipeline: &config::Pipeline,
    input: &Input,
) -> Result<Option<Decoder>, Fault> {
    match (pipeline.source.format, input) {
        (Format::Json, Input::Rows(fields)) => {
            let fields: Vec<_> = fields.iter().map(|(field, _)| field.clone()).collect();
            Decoder::json(&fields).map(Some)
        }
        _ => Ok(None),
    }
}

/// Tries a component in its place.
fn step(
    pipeline: &config::Pipeline,
    number: usize,
    component: &Arc<Component>,
    before: Option<&Step>,
) -> Result<Step, Objection> {
    let transform = &pipeline.transforms[number];
    let number = number.to_string();
    let path = |key| ["transforms", &number, key];
    let context = GuestContext { pipeline: pipeline.name.clone(), log_rate: Arc::default() };
    let descriptor = component
        .probe(&context, &transform.config, &transform.limits)
        .map_err(|fault| objection(pipeline, &path("config"), fault))?;
    let feed = match before {
        Some(before) => feed(&before.descriptor, &descriptor)
            .map_err(|fault| objection(pipeline, &path("component"), fault))?,
        None => {
            source_fits(pipeline, &descriptor)?;
            decoder(pipeline, &descriptor.input)
                .map_err(|fault| objection(pipeline, &path("component"), fault))?;
            Vec::new()
        }
    };
    Ok(Step { component: Arc::clone(component), descriptor, feed, context })
}

/// Checks that the first transform reads what the source gives.
fn source_fits(pipeline: &config::Pipeline, descriptor: &Descriptor) -> Result<(), Objection> {
    let format = |reads: &str, format: &str| {
        let fault = Fault::config(format!("{} reads {reads}", descriptor.name))
            .help(format!("write `format: {format}`"));
        Err(objection(pipeline, &["source", "kafka", "format"], fault))
    };
    match (&descriptor.input, pipeline.source.format) {
        (Input::Raw, Format::Raw) | (Input::Rows(_), Format::Json) => Ok(()),
        (Input::Raw, Format::Json) => format("undecoded records", "raw"),
        (Input::Rows(_), Format::Raw) => format("decoded fields", "json"),
    }
}

/// For each field that a transform reads or carries, its place among the fields that the one before writes.
fn feed(before: &Descriptor, after: &Descriptor) -> Result<Vec<usize>, Fault> {
    let Input::Rows(wanted) = &after.input else {
        let text = format!("{} reads undecoded records, not rows", after.name);
        return Err(Fault::config(text).help("put it first, or remove it"));
    };
    let [output] = before.outputs.as_slice() else {
        let text = format!("{} has {} outputs", before.name, before.outputs.len());
        return Err(Fault::config(text).help("only the last transform may have more than one"));
    };
    let mut found = Vec::new();
    let place = |field: &Field| {
        let place = output.fields.iter().position(|(made, _)| made.name == field.name)?;
        let (made, _) = &output.fields[place];
        let same = (made.data_type, &made.children) == (field.data_type, &field.children);
        (same && (field.nullable || !made.nullable)).then_some(place)
    };
    let describe = |field: &Field| {
        let null = if field.nullable { ", may be null" } else { "" };
        format!("{} ({}{null})", field.name, field.data_type)
    };
    let mut feed = Vec::with_capacity(wanted.len());
    for (field, _) in wanted {
        match place(field) {
            Some(place) => feed.push(place),
            None => found.push(describe(field)),
        }
    }
    if found.is_empty() {
        return Ok(feed);
    }
    let made: Vec<_> = output.fields.iter().map(|(field, _)| describe(field)).collect();
    let (name, before) = (&after.name, &before.name);
    let text = format!("{name} reads {}, which {before} does not write", found.join(", "));
    Err(Fault::config(text).help(format!("{before} writes {}", made.join(", "))))
}

/// What the pipeline writes, checked against what the last transform gives.
fn outputs(
    pipeline: &config::Pipeline,
    descriptor: &Descriptor,
) -> Result<(Arc<[OutputSpec]>, Vec<usize>), Objection> {
    let refuse = |path: &[&str], text: String, help: String| {
        objection(pipeline, path, Fault::config(text).help(help))
    };
    let name = &descriptor.name;
    let declared =
        descriptor.outputs.iter().map(|output| output.name.as_str()).collect::<Vec<_>>().join(", ");
    if let Some(unknown) =
        pipeline.outputs.keys().find(|key| !descriptor.outputs.iter().any(|o| &o.name == *key))
    {
        let text = format!("{name} has no output `{unknown}`");
        return Err(refuse(&["outputs", unknown], text, format!("its outputs are: {declared}")));
    }
    let mut specs = Vec::with_capacity(descriptor.outputs.len() + 1);
    for output in &descriptor.outputs {
        let Some(settings) = pipeline.outputs.get(&output.name) else {
            let output = &output.name;
            let text = format!("nothing says what becomes of the output `{output}` of {name}");
            let help = format!("add `{output}: {{ parquet: {{}} }}`; its outputs are: {declared}");
            return Err(refuse(&["outputs"], text, help));
        };
        let schema = if settings.kafka_columns {
            kafka_columns::extend_schema(&output.to_arrow())
        } else {
            output.to_arrow()
        };
        let spec = OutputSpec { name: output.name.clone(), schema, settings: settings.clone() };
        specs.push(checked(pipeline, &["outputs", &output.name, "parquet"], spec)?);
    }
    let places = (0..specs.len()).collect();
    let (schema, settings) = (dead_letters::schema(), pipeline.dead_letters.clone());
    let letters = OutputSpec { name: dead_letters::OUTPUT.to_owned(), schema, settings };
    specs.push(checked(pipeline, &["dead_letters", "parquet"], letters)?);
    Ok((specs.into(), places))
}

/// Checks an output: its hive partitions one by one, so that the one at fault is shown.
fn checked(
    pipeline: &config::Pipeline,
    path: &[&str],
    spec: OutputSpec,
) -> Result<OutputSpec, Objection> {
    for (index, by) in spec.settings.partition_by.iter().enumerate() {
        let settings = config::Parquet { partition_by: vec![by.clone()], ..spec.settings.clone() };
        parquet::check(&OutputSpec { settings, ..spec.clone() }).map_err(|fault| {
            let fault = fault.help("name a field of the output whose type fits");
            let index = index.to_string();
            objection(pipeline, &[path, &["partition_by", &index]].concat(), fault)
        })?;
    }
    parquet::check(&spec).map_err(|fault| objection(pipeline, path, fault))?;
    Ok(spec)
}

//! What a component makes of a pipeline: its outputs, its decoder, what manifests call it. Checked before any record, and
//! before a version is swapped in.

use std::sync::Arc;

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
    schema::{self, Descriptor, Input, Output},
};

/// A component that fits a pipeline.
#[derive(Debug)]
pub(super) struct Plan {
    pub component: Arc<Component>,
    pub descriptor: Descriptor,
    /// The pipeline's outputs; the last one is the dead letters'.
    pub outputs: Arc<[OutputSpec]>,
    /// For each output of the transform, its place in `outputs`.
    pub places: Vec<usize>,
    pub transforms: Arc<[TransformId]>,
}

impl Plan {
    /// Tries a component with a pipeline's configuration, in a throw-away instance.
    ///
    /// # Errors
    /// What does not fit, and where the pipeline's file says otherwise.
    pub(super) fn new(
        pipeline: &config::Pipeline,
        component: Arc<Component>,
    ) -> Result<Self, Objection> {
        let transform = &pipeline.transforms[0];
        let context = GuestContext { pipeline: pipeline.name.clone() };
        let descriptor = component
            .probe(&context, &transform.config, &transform.limits)
            .map_err(|fault| objection(pipeline, &["transforms", "0", "config"], fault))?;
        let (outputs, places) = outputs(pipeline, &descriptor)?;
        decoder(pipeline, &descriptor.input)
            .map_err(|fault| objection(pipeline, &["transforms", "0", "component"], fault))?;
        let config = serde_json::to_vec(&transform.config).expect("a JSON value is JSON");
        let transforms = [TransformId {
            name: component.name().to_owned(),
            sha256: component.digest().to_owned(),
            version: descriptor.version.clone(),
            config_sha256: hex::encode(Sha256::digest(config)),
        }];
        Ok(Self { component, descriptor, outputs, places, transforms: transforms.into() })
    }

    /// Whether its rows may join those of the version before: fields that can be null may be new, types may be wider.
    ///
    /// # Errors
    /// How they differ.
    pub(super) fn follows(
        &self,
        before: &[Output],
        pipeline: &config::Pipeline,
    ) -> Result<(), Objection> {
        let found = schema::differences(before, &self.descriptor.outputs);
        if found.is_empty() {
            return Ok(());
        }
        let text = format!(
            "the rows of {} {} do not fit those that are written now: {}",
            self.descriptor.name,
            self.descriptor.version,
            found.join(", ")
        );
        let fault = Fault::transform(text).code("SCHEMA_DIFFERS").help(
            "add fields that can be null, or widen types; for anything else give the output another name",
        );
        Err(objection(pipeline, &["transforms", "0", "component"], fault))
    }
}

/// What a pipeline has against a component, with the place in its file.
pub(super) fn objection(pipeline: &config::Pipeline, path: &[&str], fault: Fault) -> Objection {
    let mut objection = Objection::new(fault, |fault| pipeline.written.blame(path, fault));
    objection.reason = format!("pipeline {}: {}", pipeline.name, objection.reason);
    objection
}

/// What turns records into the rows that a transform takes; `None` where it takes the bytes.
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

/// What the pipeline writes, checked against what the transform gives.
fn outputs(
    pipeline: &config::Pipeline,
    descriptor: &Descriptor,
) -> Result<(Arc<[OutputSpec]>, Vec<usize>), Objection> {
    let refuse = |path: &[&str], text: String, help: String| {
        objection(pipeline, path, Fault::config(text).help(help))
    };
    let name = &descriptor.name;
    let format = |reads: &str, format: &str| {
        let text = format!("{name} reads {reads}");
        refuse(&["source", "kafka", "format"], text, format!("write `format: {format}`"))
    };
    match (&descriptor.input, pipeline.source.format) {
        (Input::Raw, Format::Raw) | (Input::Rows(_), Format::Json) => {}
        (Input::Raw, Format::Json) => return Err(format("undecoded records", "raw")),
        (Input::Rows(_), Format::Raw) => return Err(format("decoded fields", "json")),
    }
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

//! All that can be refused before the first record: the component, its outputs, the store, the topics.

use std::{fs, path::Path, sync::Arc};

use sha2::{Digest, Sha256};

use super::{dead_letters, kafka_columns};
use crate::{
    commit::manifest::TransformId,
    config::{self, Format},
    decode::Decoder,
    engine::{Component, Engine, GuestContext},
    fault::Fault,
    kafka,
    parquet::{self, OutputSpec},
    schema::{Descriptor, Input},
    store::Store,
};

/// A pipeline that can start.
#[derive(Debug)]
pub(super) struct Prepared {
    pub store: Store,
    pub component: Arc<Component>,
    pub descriptor: Descriptor,
    /// The pipeline's outputs; the last one is the dead letters'.
    pub outputs: Arc<[OutputSpec]>,
    /// For each output of the transform, its place in `outputs`.
    pub places: Vec<usize>,
    pub transforms: Arc<[TransformId]>,
    /// One a core, and at most one a partition: more would have nothing to do.
    pub workers: usize,
}

/// Checks a pipeline. Blocks: not for the I/O runtime.
pub(super) fn prepare(
    engine: &Arc<Engine>,
    host: &config::Host,
    pipeline: &config::Pipeline,
    runtime: &tokio::runtime::Handle,
) -> Result<Prepared, Fault> {
    let written = &pipeline.written;
    let transform = &pipeline.transforms[0];
    let component = load(engine, &host.transforms, transform)
        .map_err(|fault| written.blame(&["transforms", "0", "component"], fault))?;
    let context = GuestContext { pipeline: pipeline.name.clone() };
    let descriptor = component
        .probe(&context, &transform.config, &transform.limits)
        .map_err(|fault| written.blame(&["transforms", "0", "config"], fault))?;
    let (outputs, places) = outputs(pipeline, &descriptor)?;
    decoder(pipeline, &descriptor.input)?;
    let store = runtime.block_on(Store::open(&pipeline.store))?;
    runtime.block_on(store.probe())?;
    let mut partitions = 0;
    for (index, topic) in pipeline.source.topics.iter().enumerate() {
        partitions += kafka::partitions(&pipeline.kafka, topic)?.ok_or_else(|| {
            let brokers = pipeline.kafka.brokers.join(", ");
            let fault = Fault::config(format!("there is no topic {topic} at {brokers}"))
                .help("create it, or name another one");
            written.blame(&["source", "kafka", "topics", &index.to_string()], fault)
        })?;
    }
    let config = serde_json::to_vec(&transform.config).expect("a JSON value is JSON");
    let transforms = [TransformId {
        name: component.name().to_owned(),
        sha256: component.digest().to_owned(),
        version: descriptor.version.clone(),
        config_sha256: hex::encode(Sha256::digest(config)),
    }];
    let (transforms, workers) = (transforms.into(), host.workers.clamp(1, partitions.max(1)));
    Ok(Prepared { store, component, descriptor, outputs, places, transforms, workers })
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

fn load(
    engine: &Arc<Engine>,
    folder: &Path,
    transform: &config::Transform,
) -> Result<Arc<Component>, Fault> {
    let component =
        engine.load(&transform.component, &read_component(folder, &transform.component)?)?;
    if let Some(pinned) = transform.digest.as_deref().filter(|pinned| *pinned != component.digest())
    {
        let (name, digest) = (component.name(), component.digest());
        let text = format!("{name}@sha256:{pinned} is pinned, the folder has sha256:{digest}");
        return Err(
            Fault::config(text).help("put the pinned build into the folder, or change the pin")
        );
    }
    Ok(component)
}

fn read_component(folder: &Path, name: &str) -> Result<Vec<u8>, Fault> {
    let path = folder.join(format!("{name}.wasm"));
    fs::read(&path).map_err(|error| {
        let help = match fs::read_dir(folder) {
            Ok(entries) => {
                let mut names: Vec<_> = entries
                    .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
                    .filter(|name| name.ends_with(".wasm"))
                    .collect();
                names.sort();
                format!(
                    "the folder has: {}",
                    if names.is_empty() { "no .wasm file".to_owned() } else { names.join(", ") }
                )
            }
            Err(_) => {
                "make the folder, or name another one with `transforms` (--transforms)".to_owned()
            }
        };
        Fault::config(format!("read component {}", path.display())).caused_by(error).help(help)
    })
}

/// What the pipeline writes, checked against what the transform gives.
fn outputs(
    pipeline: &config::Pipeline,
    descriptor: &Descriptor,
) -> Result<(Arc<[OutputSpec]>, Vec<usize>), Fault> {
    let refuse = |path: &[&str], text: String, help: String| {
        pipeline.written.blame(path, Fault::config(text).help(help))
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
) -> Result<OutputSpec, Fault> {
    for (index, by) in spec.settings.partition_by.iter().enumerate() {
        let settings = config::Parquet { partition_by: vec![by.clone()], ..spec.settings.clone() };
        parquet::check(&OutputSpec { settings, ..spec.clone() }).map_err(|fault| {
            let fault = fault.help("name a field of the output whose type fits");
            let index = index.to_string();
            pipeline.written.blame(&[path, &["partition_by", &index]].concat(), fault)
        })?;
    }
    parquet::check(&spec).map_err(|fault| pipeline.written.blame(path, fault))?;
    Ok(spec)
}

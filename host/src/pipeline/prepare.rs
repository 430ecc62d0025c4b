//! All that can be refused before the first record: the component, its outputs, the store, the topics.

use std::{fs, path::Path, sync::Arc};

use sha2::{Digest, Sha256};

use super::{dead_letters, kafka_columns};
use crate::{
    commit::manifest::TransformId,
    config::{self, Format},
    engine::{Component, Engine},
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
}

/// Checks a pipeline. Blocks: not for the I/O runtime.
pub(super) fn prepare(
    engine: &Arc<Engine>,
    folder: &Path,
    pipeline: &config::Pipeline,
    runtime: &tokio::runtime::Handle,
) -> Result<Prepared, Fault> {
    let transform = &pipeline.transforms[0];
    let component =
        engine.load(&transform.component, &read_component(folder, &transform.component)?)?;
    if let Some(pinned) = transform.digest.as_deref().filter(|pinned| *pinned != component.digest())
    {
        let (name, digest) = (component.name(), component.digest());
        let text = format!(
            "pipeline {} pins {name}@sha256:{pinned}, the folder has sha256:{digest}",
            pipeline.name
        );
        return Err(
            Fault::config(text).help("put the pinned build into the folder, or change the pin")
        );
    }
    let descriptor = component.describe(&transform.config, &transform.limits)?;
    let (outputs, places) = outputs(pipeline, &descriptor)?;
    let store = runtime.block_on(Store::open(&pipeline.store))?;
    runtime.block_on(store.probe())?;
    for topic in &pipeline.source.topics {
        if kafka::partitions(&pipeline.kafka, topic)?.is_none() {
            let text = format!(
                "pipeline {}: there is no topic {topic} at {}",
                pipeline.name,
                pipeline.kafka.brokers.join(", ")
            );
            return Err(
                Fault::config(text).help("create it, or name another one in `source.kafka.topics`")
            );
        }
    }
    let config = serde_json::to_vec(&transform.config).expect("a JSON value is JSON");
    let transforms = [TransformId {
        name: component.name().to_owned(),
        sha256: component.digest().to_owned(),
        version: descriptor.version.clone(),
        config_sha256: hex::encode(Sha256::digest(config)),
    }];
    Ok(Prepared { store, component, descriptor, outputs, places, transforms: transforms.into() })
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
    let name = &pipeline.name;
    match (&descriptor.input, pipeline.source.format) {
        (Input::Raw, Format::Raw) | (Input::Rows(_), Format::Json) => {}
        (Input::Raw, Format::Json) => {
            let text = format!(
                "pipeline {name}: {} reads raw records, `source.kafka.format` is json",
                descriptor.name
            );
            return Err(Fault::config(text).help("write `format: raw`"));
        }
        (Input::Rows(_), Format::Raw) => {
            let text = format!(
                "pipeline {name}: {} reads decoded fields, `source.kafka.format` is raw",
                descriptor.name
            );
            return Err(Fault::config(text).help("write `format: json`"));
        }
    }
    let declared = || {
        descriptor.outputs.iter().map(|output| output.name.as_str()).collect::<Vec<_>>().join(", ")
    };
    if let Some(unknown) =
        pipeline.outputs.keys().find(|key| !descriptor.outputs.iter().any(|o| &o.name == *key))
    {
        let text =
            format!("pipeline {name}: `outputs.{unknown}`: {} has no such output", descriptor.name);
        return Err(Fault::config(text).help(format!("its outputs are: {}", declared())));
    }
    let mut specs = Vec::with_capacity(descriptor.outputs.len() + 1);
    for output in &descriptor.outputs {
        let Some(settings) = pipeline.outputs.get(&output.name) else {
            let text = format!(
                "pipeline {name}: `outputs` says nothing about {} of {}",
                output.name, descriptor.name
            );
            return Err(Fault::config(text).help(format!(
                "add `{}: {{ parquet: {{}} }}`; its outputs are: {}",
                output.name,
                declared()
            )));
        };
        let schema = if settings.kafka_columns {
            kafka_columns::extend_schema(&output.to_arrow())
        } else {
            output.to_arrow()
        };
        let spec = OutputSpec { name: output.name.clone(), schema, settings: settings.clone() };
        specs.push(checked(name, spec)?);
    }
    let places = (0..specs.len()).collect();
    let (schema, settings) = (dead_letters::schema(), pipeline.dead_letters.clone());
    let name_of_letters = dead_letters::OUTPUT.to_owned();
    specs.push(checked(name, OutputSpec { name: name_of_letters, schema, settings })?);
    Ok((specs.into(), places))
}

fn checked(pipeline: &str, spec: OutputSpec) -> Result<OutputSpec, Fault> {
    parquet::check(&spec).map_err(|fault| {
        let text = format!("pipeline {pipeline}: {}", fault.message);
        Fault { message: text, ..fault }.help("mend `parquet.partition_by` of this output")
    })?;
    Ok(spec)
}

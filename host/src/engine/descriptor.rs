//! What a guest describes, checked and turned from pre-order lists into trees.

use std::collections::HashSet;

use super::v0_1::exports::tidemill::transform::transform::Descriptor as Described;
use super::v0_1::tidemill::transform::types::{self as wit, Usage as WitUsage};
use crate::schema::{DataType, Descriptor, Field, Input, Origin, Output, Usage};

/// A descriptor from what the guest says; the text of an error follows "describes".
pub(super) fn check(described: Described) -> Result<Descriptor, String> {
    let input = match described.input {
        wit::Input::Raw => Input::Raw,
        wit::Input::Rows(schema) => {
            let fields = trees(&schema.fields).map_err(|error| format!("an input with {error}"))?;
            let usages = schema.usages.iter().map(|usage| match usage {
                WitUsage::Read => Usage::Read,
                WitUsage::Carry => Usage::Carry,
            });
            if fields.len() != usages.len() {
                return Err(format!("{} input fields and {} usages", fields.len(), usages.len()));
            }
            Input::Rows(fields.into_iter().zip(usages).collect())
        }
    };
    if described.outputs.is_empty() {
        return Err("no output".to_owned());
    }
    if described.outputs.len() > MAX_OUTPUTS {
        return Err(format!("{} outputs: {MAX_OUTPUTS} at most", described.outputs.len()));
    }
    for (what, text) in [("name", &described.name), ("version", &described.version)] {
        // They stand in each file and each manifest.
        if text.len() > MAX_NAME || text.chars().any(char::is_control) {
            return Err(format!(
                "itself by the {what} {text:?}: it has {MAX_NAME} bytes at most, and no control characters"
            ));
        }
    }
    let mut outputs = Vec::new();
    let mut names = HashSet::new();
    for schema in described.outputs {
        let name = schema.name;
        let legal = (1..=63).contains(&name.len())
            && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
        if !legal || name == "dead_letters" {
            return Err(format!(
                "an output with the name {name:?}: names are [a-z0-9_]{{1,63}}, and not `dead_letters`"
            ));
        }
        if !names.insert(name.clone()) {
            return Err(format!("two outputs with the name {name}"));
        }
        let fields =
            trees(&schema.fields).map_err(|error| format!("output {name} with {error}"))?;
        if fields.is_empty() || fields.len() != schema.origins.len() {
            return Err(format!(
                "output {name} with {} fields and {} origins",
                fields.len(),
                schema.origins.len()
            ));
        }
        let fields = fields.into_iter().zip(schema.origins).map(|(field, origin)| {
            let origin = origin_of(&field, origin, &input)
                .map_err(|error| format!("output {name} with {error}"))?;
            Ok((field, origin))
        });
        outputs.push(Output { fields: fields.collect::<Result<_, String>>()?, name });
    }
    let Described { name, version, config_schema, .. } = described;
    Ok(Descriptor { name, version, input, outputs, config_schema })
}

fn origin_of(field: &Field, origin: wit::Origin, input: &Input) -> Result<Origin, String> {
    let wit::Origin::Input(name) = origin else { return Ok(Origin::Computed) };
    let Input::Rows(fields) = input else {
        return Err(format!(
            "field {} from input field {name}, but it reads raw records",
            field.name
        ));
    };
    let place = fields.iter().position(|(input, _)| input.name == name);
    let place = place.ok_or_else(|| {
        format!("field {} from input field {name}, which it does not declare", field.name)
    })?;
    let input = &fields[place].0;
    if (input.data_type, &input.children) != (field.data_type, &field.children)
        || (input.nullable && !field.nullable)
    {
        return Err(format!(
            "field {} from input field {name}, which has another type or may be null",
            field.name
        ));
    }
    Ok(Origin::Input(place))
}

/// The trees of a schema in pre-order.
fn trees(fields: &[wit::Field]) -> Result<Vec<Field>, String> {
    if fields.len() > MAX_FIELDS {
        return Err(format!("{} fields: {MAX_FIELDS} at most", fields.len()));
    }
    let mut rest = fields.iter();
    let mut trees = Vec::new();
    while let Some(field) = rest.next() {
        trees.push(tree(field, &mut rest, 1)?);
    }
    unique(&trees)?;
    Ok(trees)
}

/// Outputs of a guest at most.
const MAX_OUTPUTS: usize = 64;
/// Fields of a schema at most, nested ones included: each is a column that every open file has memory for.
const MAX_FIELDS: usize = 4096;
/// Schemas may nest this deep.
const MAX_DEPTH: u32 = 32;
/// Bytes of a name at most.
const MAX_NAME: usize = 255;

fn tree<'a>(
    field: &wit::Field,
    rest: &mut impl Iterator<Item = &'a wit::Field>,
    depth: u32,
) -> Result<Field, String> {
    let name = &field.name;
    if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
        return Err(format!(
            "the field name {name:?}: a name has 1 to {MAX_NAME} bytes, and no control characters"
        ));
    }
    let (data_type, wanted) = match field.data_type {
        wit::DataType::Boolean => (DataType::Boolean, 0..=0),
        wit::DataType::Int32 => (DataType::Int32, 0..=0),
        wit::DataType::Int64 => (DataType::Int64, 0..=0),
        wit::DataType::Float32 => (DataType::Float32, 0..=0),
        wit::DataType::Float64 => (DataType::Float64, 0..=0),
        wit::DataType::Decimal((precision, scale)) => {
            if !(1..=38).contains(&precision)
                || !u8::try_from(scale).is_ok_and(|scale| scale <= precision)
            {
                return Err(format!("field {name} of decimal({precision}, {scale})"));
            }
            (DataType::Decimal(precision, scale), 0..=0)
        }
        wit::DataType::Utf8 => (DataType::Utf8, 0..=0),
        wit::DataType::Binary => (DataType::Binary, 0..=0),
        wit::DataType::Json => (DataType::Json, 0..=0),
        wit::DataType::Date => (DataType::Date, 0..=0),
        wit::DataType::TimestampMicros => (DataType::TimestampMicros, 0..=0),
        wit::DataType::ListOf => (DataType::List, 1..=1),
        wit::DataType::StructOf => (DataType::Struct, 1..=u32::MAX),
        wit::DataType::MapOf => (DataType::Map, 2..=2),
    };
    if !wanted.contains(&field.children) || depth > MAX_DEPTH {
        return Err(format!("field {name} with {} children at depth {depth}", field.children));
    }
    let mut children = Vec::new();
    for _ in 0..field.children {
        let child = rest.next().ok_or_else(|| format!("field {name} without its last child"))?;
        children.push(tree(child, rest, depth + 1)?);
    }
    unique(&children)?;
    if data_type == DataType::Map && children[0].nullable {
        return Err(format!("field {name} whose keys may be null"));
    }
    Ok(Field { name: name.clone(), data_type, nullable: field.nullable, children })
}

fn unique(fields: &[Field]) -> Result<(), String> {
    let mut names = HashSet::new();
    match fields.iter().find(|field| !names.insert(&field.name)) {
        Some(twice) => Err(format!("field {} twice", twice.name)),
        None => Ok(()),
    }
}

//! What the guest takes and gives: an output with a field of each layout.

use crate::bindings::tidemill::transform::types::{
    DataType, Descriptor, Field, Input, InputSchema, Origin, OutputSchema, Usage,
};

/// What it describes when nothing is wrong.
pub(crate) fn descriptor(version: &str) -> Descriptor {
    let input = InputSchema {
        fields: vec![field("act", DataType::Utf8, false)],
        usages: vec![Usage::Read],
    };
    Descriptor {
        name: "malformed".to_owned(),
        version: version.to_owned(),
        input: Input::Rows(input),
        outputs: vec![OutputSchema {
            name: "done".to_owned(),
            fields: vec![
                field("act", DataType::Utf8, false),
                field("flag", DataType::Boolean, true),
                field("number", DataType::Int64, true),
                field("price", DataType::Decimal((5, 2)), true),
                Field { children: 1, ..field("parts", DataType::ListOf, true) },
                field("element", DataType::Int32, false),
            ],
            origins: (0..5).map(|_| Origin::Computed).collect(),
        }],
        config_schema: None,
    }
}

/// The list has no child.
pub(crate) fn without_element() -> Descriptor {
    let mut descriptor = descriptor("0.1.0");
    descriptor.outputs[0].fields.pop();
    descriptor
}

/// So many fields that an open file has no memory for them.
pub(crate) fn too_wide() -> Descriptor {
    let mut descriptor = descriptor("0.1.0");
    let output = &mut descriptor.outputs[0];
    output.fields.extend((0..5000).map(|n| field(&format!("f{n}"), DataType::Utf8, true)));
    output.origins.extend((0..5000).map(|_| Origin::Computed));
    descriptor
}

fn field(name: &str, data_type: DataType, nullable: bool) -> Field {
    Field { name: name.to_owned(), data_type, nullable, children: 0 }
}

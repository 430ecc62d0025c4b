//! The fields of the contract (`wit/v0.1/types.wit`) and their Arrow types.

mod evolve;

use std::{collections::HashMap, fmt, sync::Arc};

use arrow_schema as arrow;
use serde::{Deserialize, Serialize};

pub use self::evolve::differences;

/// Footer and schema metadata key that marks a text column as JSON.
const LOGICAL: &str = "tidemill.type";

/// The type of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DataType {
    /// True or false.
    Boolean,
    /// 32-bit signed integer.
    Int32,
    /// 64-bit signed integer.
    Int64,
    /// IEEE 754 single precision.
    Float32,
    /// IEEE 754 double precision.
    Float64,
    /// Fixed-point number: precision (1 to 38) and scale (0 to precision).
    Decimal(u8, i8),
    /// UTF-8 text.
    Utf8,
    /// Bytes.
    Binary,
    /// Any JSON value, as text.
    Json,
    /// Days since 1970-01-01.
    Date,
    /// Microseconds since 1970-01-01T00:00:00Z.
    TimestampMicros,
    /// A list; one child, the element.
    List,
    /// A struct; one child a member.
    Struct,
    /// A map; two children, key and value.
    Map,
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Boolean => "boolean",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::Float32 => "float32",
            Self::Float64 => "float64",
            Self::Decimal(precision, scale) => {
                return write!(f, "decimal({precision}, {scale})");
            }
            Self::Utf8 => "utf8",
            Self::Binary => "binary",
            Self::Json => "json",
            Self::Date => "date",
            Self::TimestampMicros => "timestamp-micros",
            Self::List => "list",
            Self::Struct => "struct",
            Self::Map => "map",
        })
    }
}

/// A field of a schema, with its children.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// The name.
    pub name: String,
    /// The type of its values.
    pub data_type: DataType,
    /// Whether a value may be null.
    pub nullable: bool,
    /// Children of a list, struct or map.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<Self>,
}

impl Field {
    /// A field without children.
    pub fn new(name: impl Into<String>, data_type: DataType, nullable: bool) -> Self {
        Self { name: name.into(), data_type, nullable, children: Vec::new() }
    }

    /// The same field in Arrow. A map is `Map` of a struct `entries {key, value}`; JSON is `Utf8` with a mark in the metadata.
    ///
    /// # Panics
    /// When the number of children does not fit the type: the engine checks it where a schema comes in.
    pub fn to_arrow(&self) -> arrow::Field {
        let children = || self.children.iter().map(|child| Arc::new(child.to_arrow()));
        let data_type = match self.data_type {
            DataType::Boolean => arrow::DataType::Boolean,
            DataType::Int32 => arrow::DataType::Int32,
            DataType::Int64 => arrow::DataType::Int64,
            DataType::Float32 => arrow::DataType::Float32,
            DataType::Float64 => arrow::DataType::Float64,
            DataType::Decimal(precision, scale) => arrow::DataType::Decimal128(precision, scale),
            DataType::Utf8 | DataType::Json => arrow::DataType::Utf8,
            DataType::Binary => arrow::DataType::Binary,
            DataType::Date => arrow::DataType::Date32,
            DataType::TimestampMicros => {
                arrow::DataType::Timestamp(arrow::TimeUnit::Microsecond, Some("UTC".into()))
            }
            DataType::List => {
                arrow::DataType::List(children().next().expect("a list has one child"))
            }
            DataType::Struct => arrow::DataType::Struct(children().collect()),
            DataType::Map => arrow::DataType::Map(
                Arc::new(arrow::Field::new(
                    "entries",
                    arrow::DataType::Struct(children().collect()),
                    false,
                )),
                false,
            ),
        };
        let field = arrow::Field::new(&self.name, data_type, self.nullable);
        match self.data_type {
            DataType::Json => field.with_metadata(HashMap::from([(LOGICAL.into(), "json".into())])),
            _ => field,
        }
    }
}

/// The Arrow schema of fields.
pub fn to_arrow(fields: &[Field]) -> arrow::SchemaRef {
    Arc::new(arrow::Schema::new(fields.iter().map(Field::to_arrow).collect::<Vec<_>>()))
}

/// What a transform does with an input field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Usage {
    /// It reads the field.
    Read,
    /// It only carries the field across: the column never enters the guest.
    Carry,
}

/// What a transform takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Input {
    /// Records as they came from Kafka.
    Raw,
    /// Decoded records: top-level fields, each with what is done with it.
    Rows(Vec<(Field, Usage)>),
}

/// Where the values of an output field come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// From the guest.
    Computed,
    /// From the input field at this place among the top-level fields, by lineage.
    Input(usize),
}

/// One output of a transform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The name by which a pipeline refers to it.
    pub name: String,
    /// Its top-level fields, each with the origin of its values.
    pub fields: Vec<(Field, Origin)>,
}

impl Output {
    /// The Arrow schema of its rows.
    pub fn to_arrow(&self) -> arrow::SchemaRef {
        Arc::new(arrow::Schema::new(
            self.fields.iter().map(|(field, _)| field.to_arrow()).collect::<Vec<_>>(),
        ))
    }
}

/// What a transform is, takes and gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Descriptor {
    /// The transform's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it takes.
    pub input: Input,
    /// What it gives.
    pub outputs: Vec<Output>,
    /// A JSON Schema for its configuration.
    pub config_schema: Option<String>,
}

//! The values of one hive partition: evaluates its expression over a column.

use std::{collections::HashMap, sync::Arc};

use arrow_array::{
    ArrayRef,
    cast::AsArray,
    types::{
        Date32Type, Decimal128Type, DecimalType, Float32Type, Float64Type, Int32Type, Int64Type,
        TimestampMicrosecondType,
    },
};
use arrow_schema::{DataType, Schema, TimeUnit};
use chrono::{DateTime, Utc};

use super::bucket::{bucket, decimal, whole};
use crate::{
    commit::names::hive_segment,
    config::{Expression, PartitionBy},
};

const SECONDS_PER_HOUR: i64 = 3600;
const SECONDS_PER_DAY: i64 = 24 * SECONDS_PER_HOUR;
const MICROS_PER_SECOND: i64 = 1_000_000;

/// Longer values cannot stand in a path: they are refused, not remembered.
const MAX_REMEMBERED_BYTES: usize = 255;

/// A segment of a path, or why there is none.
pub(super) type Segment = Result<Arc<str>, Arc<str>>;

/// Gives each row the code of its segment. Codes count from 0; the same segment has the same code until [`Self::forget`].
///
/// Text is made once a value, not once a row.
#[derive(Debug)]
pub(super) struct Evaluator {
    column: usize,
    key: String,
    expression: Expression,
    data_type: DataType,
    numbers: HashMap<i128, u32>,
    texts: HashMap<Box<str>, u32>,
    null: Option<u32>,
    codes: HashMap<Segment, u32>,
    segments: Vec<Segment>,
}

impl Evaluator {
    /// # Errors
    /// What is wrong with the expression, for this schema.
    pub(super) fn new(by: &PartitionBy, schema: &Schema) -> Result<Self, String> {
        let field = by.expression.field();
        let Some((column, field)) = schema.column_with_name(field) else {
            let names: Vec<_> =
                schema.fields().iter().map(|field| format!("`{}`", field.name())).collect();
            return Err(format!(
                "hive partition `{}` reads the field `{field}`, which the output has not; it has {}",
                by.key,
                names.join(", ")
            ));
        };
        if let Some(wanted) = unfit(&by.expression, field.data_type()) {
            return Err(format!(
                "hive partition `{}` needs {wanted}; `{}` is {}",
                by.key,
                field.name(),
                field.data_type()
            ));
        }
        Ok(Self {
            column,
            key: by.key.clone(),
            expression: by.expression.clone(),
            data_type: field.data_type().clone(),
            numbers: HashMap::new(),
            texts: HashMap::new(),
            null: None,
            codes: HashMap::new(),
            segments: Vec::new(),
        })
    }

    /// The key of its folders.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// The place of its column among the rows' columns.
    pub(super) fn column(&self) -> usize {
        self.column
    }

    /// Values that it remembers.
    pub(super) fn remembered(&self) -> usize {
        self.numbers.len() + self.texts.len() + self.segments.len()
    }

    /// Forgets all values and codes.
    pub(super) fn forget(&mut self) {
        self.numbers.clear();
        self.texts.clear();
        self.null = None;
        self.codes.clear();
        self.segments.clear();
    }

    /// The segment of a code.
    pub(super) fn segment(&self, code: u32) -> &Segment {
        &self.segments[usize::try_from(code).expect("u32 fits usize")]
    }

    /// Writes the code of each row's segment to `codes`.
    pub(super) fn evaluate(&mut self, column: &ArrayRef, codes: &mut Vec<u32>) {
        codes.clear();
        if let Expression::Bucket(count, _) = self.expression {
            return self.evaluate_bucket(count, column, codes);
        }
        let unit = MICROS_PER_SECOND
            * match self.expression {
                Expression::Field(_) => 1,
                Expression::Hour(_) => SECONDS_PER_HOUR,
                _ => SECONDS_PER_DAY,
            };
        match self.data_type {
            DataType::Utf8 => self.texts(column.as_string::<i32>().iter(), codes),
            DataType::Boolean => {
                self.numbers(column.as_boolean().iter().map(|value| value.map(i128::from)), codes)
            }
            DataType::Int32 => self.numbers(
                column.as_primitive::<Int32Type>().iter().map(|value| value.map(i128::from)),
                codes,
            ),
            DataType::Int64 => self.numbers(
                column.as_primitive::<Int64Type>().iter().map(|value| value.map(i128::from)),
                codes,
            ),
            DataType::Date32 => self.numbers(
                column.as_primitive::<Date32Type>().iter().map(|value| value.map(i128::from)),
                codes,
            ),
            DataType::Decimal128(..) => {
                self.numbers(column.as_primitive::<Decimal128Type>().iter(), codes)
            }
            DataType::Float32 => {
                let bits = |value: f32| i128::from(value.to_bits());
                self.numbers(
                    column.as_primitive::<Float32Type>().iter().map(|value| value.map(bits)),
                    codes,
                );
            }
            DataType::Float64 => {
                let bits = |value: f64| i128::from(value.to_bits());
                self.numbers(
                    column.as_primitive::<Float64Type>().iter().map(|value| value.map(bits)),
                    codes,
                );
            }
            DataType::Timestamp(..) if matches!(self.expression, Expression::Field(_)) => {
                let micros = column.as_primitive::<TimestampMicrosecondType>().iter();
                self.numbers(micros.map(|value| value.map(i128::from)), codes);
            }
            DataType::Timestamp(..) => {
                let micros = column.as_primitive::<TimestampMicrosecondType>().iter();
                self.numbers(
                    micros.map(|value| value.map(|micros| i128::from(micros.div_euclid(unit)))),
                    codes,
                );
            }
            _ => unreachable!("`new` lets no other type through"),
        }
    }

    fn evaluate_bucket(&mut self, count: u32, column: &ArrayRef, codes: &mut Vec<u32>) {
        let of = |bytes: &[u8]| i128::from(bucket(count, bytes));
        let of_whole = |value: i64| of(&whole(value));
        match self.data_type {
            DataType::Utf8 => self.numbers(
                column.as_string::<i32>().iter().map(|value| value.map(|text| of(text.as_bytes()))),
                codes,
            ),
            DataType::Binary => {
                self.numbers(column.as_binary::<i32>().iter().map(|value| value.map(of)), codes)
            }
            DataType::Int32 => {
                let values = column.as_primitive::<Int32Type>().iter();
                self.numbers(values.map(|value| value.map(|value| of_whole(value.into()))), codes);
            }
            DataType::Date32 => {
                let values = column.as_primitive::<Date32Type>().iter();
                self.numbers(values.map(|value| value.map(|value| of_whole(value.into()))), codes);
            }
            DataType::Int64 => self.numbers(
                column.as_primitive::<Int64Type>().iter().map(|value| value.map(of_whole)),
                codes,
            ),
            DataType::Timestamp(..) => {
                self.numbers(
                    column
                        .as_primitive::<TimestampMicrosecondType>()
                        .iter()
                        .map(|value| value.map(of_whole)),
                    codes,
                );
            }
            DataType::Decimal128(..) => {
                let of_decimal = |unscaled| {
                    let (bytes, start) = decimal(unscaled);
                    of(&bytes[start..])
                };
                self.numbers(
                    column
                        .as_primitive::<Decimal128Type>()
                        .iter()
                        .map(|value| value.map(of_decimal)),
                    codes,
                );
            }
            _ => unreachable!("`new` lets no other type through"),
        }
    }

    fn numbers(&mut self, values: impl Iterator<Item = Option<i128>>, codes: &mut Vec<u32>) {
        let mut last = None;
        codes.extend(values.map(|value| match (value, last) {
            (Some(value), Some((seen, code))) if value == seen => code,
            (Some(value), _) => {
                let code = self.numbers.get(&value).copied().unwrap_or_else(|| {
                    let segment = self.render(value);
                    let code = self.code(segment);
                    self.numbers.insert(value, code);
                    code
                });
                last = Some((value, code));
                code
            }
            (None, _) => self.null(),
        }));
    }

    fn texts<'a>(&mut self, values: impl Iterator<Item = Option<&'a str>>, codes: &mut Vec<u32>) {
        let mut last: Option<(&str, u32)> = None;
        codes.extend(values.map(|value| match (value, last) {
            (Some(value), Some((seen, code))) if value == seen => code,
            (Some(value), _) => {
                let code = self.texts.get(value).copied().unwrap_or_else(|| {
                    let code = self.code(self.encode(Some(value)));
                    if value.len() <= MAX_REMEMBERED_BYTES {
                        self.texts.insert(value.into(), code);
                    }
                    code
                });
                last = Some((value, code));
                code
            }
            (None, _) => self.null(),
        }));
    }

    fn null(&mut self) -> u32 {
        self.null.unwrap_or_else(|| {
            let code = self.code(self.encode(None));
            self.null = Some(code);
            code
        })
    }

    fn code(&mut self, segment: Segment) -> u32 {
        if let Some(code) = self.codes.get(&segment) {
            return *code;
        }
        let code =
            u32::try_from(self.segments.len()).expect("far fewer values than 2^32 are remembered");
        self.codes.insert(segment.clone(), code);
        self.segments.push(segment);
        code
    }

    fn encode(&self, value: Option<&str>) -> Segment {
        hive_segment(&self.key, value).map(Arc::from).map_err(|refusal| refusal.to_string().into())
    }

    fn render(&self, number: i128) -> Segment {
        let whole = || i64::try_from(number).ok();
        let at = |unit: i64, format: &str| {
            let time: Option<DateTime<Utc>> =
                whole().and_then(|n| DateTime::from_timestamp(n.checked_mul(unit)?, 0));
            time.map(|time| time.format(format).to_string())
        };
        let text = match (&self.expression, &self.data_type) {
            (Expression::Bucket(..), _) => Some(number.to_string()),
            (Expression::Hour(_), _) => at(SECONDS_PER_HOUR, "%Y-%m-%dT%H"),
            (Expression::Year(_), _) => at(SECONDS_PER_DAY, "%Y"),
            (Expression::Month(_), _) => at(SECONDS_PER_DAY, "%m"),
            (Expression::Day(_), _) => at(SECONDS_PER_DAY, "%d"),
            (Expression::Date(_), _) | (_, DataType::Date32) => at(SECONDS_PER_DAY, "%Y-%m-%d"),
            (_, DataType::Timestamp(..)) => whole()
                .and_then(DateTime::from_timestamp_micros)
                .map(|time| time.format("%Y-%m-%dT%H:%M:%S%.fZ").to_string()),
            (_, DataType::Boolean) => Some((number != 0).to_string()),
            (_, DataType::Float32) => {
                u32::try_from(number).ok().map(|bits| f32::from_bits(bits).to_string())
            }
            (_, DataType::Float64) => {
                u64::try_from(number).ok().map(|bits| f64::from_bits(bits).to_string())
            }
            (_, DataType::Decimal128(precision, scale)) => {
                Some(Decimal128Type::format_decimal(number, *precision, *scale))
            }
            _ => Some(number.to_string()),
        };
        match text {
            Some(text) => self.encode(Some(&text)),
            None => Err(format!(
                "the value of hive partition `{}` is beyond the years of the calendar",
                self.key
            )
            .into()),
        }
    }
}

/// What an expression needs instead of a type that it cannot read.
fn unfit(expression: &Expression, data_type: &DataType) -> Option<&'static str> {
    use DataType::{
        Binary, Boolean, Date32, Decimal128, Float32, Float64, Int32, Int64, Timestamp, Utf8,
    };
    let timestamp = matches!(data_type, Timestamp(TimeUnit::Microsecond, _));
    let (fits, wanted) = match expression {
        Expression::Field(_) => (
            timestamp
                || matches!(
                    data_type,
                    Boolean | Int32 | Int64 | Float32 | Float64 | Decimal128(..) | Utf8 | Date32
                ),
            "a field of text, a number, a boolean, a date or a timestamp",
        ),
        Expression::Hour(_) => (timestamp, "a timestamp"),
        Expression::Date(_) | Expression::Year(_) | Expression::Month(_) | Expression::Day(_) => {
            (timestamp || matches!(data_type, Date32), "a date or a timestamp")
        }
        Expression::Bucket(0, _) => (false, "one bucket or more"),
        Expression::Bucket(..) => (
            timestamp
                || matches!(data_type, Int32 | Int64 | Decimal128(..) | Utf8 | Binary | Date32),
            "a field of text, bytes, a whole number, a decimal, a date or a timestamp",
        ),
    };
    (!fits).then_some(wanted)
}

//! What a guest answers to a batch, checked: rejections, lineage, columns. Nothing of it is believed.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

use super::{
    Payload, Processed, Rejection, Rows,
    carry::Carry,
    lift::{self, Column},
};
use crate::schema::{Field, Origin, Output};

/// Why an answer is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It breaks the contract; the text follows "gives".
    Broken(String),
    /// It is too large: so many bytes.
    TooLarge(u64),
}

impl From<String> for Refused {
    fn from(text: String) -> Self {
        Self::Broken(text)
    }
}

/// Checks an answer, adds carried fields, and turns places among the rows that went in into places in the batch.
///
/// `records` is the number of those rows; `schemas` are those of `outputs`; `limit` are the bytes that may come out.
pub(super) fn check(
    answer: lift::Processed,
    outputs: &[Output],
    schemas: &[SchemaRef],
    payload: Payload<'_>,
    records: usize,
    limit: u64,
) -> Result<Processed, Refused> {
    let mut bytes = lift::size(&answer);
    let mut count = |more: u64| {
        bytes = bytes.saturating_add(more);
        if bytes > limit { Err(Refused::TooLarge(bytes)) } else { Ok(()) }
    };
    count(0)?;
    let place = |row: u32| match payload {
        Payload::Raw => row,
        Payload::Rows { rows, .. } => rows[row as usize],
    };
    let mut rejected = vec![false; records];
    let mut next = 0;
    let mut rejections = Vec::with_capacity(answer.rejections.len());
    for rejection in answer.rejections {
        let index = rejection.record_index;
        if index < next || index as usize >= records {
            return Err(format!("the rejection of record {index} of {records} out of order, or of one that is not there").into());
        }
        next = index + 1;
        rejected[index as usize] = true;
        rejections.push(Rejection { index: place(index), reason: rejection.reason });
    }
    let mut seen = vec![false; outputs.len()];
    let mut checked = Vec::with_capacity(answer.outputs.len());
    for output in answer.outputs {
        let number = output.index as usize;
        match seen.get_mut(number) {
            None => return Err(format!("output {number}, it has only {}", outputs.len()).into()),
            Some(true) => return Err(format!("output {number} twice").into()),
            Some(seen) => *seen = true,
        }
        let lineage = output.lineage;
        if !lineage.is_sorted() || lineage.last().is_some_and(|&last| last as usize >= records) {
            return Err(
                format!("lineage that falls, or that names more than {records} records").into()
            );
        }
        if let Some(both) = lineage.iter().find(|&&row| rejected[row as usize]) {
            return Err(format!("rows of record {both}, which it rejects").into());
        }
        let fields = &outputs[number].fields;
        let carry = Carry::new(&lineage, records);
        for (field, origin) in fields {
            if let (Origin::Input(input), Payload::Rows { columns, .. }) = (origin, payload) {
                count(carry.bytes(field, &columns[*input]))?;
            }
        }
        let mut columns = output.columns.into_iter();
        let column = |(field, origin): &(Field, Origin)| match (origin, payload) {
            (Origin::Input(input), Payload::Rows { columns, .. }) => carry.take(&columns[*input]),
            _ => lift::lift(field, lineage.len(), &mut columns as &mut dyn Iterator<Item = Column>),
        };
        let arrays = fields.iter().map(column).collect::<Result<Vec<_>, String>>()?;
        if columns.next().is_some() {
            return Err("more columns than fields".to_owned().into());
        }
        let rows = RecordBatch::try_new(Arc::clone(&schemas[number]), arrays)
            .map_err(|error| format!("rows that can't be: {error}"))?;
        if rows.num_rows() > 0 {
            checked.push(Rows {
                output: number,
                lineage: lineage.into_iter().map(place).collect(),
                rows,
            });
        }
    }
    Ok(Processed { outputs: checked, rejections })
}

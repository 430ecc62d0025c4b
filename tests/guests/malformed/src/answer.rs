//! An answer that is as it should be: a row a record.

use crate::bindings::tidemill::transform::types::{
    Bytes, Column, Output, Processed, Rejection, Values,
};

/// Places of the columns.
pub(crate) const ACT: usize = 0;
pub(crate) const FLAG: usize = 1;
pub(crate) const NUMBER: usize = 2;
pub(crate) const PRICE: usize = 3;
pub(crate) const PARTS: usize = 4;
pub(crate) const ELEMENT: usize = 5;

/// An answer in the making.
#[derive(Debug)]
pub(crate) struct Answer {
    pub outputs: Vec<Output>,
    pub rejections: Vec<Rejection>,
    /// How many records there were.
    pub records: u32,
}

impl Answer {
    /// A row for each record, in their order.
    pub(crate) fn of(acts: &[String]) -> Self {
        let lineage: Vec<u32> = (0..).take(acts.len()).collect();
        let mut answer = Self {
            outputs: Vec::new(),
            rejections: Vec::new(),
            records: (0..).zip(acts).last().map_or(0, |(place, _)| place + 1),
        };
        answer.outputs.push(rows(lineage, acts));
        answer
    }

    /// Gives this record's row once more, so many times.
    pub(crate) fn repeat(&mut self, record: usize, times: usize, acts: impl Fn(u32) -> String) {
        let place = self.outputs[0].lineage[record];
        let mut lineage = std::mem::take(&mut self.outputs[0].lineage);
        lineage.splice(record..record, std::iter::repeat_n(place, times));
        let acts: Vec<_> = lineage.iter().map(|&place| acts(place)).collect();
        self.outputs[0] = rows(lineage, &acts);
    }

    /// The columns of the one output.
    pub(crate) fn columns(&mut self) -> &mut Vec<Column> {
        &mut self.outputs[0].columns
    }

    /// The texts of the column `act`.
    pub(crate) fn texts(&mut self) -> &mut Bytes {
        match &mut self.columns()[ACT].values {
            Values::Bytes(bytes) => bytes,
            _ => unreachable!("texts are bytes"),
        }
    }

    pub(crate) fn into_processed(self) -> Processed {
        Processed { outputs: self.outputs, rejections: self.rejections }
    }
}

/// The rows of a lineage, with the text of each.
fn rows(lineage: Vec<u32>, acts: &[String]) -> Output {
    let mut texts = Bytes { ends: Vec::new(), data: Vec::new() };
    for act in acts {
        texts.data.extend_from_slice(act.as_bytes());
        texts.ends.push(u32::try_from(texts.data.len()).expect("a guest's memory has 32 bits"));
    }
    let rows = lineage.len();
    let column = |values| Column { validity: Vec::new(), values };
    let columns = vec![
        column(Values::Bytes(texts)),
        column(Values::Bits(vec![0; rows.div_ceil(8)])),
        column(Values::Int64(vec![7; rows])),
        column(Values::Decimal128(vec![0; 2 * rows])),
        column(Values::Lists(vec![0; rows])),
        column(Values::Int32(Vec::new())),
    ];
    Output { index: 0, lineage, columns }
}

//! Answers: what a guest says became of a batch.

use std::sync::Arc;

use arrow_array::{ArrayRef, StringArray, cast::AsArray, types::Int64Type};

use super::{
    super::{
        Payload, Processed, Rejection,
        answer::{self, Refused},
        lift,
        v0_1::tidemill::transform::types::ValuesResult,
    },
    columns::column,
};
use crate::{
    engine::v0_1::{
        exports::tidemill::transform::transform as export,
        tidemill::transform::types::{Output as WitOutput, Rejection as WitRejection},
    },
    schema::{DataType, Field, Origin, Output},
};

/// An output with one computed and one carried field.
fn output() -> Output {
    let fields = vec![
        (Field::new("n", DataType::Int64, false), Origin::Computed),
        (Field::new("t", DataType::Utf8, false), Origin::Input(0)),
    ];
    Output { name: "out".to_owned(), fields }
}

fn rows(index: u32, lineage: &[u32], numbers: &[i64]) -> WitOutput {
    WitOutput {
        index,
        lineage: lineage.to_vec(),
        columns: vec![column(ValuesResult::Int64(numbers.to_vec()))],
    }
}

/// Four records, of which the second one was broken, come to this.
fn answer(outputs: Vec<WitOutput>, rejected: &[u32], limit: u64) -> Result<Processed, Refused> {
    let rejections =
        rejected.iter().map(|&record_index| WitRejection { record_index, reason: "no".to_owned() });
    let answer: lift::Processed = export::Processed { outputs, rejections: rejections.collect() };
    let columns: [ArrayRef; 1] = [Arc::new(StringArray::from(vec!["a", "b", "c"]))];
    let payload = Payload::Rows { columns: &columns, rows: &[0, 2, 3] };
    let described = [output(), output()];
    let schemas = described.each_ref().map(Output::to_arrow);
    answer::check(answer, &described, &schemas, payload, 3, limit)
}

#[test]
fn places_among_the_rows_become_places_in_the_batch() {
    let processed =
        answer(vec![rows(1, &[0, 2, 2], &[1, 2, 3]), rows(0, &[], &[])], &[1], 1000).unwrap();
    assert_eq!(processed.rejections, [Rejection { index: 2, reason: "no".into() }]);
    let [out] = &processed.outputs[..] else { panic!("an output without rows is left out") };
    assert_eq!((out.output, &out.lineage[..]), (1, &[0, 3, 3][..]));
    assert_eq!(out.rows["n"].as_primitive::<Int64Type>().values(), &[1, 2, 3]);
    assert_eq!(
        out.rows["t"].as_string::<i32>().iter().flatten().collect::<Vec<_>>(),
        ["a", "c", "c"]
    );
}

#[test]
fn answers_that_can_not_be_are_refused() {
    let too_many =
        WitOutput { columns: vec![column(ValuesResult::Structs); 2], ..rows(0, &[], &[]) };
    for (outputs, rejected, says) in [
        (vec![rows(2, &[], &[])], &[][..], "it has only 2"),
        (vec![rows(0, &[0], &[1]), rows(0, &[1], &[1])], &[], "twice"),
        (vec![rows(0, &[1, 0], &[1, 1])], &[], "falls"),
        (vec![rows(0, &[3], &[1])], &[], "more than 3 records"),
        (vec![rows(0, &[0, 1], &[1])], &[], "1 values"),
        (vec![rows(0, &[1], &[1])], &[1], "which it rejects"),
        (vec![WitOutput { columns: Vec::new(), ..rows(0, &[0], &[]) }], &[], "no column"),
        (vec![too_many], &[], "another type"),
        (vec![], &[3], "rejection of record 3"),
        (vec![], &[1, 1], "out of order"),
        (vec![], &[1, 0], "out of order"),
        (vec![], &[u32::MAX], "rejection of record"),
    ] {
        match answer(outputs, rejected, 1000) {
            Err(Refused::Broken(text)) => assert!(text.contains(says), "{text}"),
            other => panic!("{says}: {other:?}"),
        }
    }
}

#[test]
fn what_is_carried_counts_as_output() {
    let many = || vec![rows(0, &[0; 100], &[1; 100])];
    // Of a row: lineage 4, number 8, an end 4 and a letter 1.
    assert!(answer(many(), &[], 1700).is_ok());
    assert_eq!(answer(many(), &[], 1699).unwrap_err(), Refused::TooLarge(1700));
    assert_eq!(
        answer(many(), &[], 1000).unwrap_err(),
        Refused::TooLarge(1200),
        "before anything is carried"
    );
}

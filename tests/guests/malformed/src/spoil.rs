//! What can be wrong with an answer. Each of it is wrong however few records the answer is about.

use crate::{
    answer::{ACT, Answer, ELEMENT, FLAG, NUMBER, PARTS, PRICE},
    bindings::tidemill::transform::types::{Rejection, Values},
};

/// Spoils an answer as a record tells it to.
pub(crate) fn spoil(answer: &mut Answer, record: usize, act: &str) -> Result<(), String> {
    match act {
        "fail the batch" => return Err("told to fail the batch".to_owned()),
        "write too much" => write(answer, record, 100 << 10),
        "write far too much" => write(answer, record, 8 << 20),
        "reject at length" => {
            take_back(answer, record);
            let reason = "long ".repeat(20 << 10);
            answer.rejections.push(Rejection { record_index: place(record), reason });
        }
        _ => {
            columns(answer, record, act);
            texts(answer, record, act);
            rejections(answer, record, act);
        }
    }
    Ok(())
}

fn columns(answer: &mut Answer, record: usize, act: &str) {
    let nobody = answer.records;
    if matches!(act, "short validity" | "lists that fall" | "falling lineage") {
        answer.repeat(record, 8, |_| "again".to_owned());
    }
    let rows = answer.outputs[0].lineage.len();
    match (act, &mut answer.outputs[0]) {
        ("a value too many", output) => output.columns[NUMBER].values = int64s(rows + 1),
        ("a value too few", output) => output.columns[NUMBER].values = int64s(rows - 1),
        ("another type", output) => output.columns[NUMBER].values = Values::Int32(vec![7; rows]),
        ("a column too few", output) => drop(output.columns.pop()),
        ("a column too many", output) => output.columns.push(output.columns[NUMBER].clone()),
        ("a null", output) => output.columns[ACT].validity = vec![0; rows.div_ceil(8)],
        ("short bits", output) => output.columns[FLAG].values = Values::Bits(Vec::new()),
        ("short validity", output) => output.columns[NUMBER].validity = vec![0xff],
        ("half a decimal", output) => {
            output.columns[PRICE].values = Values::Decimal128(vec![0; 2 * rows + 1]);
        }
        ("a wide decimal", output) => {
            output.columns[PRICE].values = Values::Decimal128(vec![100_000; 2 * rows]);
        }
        ("a list past its elements", output) => {
            output.columns[PARTS].values = Values::Lists(vec![3; rows]);
            output.columns[ELEMENT].values = Values::Int32(vec![7; 2]);
        }
        ("lists that fall", output) => {
            let mut ends = vec![0; rows];
            ends[rows - 2] = 1;
            output.columns[PARTS].values = Values::Lists(ends);
        }
        ("a row of no record", output) => output.lineage[rows - 1] = nobody,
        ("falling lineage", output) => output.lineage[rows - 2] = nobody,
        ("lineage without a row", output) => output.lineage.push(nobody - 1),
        ("an output that is not there", output) => output.index = 1,
        ("an output twice", output) => {
            let output = output.clone();
            answer.outputs.push(output);
        }
        _ => {}
    }
}

fn texts(answer: &mut Answer, record: usize, act: &str) {
    if matches!(act, "ends that fall" | "half a character") {
        answer.repeat(record, 1, |_| "é".to_owned());
    }
    let texts = answer.texts();
    let Some(last) = texts.ends.len().checked_sub(1) else { return };
    match act {
        "ends that fall" => texts.ends[last - 1] = texts.ends[last] + 1,
        "half a character" => texts.ends[last - 1] += 1,
        "a text past the data" => texts.ends[last] += 1,
        "data past the texts" => texts.data.push(b'!'),
        "a text past 2 GiB" => texts.ends[last] = 1 << 31,
        "no text" => texts.data.fill(0xff),
        _ => {}
    }
}

fn rejections(answer: &mut Answer, record: usize, act: &str) {
    let (at, nobody) = (place(record), answer.records);
    let rejected = match act {
        "reject nobody" => vec![nobody],
        "reject twice" => vec![at, at],
        "reject backwards" => vec![at + 1, at],
        "reject and emit" => vec![at],
        _ => return,
    };
    if act != "reject and emit" {
        take_back(answer, record);
    }
    let rejection = |record_index| Rejection { record_index, reason: "told to".to_owned() };
    answer.rejections = rejected.into_iter().map(rejection).collect();
}

/// Gives this record's row a text of so many bytes.
fn write(answer: &mut Answer, record: usize, bytes: usize) {
    let at = place(record);
    let text = |row| if row == at { "x".repeat(bytes) } else { "fine".to_owned() };
    answer.repeat(record, 0, text);
}

/// Leaves this record's row out. Those of its neighbours lose their texts: the answer is refused all the same, or the record is alone.
fn take_back(answer: &mut Answer, record: usize) {
    answer.outputs[0].lineage.remove(record);
    answer.outputs[0].lineage.shrink_to_fit();
    let rows = answer.outputs[0].lineage.len();
    if rows == 0 {
        answer.outputs.clear();
    } else {
        answer.repeat(0, 0, |_| "fine".to_owned());
    }
}

fn int64s(rows: usize) -> Values {
    Values::Int64(vec![7; rows])
}

fn place(record: usize) -> u32 {
    u32::try_from(record).expect("a batch is small")
}

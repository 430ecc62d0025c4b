//! Rows go through packed columns and come out as they went in, whatever their types.

use std::{borrow::Cow, collections::BTreeMap};

use tidemill_sdk::prelude::*;

#[derive(Row, Clone, Debug, PartialEq)]
struct Everything<'a> {
    boolean: bool,
    int32: i32,
    int64: i64,
    float32: f32,
    float64: f64,
    decimal: Decimal<38, 10>,
    date: Date,
    timestamp: Timestamp,
    borrowed: &'a str,
    owned: String,
    either: Cow<'a, str>,
    bytes: &'a [u8],
    owned_bytes: Vec<u8>,
    json: Json<&'a str>,
    owned_json: Json,
    maybe_bool: Option<bool>,
    maybe_text: Option<&'a str>,
    maybe_decimal: Option<Decimal<4, 2>>,
    list: Vec<Option<i32>>,
    lists: Option<Vec<Vec<&'a str>>>,
    map: BTreeMap<String, Option<f64>>,
    pairs: Vec<(&'a str, Nested<'a>)>,
    nested: Nested<'a>,
    maybe_nested: Option<Nested<'a>>,
    nesteds: Vec<Nested<'a>>,
    #[row(rename = "type")]
    renamed: i32,
    r#raw: i32,
    carried: Carry<Vec<Option<String>>>,
}

#[derive(Row, Clone, Debug, PartialEq)]
struct Nested<'a> {
    name: &'a str,
    flags: Vec<bool>,
    inner: Option<Inner>,
}

#[derive(Row, Clone, Debug, PartialEq)]
struct Inner {
    value: i64,
    maybe: Option<i64>,
}

const TEXTS: [&str; 5] = ["", "a", "grüße", "0123456789abcdef", "\u{1f30a}"];

/// A row whose every field depends on `n`.
fn row(n: u32) -> Everything<'static> {
    let text = TEXTS[n as usize % 5];
    let number = i64::from(n) * 7_919 - 100_000;
    let narrow = i32::try_from(number).expect("a small number");
    let nested = Nested {
        name: text,
        flags: (0..n % 4).map(|bit| n >> bit & 1 == 1).collect(),
        inner: (!n.is_multiple_of(3))
            .then(|| Inner { value: number, maybe: n.is_multiple_of(2).then_some(number) }),
    };
    Everything {
        boolean: n.is_multiple_of(2),
        int32: narrow,
        int64: number << 32,
        float32: n as f32 / 3.0,
        float64: f64::from(n) / -7.0,
        decimal: Decimal(i128::from(number) << 64 | i128::from(n)),
        date: Date(narrow),
        timestamp: Timestamp(number),
        borrowed: text,
        owned: text.repeat(2),
        either: Cow::Borrowed(text),
        bytes: text.as_bytes(),
        owned_bytes: vec![0xff; n as usize % 3],
        json: Json("[1]"),
        owned_json: Json(format!("{n}")),
        maybe_bool: n.is_multiple_of(5).then_some(n.is_multiple_of(2)),
        maybe_text: n.is_multiple_of(3).then_some(text),
        maybe_decimal: (n % 4 > 1).then_some(Decimal(-i128::from(n))),
        list: (0..n % 3).map(|item| (item != 1).then_some(narrow)).collect(),
        lists: n.is_multiple_of(2).then(|| vec![vec![text; n as usize % 3]; 2]),
        map: (0..n % 3).map(|key| (key.to_string(), (key > 0).then_some(f64::from(n)))).collect(),
        pairs: vec![(text, nested.clone()); n as usize % 2],
        nested: nested.clone(),
        maybe_nested: (!n.is_multiple_of(4)).then(|| nested.clone()),
        nesteds: vec![nested; n as usize % 3],
        renamed: narrow,
        r#raw: narrow,
        carried: Carry,
    }
}

/// Emits each row twice into two outputs, in between and even if it rejects the record.
#[transform]
fn copy(
    row: Everything<'_>,
    first: &mut Output<Everything<'_>>,
    second: &mut Output<Everything<'_>>,
) -> Result<(), Reject> {
    first.emit(row.clone());
    second.emit(row.clone());
    if row.int64 % 3 == 0 {
        return Err(format!("{} is divided by 3", row.int64).into());
    }
    first.emit(row);
    Ok(())
}

#[test]
fn rows_come_out_as_they_went_in_and_rejected_ones_leave_no_trace() {
    for len in [0, 1, 2, 7, 8, 9, 64, 300] {
        let rows: Vec<_> = (0..len).map(row).collect();
        let run = copy::test(rows.clone());
        let (rejected, kept): (Vec<_>, Vec<_>) =
            (0..).zip(rows).partition(|(_, row)| row.int64 % 3 == 0);
        let (places, kept): (Vec<u32>, Vec<_>) = kept.into_iter().unzip();
        assert_eq!(run.rows::<Everything<'_>>("second"), kept);
        assert_eq!(run.lineage("second"), places);
        let twice =
            |values: &[u32]| values.iter().flat_map(|value| [*value; 2]).collect::<Vec<_>>();
        assert_eq!(run.lineage("first"), twice(&places));
        let twice: Vec<_> = kept.iter().flat_map(|row| [row.clone(), row.clone()]).collect();
        assert_eq!(run.rows::<Everything<'_>>("first"), twice);
        let reasons: Vec<_> = rejected
            .iter()
            .map(|(at, row)| (*at as usize, format!("{} is divided by 3", row.int64)))
            .collect();
        assert_eq!(run.rejected(), reasons);
    }
}

macro_rules! wide {
    ($($field:ident)*) => {
        #[derive(Row, Debug, Default, PartialEq)]
        struct Wide { $($field: Option<i64>),* }

        #[test]
        fn wide_rows_compile() {
            #[transform]
            fn wide(row: Wide, out: &mut Output<Wide>) {
                out.emit(row);
            }
            let run = wide::test([Wide::default(), Wide { a199: Some(1), ..Wide::default() }]);
            assert_eq!(run.rows::<Wide>("wide")[1].a199, Some(1));
        }
    };
}

#[rustfmt::skip]
wide! {
    a0 a1 a2 a3 a4 a5 a6 a7 a8 a9 a10 a11 a12 a13 a14 a15 a16 a17 a18 a19
    a20 a21 a22 a23 a24 a25 a26 a27 a28 a29 a30 a31 a32 a33 a34 a35 a36 a37 a38 a39
    a40 a41 a42 a43 a44 a45 a46 a47 a48 a49 a50 a51 a52 a53 a54 a55 a56 a57 a58 a59
    a60 a61 a62 a63 a64 a65 a66 a67 a68 a69 a70 a71 a72 a73 a74 a75 a76 a77 a78 a79
    a80 a81 a82 a83 a84 a85 a86 a87 a88 a89 a90 a91 a92 a93 a94 a95 a96 a97 a98 a99
    a100 a101 a102 a103 a104 a105 a106 a107 a108 a109 a110 a111 a112 a113 a114 a115 a116 a117 a118 a119
    a120 a121 a122 a123 a124 a125 a126 a127 a128 a129 a130 a131 a132 a133 a134 a135 a136 a137 a138 a139
    a140 a141 a142 a143 a144 a145 a146 a147 a148 a149 a150 a151 a152 a153 a154 a155 a156 a157 a158 a159
    a160 a161 a162 a163 a164 a165 a166 a167 a168 a169 a170 a171 a172 a173 a174 a175 a176 a177 a178 a179
    a180 a181 a182 a183 a184 a185 a186 a187 a188 a189 a190 a191 a192 a193 a194 a195 a196 a197 a198 a199
}

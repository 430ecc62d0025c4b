//! Whether the rows of a newer version may join the files of the one before: fields may be added if they can be null, and
//! types may be widened. Readers of Parquet take such files together; anything else they refuse, or read wrongly.

use super::{DataType, Field, Output};

/// Why rows of `new` may not join those of `old`: each line names an output, a field, and what differs. None, if they may.
pub fn differences(old: &[Output], new: &[Output]) -> Vec<String> {
    let mut found = Vec::new();
    for old in old {
        match new.iter().find(|new| new.name == old.name) {
            Some(new) => members(&old.name, &top(old), &top(new), &mut found),
            None => found.push(format!("output {} is gone", old.name)),
        }
    }
    found
}

fn top(output: &Output) -> Vec<&Field> {
    output.fields.iter().map(|(field, _)| field).collect()
}

/// Fields that are known by their names.
fn members(path: &str, old: &[&Field], new: &[&Field], found: &mut Vec<String>) {
    for old in old {
        match new.iter().find(|new| new.name == old.name) {
            Some(new) => field(&format!("{path}.{}", old.name), old, new, found),
            None => found.push(format!("{path}.{} is gone", old.name)),
        }
    }
    let added = new.iter().filter(|new| !old.iter().any(|old| old.name == new.name));
    for new in added.filter(|new| !new.nullable) {
        found.push(format!("{path}.{} is new and can't be null", new.name));
    }
}

fn field(path: &str, old: &Field, new: &Field, found: &mut Vec<String>) {
    if old.nullable && !new.nullable {
        found.push(format!("{path} could be null and can't be any more"));
    }
    if !widens(old.data_type, new.data_type) {
        found.push(format!("{path} was {} and is {}", old.data_type, new.data_type));
    } else if old.data_type == DataType::Struct {
        let (old, new): (Vec<_>, Vec<_>) =
            (old.children.iter().collect(), new.children.iter().collect());
        members(path, &old, &new, found);
    } else {
        // The element of a list, the key and the value of a map: known by their places.
        for (old, new) in old.children.iter().zip(&new.children) {
            field(&format!("{path}.{}", old.name), old, new, found);
        }
    }
}

/// Whether every value of a type is one of the other too.
fn widens(old: DataType, new: DataType) -> bool {
    match (old, new) {
        (DataType::Int32, DataType::Int64) | (DataType::Float32, DataType::Float64) => true,
        (DataType::Decimal(before, scale), DataType::Decimal(after, same)) => {
            scale == same && before <= after
        }
        (old, new) => old == new,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Origin;

    fn output(name: &str, fields: &[Field]) -> Output {
        let fields = fields.iter().map(|field| (field.clone(), Origin::Computed)).collect();
        Output { name: name.to_owned(), fields }
    }

    fn found(old: &[Field], new: &[Field]) -> Vec<String> {
        differences(&[output("o", old)], &[output("o", new)])
    }

    fn nested(name: &str, data_type: DataType, children: &[Field]) -> Field {
        Field { children: children.to_vec(), ..Field::new(name, data_type, false) }
    }

    fn a(data_type: DataType, nullable: bool) -> Field {
        Field::new("a", data_type, nullable)
    }

    fn b() -> Field {
        Field::new("b", DataType::Utf8, true)
    }

    fn money(precision: u8, scale: i8) -> [Field; 1] {
        [Field::new("m", DataType::Decimal(precision, scale), false)]
    }

    #[test]
    fn what_readers_take_together_may_change() {
        let narrow = a(DataType::Int32, false);
        let both = [narrow.clone(), b()];
        assert_eq!(found(&both, &both), [""; 0]);
        assert_eq!(found(&both, &[b(), narrow.clone()]), [""; 0], "their order says nothing");
        assert_eq!(found(&both[..1], &both), [""; 0], "a field that can be null may be added");
        let wide = [a(DataType::Int64, true)];
        assert_eq!(found(&[narrow], &wide), [""; 0], "it may be widened, and become null");
        assert_eq!(found(&money(9, 2), &money(18, 2)), [""; 0]);
        let two = [output("o", &both), output("p", &both)];
        assert_eq!(differences(&two[..1], &two), [""; 0], "an output may be added");
    }

    #[test]
    fn anything_else_is_told_apart() {
        let both = [a(DataType::Int64, false), b()];
        assert_eq!(found(&both, &both[..1]), ["o.b is gone"]);
        assert_eq!(found(&both[1..], &both), ["o.a is new and can't be null"]);
        let other = |data_type| found(&both, &[a(data_type, false), b()]);
        assert_eq!(other(DataType::Int32), ["o.a was int64 and is int32"]);
        assert_eq!(other(DataType::Float64), ["o.a was int64 and is float64"]);
        let null = [a(DataType::Int64, true), b()];
        assert_eq!(found(&null, &both), ["o.a could be null and can't be any more"]);
        let text = "o.m was decimal(9, 2) and is decimal(18, 3)";
        assert_eq!(found(&money(9, 2), &money(18, 3)), [text]);
        assert_eq!(found(&money(9, 2), &money(8, 2)).len(), 1);
        assert_eq!(differences(&[output("o", &both)], &[output("p", &both)]), ["output o is gone"]);
    }

    #[test]
    fn fields_inside_fields_are_compared_too() {
        let x = |data_type, nullable| Field::new("x", data_type, nullable);
        let of = |child: Field| {
            let key = Field::new("key", DataType::Utf8, false);
            let row = nested("element", DataType::Struct, std::slice::from_ref(&child));
            [
                nested("s", DataType::Struct, std::slice::from_ref(&child)),
                nested("l", DataType::List, &[row]),
                nested("m", DataType::Map, &[key, child]),
            ]
        };
        let wide = of(x(DataType::Int64, true));
        assert_eq!(found(&of(x(DataType::Int32, false)), &wide), [""; 0]);
        assert_eq!(
            found(&wide, &of(x(DataType::Utf8, true))),
            [
                "o.s.x was int64 and is utf8",
                "o.l.element.x was int64 and is utf8",
                "o.m.x was int64 and is utf8"
            ]
        );
    }
}

//! Values of JSON into columns.

use arrow_cast::base64::{BASE64_STANDARD, Engine};

use super::{
    class,
    column::{Column, Entries, Members, Offsets, Values, type_name},
    number::{Misfit, Number},
    scan::{Expected, Problem, Quoted, Scan, Scanner},
    time,
};

const NOT_DECIMAL: Misfit = Misfit(class::FORMAT, "a string that is not a number");
const NOT_BASE64: Misfit = Misfit(class::FORMAT, "a string that is not base64");
const NOT_DATE: Misfit = Misfit(class::FORMAT, "a string that is not a date such as 2026-11-22");
const NOT_TIME: Misfit =
    Misfit(class::FORMAT, "a string that is not a time with offset such as 2026-11-22T07:30:00.5Z");
const FAR_TIME: Misfit =
    Misfit(class::OVERFLOW, "milliseconds that no 64-bit count of microseconds reaches");

impl Column {
    /// Decodes the value that comes next and appends it.
    ///
    /// When the value does not fit, the problem names a field and the scanner stands behind the value; the column holds a part
    /// of it, until it is truncated.
    #[inline]
    fn value(&mut self, scanner: &mut Scanner<'_>) -> Scan<()> {
        let first = scanner.peek();
        let start = scanner.at();
        if first == Some(b'n') {
            scanner.literal("null")?;
            if !self.nullable {
                return Err(self.problem(
                    class::NULL,
                    format!("null at byte {start}, which the schema rules out"),
                ));
            }
            self.push_null();
            return Ok(());
        }
        let fit = match (first, &mut self.values) {
            (_, Values::Json(values)) => {
                scanner.skip()?;
                values.push(|data| data.extend_from_slice(scanner.since(start).as_bytes()));
                Ok(())
            }
            (Some(b'"'), values) => values.push_string(scanner.string()?),
            (Some(b'-' | b'0'..=b'9'), values) => values.push_number(&scanner.number()?),
            (Some(b't'), Values::Boolean(values)) => {
                scanner.literal("true")?;
                values.append(true);
                Ok(())
            }
            (Some(b'f'), Values::Boolean(values)) => {
                scanner.literal("false")?;
                values.append(false);
                Ok(())
            }
            (Some(b'['), Values::List(offsets, element)) => {
                list(scanner, offsets, element).map(Ok)?
            }
            (Some(b'{'), Values::Struct(members)) => members.object(scanner, self.len).map(Ok)?,
            (Some(b'{'), Values::Map(offsets, entries)) => {
                entries.object(scanner, offsets).map(Ok)?
            }
            _ => {
                let found = scanner.kind();
                scanner.skip()?;
                Err(Misfit(class::WRONG_TYPE, found))
            }
        };
        if let Err(Misfit(class, found)) = fit {
            let expected = type_name(self.data_type);
            return Err(
                self.problem(class, format!("expected {expected} at byte {start}, found {found}"))
            );
        }
        self.appended();
        Ok(())
    }

    #[cold]
    fn problem(&self, class: &'static str, text: String) -> Box<Problem> {
        let field = self.path.clone();
        Box::new(Problem { class, text: format!("field `{field}`: {text}"), field: Some(field) })
    }
}

impl Values {
    #[inline]
    fn push_string(&mut self, string: Quoted<'_>) -> Result<(), Misfit> {
        match self {
            Self::Utf8(values) => values.push(|data| string.append_to(data)),
            Self::Timestamp(values) => {
                values.push(time::micros(string.text().as_bytes()).ok_or(NOT_TIME)?)
            }
            Self::Date(values) => {
                values.push(time::days(string.text().as_bytes()).ok_or(NOT_DATE)?)
            }
            Self::Decimal(values, precision, scale) => {
                let text = string.text();
                values.push(Number::of(&text).ok_or(NOT_DECIMAL)?.decimal(*precision, *scale)?);
            }
            Self::Binary(values) => {
                let text = string.text();
                values
                    .push(|data| BASE64_STANDARD.decode_vec(text.as_bytes(), data))
                    .map_err(|_| NOT_BASE64)?;
            }
            _ => return Err(Misfit(class::WRONG_TYPE, "a string")),
        }
        Ok(())
    }

    #[inline]
    fn push_number(&mut self, number: &Number<'_>) -> Result<(), Misfit> {
        match self {
            Self::Int32(values) | Self::Date(values) => values.push(number.int32()?),
            Self::Int64(values) => values.push(number.int64()?),
            Self::Float32(values) => values.push(number.float32()?),
            Self::Float64(values) => values.push(number.float64()?),
            Self::Decimal(values, precision, scale) => {
                values.push(number.decimal(*precision, *scale)?)
            }
            Self::Timestamp(values) => {
                values.push(number.int64()?.checked_mul(1000).ok_or(FAR_TIME)?)
            }
            _ => return Err(Misfit(class::WRONG_TYPE, "a number")),
        }
        Ok(())
    }
}

/// Sets the problem of a field apart from one that ends the scan.
fn held<T>(result: Scan<T>) -> Scan<Result<T, Box<Problem>>> {
    match result {
        Err(problem) if problem.field.is_none() => Err(problem),
        result => Ok(result),
    }
}

fn list(scanner: &mut Scanner<'_>, offsets: &mut Offsets, element: &mut Column) -> Scan<()> {
    scanner.open()?;
    let mut result = Ok(());
    let mut first = true;
    while scanner.more(first, b']')? {
        first = false;
        if result.is_ok() {
            result = held(element.value(scanner))?;
        } else {
            scanner.skip()?;
        }
    }
    offsets.push(element.len);
    result
}

impl Members {
    /// Decodes the object that starts here into the row after the first `rows`.
    pub(super) fn object(&mut self, scanner: &mut Scanner<'_>, rows: usize) -> Scan<()> {
        let mut failed: Vec<(usize, Box<Problem>)> = Vec::new();
        scanner.open()?;
        let mut last = None;
        let mut first = true;
        let mut filled = 0;
        while scanner.more(first, b'}')? {
            first = false;
            last = self.names.read(scanner, last)?;
            // Names that are not declared stand behind those that are, and have no column.
            let Some((member, column)) =
                last.and_then(|member| Some((member, self.columns.get_mut(member)?)))
            else {
                scanner.skip()?;
                continue;
            };
            if column.len > rows || !failed.is_empty() {
                filled -= usize::from(column.len > rows);
                column.truncate(rows);
                failed.retain(|(other, _)| *other != member);
            }
            match held(column.value(scanner))? {
                Ok(()) => filled += 1,
                Err(problem) => {
                    column.truncate(rows);
                    failed.push((member, problem));
                }
            }
        }
        if filled == self.columns.len() {
            return Ok(());
        }
        for (member, column) in self.columns.iter_mut().enumerate() {
            if column.len > rows || failed.iter().any(|(other, _)| *other == member) {
                continue;
            }
            if column.nullable {
                column.push_null();
            } else {
                failed.push((member, column.problem(class::MISSING, "missing".into())));
            }
        }
        failed.into_iter().next().map_or(Ok(()), |(_, problem)| Err(problem))
    }
}

impl Entries {
    /// Decodes the object that starts here into the entries of one map, in the order of the text. Of equal keys the last stays.
    fn object(&mut self, scanner: &mut Scanner<'_>, offsets: &mut Offsets) -> Scan<()> {
        let start = offsets.end();
        let mut again = scanner.clone();
        let mut result = self.read(scanner, &[])?;
        let end = self.values.len;
        let mut order: Vec<usize> = (start..end).collect();
        order.sort_unstable_by(|&a, &b| self.keys.get(a).cmp(self.keys.get(b)).then(a.cmp(&b)));
        let mut surplus: Vec<usize> = order
            .windows(2)
            .filter(|pair| self.keys.get(pair[0]) == self.keys.get(pair[1]))
            .map(|pair| pair[0] - start)
            .collect();
        if !surplus.is_empty() {
            surplus.sort_unstable();
            self.truncate(start);
            result = self.read(&mut again, &surplus)?;
        }
        offsets.push(self.values.len);
        result
    }

    /// Appends the entries of the object that starts here, but not those at the places in `surplus` (ascending). A value that
    /// does not fit is null, and the first problem of this kind comes back.
    fn read(
        &mut self,
        scanner: &mut Scanner<'_>,
        mut surplus: &[usize],
    ) -> Scan<Result<(), Box<Problem>>> {
        scanner.open()?;
        let mut result = Ok(());
        let mut place = 0;
        while scanner.more(place == 0, b'}')? {
            let key = scanner.name()?;
            if surplus.first() == Some(&place) {
                surplus = &surplus[1..];
                scanner.skip()?;
            } else {
                self.keys.push(|data| key.append_to(data));
                let len = self.values.len;
                if let Err(problem) = held(self.values.value(scanner))? {
                    self.values.truncate(len);
                    self.values.push_null();
                    result = result.and(Err(problem));
                }
            }
            place += 1;
        }
        Ok(result)
    }
}

/// Names are learnt until so many are known, and only if they are not longer than this: records may have any.
const MAX_KNOWN: usize = 1024;
const MAX_LENGTH: usize = 64;

/// The names of an object's members: the declared ones in their order, behind them others that were seen.
///
/// Each remembers which one followed it last time: producers write members in the same order again and again, so most names
/// are found by comparing them with one guess.
#[derive(Debug)]
pub(super) struct Names {
    known: Vec<Name>,
    /// Places in `known`, by name.
    sorted: Vec<usize>,
    /// What comes first in an object.
    first: Option<usize>,
}

#[derive(Debug)]
struct Name {
    text: Box<str>,
    /// As it most likely stands in an object: in quotes, with the colon.
    spelled: Expected,
    next: Option<usize>,
}

impl Names {
    /// Distinct names; the error is one that is there twice.
    pub(super) fn new<'a>(declared: impl Iterator<Item = &'a str>) -> Result<Self, &'a str> {
        let mut names = Self { known: Vec::new(), sorted: Vec::new(), first: None };
        for name in declared {
            let place = names.search(name).err().ok_or(name)?;
            names.insert(place, name);
        }
        // At first they are expected as declared.
        let count = names.known.len();
        for (name, next) in names.known.iter_mut().zip(1..count) {
            name.next = Some(next);
        }
        names.first = (count > 0).then_some(0);
        Ok(names)
    }

    /// Steps over a member's name and the colon; which name it is, if it is known. `last` is the one before.
    #[inline]
    fn read(&mut self, scanner: &mut Scanner<'_>, last: Option<usize>) -> Scan<Option<usize>> {
        scanner.peek();
        let guess = last.map_or(self.first, |last| self.known[last].next);
        if let Some(guess) = guess
            && scanner.eat(&self.known[guess].spelled)
        {
            return Ok(Some(guess));
        }
        let name = scanner.name()?.text();
        let found = match self.search(&name) {
            Ok(found) => Some(found),
            Err(place) => (self.known.len() < MAX_KNOWN && name.len() <= MAX_LENGTH)
                .then(|| self.insert(place, &name)),
        };
        match last {
            Some(last) => self.known[last].next = found,
            None => self.first = found,
        }
        Ok(found)
    }

    /// Where a name is in `known`, or where it belongs in `sorted`.
    fn search(&self, name: &str) -> Result<usize, usize> {
        let found = self.sorted.binary_search_by(|&place| (*self.known[place].text).cmp(name))?;
        Ok(self.sorted[found])
    }

    fn insert(&mut self, place: usize, name: &str) -> usize {
        let index = self.known.len();
        let spelled = Expected::new(format!("{}:", serde_json::Value::from(name)).as_bytes());
        self.known.push(Name { text: name.into(), spelled, next: None });
        self.sorted.insert(place, index);
        index
    }
}

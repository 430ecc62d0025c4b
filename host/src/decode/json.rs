//! Values of JSON into columns.

use arrow_cast::base64::{BASE64_STANDARD, Engine};

use super::{
    class,
    column::{Column, Entries, Members, Offsets, Values, type_name},
    number::{Misfit, Number},
    scan::{Problem, Scan, Scanner},
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
        let fit = match (&mut self.values, first) {
            (Values::Utf8(values), Some(b'"')) => {
                let string = scanner.string()?;
                values.push(|data| string.append_to(data));
                Ok(())
            }
            (Values::Int32(values), Some(b'-' | b'0'..=b'9')) => {
                push(values, scanner.number()?.int32())
            }
            (Values::Int64(values), Some(b'-' | b'0'..=b'9')) => {
                push(values, scanner.number()?.int64())
            }
            (Values::Float32(values), Some(b'-' | b'0'..=b'9')) => {
                push(values, scanner.number()?.float32())
            }
            (Values::Float64(values), Some(b'-' | b'0'..=b'9')) => {
                push(values, scanner.number()?.float64())
            }
            (Values::Timestamp(values), Some(b'"')) => {
                let time = time::micros(scanner.string()?.text().as_bytes());
                push(values, time.ok_or(NOT_TIME))
            }
            (Values::Timestamp(values), Some(b'-' | b'0'..=b'9')) => {
                let millis = scanner.number()?.int64();
                push(values, millis.and_then(|millis| millis.checked_mul(1000).ok_or(FAR_TIME)))
            }
            (Values::Date(values), Some(b'"')) => {
                push(values, time::days(scanner.string()?.text().as_bytes()).ok_or(NOT_DATE))
            }
            (Values::Date(values), Some(b'-' | b'0'..=b'9')) => {
                push(values, scanner.number()?.int32())
            }
            (Values::Boolean(values), Some(b't')) => {
                scanner.literal("true")?;
                values.append(true);
                Ok(())
            }
            (Values::Boolean(values), Some(b'f')) => {
                scanner.literal("false")?;
                values.append(false);
                Ok(())
            }
            (Values::Decimal(values, precision, scale), Some(b'-' | b'0'..=b'9')) => {
                push(values, scanner.number()?.decimal(*precision, *scale))
            }
            (Values::Decimal(values, precision, scale), Some(b'"')) => {
                let text = scanner.string()?.text();
                let value = Number::of(&text)
                    .ok_or(NOT_DECIMAL)
                    .and_then(|number| number.decimal(*precision, *scale));
                push(values, value)
            }
            (Values::Binary(values), Some(b'"')) => {
                let text = scanner.string()?.text();
                values
                    .push(|data| BASE64_STANDARD.decode_vec(text.as_bytes(), data))
                    .map_err(|_| NOT_BASE64)
            }
            (Values::Json(values), _) => {
                scanner.skip()?;
                values.push(|data| data.extend_from_slice(scanner.since(start).as_bytes()));
                Ok(())
            }
            (Values::List(offsets, element), Some(b'[')) => {
                list(scanner, offsets, element).map(Ok)?
            }
            (Values::Struct(members), Some(b'{')) => {
                members.object(scanner, self.valid.len()).map(Ok)?
            }
            (Values::Map(offsets, entries), Some(b'{')) => {
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
        self.valid.append_non_null();
        Ok(())
    }

    #[cold]
    fn problem(&self, class: &'static str, text: String) -> Box<Problem> {
        let field = self.path.clone();
        Box::new(Problem { class, text: format!("field `{field}`: {text}"), field: Some(field) })
    }
}

fn push<T>(values: &mut Vec<T>, value: Result<T, Misfit>) -> Result<(), Misfit> {
    values.push(value?);
    Ok(())
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
    offsets.push(element.len());
    result
}

impl Members {
    /// Decodes the object that starts here into the row after the first `rows`.
    pub(super) fn object(&mut self, scanner: &mut Scanner<'_>, rows: usize) -> Scan<()> {
        let mut failed: Vec<(usize, Box<Problem>)> = Vec::new();
        scanner.open()?;
        let mut last = Last::Open;
        let mut first = true;
        while scanner.more(first, b'}')? {
            first = false;
            let member = self.names.read(scanner, last)?;
            last = Last::Member(member);
            let Some(member) = member else {
                scanner.skip()?;
                continue;
            };
            let column = &mut self.columns[member];
            if column.len() > rows || !failed.is_empty() {
                column.truncate(rows);
                failed.retain(|(other, _)| *other != member);
            }
            if let Err(problem) = held(column.value(scanner))? {
                column.truncate(rows);
                failed.push((member, problem));
            }
        }
        for (member, column) in self.columns.iter_mut().enumerate() {
            if column.len() > rows || failed.iter().any(|(other, _)| *other == member) {
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
        let end = self.values.len();
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
        offsets.push(self.values.len());
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
                let len = self.values.len();
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

/// What stands before a member.
#[derive(Clone, Copy)]
enum Last {
    Open,
    Member(Option<usize>),
}

/// The names of an object's declared members. Each remembers which one followed it last time: producers write members in the
/// same order again and again, so most names are found by comparing them with one guess.
#[derive(Debug)]
pub(super) struct Names {
    names: Vec<Box<str>>,
    /// Each name as it most likely stands in the text: in quotes, with the colon.
    spelled: Vec<Box<[u8]>>,
    /// Places in `names`, in the order of the names.
    sorted: Vec<usize>,
    /// Which name follows each name, a member that is not declared, and the opening brace.
    next: Vec<Option<usize>>,
}

impl Names {
    /// Distinct names; the error is one that is there twice.
    pub(super) fn new(names: Vec<&str>) -> Result<Self, String> {
        let mut sorted: Vec<usize> = (0..names.len()).collect();
        sorted.sort_unstable_by_key(|&place| names[place]);
        if let Some(twice) = sorted.windows(2).find(|pair| names[pair[0]] == names[pair[1]]) {
            return Err(names[twice[0]].into());
        }
        let spelled = names
            .iter()
            .map(|&name| format!("{}:", serde_json::Value::from(name)).into_bytes().into())
            .collect();
        // At first they are expected as declared.
        let next = (1..=names.len())
            .chain([names.len(), 0])
            .map(|next| (next < names.len()).then_some(next))
            .collect();
        Ok(Self { names: names.into_iter().map(Box::from).collect(), spelled, sorted, next })
    }

    /// Steps over a member's name and the colon; which declared member it is, if any.
    #[inline]
    fn read(&mut self, scanner: &mut Scanner<'_>, last: Last) -> Scan<Option<usize>> {
        let last = match last {
            Last::Member(Some(member)) => member,
            Last::Member(None) => self.names.len(),
            Last::Open => self.names.len() + 1,
        };
        scanner.peek();
        if let Some(guess) = self.next[last]
            && scanner.eat(&self.spelled[guess])
        {
            return Ok(Some(guess));
        }
        let name = scanner.name()?.text();
        let found = self.sorted.binary_search_by(|&place| (*self.names[place]).cmp(&*name)).ok();
        let found = found.map(|found| self.sorted[found]);
        self.next[last] = found;
        Ok(found)
    }
}

//! A strict scanner of JSON text (RFC 8259).
//!
//! `string` and `number` are always inlined: their results would pass through memory, and loads that straddle fresh stores
//! stall for longer than it takes to scan most strings.

use std::borrow::Cow;

use memchr::memchr;

use super::{class, number::Number};

/// Levels of arrays and objects in one another, as many as `serde_json` allows.
pub(super) const MAX_DEPTH: u8 = 127;

/// A result of the scan; boxed, as problems are rare and results pass through every value.
pub(super) type Scan<T> = Result<T, Box<Problem>>;

/// What is wrong with a record.
#[derive(Debug)]
pub(super) struct Problem {
    /// One of `super::class`.
    pub(super) class: &'static str,
    /// The field whose value is wrong. Then the scan can go on behind that value; without a field it is over.
    pub(super) field: Option<String>,
    /// What is wrong, for people.
    pub(super) text: String,
}

impl Problem {
    /// A problem that ends the scan of the record.
    #[cold]
    pub(super) fn record(class: &'static str, text: String) -> Box<Self> {
        Box::new(Self { class, field: None, text })
    }

    #[cold]
    fn not_json(at: usize, what: &str) -> Box<Self> {
        Self::record(class::NOT_JSON, format!("not JSON at byte {at}: {what}"))
    }
}

/// A string of the text, checked, between its quotes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quoted<'a> {
    raw: &'a str,
    escaped: bool,
}

impl<'a> Quoted<'a> {
    /// The string, its escapes replaced.
    pub(super) fn text(&self) -> Cow<'a, str> {
        if !self.escaped {
            return Cow::Borrowed(self.raw);
        }
        let mut text = Vec::with_capacity(self.raw.len());
        self.append_to(&mut text);
        Cow::Owned(String::from_utf8(text).expect("text with characters for its escapes is text"))
    }

    /// Appends the string, its escapes replaced.
    #[inline]
    pub(super) fn append_to(&self, data: &mut Vec<u8>) {
        let mut rest = self.raw.as_bytes();
        if self.escaped {
            while let Some(backslash) = memchr(b'\\', rest) {
                data.extend_from_slice(&rest[..backslash]);
                rest = &rest[backslash..];
                let mut length = 0;
                let character =
                    escape(rest, &mut length).expect("escapes were checked by the scan");
                data.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                rest = &rest[length..];
            }
        }
        data.extend_from_slice(rest);
    }
}

/// Bytes that are likely to come next.
#[derive(Debug)]
pub(super) struct Expected {
    bytes: Box<[u8]>,
    /// The first 16 of them as one number, and which bits of it count: most names fit, and take one comparison.
    head: u128,
    mask: u128,
}

impl Expected {
    pub(super) fn new(bytes: &[u8]) -> Self {
        let (mut head, mut mask) = ([0; 16], [0; 16]);
        for ((head, mask), &byte) in head.iter_mut().zip(&mut mask).zip(bytes) {
            (*head, *mask) = (byte, u8::MAX);
        }
        Self {
            bytes: bytes.into(),
            head: u128::from_le_bytes(head),
            mask: u128::from_le_bytes(mask),
        }
    }

    #[inline]
    fn starts(&self, text: &[u8]) -> bool {
        let Some(head) = text.first_chunk() else { return text.starts_with(&self.bytes) };
        (u128::from_le_bytes(*head) ^ self.head) & self.mask == 0
            && (self.bytes.len() <= 16 || text[16..].starts_with(&self.bytes[16..]))
    }
}

/// A place in the text of one record.
#[derive(Clone, Debug)]
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
    depth: u8,
}

impl<'a> Scanner<'a> {
    /// A scanner at the start of a text.
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0, depth: 0 }
    }

    /// The byte where the scanner stands.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The text from a byte up to here.
    pub(super) fn since(&self, start: usize) -> &'a str {
        &self.text[start..self.at]
    }

    /// The next byte that is not white space, which it steps over.
    #[inline]
    pub(super) fn peek(&mut self) -> Option<u8> {
        loop {
            match self.text.as_bytes().get(self.at) {
                Some(&byte) if byte > b' ' => return Some(byte),
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.at += 1,
                byte => return byte.copied(),
            }
        }
    }

    /// What kind of value starts here.
    pub(super) fn kind(&mut self) -> &'static str {
        match self.peek() {
            Some(b'{') => "an object",
            Some(b'[') => "an array",
            Some(b'"') => "a string",
            Some(b't' | b'f') => "a boolean",
            Some(b'n') => "null",
            _ => "a number",
        }
    }

    /// Steps over exactly these bytes, if they come next.
    #[inline]
    pub(super) fn eat(&mut self, expected: &Expected) -> bool {
        let eaten = expected.starts(&self.text.as_bytes()[self.at..]);
        self.at += if eaten { expected.bytes.len() } else { 0 };
        eaten
    }

    /// Checks that nothing is left.
    pub(super) fn end(&mut self) -> Scan<()> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(Problem::not_json(self.at, "expected the end")),
        }
    }

    /// Steps into the array or object that starts here.
    #[inline]
    pub(super) fn open(&mut self) -> Scan<()> {
        if self.depth == MAX_DEPTH {
            let text = format!(
                "more than {MAX_DEPTH} arrays and objects in one another at byte {}",
                self.at
            );
            return Err(Problem::record(class::DEPTH, text));
        }
        self.at += 1;
        self.depth += 1;
        Ok(())
    }

    /// Steps to the next element or member, or out of the array or object; says whether there is one.
    #[inline]
    pub(super) fn more(&mut self, first: bool, close: u8) -> Scan<bool> {
        match self.peek() {
            Some(b',') if !first => {
                self.at += 1;
                Ok(true)
            }
            Some(byte) if byte == close => {
                self.at += 1;
                self.depth -= 1;
                Ok(false)
            }
            _ if first => Ok(true),
            _ => Err(Problem::not_json(
                self.at,
                if close == b'}' { "expected `,` or `}`" } else { "expected `,` or `]`" },
            )),
        }
    }

    /// Steps over a member's name and the colon.
    pub(super) fn name(&mut self) -> Scan<Quoted<'a>> {
        if self.peek() != Some(b'"') {
            return Err(Problem::not_json(self.at, "expected a name in double quotes"));
        }
        let name = self.string()?;
        if self.peek() != Some(b':') {
            return Err(Problem::not_json(self.at, "expected `:`"));
        }
        self.at += 1;
        Ok(name)
    }

    /// Steps over the string whose opening quote comes next.
    #[inline(always)]
    pub(super) fn string(&mut self) -> Scan<Quoted<'a>> {
        let start = self.at + 1;
        let end = next_special(self.text.as_bytes(), start);
        if self.text.as_bytes().get(end) == Some(&b'"') {
            self.at = end + 1;
            return Ok(Quoted { raw: &self.text[start..end], escaped: false });
        }
        self.string_with_escapes(start, end)
    }

    /// The same, from the first byte on that is not a string's plain text.
    #[cold]
    fn string_with_escapes(&mut self, start: usize, mut at: usize) -> Scan<Quoted<'a>> {
        let bytes = self.text.as_bytes();
        loop {
            match bytes.get(at) {
                Some(b'"') => {
                    self.at = at + 1;
                    return Ok(Quoted { raw: &self.text[start..at], escaped: true });
                }
                Some(b'\\') => {
                    let backslash = at;
                    escape(bytes, &mut at).map_err(|what| Problem::not_json(backslash, what))?;
                    at = next_special(bytes, at);
                }
                Some(_) => {
                    return Err(Problem::not_json(
                        at,
                        "control characters in strings must be escaped",
                    ));
                }
                None => return Err(Problem::not_json(at, "the string does not end")),
            }
        }
    }

    /// Steps over the number that starts here.
    #[inline(always)]
    pub(super) fn number(&mut self) -> Scan<Number<'a>> {
        let (number, end) =
            Number::scan(self.text, self.at).map_err(|(at, what)| Problem::not_json(at, what))?;
        self.at = end;
        Ok(number)
    }

    /// Steps over `true`, `false` or `null`.
    #[inline]
    pub(super) fn literal(&mut self, word: &'static str) -> Scan<()> {
        if self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(())
        } else {
            Err(Problem::not_json(self.at, "expected a value"))
        }
    }

    /// Steps over a value of any kind, and checks it.
    pub(super) fn skip(&mut self) -> Scan<()> {
        match self.peek() {
            Some(b'"') => self.string().map(drop),
            Some(b'-' | b'0'..=b'9') => self.number().map(drop),
            Some(b'{') => {
                self.open()?;
                let mut first = true;
                while self.more(first, b'}')? {
                    first = false;
                    self.name()?;
                    self.skip()?;
                }
                Ok(())
            }
            Some(b'[') => {
                self.open()?;
                let mut first = true;
                while self.more(first, b']')? {
                    first = false;
                    self.skip()?;
                }
                Ok(())
            }
            Some(b't') => self.literal("true"),
            Some(b'f') => self.literal("false"),
            Some(b'n') => self.literal("null"),
            Some(_) => Err(Problem::not_json(self.at, "expected a value")),
            None => Err(Problem::not_json(self.at, "expected a value, found the end")),
        }
    }
}

/// The first byte from `at` on that ends a string's plain text: a quote, a backslash, a control character; or the length.
///
/// Eight bytes at a time: most strings are so short that a call into a vectorised search costs more than it saves. Of a word,
/// `(word - ones) & !word` has the high bit of each byte that is 0, and maybe of bytes above such a byte, which does not
/// matter to the lowest (S. E. Anderson, "Bit Twiddling Hacks").
#[inline]
fn next_special(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    while let Some(word) = bytes.get(at..at + 8) {
        let word = u64::from_le_bytes(word.try_into().expect("eight bytes"));
        let quote = word ^ (ONES * u64::from(b'"'));
        let backslash = word ^ (ONES * u64::from(b'\\'));
        let special = quote.wrapping_sub(ONES) & !quote
            | backslash.wrapping_sub(ONES) & !backslash
            | word.wrapping_sub(ONES * u64::from(b' ')) & !word;
        let special = special & (ONES * 0x80);
        if special != 0 {
            return at + special.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest
        .iter()
        .position(|&byte| byte < b' ' || byte == b'"' || byte == b'\\')
        .unwrap_or(rest.len())
}

/// The character of the escape that starts at `at`, which moves behind it.
fn escape(bytes: &[u8], at: &mut usize) -> Result<char, &'static str> {
    let character = match bytes.get(*at + 1) {
        Some(b'"') => '"',
        Some(b'\\') => '\\',
        Some(b'/') => '/',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => {
            let mut code = hex(bytes, *at + 2)?;
            // A pair of surrogates: RFC 8259, section 7.
            if (0xd800..0xdc00).contains(&code) && bytes.get(*at + 6..*at + 8) == Some(b"\\u") {
                let low = hex(bytes, *at + 8)?;
                if (0xdc00..0xe000).contains(&low) {
                    code = 0x1_0000 + ((code - 0xd800) << 10) + (low - 0xdc00);
                    *at += 6;
                }
            }
            *at += 4;
            char::from_u32(code).ok_or("half of a surrogate pair")?
        }
        _ => return Err("not an escape"),
    };
    *at += 2;
    Ok(character)
}

/// The number of four hexadecimal digits.
fn hex(bytes: &[u8], at: usize) -> Result<u32, &'static str> {
    let digits = bytes.get(at..at + 4).ok_or("not an escape")?;
    digits.iter().try_fold(0, |code, &digit| {
        let digit = char::from(digit).to_digit(16).ok_or("not an escape")?;
        Ok(code << 4 | digit)
    })
}

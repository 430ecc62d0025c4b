//! A forward scan over JSON text, as strict as RFC 8259: what is skipped is checked as well.

use memchr::memchr2;

/// Arrays and objects may be nested this deep.
const MAX_DEPTH: u32 = 128;

/// Why a record is broken.
#[derive(Debug)]
pub(super) struct Flaw {
    pub class: &'static str,
    pub field: Option<String>,
    pub text: String,
}

impl Flaw {
    pub(super) fn new(class: &'static str, text: String) -> Self {
        Self { class, field: None, text }
    }

    /// The same flaw, said to be in a field.
    pub(super) fn of(mut self, field: &str) -> Self {
        self.field.get_or_insert_with(|| field.to_owned());
        self
    }
}

/// A string of the text: as it stands, or with escapes that have to be resolved.
#[derive(Clone, Copy, Debug)]
pub(super) enum Text<'a> {
    Plain(&'a str),
    Escaped(&'a str),
}

/// A place in JSON text.
#[derive(Debug)]
pub(super) struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    depth: u32,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, bytes: text.as_bytes(), at: 0, depth: 0 }
    }

    /// The next byte.
    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// The place of the next byte.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The text from a place to the next byte.
    pub(super) fn since(&self, from: usize) -> &'a str {
        &self.text[from..self.at]
    }

    /// Skips white space.
    pub(super) fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// A flaw of the text itself.
    pub(super) fn not_json(&self, what: &str) -> Flaw {
        Flaw::new("NOT_JSON", format!("{what} at byte {}", self.at))
    }

    /// Takes a byte that must be there.
    fn expect(&mut self, byte: u8, what: &str) -> Result<(), Flaw> {
        if self.peek() == Some(byte) {
            self.at += 1;
            return Ok(());
        }
        Err(self.not_json(what))
    }

    /// Takes a byte if it is there.
    fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    /// Nothing but white space may follow.
    pub(super) fn end(&mut self) -> Result<(), Flaw> {
        self.space();
        if self.at == self.bytes.len() { Ok(()) } else { Err(self.not_json("something follows the value")) }
    }

    /// Takes a word such as `null`.
    pub(super) fn word(&mut self, word: &str) -> Result<(), Flaw> {
        if self.bytes[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            return Ok(());
        }
        Err(self.not_json("no value"))
    }

    /// Takes an array, handing each element's start to `element`.
    pub(super) fn array(&mut self, mut element: impl FnMut(&mut Self) -> Result<(), Flaw>) -> Result<(), Flaw> {
        self.enter()?;
        self.space();
        if !self.take(b']') {
            loop {
                self.space();
                element(self)?;
                self.space();
                if !self.take(b',') {
                    break;
                }
            }
            self.expect(b']', "no `,` or `]`")?;
        }
        self.depth -= 1;
        Ok(())
    }

    /// Takes an object, handing each member's key and its value's start to `member`.
    pub(super) fn object(&mut self, mut member: impl FnMut(&mut Self, Text<'a>) -> Result<(), Flaw>) -> Result<(), Flaw> {
        self.enter()?;
        self.space();
        if !self.take(b'}') {
            loop {
                self.space();
                if self.peek() != Some(b'"') {
                    return Err(self.not_json("no key"));
                }
                let key = self.string()?;
                self.space();
                self.expect(b':', "no `:`")?;
                self.space();
                member(self, key)?;
                self.space();
                if !self.take(b',') {
                    break;
                }
            }
            self.expect(b'}', "no `,` or `}`")?;
        }
        self.depth -= 1;
        Ok(())
    }

    fn enter(&mut self) -> Result<(), Flaw> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Flaw::new("DEPTH", format!("nested deeper than {MAX_DEPTH} at byte {}", self.at)));
        }
        self.at += 1;
        Ok(())
    }

    /// Takes any value.
    pub(super) fn skip(&mut self) -> Result<(), Flaw> {
        match self.peek() {
            Some(b'"') => self.string().map(drop),
            Some(b'{') => self.object(|scanner, _| scanner.skip()),
            Some(b'[') => self.array(Self::skip),
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'n') => self.word("null"),
            Some(b'-' | b'0'..=b'9') => self.number().map(drop),
            _ => Err(self.not_json("no value")),
        }
    }

    /// Takes a number and gives its text.
    pub(super) fn number(&mut self) -> Result<&'a str, Flaw> {
        let from = self.at;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _signed = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        Ok(self.since(from))
    }

    fn digits(&mut self) -> Result<(), Flaw> {
        let from = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == from { Err(self.not_json("no digit")) } else { Ok(()) }
    }

    /// Takes a string; the next byte is its quote.
    pub(super) fn string(&mut self) -> Result<Text<'a>, Flaw> {
        self.at += 1;
        let from = self.at;
        let mut escaped = false;
        loop {
            let rest = &self.bytes[self.at..];
            let Some(stop) = memchr2(b'"', b'\\', rest) else {
                self.at = self.bytes.len();
                return Err(self.not_json("a string does not end"));
            };
            // One pass that the compiler turns into vector code.
            if rest[..stop].iter().fold(false, |found, &byte| found | (byte < b' ')) {
                self.at += rest[..stop].iter().position(|&byte| byte < b' ').expect("there is one");
                return Err(self.not_json("a control character in a string"));
            }
            self.at += stop;
            if rest[stop] == b'"' {
                let text = self.since(from);
                self.at += 1;
                return Ok(if escaped { Text::Escaped(text) } else { Text::Plain(text) });
            }
            escaped = true;
            self.escape()?;
        }
    }

    /// Takes an escape and checks it; the next byte is its backslash.
    fn escape(&mut self) -> Result<(), Flaw> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 1;
                Ok(())
            }
            Some(b'u') => match self.unit()? {
                0xDC00..=0xDFFF => Err(self.not_json("half a surrogate pair")),
                0xD800..=0xDBFF => {
                    let second = self.take(b'\\') && self.peek() == Some(b'u') && (0xDC00..=0xDFFF).contains(&self.unit()?);
                    if second { Ok(()) } else { Err(self.not_json("half a surrogate pair")) }
                }
                _ => Ok(()),
            },
            _ => Err(self.not_json("no such escape")),
        }
    }

    /// Takes `uXXXX`.
    fn unit(&mut self) -> Result<u32, Flaw> {
        let digits = self.bytes.get(self.at + 1..self.at + 5).unwrap_or_default();
        let unit = digits.iter().try_fold(0, |unit, &digit| Some(unit * 16 + char::from(digit).to_digit(16)?));
        match unit {
            Some(unit) if digits.len() == 4 => {
                self.at += 5;
                Ok(unit)
            }
            _ => Err(self.not_json("no four hexadecimal digits")),
        }
    }
}

/// Appends a string whose escapes were checked, with them resolved.
pub(super) fn resolve(escaped: &str, into: &mut String) {
    let mut rest = escaped;
    while let Some((plain, escape)) = rest.split_once('\\') {
        into.push_str(plain);
        let unit = |at: usize| u32::from_str_radix(&escape[at..at + 4], 16).expect("the scanner checked the digits");
        let (character, length) = match escape.as_bytes()[0] {
            b'b' => ('\u{8}', 1),
            b'f' => ('\u{c}', 1),
            b'n' => ('\n', 1),
            b'r' => ('\r', 1),
            b't' => ('\t', 1),
            b'u' => match unit(1) {
                high @ 0xD800..=0xDBFF => {
                    let code = 0x1_0000 + ((high - 0xD800) << 10) + (unit(7) - 0xDC00);
                    (char::from_u32(code).expect("a pair of surrogates is a character"), 11)
                }
                code => (char::from_u32(code).expect("the scanner refused lone surrogates"), 5),
            },
            other => (char::from(other), 1),
        };
        into.push(character);
        rest = &escape[length..];
    }
    into.push_str(rest);
}

//! JSON's numbers, and what becomes of them in each type.

use super::class;

/// Powers of ten that are exact in an `f64`.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

/// The powers of ten that are exact in an `f32`, and not used up by its 24 bits.
const POWERS_32: [f32; 11] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10];

/// Why a value does not fit its field: the class, and what was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Misfit(pub(super) &'static str, pub(super) &'static str);

const TOO_LARGE: Misfit = Misfit(class::OVERFLOW, "a number outside of its range");
const NOT_INTEGER: Misfit = Misfit(class::WRONG_TYPE, "a number with a fraction or an exponent");
const TOO_FINE: Misfit = Misfit(class::OVERFLOW, "a number with more digits after the point");

/// A number, checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Number<'a> {
    text: &'a str,
    /// All digits before the exponent as one integer; right while there are no more than 19.
    digits: u64,
    /// How many digits that are.
    count: usize,
    /// How many of them stand after the point.
    fraction: usize,
    exponent: bool,
}

impl<'a> Number<'a> {
    /// The number that starts at a byte, and where it ends; or the byte that is wrong, and why.
    #[inline(always)]
    pub(super) fn scan(
        text: &'a str,
        start: usize,
    ) -> Result<(Self, usize), (usize, &'static str)> {
        let bytes = text.as_bytes();
        let mut digits = 0_u64;
        let mut run = |from: usize| {
            let mut at = from;
            while let Some(digit @ b'0'..=b'9') = bytes.get(at) {
                digits = digits.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
                at += 1;
            }
            if at == from { Err((at, "expected a digit")) } else { Ok(at) }
        };
        let whole = start + usize::from(bytes.get(start) == Some(&b'-'));
        let mut end = run(whole)?;
        if bytes[whole] == b'0' && end > whole + 1 {
            return Err((whole + 1, "a number has no leading zero"));
        }
        let mut count = end - whole;
        let mut fraction = 0;
        if bytes.get(end) == Some(&b'.') {
            let point = end;
            end = run(point + 1)?;
            fraction = end - point - 1;
            count += fraction;
        }
        let exponent = matches!(bytes.get(end), Some(b'e' | b'E'));
        if exponent {
            end += 1 + usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
            end = exponent_end(bytes, end)?;
        }
        Ok((Self { text: &text[start..end], digits, count, fraction, exponent }, end))
    }

    /// The number that is all of a text, by JSON's rules.
    pub(super) fn of(text: &'a str) -> Option<Self> {
        let (number, end) = Self::scan(text, 0).ok()?;
        (end == text.len()).then_some(number)
    }

    /// As an `i64`.
    #[inline]
    pub(super) fn int64(&self) -> Result<i64, Misfit> {
        if self.fraction > 0 || self.exponent {
            Err(NOT_INTEGER)
        } else if self.count <= 18 {
            let value = self.digits.cast_signed();
            Ok(if self.negative() { -value } else { value })
        } else {
            self.text.parse().map_err(|_| TOO_LARGE)
        }
    }

    /// As an `i32`.
    #[inline]
    pub(super) fn int32(&self) -> Result<i32, Misfit> {
        i32::try_from(self.int64()?).map_err(|_| TOO_LARGE)
    }

    /// As the nearest `f64`.
    ///
    /// Few digits divided by an exact power of ten round once, as IEEE 754 divides: W. D. Clinger, "How to read floating point
    /// numbers accurately", 1990. The standard library reads the others.
    #[inline]
    pub(super) fn float64(&self) -> Result<f64, Misfit> {
        if !self.exponent && self.count <= 15 {
            let value = self.digits as f64 / POWERS[self.fraction];
            return Ok(if self.negative() { -value } else { value });
        }
        let value: f64 = self.text.parse().expect("JSON's numbers are numbers to Rust");
        if value.is_finite() { Ok(value) } else { Err(TOO_LARGE) }
    }

    /// As the nearest `f32`: from the text too, since rounding an `f64` rounds twice.
    #[inline]
    pub(super) fn float32(&self) -> Result<f32, Misfit> {
        if !self.exponent && self.count <= 7 {
            let value = self.digits as f32 / POWERS_32[self.fraction];
            return Ok(if self.negative() { -value } else { value });
        }
        let value: f32 = self.text.parse().expect("JSON's numbers are numbers to Rust");
        if value.is_finite() { Ok(value) } else { Err(TOO_LARGE) }
    }

    /// As an integer of `10^-scale`, of no more than `precision` digits, without losing any.
    pub(super) fn decimal(&self, precision: u8, scale: i8) -> Result<i128, Misfit> {
        let text = self.text.trim_start_matches('-');
        let (digits, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let mut value = 0_i128;
        let (mut significant, mut zeros) = (0_i64, 0_i64);
        for digit in digits.bytes().filter(|&byte| byte != b'.') {
            // Zeros wait until another digit shows that they count: `1.500` has two digits.
            if digit == b'0' {
                zeros += i64::from(significant > 0);
                continue;
            }
            significant += zeros + 1;
            if significant > 38 {
                return Err(TOO_LARGE);
            }
            for _ in 0..zeros {
                value *= 10;
            }
            value = value * 10 + i128::from(digit - b'0');
            zeros = 0;
        }
        if significant == 0 {
            return Ok(0);
        }
        // An exponent that no `i64` holds is far out of range on either side, whatever its digits.
        let exponent = exponent.parse().unwrap_or(if exponent.starts_with('-') {
            i64::MIN / 2
        } else {
            i64::MAX / 2
        });
        let fraction = i64::try_from(self.fraction).expect("a text is shorter than 2^63");
        let shift = exponent.saturating_add(zeros - fraction + i64::from(scale));
        if shift < 0 {
            return Err(TOO_FINE);
        }
        if shift.saturating_add(significant) > i64::from(precision) {
            return Err(TOO_LARGE);
        }
        for _ in 0..shift {
            value *= 10;
        }
        Ok(if self.negative() { -value } else { value })
    }

    fn negative(&self) -> bool {
        self.text.starts_with('-')
    }
}

fn exponent_end(bytes: &[u8], from: usize) -> Result<usize, (usize, &'static str)> {
    match bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count() {
        0 => Err((from, "expected a digit")),
        count => Ok(from + count),
    }
}

#[cfg(test)]
mod tests {
    use super::{NOT_INTEGER, Number, TOO_FINE, TOO_LARGE};

    fn number(text: &str) -> Number<'_> {
        Number::of(text).unwrap_or_else(|| panic!("{text} is a number"))
    }

    #[test]
    fn only_json_numbers_are_numbers() {
        for text in [
            "", "-", "+1", ".5", "5.", "01", "-01", "1e", "1e+", "1.e3", "0x1", "NaN", "Infinity",
            "1 ", "1_0",
        ] {
            assert!(Number::of(text).is_none(), "{text}");
        }
    }

    #[test]
    fn integers_have_no_fraction_and_fit() {
        assert_eq!(number("-0").int64(), Ok(0));
        assert_eq!(number("9223372036854775807").int64(), Ok(i64::MAX));
        assert_eq!(number("-9223372036854775808").int64(), Ok(i64::MIN));
        assert_eq!(number("9223372036854775808").int64(), Err(TOO_LARGE));
        assert_eq!(number("3.0").int64(), Err(NOT_INTEGER));
        assert_eq!(number("1e3").int64(), Err(NOT_INTEGER));
        assert_eq!(number("2147483648").int32(), Err(TOO_LARGE));
        assert_eq!(number("-2147483648").int32(), Ok(i32::MIN));
    }

    #[test]
    fn floats_are_the_nearest_to_their_text() {
        for text in [
            "0",
            "-0",
            "-0.0",
            "12.34",
            "0.1",
            "999999999999999",
            "0.00000000000001",
            "123456789.012345",
            "9007199254740993",
            "1e-400",
            "5e-324",
            "2.4703282292062327e-324",
            "1.7976931348623157e308",
            "16777217",
            "1.1754944e-38",
            "0.000001",
            "8388608.5",
            "7.038531e-26",
            "1.00000017881393432617187499",
        ] {
            assert_eq!(
                number(text).float64().unwrap().to_bits(),
                text.parse::<f64>().unwrap().to_bits(),
                "{text}"
            );
            assert_eq!(
                number(text).float32().ok(),
                text.parse::<f32>().ok().filter(|value| value.is_finite()),
                "{text}"
            );
        }
        assert_eq!(number("1e400").float64(), Err(TOO_LARGE));
        assert_eq!(number("1e39").float32(), Err(TOO_LARGE));
    }

    #[test]
    fn decimals_lose_nothing() {
        let nines = "9".repeat(38);
        for (text, precision, scale, value) in [
            ("12.34", 4, 2, Ok(1234)),
            ("-12.3400", 4, 2, Ok(-1234)),
            ("1200", 4, 0, Ok(1200)),
            ("12e2", 4, 0, Ok(1200)),
            ("1234e-2", 4, 2, Ok(1234)),
            ("0.05", 2, 2, Ok(5)),
            ("0e99999999999999999999", 1, 0, Ok(0)),
            ("12.345", 9, 2, Err(TOO_FINE)),
            ("123.45", 4, 2, Err(TOO_LARGE)),
            ("1e99999999999999999999", 38, 0, Err(TOO_LARGE)),
            ("1e-99999999999999999999", 38, 38, Err(TOO_FINE)),
            (&*nines, 38, 0, Ok(10_i128.pow(38) - 1)),
            (&*format!("{nines}0"), 38, 0, Err(TOO_LARGE)),
            (&*format!("0.{nines}"), 38, 38, Ok(10_i128.pow(38) - 1)),
            (&*format!("0.{nines}1"), 38, 38, Err(TOO_LARGE)),
        ] {
            assert_eq!(number(text).decimal(precision, scale), value, "{text}");
        }
    }
}

//! Dates and times in text.

/// Days since 1970-01-01 of `YYYY-MM-DD` (RFC 3339's `full-date`, years 0000 to 9999).
pub(super) fn days(text: &[u8]) -> Option<i32> {
    let &[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = text else { return None };
    let (year, month, day) = (number([y1, y2, y3, y4])?, number([m1, m2])?, number([d1, d2])?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 => 28 + i32::from(leap),
        4 | 6 | 9 | 11 => 30,
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        _ => return None,
    };
    (1..=length).contains(&day).then(|| days_from_civil(year, month, day))
}

/// Microseconds since 1970-01-01T00:00:00Z of an RFC 3339 `date-time`; digits after the sixth are cut off.
///
/// A leap second counts as the second after it, as in POSIX. RFC 3339 lets a blank stand for the `T`.
pub(super) fn micros(text: &[u8]) -> Option<i64> {
    let (date, time) = text.split_at_checked(10)?;
    let [b'T' | b't' | b' ', h1, h2, b':', m1, m2, b':', s1, s2, rest @ ..] = time else {
        return None;
    };
    let (hour, minute, second) = (number([*h1, *h2])?, number([*m1, *m2])?, number([*s1, *s2])?);
    let (fraction, zone) = match rest {
        [b'.', rest @ ..] => fraction(rest)?,
        _ => (0, rest),
    };
    let offset = match zone {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (number([*h1, *h2])?, number([*m1, *m2])?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            (hours * 60 + minutes) * if *sign == b'-' { -60 } else { 60 }
        }
        _ => return None,
    };
    if hour > 23 || minute > 59 {
        return None;
    }
    let seconds =
        i64::from(days(date)?) * 86_400 + i64::from(hour * 3600 + minute * 60 + second - offset);
    let leap = second == 60 && seconds % 86_400 == 0;
    (second < 60 || leap).then_some(seconds * 1_000_000 + i64::from(fraction))
}

/// Microseconds from one to nine digits, and what stands behind them.
#[inline]
fn fraction(text: &[u8]) -> Option<(i32, &[u8])> {
    let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !(1..=9).contains(&count) {
        return None;
    }
    let kept = count.min(6);
    let micros = text[..kept].iter().fold(0, |micros, byte| micros * 10 + i32::from(byte - b'0'));
    Some((micros * [100_000, 10_000, 1000, 100, 10, 1][kept - 1], &text[count..]))
}

#[inline]
fn number<const N: usize>(digits: [u8; N]) -> Option<i32> {
    let (mut value, mut right) = (0, true);
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        right &= digit < 10;
        value = value * 10 + i32::from(digit);
    }
    right.then_some(value)
}

/// Days since 1970-01-01 of a date of the proleptic Gregorian calendar, years from 0 on.
///
/// Years start in March, so that the leap day is the last of its year; then a year is 365 days and a quarter less a hundredth
/// more a four-hundredth, and the months follow the line (153 m + 2) / 5:
/// <https://howardhinnant.github.io/date_algorithms.html#days_from_civil>.
fn days_from_civil(year: i32, month: i32, day: i32) -> i32 {
    // One cycle of 400 years is added, so that nothing is negative before March of the year 0.
    let year = year + 400 - i32::from(month <= 2);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468 - 146_097
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Days, NaiveDate};
    use proptest::prelude::*;

    use super::{days, micros};

    #[test]
    fn every_day_of_ten_thousand_years_has_its_number() {
        let mut date = NaiveDate::from_ymd_opt(0, 1, 1).unwrap();
        let mut expected = -719_528;
        while date.to_string().len() == 10 {
            assert_eq!(days(date.to_string().as_bytes()), Some(expected), "{date}");
            date = date.checked_add_days(Days::new(1)).unwrap();
            expected += 1;
        }
        assert_eq!(expected, 2_932_897);
    }

    #[test]
    fn times_without_a_meaning_are_refused() {
        for text in [
            "",
            "2026-11-01",
            "2026-11-01T00:00:00",
            "2026-11-01T24:00:00Z",
            "2026-11-01T00:60:00Z",
            "2026-11-01T00:00:61Z",
            "2026-11-01T12:00:60Z",
            "2026-11-01T00:00:00.Z",
            "2026-11-01T00:00:00.1234567890Z",
            "2026-11-01T00:00:00+01",
            "2026-11-01T00:00:00+0100",
            "2026-11-01T00:00:00+24:00",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-11-00T00:00:00Z",
            "+026-11-01T00:00:00Z",
            "2026-11-01T00:00:00ZZ",
            "2026-11-01T-1:00:00Z",
            "2026-11-01Tüü:00:00Z",
        ] {
            assert_eq!(micros(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn leap_seconds_and_fractions() {
        assert_eq!(micros(b"2016-12-31T23:59:60Z"), micros(b"2017-01-01T00:00:00Z"));
        assert_eq!(micros(b"2016-12-31T15:59:60.5-08:00"), micros(b"2017-01-01T00:00:00.5Z"));
        assert_eq!(micros(b"1970-01-01 00:00:00.000001999z"), Some(1));
        assert_eq!(micros(b"1969-12-31t23:59:59.9999999Z"), Some(-1));
    }

    proptest! {
        #[test]
        fn times_are_those_of_chrono(seconds in -62_167_219_200_i64..253_402_300_800, nanos in 0_u32..1_000_000_000, hours in -23..24_i32) {
            let zone = chrono::FixedOffset::east_opt(hours * 3600).unwrap();
            let time = DateTime::from_timestamp(seconds, nanos).unwrap().with_timezone(&zone);
            let text = time.to_rfc3339();
            prop_assume!(text.starts_with(|first: char| first.is_ascii_digit()));
            prop_assert_eq!(micros(text.as_bytes()), Some(time.timestamp_micros()));
        }
    }
}

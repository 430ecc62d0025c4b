//! Made-up records for demos, tests and measurements: the same seed gives the same records, in any order.

use std::io::Write;

/// Six hours in milliseconds: what the timestamps of a lap run over.
const SPAN_MS: u64 = 6 * 3_600_000;

/// From the most frequent to the least: the n-th has 1/n of the first one's share.
const COUNTRIES: [&str; 20] = [
    "US", "DE", "IN", "BR", "GB", "FR", "JP", "CA", "IT", "ES", "MX", "NL", "PL", "TR", "SE", "AU",
    "CH", "AT", "PT", "NO",
];

/// What the numbers from 1 to 20 all divide: the shares 1/n as integers.
const SHARE: u64 = 232_792_560;

const GIVEN: [&str; 16] = [
    "Ada",
    "Grace",
    "Alan",
    "Edsger",
    "Barbara",
    "Donald",
    "Frances",
    "Ken",
    "Margaret",
    "Dennis",
    "Radia",
    "Leslie",
    "Sophie",
    "Tony",
    "Katherine",
    "Niklaus",
];

const FAMILY: [&str; 16] = [
    "Lovelace", "Hopper", "Turing", "Dijkstra", "Liskov", "Knuth", "Allen", "Thompson", "Hamilton",
    "Ritchie", "Perlman", "Lamport", "Wilson", "Hoare", "Johnson", "Wirth",
];

const DOMAINS: [&str; 8] = [
    "Example.com",
    "example.org",
    "Mail.Example.net",
    "post.example.de",
    "EXAMPLE.COM",
    "inbox.example",
    "example.co.uk",
    "Web.Example.fr",
];

const AGENTS: [&str; 6] = [
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0 Safari/537.36",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Safari/605.1.15",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
    "Mozilla/5.0 (Linux; Android 16; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0 Mobile Safari/537.36",
    "Mozilla/5.0 (X11; Ubuntu; Linux aarch64; rv:143.0) Gecko/20100101 Firefox/143.0",
];

/// Clicks in a web shop, as JSON of 284 bytes on average:
///
/// `{"ts":"2026-11-01T00:00:00.123Z","user":"u123456","email":"Ada.Hopper@Example.com","country":"DE","url":"https://shop.example/p/12345?ref=abc","amount":12.34,"items":3,"ua":"Mozilla/5.0 …"}`
///
/// 0.1 % are cut off and so not JSON; of the others 10 % have a negative amount, 2 % a null e-mail; `country` is one of 20,
/// the n-th with 1/n of the share of the first; `ts` runs over the first six hours of 2026-11-01.
#[derive(Clone, Debug)]
pub struct Clicks {
    seed: u64,
    lap: u64,
}

impl Clicks {
    /// The clicks of a seed. `lap` (at least 1) is how many records the six hours hold: the number of all records, or anything
    /// for an endless stream, whose timestamps then start over after each lap.
    pub fn new(seed: u64, lap: u64) -> Self {
        Self { seed, lap: lap.max(1) }
    }

    /// Writes the key (the user) and the value of a record; what was in the buffers goes away.
    pub fn record(&self, index: u64, key: &mut Vec<u8>, value: &mut Vec<u8>) {
        let mut random = Random(mix(self.seed ^ mix(index)));
        let millis = u128::from(index % self.lap) * u128::from(SPAN_MS) / u128::from(self.lap);
        let millis = u64::try_from(millis).expect("a part of six hours");
        let whole = random.below(1000) > 0;
        let cents = i64::try_from(1 + random.below(49_999)).expect("less than 50,000");
        let sign = if random.below(10) == 0 { "-" } else { "" };

        key.clear();
        key.push(b'u');
        digits(key, random.below(1_000_000), 6);

        value.clear();
        value.extend_from_slice(b"{\"ts\":\"2026-11-01T");
        digits(value, millis / 3_600_000, 2);
        value.push(b':');
        digits(value, millis / 60_000 % 60, 2);
        value.push(b':');
        digits(value, millis / 1000 % 60, 2);
        value.push(b'.');
        digits(value, millis % 1000, 3);
        value.extend_from_slice(b"Z\",\"user\":\"");
        value.extend_from_slice(key);
        if random.below(50) == 0 {
            value.extend_from_slice(b"\",\"email\":null");
        } else {
            let address =
                [random.one_of(&GIVEN), ".", random.one_of(&FAMILY), "@", random.one_of(&DOMAINS)];
            value.extend_from_slice(b"\",\"email\":\"");
            address.iter().for_each(|part| value.extend_from_slice(part.as_bytes()));
            value.push(b'"');
        }
        value.extend_from_slice(b",\"country\":\"");
        value.extend_from_slice(random.country().as_bytes());
        value.extend_from_slice(b"\",\"url\":\"https://shop.example/p/");
        digits(value, random.below(100_000), 5);
        value.extend_from_slice(b"?ref=");
        let letters = random.below(26 * 26 * 26);
        for letter in [letters / 676, letters / 26 % 26, letters % 26] {
            value.push(b'a' + u8::try_from(letter).expect("one of 26"));
        }
        let items = 1 + random.below(9);
        write!(
            value,
            "\",\"amount\":{sign}{}.{:02},\"items\":{items},\"ua\":\"",
            cents / 100,
            cents % 100
        )
        .expect("a vector takes all bytes");
        value.extend_from_slice(random.one_of(&AGENTS).as_bytes());
        value.extend_from_slice(b"\"}");
        if !whole {
            // Cut off on the way: no object ends before its brace.
            let length = 1 + random.below(value.len() as u64 - 1);
            value.truncate(usize::try_from(length).expect("less than the length before"));
        }
    }
}

/// Random numbers by SplitMix64: G. L. Steele, D. Lea, C. H. Flood, "Fast splittable pseudorandom number generators", 2014.
/// Written out, since the numbers must stay the same for ever.
struct Random(u64);

impl Random {
    /// A number from 0 to `bound - 1`; the bias is below `bound / 2^64`.
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let product = u128::from(mix(self.0)) * u128::from(bound);
        u64::try_from(product >> 64).expect("the upper half of 128 bits")
    }

    fn one_of(&mut self, choices: &[&'static str]) -> &'static str {
        let choice = self.below(choices.len() as u64);
        choices[usize::try_from(choice).expect("less than the length")]
    }

    fn country(&mut self) -> &'static str {
        const TOTAL: u64 = {
            let mut total = 0;
            let mut rank = 1;
            while rank <= 20 {
                total += SHARE / rank;
                rank += 1;
            }
            total
        };
        let mut left = self.below(TOTAL);
        for (country, rank) in COUNTRIES.into_iter().zip(1..) {
            if left < SHARE / rank {
                return country;
            }
            left -= SHARE / rank;
        }
        unreachable!("the shares add up to the total")
    }
}

/// The finaliser of SplitMix64: each bit of the input changes half of the output's.
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// Appends a number with leading zeros.
fn digits(text: &mut Vec<u8>, mut number: u64, width: usize) {
    let start = text.len();
    text.resize(start + width, b'0');
    for place in (start..start + width).rev() {
        text[place] += u8::try_from(number % 10).expect("a digit");
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value;

    use super::{COUNTRIES, Clicks};

    fn record(clicks: &Clicks, index: u64) -> (String, String) {
        let (mut key, mut value) = (b"left over".to_vec(), b"left over".to_vec());
        clicks.record(index, &mut key, &mut value);
        (String::from_utf8(key).unwrap(), String::from_utf8(value).unwrap())
    }

    #[test]
    fn a_seed_and_an_index_make_the_record() {
        let value = concat!(
            r#"{"ts":"2026-11-01T02:28:08.882Z","user":"u814574","email":"Radia.Turing@inbox.example","country":"IN","#,
            r#""url":"https://shop.example/p/85515?ref=fna","amount":92.28,"items":5,"#,
            r#""ua":"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36"}"#,
        );
        assert_eq!(record(&Clicks::new(7, 3_000_000), 1_234_567).1, value);
        assert_ne!(record(&Clicks::new(8, 3_000_000), 1_234_567).1, value);
        assert_ne!(record(&Clicks::new(7, 3_000_000), 1_234_568).1, value);
    }

    #[test]
    fn shares_and_sizes_are_those_of_the_workload() {
        const RECORDS: u64 = 100_000;
        let clicks = Clicks::new(1, RECORDS);
        let (mut bytes, mut broken, mut negative, mut null) = (0, 0, 0, 0);
        let mut countries = BTreeMap::<String, u64>::new();
        let mut last = String::new();
        for index in 0..RECORDS {
            let (key, value) = record(&clicks, index);
            bytes += value.len();
            let Ok(click) = serde_json::from_str::<Value>(&value) else {
                broken += 1;
                continue;
            };
            assert_eq!(click["user"], *key);
            assert_ne!(click["amount"], 0.0);
            negative += u64::from(click["amount"].as_f64().unwrap() < 0.0);
            null += u64::from(click["email"].is_null());
            *countries.entry(click["country"].as_str().unwrap().into()).or_default() += 1;
            let ts = click["ts"].as_str().unwrap();
            assert!(last.as_str() <= ts);
            last = ts.into();
        }
        assert!(last.as_str() > "2026-11-01T05:59:5" && last.as_str() < "2026-11-01T06", "{last}");
        let average = bytes as f64 / RECORDS as f64;
        assert!((283.0..285.0).contains(&average), "{average} bytes");
        assert!((70..130).contains(&broken), "{broken} not JSON");
        assert!((9_600..10_400).contains(&negative), "{negative} negative");
        assert!((1_850..2_150).contains(&null), "{null} without e-mail");
        assert_eq!(countries.len(), COUNTRIES.len());
        let share = |rank: usize| countries[COUNTRIES[rank - 1]] as f64 / RECORDS as f64;
        for rank in [1, 2, 5, 20] {
            let expected = 1.0 / rank as f64 / 3.597_739_66;
            assert!((share(rank) / expected - 1.0).abs() < 0.1, "{} of rank {rank}", share(rank));
        }
    }
}

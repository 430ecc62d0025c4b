//! Seeded records for demos and benchmarks: record `n` of a seed is always the same.

use std::io::Write;

/// Of a million records, how many have a negative amount.
const NEGATIVE: u64 = 100_000;
/// Of a million records, how many have no e-mail address.
const NO_EMAIL: u64 = 20_000;
/// Of a million records, how many are not JSON.
const BROKEN: u64 = 1_000;

/// Countries, the n-th drawn in proportion to 1/n.
const COUNTRIES: [&str; 20] = [
    "DE", "US", "FR", "GB", "IT", "ES", "NL", "PL", "SE", "AT", "CH", "BE", "DK", "NO", "FI", "PT", "CZ", "IE", "GR", "HU",
];
const NAMES: [&str; 8] = ["Ada", "Grace", "Alan", "Edsger", "Barbara", "Donald", "Radia", "Leslie"];
const SURNAMES: [&str; 8] = ["Lovelace", "Hopper", "Turing", "Dijkstra", "Liskov", "Knuth", "Perlman", "Lamport"];
const BROWSERS: [&str; 4] = [
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:144.0) Gecko/20100101 Firefox/144.0 and then some",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML) Mobile/15E148",
];

/// Clicks in a shop, as JSON of 284 bytes on average; the key is the user.
///
/// `ts` runs over six hours of 2026-11-01, the country is one of 20 and skewed, one in ten has a negative amount, one in
/// fifty no e-mail address, and one in a thousand is not JSON.
#[derive(Clone, Debug)]
pub struct Clicks {
    seed: u64,
    /// For each country, the sum of the shares up to it.
    shares: [f64; 20],
}

impl Clicks {
    /// Clicks of a seed.
    pub fn new(seed: u64) -> Self {
        let mut shares = [0.0; 20];
        let mut sum = 0.0;
        for (rank, share) in (1_u32..).zip(&mut shares) {
            sum += 1.0 / f64::from(rank);
            *share = sum;
        }
        shares.iter_mut().for_each(|share| *share /= sum);
        Self { seed, shares }
    }

    /// Writes record `index` over what the two buffers hold.
    pub fn record(&self, index: u64, key: &mut Vec<u8>, value: &mut Vec<u8>) {
        let mut random = Random(self.seed ^ index.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        key.clear();
        value.clear();
        let user = random.below(200_000);
        write(key, format_args!("u{user:06}"));
        if random.below(1_000_000) < BROKEN {
            write(value, format_args!("click of u{user:06}: not JSON, {index}"));
            return;
        }
        // 21,600,000 milliseconds are six hours: one pass every 21.6 million records at a record a millisecond.
        let millis = index % 21_600_000;
        let (hour, minute) = (millis / 3_600_000, millis / 60_000 % 60);
        let (second, milli) = (millis / 1000 % 60, millis % 1000);
        write(value, format_args!(r#"{{"ts":"2026-11-01T{hour:02}:{minute:02}:{second:02}.{milli:03}Z","user":"u{user:06}","email":"#));
        if random.below(1_000_000) < NO_EMAIL {
            write(value, format_args!("null"));
        } else {
            let (name, surname) = (random.pick(&NAMES), random.pick(&SURNAMES));
            write(value, format_args!(r#""{name}.{surname}@Example{}.com""#, random.below(50)));
        }
        let (country, product, reference) = (self.country(&mut random), random.below(100_000), random.below(4096));
        let sign = if random.below(1_000_000) < NEGATIVE { "-" } else { "" };
        let (whole, cents, items) = (random.below(200), random.below(99) + 1, random.below(9) + 1);
        let browser = random.pick(&BROWSERS);
        write(
            value,
            format_args!(
                r#","country":"{country}","url":"https://shop.example/p/{product}?ref={reference:03x}","amount":{sign}{whole}.{cents:02},"items":{items},"ua":"{browser}"}}"#
            ),
        );
    }

    fn country(&self, random: &mut Random) -> &'static str {
        #[expect(clippy::cast_precision_loss, reason = "53 bits of chance are plenty")]
        let chance = (random.next() >> 11) as f64 / (1_u64 << 53) as f64;
        COUNTRIES[self.shares.partition_point(|&share| share <= chance).min(COUNTRIES.len() - 1)]
    }
}

fn write(into: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    into.write_fmt(text).expect("a vector takes every byte");
}

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014): every state is a good start.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        let (product, bound) = (u128::from(self.next()) * u128::from(bound), u128::from(bound));
        debug_assert!(product >> 64 < bound);
        u64::try_from(product >> 64).expect("the high half of a product of two words is a word")
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        let place = usize::try_from(self.below(from.len() as u64)).expect("a place in a slice");
        &from[place]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde_json::Value;

    use super::Clicks;

    #[test]
    fn clicks_have_the_shares_that_they_promise() {
        let clicks = Clicks::new(7);
        let (mut key, mut value) = (Vec::new(), Vec::new());
        let (mut bytes, mut broken, mut negative, mut no_email) = (0, 0, 0, 0);
        let mut countries: HashMap<String, u32> = HashMap::new();
        let records = 200_000;
        for index in 0..records {
            clicks.record(index, &mut key, &mut value);
            bytes += value.len();
            let Ok(click) = serde_json::from_slice::<Value>(&value) else {
                broken += 1;
                continue;
            };
            assert_eq!(click["user"].as_str().map(str::as_bytes), Some(&key[..]));
            negative += u32::from(click["amount"].as_f64().unwrap() < 0.0);
            no_email += u32::from(click["email"].is_null());
            *countries.entry(click["country"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        assert!((150..250).contains(&broken), "{broken}");
        assert!((19_000..21_000).contains(&negative), "{negative}");
        assert!((3_700..4_300).contains(&no_email), "{no_email}");
        assert_eq!(countries.len(), 20);
        assert!(countries["DE"] > 18 * countries["HU"] && countries["DE"] < 23 * countries["HU"], "{countries:?}");
        let average = bytes as u64 / records;
        assert!((275..295).contains(&average), "{average}");
    }

    #[test]
    fn a_record_is_always_the_same() {
        let read = |seed, index| {
            let (mut key, mut value) = (b"old".to_vec(), b"old".to_vec());
            Clicks::new(seed).record(index, &mut key, &mut value);
            (key, value)
        };
        assert_eq!(read(1, 5), read(1, 5));
        assert_ne!(read(1, 5), read(2, 5));
        assert_ne!(read(1, 5), read(1, 6));
    }
}

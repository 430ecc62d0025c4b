//! The hash behind `bucket(count, field)`.
//!
//! It is the bucket transform of Apache Iceberg (its specification, Appendix B): Murmur3, x86, 32 bits, seed 0, so that tables made of
//! our files can prune by it. The value never changes between versions: two halves of a dataset must agree.

/// The bucket, from 0 to `count - 1`, of a value's bytes.
pub(super) fn bucket(count: u32, bytes: &[u8]) -> u32 {
    (murmur3(bytes) & 0x7fff_ffff) % count
}

/// The bytes of whole numbers of up to 64 bits, of days and of microseconds.
pub(super) fn whole(value: i64) -> [u8; 8] {
    value.to_le_bytes()
}

/// The bytes of a decimal: its unscaled value in two's complement, big-endian, as few bytes as hold it. The second value says where they start.
pub(super) fn decimal(unscaled: i128) -> ([u8; 16], usize) {
    let bytes = unscaled.to_be_bytes();
    let sign = if unscaled < 0 { 0xff } else { 0x00 };
    let start =
        (0..15).find(|&i| bytes[i] != sign || (bytes[i + 1] ^ sign) & 0x80 != 0).unwrap_or(15);
    (bytes, start)
}

fn murmur3(bytes: &[u8]) -> u32 {
    let scramble = |k: u32| k.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    let (words, rest) = bytes.as_chunks::<4>();
    let mut hash = words.iter().fold(0_u32, |hash, word| {
        (hash ^ scramble(u32::from_le_bytes(*word)))
            .rotate_left(13)
            .wrapping_mul(5)
            .wrapping_add(0xe654_6b64)
    });
    let tail = rest.iter().rev().fold(0, |tail, &byte| tail << 8 | u32::from(byte));
    hash ^= scramble(tail);
    // The algorithm counts bytes modulo 2^32.
    hash ^= u32::try_from(bytes.len() & 0xffff_ffff).expect("masked to 32 bits");
    hash ^= hash >> 16;
    hash = hash.wrapping_mul(0x85eb_ca6b);
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(0xc2b2_ae35);
    hash ^ hash >> 16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash_of_decimal(unscaled: i128) -> i32 {
        let (bytes, start) = decimal(unscaled);
        murmur3(&bytes[start..]).cast_signed()
    }

    #[test]
    fn agrees_with_the_vectors_of_the_specification() {
        assert_eq!(murmur3(&whole(34)).cast_signed(), 2_017_239_379);
        assert_eq!(hash_of_decimal(1420), -500_754_589);
        assert_eq!(murmur3(&whole(17_486)).cast_signed(), -653_330_422, "2017-11-16");
        assert_eq!(
            murmur3(&whole(1_510_871_468_000_000)).cast_signed(),
            -2_047_944_441,
            "2017-11-16T22:31:08Z"
        );
        assert_eq!(murmur3(b"iceberg").cast_signed(), 1_210_000_089);
        assert_eq!(murmur3(&[0, 1, 2, 3]).cast_signed(), -188_683_207);
    }

    #[test]
    fn decimals_take_the_fewest_bytes() {
        let length = |unscaled| 16 - decimal(unscaled).1;
        assert_eq!([0, -1, 127, 128, -128, -129].map(length), [1, 1, 1, 2, 1, 2]);
        assert_eq!([i128::MAX, i128::MIN].map(length), [16, 16]);
    }

    #[test]
    fn buckets_stay_below_their_count() {
        assert!((0..1000).all(|i| bucket(7, &whole(i)) < 7));
        assert_eq!(bucket(1, b"x"), 0);
    }
}

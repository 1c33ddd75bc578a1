//! Where a bucket lies in a Redis Cluster.

use crate::id::Bucket;

/// Slots of a cluster, as its specification fixes them.
const SLOTS: u16 = 16384;

/// The polynomial of the specification's CRC16 (XMODEM: begins with 0, nothing reflected).
const POLYNOMIAL: u16 = 0x1021;

/// The slot of everything in a bucket: that of its hash tag `bN`.
pub(super) fn slot_of(bucket: Bucket) -> u16 {
    crc16(format!("b{}", bucket.number()).as_bytes()) % SLOTS
}

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            let shifted = crc << 1;
            if crc & 0x8000 == 0 {
                shifted
            } else {
                shifted ^ POLYNOMIAL
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::id::BUCKETS;

    #[test]
    fn the_checksum_is_that_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(crc16(b""), 0);
    }

    #[test]
    fn the_buckets_spread_over_the_slots() {
        let slots: BTreeSet<_> = (0..BUCKETS).filter_map(Bucket::new).map(slot_of).collect();
        assert!(slots.iter().all(|slot| *slot < SLOTS));
        let third = |from: u16| slots.range(from..from + SLOTS / 3).count();
        for from in [0, SLOTS / 3, SLOTS / 3 * 2] {
            assert!((300..=380).contains(&third(from)), "{}", third(from));
        }
    }
}

//! The two curves on plain integers (SP 800-186, 3.2.1): y² = x³ − 3x + b mod p.

use std::sync::LazyLock;

use num_bigint::BigUint;

use super::{big, fixed};

/// A curve whose `a` is −3.
pub(super) struct Curve {
    pub(super) p: BigUint,
    b: BigUint,
    /// The order of the group.
    pub(super) n: BigUint,
    /// Octets of a coordinate.
    pub(super) octets: usize,
}

pub(super) static P256: LazyLock<Curve> = LazyLock::new(|| Curve {
    p: big("ffffffff00000001000000000000000000000000ffffffffffffffffffffffff"),
    b: big("5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b"),
    n: big("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551"),
    octets: 32,
});

pub(super) static P384: LazyLock<Curve> = LazyLock::new(|| Curve {
    p: big(concat!(
        "ffffffffffffffffffffffffffffffffffffffffffffffff",
        "fffffffffffffffeffffffff0000000000000000ffffffff"
    )),
    b: big(concat!(
        "b3312fa7e23ee7e4988e056be3f82d19181d9c6efe814112",
        "0314088f5013875ac656398d8a2ed19d2a85c8edd3ec2aef"
    )),
    n: big(concat!(
        "ffffffffffffffffffffffffffffffffffffffffffffffff",
        "c7634d81f4372ddf581a0db248b0a77aecec196accc52973"
    )),
    octets: 48,
});

impl Curve {
    /// x³ − 3x + b mod p.
    fn right_side(&self, x: &BigUint) -> BigUint {
        let p = &self.p;
        (x.modpow(&BigUint::from(3_u8), p) + (p - BigUint::from(3_u8)) * x + &self.b) % p
    }

    fn contains(&self, x: &BigUint, y: &BigUint) -> bool {
        x < &self.p && y < &self.p && (y * y) % &self.p == self.right_side(x)
    }

    /// Whether these octets are an uncompressed point of the curve.
    pub(super) fn has_point(&self, octets: &[u8]) -> bool {
        let Some((4, coordinates)) = octets.split_first() else {
            return false;
        };
        coordinates.len() == 2 * self.octets && {
            let (x, y) = coordinates.split_at(self.octets);
            self.contains(&BigUint::from_bytes_be(x), &BigUint::from_bytes_be(y))
        }
    }

    /// The first point with an `x` from this one on. Both primes are 3 mod 4, so a root is a power.
    pub(super) fn point_from(&self, first: u32) -> (BigUint, BigUint) {
        let half = (&self.p + BigUint::from(1_u8)) >> 2;
        (first..)
            .map(BigUint::from)
            .map(|x| (x.clone(), self.right_side(&x).modpow(&half, &self.p)))
            .find(|(x, y)| self.contains(x, y))
            .unwrap()
    }

    /// `04 ‖ x ‖ y`, also of numbers that are no coordinates.
    pub(super) fn write(&self, (x, y): &(BigUint, BigUint)) -> Vec<u8> {
        [vec![4], fixed(x, self.octets), fixed(y, self.octets)].concat()
    }
}

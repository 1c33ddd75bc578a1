//! The anti-replay window against a set that forgets nothing.

use std::collections::BTreeSet;

use assay::proof::window::{WINDOW_WIDTH, Window, WindowRefusal};
use proptest::prelude::*;

/// Counters that crowd around each other, around both ends, and anywhere.
fn counters() -> impl Strategy<Value = Vec<u32>> {
    let crowd = prop_oneof![
        8 => 1000_u32..1150,
        1 => 0_u32..70,
        1 => u32::MAX - 70..=u32::MAX,
        1 => any::<u32>(),
    ];
    prop::collection::vec(crowd, 0..200)
}

proptest! {
    #[test]
    fn admits_exactly_what_a_set_with_a_horizon_admits(counters in counters()) {
        let mut window = Window::new();
        let mut seen = BTreeSet::new();
        for counter in counters {
            let wanted = match seen.last() {
                Some(highest) if u64::from(counter) + u64::from(WINDOW_WIDTH) <= u64::from(*highest) =>
                    Err(WindowRefusal::TooOld),
                _ if seen.contains(&counter) => Err(WindowRefusal::Replayed),
                _ => Ok(()),
            };
            let got = window.admit(counter);
            prop_assert_eq!(got.map(|_| ()), wanted);
            if let Ok(next) = got {
                window = Window::from_parts(next.highest(), next.seen());
                prop_assert_eq!(window, next);
                seen.insert(counter);
            }
        }
    }
}

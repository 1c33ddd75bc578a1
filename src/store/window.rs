//! How a use of a counter is admitted: the anti-replay window, with what tells a repeated call from a
//! replay.
//!
//! All that is kept of a counter is 32 bytes: the window ([`crate::proof::window`]), and the last use
//! that it admitted. The embedded store admits with this; `src/store/scripts.rs` has the same rule for
//! the server, in halves of 32 bits, because its numbers hold no more than 53.

use std::time::Duration;

use super::{Key, OperationId};
use crate::policy::CounterOrder;
use crate::proof::window::{Window, WindowRefusal};

/// Bytes kept of a counter: highest value, which of the newest 64 were seen, and the value and the
/// operation of the last use, big-endian.
pub(super) const WINDOW_BYTES: usize = 32;

/// One use of a counter that its owner counts up: each value is admitted once, out of order as far as
/// 64 values behind the highest, or only in order. Counters never wrap.
///
/// The last admitted use is remembered by its operation, so a call that is sent twice is not taken for
/// a replay as long as no other use came in between. Behind another use it is
/// [`Windowed::Replayed`]: that errs on the strict side. The first use may have any value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CounterUse {
    /// The counter's name.
    pub key: Key,
    /// The value.
    pub counter: u32,
    /// Whether values may come out of order.
    pub order: CounterOrder,
    /// Who uses it: fresh random bytes for every use that is not the same as another.
    pub operation: OperationId,
    /// For how long the counter is remembered from now at least; `None`: for ever. A life only grows.
    pub live_for: Option<Duration>,
}

/// What a counter said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Windowed {
    /// The value was not seen before, or by this very operation; now it is seen.
    Admitted,
    /// It was seen before. Nothing has changed.
    Replayed,
    /// It is too far behind, or behind at all where only order is admitted. Nothing has changed.
    TooOld,
}

/// What becomes of a counter by one use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) said: Windowed,
    /// What is to be kept from now on; `None`: what is kept stays.
    pub(super) keep: Option<[u8; WINDOW_BYTES]>,
}

/// What is kept of a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kept {
    window: Window,
    last: u32,
    operation: OperationId,
}

impl Kept {
    fn read(bytes: &[u8; WINDOW_BYTES]) -> Option<Self> {
        let (highest, rest) = bytes.split_first_chunk()?;
        let (seen, rest) = rest.split_first_chunk()?;
        let (last, rest) = rest.split_first_chunk()?;
        let highest = u32::from_be_bytes(*highest);
        Some(Self {
            window: Window::from_parts(Some(highest), u64::from_be_bytes(*seen)),
            last: u32::from_be_bytes(*last),
            operation: OperationId(rest.try_into().ok()?),
        })
    }

    fn write(&self) -> [u8; WINDOW_BYTES] {
        let highest = self.window.highest().unwrap_or_default().to_be_bytes();
        let seen = self.window.seen().to_be_bytes();
        let last = self.last.to_be_bytes();
        let parts = [&highest[..], &seen, &last, &self.operation.0];
        let mut bytes = [0; WINDOW_BYTES];
        for (to, from) in bytes.iter_mut().zip(parts.into_iter().flatten()) {
            *to = *from;
        }
        bytes
    }
}

impl CounterUse {
    /// What this use makes of what is kept; `None`: of a counter that was never used.
    pub(super) fn of(&self, kept: Option<&[u8; WINDOW_BYTES]>) -> Outcome {
        let kept = kept.and_then(Kept::read);
        let own =
            kept.is_some_and(|kept| kept.last == self.counter && kept.operation == self.operation);
        if own {
            return Outcome {
                said: Windowed::Admitted,
                keep: None,
            };
        }
        let window = kept.map_or_else(Window::new, |kept| kept.window);
        match window.admit_by(self.order, self.counter) {
            Ok(window) => {
                let kept = Kept {
                    window,
                    last: self.counter,
                    operation: self.operation,
                };
                Outcome {
                    said: Windowed::Admitted,
                    keep: Some(kept.write()),
                }
            }
            Err(refusal) => Outcome {
                said: match refusal {
                    WindowRefusal::Replayed => Windowed::Replayed,
                    WindowRefusal::TooOld => Windowed::TooOld,
                },
                keep: None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Bucket;

    fn using(counter: u32, operation: u8) -> CounterUse {
        CounterUse {
            key: Key::new(Bucket::new(1).unwrap(), "w:1".to_owned()),
            counter,
            order: CounterOrder::Window,
            operation: OperationId([operation; 16]),
            live_for: None,
        }
    }

    #[test]
    fn what_is_kept_is_read_as_it_was_written() {
        let kept = Kept {
            window: Window::from_parts(Some(0x8000_0001), 0x8000_0000_8000_0001),
            last: 0xffff_fffe,
            operation: OperationId([0x5a; 16]),
        };
        assert_eq!(Kept::read(&kept.write()), Some(kept));
    }

    #[test]
    fn only_the_last_use_is_told_from_a_replay() {
        let first = using(7, 1).of(None).keep.unwrap();
        assert_eq!(using(7, 1).of(Some(&first)).said, Windowed::Admitted);
        assert_eq!(using(7, 1).of(Some(&first)).keep, None);
        assert_eq!(using(7, 2).of(Some(&first)).said, Windowed::Replayed);
        // The same operation with another value is another use.
        assert!(using(6, 1).of(Some(&first)).keep.is_some());
        let second = using(8, 2).of(Some(&first)).keep.unwrap();
        assert_eq!(using(7, 1).of(Some(&second)).said, Windowed::Replayed);
    }
}

//! The anti-replay window: each counter value is admitted once, a little out of order.
//!
//! Clients count their proofs per key; parallel requests arrive out of order. As in IPsec (RFC 4303,
//! 3.4.3) the newest 64 values are remembered one by one and everything older is refused. Counters
//! never wrap: after `u32::MAX` a key has no proofs left and has to be replaced.

use crate::policy::CounterOrder;

/// How many values, counted from the newest, are told apart.
pub const WINDOW_WIDTH: u32 = u64::BITS;

/// Which counter values were seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Window {
    highest: Option<u32>,
    /// Bit `n` says that `highest - n` was seen; bit 0 is always set where there is a highest.
    seen: u64,
}

/// Why a counter value was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WindowRefusal {
    /// Seen before.
    #[error("the counter value was seen before")]
    Replayed,
    /// So far behind the newest that it is not known whether it was seen.
    #[error("the counter value is too old")]
    TooOld,
}

impl Window {
    /// Nothing seen yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            highest: None,
            seen: 0,
        }
    }

    /// From the parts a record keeps. Bits without meaning are put right.
    #[must_use]
    pub const fn from_parts(highest: Option<u32>, seen: u64) -> Self {
        match highest {
            None => Self::new(),
            Some(_) => Self {
                highest,
                seen: seen | 1,
            },
        }
    }

    /// The newest value seen.
    #[must_use]
    pub const fn highest(&self) -> Option<u32> {
        self.highest
    }

    /// The bits to keep in a record.
    #[must_use]
    pub const fn seen(&self) -> u64 {
        self.seen
    }

    /// The window after this value; the first value may be any.
    ///
    /// # Errors
    /// [`WindowRefusal`]; the window stays as it was.
    pub fn admit(&self, counter: u32) -> Result<Self, WindowRefusal> {
        let Some(highest) = self.highest else {
            return Ok(Self {
                highest: Some(counter),
                seen: 1,
            });
        };
        if counter > highest {
            // A jump of the whole width or more leaves nothing of the old bits.
            let kept = self.seen.checked_shl(counter - highest).unwrap_or(0);
            return Ok(Self {
                highest: Some(counter),
                seen: kept | 1,
            });
        }
        let Some(bit) = 1_u64.checked_shl(highest - counter) else {
            return Err(WindowRefusal::TooOld);
        };
        if self.seen & bit != 0 {
            return Err(WindowRefusal::Replayed);
        }
        Ok(Self {
            highest: self.highest,
            seen: self.seen | bit,
        })
    }

    /// As [`Window::admit`] or [`Window::admit_in_order`], by policy.
    ///
    /// # Errors
    /// As the two of them.
    pub fn admit_by(&self, order: CounterOrder, counter: u32) -> Result<Self, WindowRefusal> {
        match order {
            CounterOrder::Window => self.admit(counter),
            CounterOrder::Strict => self.admit_in_order(counter),
        }
    }

    /// As [`Window::admit`], but only for a value above all seen, for policies that want strict order.
    ///
    /// # Errors
    /// [`WindowRefusal::Replayed`] for the newest value again, else [`WindowRefusal::TooOld`].
    pub fn admit_in_order(&self, counter: u32) -> Result<Self, WindowRefusal> {
        match self.highest {
            Some(highest) if counter == highest => Err(WindowRefusal::Replayed),
            Some(highest) if counter < highest => Err(WindowRefusal::TooOld),
            Some(_) | None => self.admit(counter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edges_of_the_window() {
        let window = Window::new().admit(100).unwrap();
        assert_eq!(window.admit(100), Err(WindowRefusal::Replayed));
        assert!(window.admit(100 - (WINDOW_WIDTH - 1)).is_ok());
        assert_eq!(window.admit(100 - WINDOW_WIDTH), Err(WindowRefusal::TooOld));
        let jumped = window.admit(100 + WINDOW_WIDTH).unwrap();
        assert_eq!(jumped.seen(), 1);
        assert_eq!(jumped.admit(100), Err(WindowRefusal::TooOld));
        let almost = window.admit(100 + WINDOW_WIDTH - 1).unwrap();
        assert_eq!(almost.admit(100), Err(WindowRefusal::Replayed));
    }

    #[test]
    fn counters_do_not_wrap() {
        let window = Window::new().admit(u32::MAX).unwrap();
        assert_eq!(window.admit(0), Err(WindowRefusal::TooOld));
        assert_eq!(window.admit(u32::MAX), Err(WindowRefusal::Replayed));
        assert!(window.admit(u32::MAX - 1).is_ok());
        assert!(Window::new().admit(0).unwrap().admit(u32::MAX).is_ok());
    }

    #[test]
    fn strict_order_takes_only_what_is_newer() {
        let window = Window::new().admit_in_order(5).unwrap();
        assert_eq!(window.admit_in_order(5), Err(WindowRefusal::Replayed));
        assert_eq!(window.admit_in_order(4), Err(WindowRefusal::TooOld));
        assert!(window.admit_in_order(6).is_ok());
    }

    #[test]
    fn a_record_cannot_bring_back_a_value() {
        assert_eq!(
            Window::from_parts(Some(7), 0).admit(7),
            Err(WindowRefusal::Replayed)
        );
        assert_eq!(Window::from_parts(None, u64::MAX), Window::new());
    }
}

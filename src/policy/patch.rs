//! Patch levels: dates without time that devices write in more than one way.

use std::time::Duration;

use crate::time::Timestamp;

/// A patch level: the day of a security bulletin; ordered. The system's is a month: its first day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PatchLevel {
    year: u32,
    month: u32,
    day: u32,
}

impl PatchLevel {
    /// From a level that is written `YYYYMM`. A day behind it is dropped, or the number would pass
    /// for a level far in the future.
    pub(super) fn by_month(level: u32) -> Option<Self> {
        match level {
            100_000..=999_999 => Self::of(level, 1),
            10_000_000..=99_999_999 => Self::of(level / 100, 1),
            _ => None,
        }
    }

    /// From a level that is written `YYYYMMDD`. Some devices leave out the day, some write it as 00:
    /// both count as the first of the month.
    pub(super) fn by_day(level: u32) -> Option<Self> {
        match level {
            100_000..=999_999 => Self::of(level, 1),
            10_000_000..=99_999_999 => Self::of(level / 100, (level % 100).max(1)),
            _ => None,
        }
    }

    fn of(month: u32, day: u32) -> Option<Self> {
        let (year, month) = (month / 100, month % 100);
        let real = (1..=12).contains(&month) && (1..=31).contains(&day);
        real.then_some(Self { year, month, day })
    }

    /// How long ago its month began; nothing for one that lies ahead.
    pub(super) fn age(self, now: Timestamp) -> Option<Duration> {
        let began = format!("{:04}-{:02}-01T00:00:00Z", self.year, self.month);
        Some(now.since(Timestamp::parse_rfc3339(&began)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_date_is_no_level() {
        for level in [
            0, 1, 99_999, 202_600, 202_613, 1_000_000, 20_261_301, 20_261_032,
        ] {
            assert_eq!(PatchLevel::by_day(level), None, "{level}");
        }
        for level in [0, 99_999, 202_600, 202_613, 20_261_301, u32::MAX] {
            assert_eq!(PatchLevel::by_month(level), None, "{level}");
        }
    }

    #[test]
    fn an_age_is_counted_from_the_first_of_the_month() {
        let at = |text| Timestamp::parse_rfc3339(text).unwrap();
        let level = PatchLevel::by_day(20_261_005).unwrap();
        let days = |days: u64| Some(Duration::from_secs(days * 86_400));
        assert_eq!(level.age(at("2026-10-01T00:00:00Z")), days(0));
        assert_eq!(level.age(at("2026-10-31T00:00:00Z")), days(30));
        assert_eq!(level.age(at("2027-10-01T00:00:00Z")), days(365));
        assert_eq!(level.age(at("2020-01-01T00:00:00Z")), days(0));
    }
}

//! Pages of a subject's index.
//!
//! The index is small and ordered by age; a page token is the last id that was given, so a page goes
//! on at the right place whatever was added or removed in between.

use super::{Engine, Failure};
use crate::id::DeviceId;
use crate::session::Device;
use crate::store::keys;

/// Entries in a page when the caller does not say.
const PAGE_SIZE_DEFAULT: usize = 20;
/// Most entries in a page.
const PAGE_SIZE_MAX: usize = 100;

/// Which page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRequest<Id> {
    /// Most entries.
    pub size: usize,
    /// The last id of the page before.
    pub after: Option<Id>,
}

/// One page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T, Id> {
    /// The entries.
    pub entries: Vec<T>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<Id>,
}

/// A page of devices. A record that cannot be read hides no other, and is named: it takes the place of
/// its device in the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DevicePage {
    /// The devices.
    pub page: Page<Device, DeviceId>,
    /// Devices there are whose records cannot be read.
    pub unreadable: Vec<DeviceId>,
}

impl DevicePage {
    /// The page of those devices that there still are. One trip, none for no device.
    pub(super) async fn load(
        engine: &Engine,
        ids: &[DeviceId],
        next: Option<DeviceId>,
    ) -> Result<Self, Failure> {
        let (mut entries, mut unreadable) = (Vec::new(), Vec::new());
        if !ids.is_empty() {
            let names = ids.iter().map(keys::device).collect();
            for (id, record) in ids.iter().zip(engine.load_each::<Device>(names).await?) {
                match record {
                    Ok(loaded) => entries.extend(loaded.value),
                    Err(_) => unreadable.push(*id),
                }
            }
        }
        Ok(Self {
            page: Page { entries, next },
            unreadable,
        })
    }
}

impl<Id> PageRequest<Id> {
    /// From the fields of a request.
    ///
    /// # Errors
    /// `MALFORMED_REQUEST`
    pub fn parse(size: i32, after: Option<Id>) -> Result<Self, Failure> {
        let size = match usize::try_from(size) {
            Ok(0) => PAGE_SIZE_DEFAULT,
            Ok(size) if size <= PAGE_SIZE_MAX => size,
            _ => return Err(Failure::field("page_size", "0 to 100")),
        };
        Ok(Self { size, after })
    }
}

impl<Id: Copy + PartialEq> PageRequest<Id> {
    /// Cuts this page out of an index, newest first as it is given, of which only `shown` entries are
    /// shown: whoever ends what a page showed finds the next one where it was. An id that has left
    /// the index meanwhile gives an empty last page rather than the first one again.
    pub(super) fn cut(
        &self,
        newest_first: impl Iterator<Item = Id>,
        shown: impl Fn(&Id) -> bool,
    ) -> (Vec<Id>, Option<Id>) {
        let skipped = |id: &Id| self.after.is_some_and(|after| *id != after);
        let rest = newest_first.skip_while(skipped);
        let mut ids: Vec<Id> = rest
            .skip(usize::from(self.after.is_some()))
            .filter(shown)
            .collect();
        let more = ids.len() > self.size;
        ids.truncate(self.size);
        let next = if more { ids.last().copied() } else { None };
        (ids, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_join_into_the_whole() {
        let (first, next) = PageRequest {
            size: 2,
            after: None,
        }
        .cut([5, 4, 3].into_iter(), |_| true);
        assert_eq!((first, next), (vec![5, 4], Some(4)));
        let (second, next) = PageRequest {
            size: 2,
            after: next,
        }
        .cut([6, 5, 4, 3].into_iter(), |_| true);
        assert_eq!((second, next), (vec![3], None));
    }

    #[test]
    fn a_page_goes_on_behind_an_entry_that_is_not_shown_any_more() {
        let page = |after| PageRequest { size: 2, after };
        let index = || [6, 5, 4, 3, 2].into_iter();
        assert_eq!(page(None).cut(index(), |_| true), (vec![6, 5], Some(5)));
        let ended = |id: &i32| *id < 5;
        assert_eq!(page(Some(5)).cut(index(), ended), (vec![4, 3], Some(3)));
        assert_eq!(page(Some(3)).cut(index(), ended), (vec![2], None));
        assert_eq!(page(Some(9)).cut(index(), ended), (vec![], None));
    }

    #[test]
    fn the_size_is_bounded() {
        for bad in [-1, 101, i32::MAX, i32::MIN] {
            assert!(PageRequest::<u8>::parse(bad, None).is_err());
        }
        assert_eq!(
            PageRequest::<u8>::parse(0, None).unwrap().size,
            PAGE_SIZE_DEFAULT
        );
    }
}

//! A disk that takes nothing more.

use std::sync::atomic::{AtomicBool, Ordering};

use redb::StorageBackend;

use super::*;
use crate::store::IndexRange;

/// A file in memory on a disk that can be filled up.
#[derive(Debug)]
struct Disk {
    file: InMemoryBackend,
    full: Arc<AtomicBool>,
}

impl Disk {
    fn has_room(&self) -> io::Result<()> {
        if self.full.load(Ordering::Acquire) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.has_room()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.has_room()?;
        self.file.write(offset, data)
    }
}

#[tokio::test]
async fn after_the_disk_was_full_every_call_says_so_until_a_new_start() {
    let full = Arc::new(AtomicBool::new(false));
    let disk = Disk {
        file: InMemoryBackend::new(),
        full: Arc::clone(&full),
    };
    let database = Database::builder().create_with_backend(disk).unwrap();
    let store = Embedded::over(database, Clock::system()).unwrap();
    assert!(store.ping().await.is_ok());

    full.store(true, Ordering::Release);
    let first = store.ping().await.unwrap_err();
    assert!(matches!(first, StoreError::OutcomeUnknown(_)), "{first:?}");
    // Room again: what is on the disk is still not known.
    full.store(false, Ordering::Release);
    let devices = IndexRange {
        key: crate::store::keys::devices(crate::id::Bucket::new(0).unwrap()),
        after: Vec::new(),
        limit: 1,
    };
    let refused = [
        store.ping().await.map(drop),
        store.page(vec![devices]).await.map(drop),
    ];
    for refused in refused {
        let StoreError::Unavailable(why) = refused.unwrap_err() else {
            panic!("nothing was done");
        };
        let full = io::Error::from(io::ErrorKind::StorageFull).to_string();
        assert!(why.contains(&full), "{why}");
        assert!(why.contains("start again"), "{why}");
    }
}

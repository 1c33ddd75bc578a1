//! A record as flows see it: opened with everything that is known laid over it, with the version to
//! commit against.

use std::time::Duration;

use crate::flow::laid::Laid;
use crate::flow::{Engine, Failure};
use crate::session::DeviceState;
use crate::store::record::{seal, unseal};
use crate::store::{Change, Item, Key, OperationId, Record};

/// A record as loaded: its name, its version and, where it exists, itself.
#[derive(Debug, Clone)]
pub(in crate::flow) struct Loaded<T> {
    key: Key,
    version: Option<OperationId>,
    /// A suspension that the record does not have and this instance knows of.
    known_suspension: Option<DeviceState>,
    pub(in crate::flow) value: Option<T>,
}

impl<T: Laid> Loaded<T> {
    /// Opens a record with everything laid over it that is known of recent revocations: so whatever is
    /// decided is decided with them, and what is written has them.
    pub(in crate::flow) fn open(
        engine: &Engine,
        key: Key,
        record: Option<Record>,
    ) -> Result<Self, Failure> {
        let mut loaded = Self::as_kept(engine, key, record)?;
        let overlay = engine.board.overlay();
        if !overlay.is_empty() {
            loaded.known_suspension = T::lay(&overlay, &loaded.key, &mut loaded.value);
        }
        Ok(loaded)
    }

    /// Opens a record as the store has it.
    pub(in crate::flow) fn as_kept(
        engine: &Engine,
        key: Key,
        record: Option<Record>,
    ) -> Result<Self, Failure> {
        let version = record.as_ref().map(|record| record.version);
        let value = record
            .map(|record| unseal(&engine.keyring, &key, &record))
            .transpose()?;
        Ok(Self {
            key,
            version,
            known_suspension: None,
            value,
        })
    }

    /// Its name.
    pub(in crate::flow) const fn key(&self) -> &Key {
        &self.key
    }

    /// An item that only checks that the record is still the one that was looked at.
    pub(in crate::flow) fn keep(&self) -> Item {
        Item {
            key: self.key.clone(),
            expected: self.version,
            change: Change::Keep,
        }
    }

    /// The version it was loaded with; `None`: it does not exist.
    pub(in crate::flow) const fn version(&self) -> Option<OperationId> {
        self.version
    }

    /// An item that removes the record.
    pub(in crate::flow) fn delete(&self) -> Item {
        Item {
            key: self.key.clone(),
            expected: self.version,
            change: Change::Delete,
        }
    }

    /// An item that replaces the record.
    pub(in crate::flow) fn put(
        &self,
        engine: &Engine,
        value: &T,
        live_for: Option<Duration>,
    ) -> Result<Item, Failure> {
        // A suspension may have been lifted elsewhere, which is not known here yet: what is written for
        // another reason leaves it out.
        let lifted = self.known_suspension.and_then(|state| value.without(state));
        self.put_known(engine, lifted.as_ref().unwrap_or(value), live_for)
    }

    /// The same for a record that is written because of what is known.
    pub(in crate::flow) fn put_known(
        &self,
        engine: &Engine,
        value: &T,
        live_for: Option<Duration>,
    ) -> Result<Item, Failure> {
        let value = seal(&engine.keyring, &self.key, value)?;
        let change = Change::Put { value, live_for };
        Ok(Item {
            key: self.key.clone(),
            expected: self.version,
            change,
        })
    }
}

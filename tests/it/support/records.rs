//! Records as they are in a store, and what no flow does to them.

use assay::secret::random;
use assay::store::{
    Admission, Change, ChangeSet, Committed, Durability, Item, Key, OperationId, Record, Store,
};

/// The record under a name.
pub(crate) async fn stored(store: &dyn Store, key: &Key) -> Option<Record> {
    let ask = Admission {
        load: vec![key.clone()],
        ..Admission::default()
    };
    let admitted = store.admit(ask).await.unwrap();
    admitted.records.into_iter().next().flatten()
}

/// Changes a record that is there.
pub(crate) async fn change(store: &dyn Store, key: &Key, change: Change) {
    let change = ChangeSet {
        operation: OperationId(random().unwrap()),
        bucket: key.bucket(),
        items: vec![Item {
            key: key.clone(),
            expected: Some(stored(store, key).await.unwrap().version),
            change,
        }],
        claims: Vec::new(),
        index: Vec::new(),
        events: Vec::new(),
        durability: Durability::Local,
        limits: Vec::new(),
        windows: Vec::new(),
    };
    let done = store.commit(change).await;
    assert_eq!(done, Ok(Committed::Done { replicas_acked: 0 }));
}

/// Makes a record one that cannot be read.
pub(crate) async fn spoil(store: &dyn Store, key: &Key) {
    let value = b"not a record".to_vec();
    let live_for = None;
    change(store, key, Change::Put { value, live_for }).await;
}

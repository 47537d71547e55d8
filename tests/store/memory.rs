//! The store in memory.

use idemproxy::idempotency::Expect;
use idemproxy::store::{Memory, Replaced, Store, StoreError};

use crate::contract::contract;
use crate::records::*;

contract!(super::fresh);

async fn fresh() -> (Memory, ()) {
    (Memory::new(1 << 30), ())
}

#[tokio::test]
async fn a_full_store_refuses_claims_and_takes_settlements() {
    let store = Memory::new(10_000);
    let (id, first) = (fresh_id(), claim());
    create(&store, id, &first).await;
    let refused = loop {
        if let Err(error) = store.insert(fresh_id(), &claim()).await {
            break error;
        }
    };
    assert!(matches!(refused, StoreError::Refused(_)));
    assert!(!store.health().up);
    let end = completed(&first, vec![0; 100_000]);
    let settled = store.replace(id, Expect::Held(first.token), &end).await;
    assert_eq!(settled, Ok(Replaced::Applied));
    assert_eq!(store.look(id).await.unwrap().unwrap().record, end);
}

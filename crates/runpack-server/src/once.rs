//! Objects that are created once, also by several servers at once.
//!
//! Where a store that keeps versions lets several creates win, the oldest that survives is the object: whoever was told that he created it and finds an older one did not. What he wrote is taken away again where that is
//! allowed: whoever reads a key without naming a version gets the newest.

use bytes::Bytes;
use futures_util::StreamExt as _;
use runpack_core::digest::Digest;
use runpack_core::key::{KeyPrefix, ObjectKey};
use runpack_core::store::{Declared, Housekeeping, ObjectRef, Outcome, Receipt, Store, StoreError};

use crate::bytes_of;
use crate::staging::Staged;

/// What stands at a key after it was to be created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stands {
    /// What this call wrote.
    Ours,
    /// The same bytes, from an earlier call or another's.
    Same,
    /// Other bytes.
    Other,
}

/// Creates a small object. Gives what stands there, and the version that is the object.
///
/// # Errors
/// As the store fails.
pub(crate) async fn create(
    store: &dyn Store,
    keeper: Option<&dyn Housekeeping>,
    key: &ObjectKey,
    bytes: &Bytes,
) -> Result<(Stands, ObjectRef), StoreError> {
    let put = store.put(key, bytes.clone(), Declared::of(bytes)).await;
    let ours = match put {
        Ok(receipt) => {
            let stands = match receipt.outcome {
                Outcome::Created => Stands::Ours,
                Outcome::AlreadyThere => Stands::Same,
            };
            match settled(store, keeper, receipt).await? {
                Settled::First(object) => return Ok((stands, object)),
                Settled::Later(oldest, size) => (oldest, size),
            }
        }
        Err(StoreError::AlreadyExists { .. }) => store.oldest(key).await?,
        Err(error) => return Err(error),
    };
    let (oldest, size) = ours;
    let mut stands = Stands::Other;
    if u64::try_from(bytes.len()) == Ok(size) {
        let there = bytes_of(store, &oldest, size).await?;
        if there.is_some_and(|there| Digest::of(&there) == Digest::of(bytes)) {
            stands = Stands::Same;
        }
    }
    Ok((stands, oldest))
}

/// Brings a staged body to its place.
///
/// # Errors
/// [`StoreError::AlreadyExists`] where other bytes are there; as the store fails.
pub(crate) async fn send(
    store: &dyn Store,
    keeper: Option<&dyn Housekeeping>,
    key: &ObjectKey,
    staged: &Staged,
) -> Result<Outcome, StoreError> {
    let receipt = staged.send(store, key).await?;
    let outcome = receipt.outcome;
    match settled(store, keeper, receipt).await? {
        Settled::First(_) => Ok(outcome),
        // Somebody was quicker, and had the same or not.
        Settled::Later(..) => {
            let found = store.find(key, &staged.declared).await?;
            found
                .map(|_| Outcome::AlreadyThere)
                .ok_or_else(|| StoreError::NotFound {
                    key: key.to_string(),
                })
        }
    }
}

enum Settled {
    /// What was written is the object.
    First(ObjectRef),
    /// This is, and so large; what was written is gone again.
    Later(ObjectRef, u64),
}

async fn settled(
    store: &dyn Store,
    keeper: Option<&dyn Housekeeping>,
    receipt: Receipt,
) -> Result<Settled, StoreError> {
    let ours = ObjectRef {
        key: receipt.key,
        version: receipt.version,
    };
    if ours.version.is_none() {
        return Ok(Settled::First(ours));
    }
    let (oldest, size) = store.oldest(&ours.key).await?;
    if oldest.version == ours.version {
        return Ok(Settled::First(ours));
    }
    if let (Outcome::Created, Some(keeper)) = (receipt.outcome, keeper) {
        withdraw(keeper, &ours).await;
    }
    Ok(Settled::Later(oldest, size))
}

/// Takes a version away again. A store may not allow it: then readers without a version see what nobody committed to, and
/// refuse it.
async fn withdraw(keeper: &dyn Housekeeping, object: &ObjectRef) {
    let mut holdings = keeper.holdings(&KeyPrefix::of(&object.key));
    while let Some(Ok(holding)) = holdings.next().await {
        if holding.key == object.key.as_str() && holding.version == object.version {
            if let Err(error) = keeper.remove(&holding).await {
                tracing::warn!(%error, key = %object.key, "a version that lost a race stays");
            }
            return;
        }
    }
}

//! The short lock of what is new, so that what a crash leaves is not locked for years.

use std::sync::Arc;

use runpack_core::key::{Location, ObjectKey};
use runpack_core::store::StoreError;
use runpack_core::store::s3::{Lock, PutPolicy};
use runpack_core::time::{Clock, Timestamp};

use crate::tenure::Tenure;

/// The short lock of what is new.
#[derive(Debug)]
pub(super) struct Brief {
    pub(super) tenure: Tenure,
    pub(super) clock: Arc<dyn Clock>,
    /// How far the store's clock is ahead of ours, in seconds.
    pub(super) ahead: u64,
}

impl Brief {
    /// The time, as the later of the two clocks has it.
    pub(super) fn now(&self) -> Timestamp {
        let seconds = self.clock.now().unix_seconds().saturating_add(self.ahead);
        Timestamp::from_unix_seconds(seconds).unwrap_or(Timestamp::MAX)
    }

    /// # Errors
    /// What has this key must not come here.
    pub(super) fn lock(&self, key: &ObjectKey) -> Result<Option<Lock>, StoreError> {
        let terms = self.tenure.of_key(key)?;
        Ok(terms.filter(|_| is_evidence(key)).map(|terms| {
            let writing = terms.lock_while_writing().duration().as_secs();
            let until = self.now().unix_seconds().saturating_add(writing);
            Lock {
                mode: terms.mode(),
                until: Timestamp::from_unix_seconds(until).unwrap_or(Timestamp::MAX),
            }
        }))
    }
}

impl PutPolicy for Brief {
    fn lock(&self, key: &ObjectKey) -> Result<Option<Lock>, StoreError> {
        Brief::lock(self, key)
    }
}

/// Whether what has this key is kept: all but what Runpack may have to write anew.
fn is_evidence(key: &ObjectKey) -> bool {
    !matches!(
        Location::parse(key.as_str()),
        Some(Location::Probe { .. } | Location::Reference { .. } | Location::Live { .. }) | None
    )
}

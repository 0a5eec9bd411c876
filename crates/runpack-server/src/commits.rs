//! Who is told of packs when they are committed here: an index of them, for example.
//!
//! Invariant: whoever is told cannot keep a pack from the store, and is not waited for.

use std::fmt;
use std::sync::Arc;

use runpack_core::manifest::Manifest;

/// Is told of each pack that was committed, also of one that was there already. Must not block.
#[derive(Clone)]
pub struct OnCommit(Arc<Listener>);

type Listener = dyn Fn(&Arc<Manifest>) + Send + Sync;

impl OnCommit {
    /// Tells `listener`.
    pub fn new(listener: impl Fn(&Arc<Manifest>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(listener))
    }

    pub(crate) fn tell(&self, manifest: &Arc<Manifest>) {
        (self.0)(manifest);
    }
}

impl fmt::Debug for OnCommit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnCommit")
    }
}

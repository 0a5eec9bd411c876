//! The catalog while a command runs, which keeps it up with its commits.

use std::sync::atomic::AtomicBool;

use runpack_catalog::Catalog;
use tokio::sync::OnceCell;

/// The catalog while a command runs.
#[derive(Debug, Default)]
pub(crate) struct Upkeep {
    pub(crate) opened: OnceCell<Catalog>,
    /// It failed once, and is left alone until the next command.
    pub(crate) has_failed: AtomicBool,
    /// What was missed before was taken up.
    pub(crate) has_caught_up: AtomicBool,
}

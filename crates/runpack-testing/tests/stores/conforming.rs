//! Each store under the conformance suite.

use runpack_core::store::{FileStore, MemoryStore};
use runpack_testing::conformance::Subject;
use runpack_testing::{conformance, scratch};

conformance!(memory, async || Subject::new(MemoryStore::new()));

conformance!(file, async || {
    let directory = scratch();
    let store = FileStore::create(directory.path()).await.unwrap();
    Subject::keeping(store, directory)
});

// On a disk, where syncing is not nothing.
conformance!(file_on_disk, async || {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::create(directory.path()).await.unwrap();
    Subject::keeping(store, directory)
});

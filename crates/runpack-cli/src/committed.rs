//! How a commit ended, in words: what `export` and `push` say of it.

use runpack_core::manifest::Manifest;
use runpack_core::pack::Commit;

use crate::report;
use crate::storage::PlaceInStore;
use crate::table::{grouped, safe, size};

/// Its name in JSON.
pub(crate) const fn name(commit: Commit) -> &'static str {
    match commit {
        Commit::New => "new",
        Commit::Again => "again",
        Commit::SameEvidence => "same_evidence",
    }
}

/// The lines above the facts: that the pack was `done` (exported, pushed), now or before.
pub(crate) fn headline(done: &str, commit: Commit, manifest: &Manifest) -> String {
    let subject = report::subject(manifest.subject());
    match commit {
        Commit::New => format!("{done} {subject}\n"),
        Commit::Again => {
            format!("{done} before: {subject}\nThis very pack is there; nothing was changed.\n")
        }
        Commit::SameEvidence => format!(
            "{done} before: {subject}\nThe pack that is there holds the same evidence, made at another time or by another program. It stays.\n"
        ),
    }
}

/// What the pack is and where.
pub(crate) fn facts(manifest: &Manifest, at: &PlaceInStore) -> Vec<(&'static str, String)> {
    let artifacts = u64::try_from(manifest.artifacts().len()).unwrap_or(u64::MAX);
    let artifacts = format!(
        "{}, {}",
        grouped(artifacts),
        size(manifest.artifact_bytes())
    );
    vec![
        ("pack id", manifest.pack_id().to_string()),
        ("created", manifest.created_at().to_string()),
        ("artifacts", artifacts),
        ("pack", safe(&at.shown)),
    ]
}

/// That the pack is there all the same, for an error that came later.
pub(crate) fn there(manifest: &Manifest, at: &PlaceInStore) -> Vec<String> {
    vec![format!(
        "the pack is in the store all the same, pack_id=`{}` pack=`{}`",
        manifest.pack_id(),
        at.shown
    )]
}

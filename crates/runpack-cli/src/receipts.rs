//! What `export`, `push`, `pull` and `mirror` record on this machine, and when they do not.

use std::path::PathBuf;

use runpack_core::manifest::Manifest;
use runpack_core::pack::Commit;
use runpack_core::receipt::ReceiptBook;

use crate::context::Context;
use crate::failure::{Exit, Failure};

/// Whether a pack was made just now, by us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It was: what we record is what we saw.
    Made,
    /// It was found: whoever can write to a store must not get a receipt for what they put there.
    Found,
}

impl From<Commit> for Seen {
    fn from(commit: Commit) -> Self {
        match commit {
            Commit::New => Self::Made,
            Commit::Again | Commit::SameEvidence => Self::Found,
        }
    }
}

/// The receipts of this machine.
pub(crate) fn book(context: &Context) -> Result<ReceiptBook, Failure> {
    Ok(ReceiptBook::new(context.environment.receipts()?))
}

/// Records a copy that was made just now of a pack that was found in a store, if no receipt knows better of the pack or
/// of its place there.
///
/// # Errors
/// As [`record`].
pub(crate) fn record_copy(
    context: &Context,
    manifest: &Manifest,
    copy: Option<String>,
    from: Option<String>,
) -> Result<PathBuf, Failure> {
    let mut places: Vec<String> = from.into_iter().collect();
    check(&book(context)?, manifest, &places)?;
    places.extend(copy);
    record(context, manifest, places, Seen::Made)
}

/// Records a pack in these places, and gives the receipt's path. A pack that was found, and not made just now, is
/// recorded only if no receipt knows better.
///
/// # Errors
/// A receipt knows of another pack; a receipt could not be read or written.
pub(crate) fn record(
    context: &Context,
    manifest: &Manifest,
    places: Vec<String>,
    seen: Seen,
) -> Result<PathBuf, Failure> {
    let book = book(context)?;
    if seen == Seen::Found {
        check(&book, manifest, &places)?;
    }
    let path = book.record(manifest, places, context.now.time)?;
    Ok(std::path::absolute(&path).unwrap_or(path))
}

/// Records a pack of which the store alone tells: only where a receipt has it already, and its path then.
///
/// # Errors
/// As [`record`].
pub(crate) fn record_known(
    context: &Context,
    manifest: &Manifest,
    places: Vec<String>,
) -> Result<Option<PathBuf>, Failure> {
    let book = book(context)?;
    check(&book, manifest, &places)?;
    if is_known(&book, manifest)? {
        record(context, manifest, places, Seen::Found).map(Some)
    } else {
        Ok(None)
    }
}

/// Whether a receipt of this machine has the pack.
pub(crate) fn is_known(book: &ReceiptBook, manifest: &Manifest) -> Result<bool, Failure> {
    let known = book.of_subject(manifest.subject())?;
    Ok(known.contains(&manifest.pack_id()))
}

fn check(book: &ReceiptBook, manifest: &Manifest, places: &[String]) -> Result<(), Failure> {
    let pack_id = manifest.pack_id();
    let mut known = book.of_subject(manifest.subject())?;
    let mut agrees = known.is_empty() || known.contains(&pack_id);
    for place in places {
        let recorded = book.of_place(place)?;
        agrees &= recorded.is_none_or(|recorded| recorded == pack_id);
        known.extend(recorded);
    }
    if agrees {
        return Ok(());
    }
    let recorded = known.iter().map(|id| format!("recorded: {id}")).collect();
    Err(Failure::new(
        format!("the store shows another pack than the one that was exported here before, found=`{pack_id}`"),
        "somebody changed the store: restore it from a copy that verifies; no receipt was written",
    )
    .with_details(recorded)
    .with_exit(Exit::Invalid))
}

//! Removing what was shipped long ago: only what the store still has, and only what it was when it was shipped.
//!
//! First everything is looked at, then files are removed, the marker after them: so a shipper that is killed in between
//! finds its way. A file that is gone already is no reason to keep the others; one that differs, or is new, is a reason to
//! keep everything. Removing never reaches the store.

use std::collections::HashMap;
use std::sync::Arc;

use runpack_core::name::ArtifactName;
use rustix::fs::AtFlags;

use super::marker::{MARKER, Marker, Place, ShippedFile, is_ours};
use super::problem::Problem;
use super::tree::{Folder, Look, blocking};

/// What is in the folder, if the marker has all of it, by names and sizes: evidence that came later was not shipped.
pub(super) async fn looked(
    folder: &Arc<Folder>,
    marker: &Marker,
    entries_max: usize,
) -> Result<Look, Problem> {
    let looking = Arc::clone(folder);
    let look = blocking(move || looking.look(is_ours, entries_max)).await?;
    look.check()?;
    let shipped = shipped(marker);
    for (path, stamp) in &look.files {
        let file = named(&shipped, path).ok_or_else(|| stays(path, "a file was not shipped"))?;
        if file.bytes != stamp.bytes {
            return Err(stays(path, "a file changed since"));
        }
    }
    Ok(look)
}

/// That the bytes of what was looked at are those that the marker says.
pub(super) async fn unchanged(
    folder: &Arc<Folder>,
    marker: &Marker,
    look: &Look,
) -> Result<(), Problem> {
    let shipped = shipped(marker);
    for (path, stamp) in &look.files {
        let file = named(&shipped, path).ok_or_else(|| stays(path, "a file was not shipped"))?;
        if folder.hash(path, *stamp).await? != file.sha256 {
            return Err(stays(path, "a file changed since"));
        }
    }
    Ok(())
}

fn shipped(marker: &Marker) -> HashMap<&ArtifactName, &ShippedFile> {
    marker.files.iter().map(|file| (&file.path, file)).collect()
}

fn named<'a>(
    shipped: &HashMap<&ArtifactName, &'a ShippedFile>,
    path: &[u8],
) -> Option<&'a ShippedFile> {
    let name = ArtifactName::from_original(path.split(|&byte| byte == b'/')).ok()?;
    shipped.get(&name).copied()
}

fn stays(path: &[u8], why: &str) -> Problem {
    let path = String::from_utf8_lossy(path);
    Problem::Stays(format!("{why}, path=`{}`", path.escape_default()))
}

/// Removes what was looked at, then the marker, then the folder.
pub(super) async fn remove(
    root: Arc<Folder>,
    item: String,
    folder: Arc<Folder>,
    look: Look,
    marker: Place,
) -> Result<(), Problem> {
    blocking(move || {
        for (path, stamp) in &look.files {
            folder.remove_file(path, *stamp)?;
        }
        // A directory comes before what is in it.
        for path in look.directories.iter().rev() {
            folder.remove_directory(path)?;
        }
        for (name, _) in folder.entries()? {
            if is_ours(&name) && name != MARKER.as_bytes() {
                folder.remove(&name, AtFlags::empty())?;
            }
        }
        marker.remove()?;
        root.remove_directory(item.as_bytes())
    })
    .await
}

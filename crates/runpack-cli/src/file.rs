//! Files that come into being whole, and replace nothing.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read as _, Write};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, RenameFlags, openat, renameat_with};

use crate::failure::Failure;

/// Writes a new file at `path`: beside it first, synced, then given its name if nothing has it.
///
/// # Errors
/// Something is there, `write` failed, or the file system did.
pub fn create<T>(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&mut File>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let failed = |error: &io::Error| failure(path, error);
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    if fs::symlink_metadata(path).is_ok() {
        return Err(taken(path));
    }
    let mut file = tempfile::Builder::new()
        .prefix(".runpack-")
        .permissions(mode())
        .tempfile_in(directory)
        .map_err(|e| failed(&e))?;
    let mut buffered = BufWriter::with_capacity(1 << 18, file.as_file_mut());
    let made = write(&mut buffered)?;
    buffered.flush().map_err(|e| failed(&e))?;
    drop(buffered);
    file.as_file().sync_all().map_err(|e| failed(&e))?;
    renameat_with(CWD, file.path(), CWD, path, RenameFlags::NOREPLACE)
        .map_err(|errno| failed(&errno.into()))?;
    // The name it was removed under is gone: there is nothing left to remove.
    let _ = file.into_temp_path().keep();
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(|e| failed(&e))?;
    Ok(made)
}

/// What the user's umask makes of an ordinary file.
fn mode() -> fs::Permissions {
    use std::os::unix::fs::PermissionsExt as _;
    fs::Permissions::from_mode(0o666)
}

/// Objects to a path that is taken, before any work is done for it.
///
/// # Errors
/// Something is there.
pub fn check_free(path: &Path) -> Result<(), Failure> {
    if fs::symlink_metadata(path).is_ok() {
        return Err(taken(path));
    }
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    match parent {
        Some(parent) if !parent.is_dir() => Err(Failure::new(
            format!("there is no directory for it, path=`{}`", path.display()),
            "make the directory, or give another path",
        )),
        _ => Ok(()),
    }
}

/// Whether a path lies, or will lie, in a directory, links resolved.
pub(crate) fn is_within(path: &Path, directory: &Path) -> bool {
    let Ok(directory) = fs::canonicalize(directory) else {
        return false;
    };
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let nearest = absolute
        .ancestors()
        .find_map(|ancestor| fs::canonicalize(ancestor).ok());
    nearest.is_some_and(|path| path.starts_with(&directory))
}

fn taken(path: &Path) -> Failure {
    Failure::new(
        format!(
            "something is there already, and is not replaced, path=`{}`",
            path.display()
        ),
        "give another path, or move away what is there",
    )
}

fn failure(path: &Path, error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::AlreadyExists {
        return taken(path);
    }
    Failure::new(
        format!("a file could not be written, path=`{}`", path.display()),
        "check that the directory is there and may be written to, and that there is space",
    )
    .because(error)
}

/// Opens a regular file. A pipe or device in its place is refused, and not waited for.
///
/// # Errors
/// It cannot be opened, or is something else.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(openat(CWD, path, flags, Mode::empty())?);
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("not a regular file"))
    }
}

/// Reads a file of at most `bytes_max` bytes.
///
/// # Errors
/// It is not there, cannot be read, or is larger; `what` names it in the message.
pub fn read_capped(
    path: &Path,
    bytes_max: u64,
    what: &str,
    help: &str,
) -> Result<Vec<u8>, Failure> {
    let shown = path.display();
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| {
        file.take(bytes_max.saturating_add(1))
            .read_to_end(&mut bytes)
    });
    match read {
        Ok(read) if u64::try_from(read).is_ok_and(|read| read <= bytes_max) => Ok(bytes),
        Ok(_) => Err(Failure::new(
            format!("{what} is larger than one can be, path=`{shown}` bytes_max=`{bytes_max}`"),
            help,
        )),
        Err(error) => Err(
            Failure::new(format!("{what} could not be read, path=`{shown}`"), help).because(&error),
        ),
    }
}

//! The end of the log: what the next line is chained to, read back from the end and no further than needed.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use runpack_core::digest::Digest;

use super::{AuditError, Entry};

/// How much is read first: more than most lines.
const FIRST_BYTES: u64 = 64 << 10;
/// Two lines at most: the last whole one and what a crash left.
const BYTES_MAX: u64 = 2 << 20;

/// The last whole line, and what was torn off after it.
type Tail = (Option<(Entry, Digest)>, Option<Vec<u8>>);

/// Takes the last whole line, and removes what was torn off after it.
pub(super) fn take(file: &mut File, path: &Path) -> Result<Tail, AuditError> {
    let io = |source| AuditError::Io {
        path: path.to_owned(),
        source,
    };
    let len = file.metadata().map_err(io)?.len();
    let mut bytes = read(file, len, FIRST_BYTES).map_err(io)?;
    if last_line(&bytes).is_none() && len > FIRST_BYTES {
        bytes = read(file, len, BYTES_MAX).map_err(io)?;
    }
    let end = bytes.iter().rposition(|byte| *byte == b'\n');
    let (whole, torn) = bytes.split_at(end.map_or(0, |at| at.saturating_add(1)));
    let torn = (!torn.is_empty()).then(|| torn.to_vec());
    if let Some(torn) = &torn {
        let kept = len.saturating_sub(u64::try_from(torn.len()).unwrap_or(0));
        file.set_len(kept).map_err(io)?;
    }
    let Some(whole) = whole.strip_suffix(b"\n") else {
        return Ok((None, torn));
    };
    let line = whole.rsplit(|byte| *byte == b'\n').next().unwrap_or(whole);
    let entry = serde_json::from_slice(line).map_err(|_| AuditError::Changed {
        path: path.to_owned(),
        line: 0,
        fault: "the last line is none of the log",
    })?;
    Ok((Some((entry, Digest::of(line))), torn))
}

/// So many of the last bytes.
fn read(file: &mut File, len: u64, bytes_max: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(len.saturating_sub(bytes_max)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The last whole line, if it and the end of the one before it are here.
fn last_line(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.iter().rposition(|byte| *byte == b'\n')?;
    let before = bytes.get(..end)?;
    let start = before.iter().rposition(|byte| *byte == b'\n')?;
    before.get(start.saturating_add(1)..)
}

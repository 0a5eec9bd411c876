//! The audit log: every enterprise action and every refusal, one line each, chained by digest, on this machine.
//!
//! A line carries the SHA-256 of the one before it, so that no line can be changed, removed or put in between without all
//! after it being written again. A signed head ([`AuditLog::sign_head`]) names the last line, and nobody without the key
//! makes one of other lines. But log and heads are files of one machine: whoever owns it can cut both to an earlier state
//! that holds. Only a head's digest that is kept elsewhere, and expected ([`AuditLog::expect`]), tells of that.
//! Invariants: a line is durable before its action is told of; what a crash tore off was told to nobody, and that it was
//! is in the next line.

mod tail;

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};

use runpack_core::digest::Digest;
use runpack_core::sign::{SignError, SignatureError, SignedDocument, Signer, VerifyingKey};
use runpack_core::time::{Clock, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The media type of a signed head.
const HEAD_TYPE: &str = "application/vnd.runpack.audit-head.v1+json";
/// The longest line, so that a file that was made to has no endless one.
const LINE_BYTES_MAX: usize = 1 << 20;
/// The largest signed head.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// How an action ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It was done.
    Done,
    /// It was refused, by us or by the store.
    Refused,
    /// It failed, and nobody knows more.
    Failed,
}

/// A line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// From 0, without a gap.
    pub sequence: u64,
    /// The SHA-256 of the line before, without its line feed; of nothing for the first.
    pub previous: Digest,
    /// By this machine's clock.
    pub at: Timestamp,
    /// Who, as this machine says.
    pub by: String,
    /// What: `lock.seal`, `hold.release`, ...
    pub action: String,
    /// How it ended.
    pub outcome: Outcome,
    /// On what, and with what result.
    pub detail: Value,
}

/// Which line is the last: what is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// The last line's number.
    pub sequence: u64,
    /// The SHA-256 of the last line.
    pub line: Digest,
    /// When it was signed, by this machine's clock.
    pub at: Timestamp,
}

/// What a log was found to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// How many lines there are.
    pub entries: u64,
    /// The last one; `None` for an empty log.
    pub last: Option<Digest>,
    /// How many signed heads agree with it.
    pub heads: u64,
}

/// Why a log is not to be believed, or not to be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// The file system failed.
    #[error("the audit log could not be read or written, path=`{path}`")]
    Io {
        /// The file.
        path: PathBuf,
        /// How.
        #[source]
        source: io::Error,
    },
    /// A line is not one, or not where it was written.
    #[error(
        "the audit log was changed: keep it as it is and look for a copy that verifies, line=`{line}` path=`{path}`: {fault}"
    )]
    Changed {
        /// The file.
        path: PathBuf,
        /// Which line, from 1.
        line: u64,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// A signed head says of more lines, or of others.
    #[error(
        "a signed head does not agree with the audit log: lines were cut off or changed, head=`{sequence}` entries=`{entries}`"
    )]
    Head {
        /// The line of which the head says.
        sequence: u64,
        /// How many lines there are.
        entries: u64,
    },
    /// A line that must be in it is not.
    #[error(
        "the line that is expected is not in the audit log: lines were cut off or written again, or it is the log of another machine, expected=`{line}` entries=`{entries}`"
    )]
    Missing {
        /// The SHA-256 of the line.
        line: Digest,
        /// How many lines there are.
        entries: u64,
    },
    /// No trusted key signed a head.
    #[error("a head is signed by no key that is trusted, line=`{line}`")]
    Untrusted {
        /// Which line of the file of heads, from 1.
        line: u64,
    },
    /// The head was not signed.
    #[error(transparent)]
    Sign(#[from] SignError),
}

/// What becomes of heads that other keys signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OtherKeys {
    /// They are none.
    Refused,
    /// They are not looked at.
    Passed,
}

/// The audit log of this machine.
#[derive(Debug, Clone)]
pub struct AuditLog {
    directory: PathBuf,
    by: String,
}

impl AuditLog {
    /// The log in a directory, which is made with the first line. `by` is who acts.
    pub fn new(directory: impl Into<PathBuf>, by: &str) -> Self {
        Self {
            directory: directory.into(),
            by: by.to_owned(),
        }
    }

    /// Who acts.
    pub fn by(&self) -> &str {
        &self.by
    }

    /// The file of lines.
    pub fn path(&self) -> PathBuf {
        self.directory.join("audit.jsonl")
    }

    fn heads_path(&self) -> PathBuf {
        self.directory.join("heads.jsonl")
    }

    /// Adds a line and makes it durable.
    ///
    /// # Errors
    /// It could not be, or the last line there is not one.
    pub fn append(
        &self,
        clock: &dyn Clock,
        action: &str,
        outcome: Outcome,
        detail: Value,
    ) -> Result<Entry, AuditError> {
        let path = self.path();
        let io = |source| AuditError::Io {
            path: path.clone(),
            source,
        };
        let mut file = self.open(&path).map_err(io)?;
        let (tail, torn) = tail::take(&mut file, &path)?;
        let mut detail = detail;
        if let (Some(torn), Some(members)) = (torn, detail.as_object_mut()) {
            let torn_off = serde_json::json!({"bytes": torn.len(), "sha256": Digest::of(&torn)});
            members.insert("torn_off_before".to_owned(), torn_off);
        }
        let entry = Entry {
            sequence: tail
                .as_ref()
                .map_or(0, |(entry, _)| entry.sequence.saturating_add(1)),
            previous: tail.map_or_else(|| Digest::of(b""), |(_, digest)| digest),
            at: clock.now(),
            by: self.by.clone(),
            action: action.to_owned(),
            outcome,
            detail,
        };
        let mut line = serde_json::to_vec(&entry).unwrap_or_default();
        line.push(b'\n');
        file.write_all(&line).map_err(io)?;
        file.sync_all().map_err(io)?;
        Ok(entry)
    }

    /// Opens the file at its end and keeps others from writing to it.
    fn open(&self, path: &Path) -> io::Result<File> {
        fs::create_dir_all(&self.directory)?;
        let is_new = !path.exists();
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)?;
        file.lock()?;
        if is_new {
            File::open(&self.directory)?.sync_all()?;
        }
        Ok(file)
    }

    /// Signs the last line, and keeps the signed head beside the log. What this key signed before must hold.
    ///
    /// # Errors
    /// The log does not hold, or an earlier head of this key does not agree with it; the signer failed.
    pub fn sign_head(
        &self,
        clock: &dyn Clock,
        signer: &dyn Signer,
    ) -> Result<Option<Head>, AuditError> {
        let key = signer.public_key();
        let checked = self.check(&[key], OtherKeys::Passed)?.0;
        let (Some(line), Some(sequence)) = (checked.last, checked.entries.checked_sub(1)) else {
            return Ok(None);
        };
        let head = Head {
            sequence,
            line,
            at: clock.now(),
        };
        let payload = serde_json::to_vec(&head).unwrap_or_default();
        let mut line = SignedDocument::sign(HEAD_TYPE, payload, signer)?.to_bytes();
        line.push(b'\n');
        let path = self.heads_path();
        let io = |source| AuditError::Io {
            path: path.clone(),
            source,
        };
        let mut file = self.open(&path).map_err(io)?;
        file.write_all(&line).map_err(io)?;
        file.sync_all().map_err(io)?;
        Ok(Some(head))
    }

    /// Reads the whole log and holds every line, and every signed head if keys are given, against what was written.
    ///
    /// # Errors
    /// It was changed, cut or cannot be read.
    pub fn verify(&self, trusted: &[VerifyingKey]) -> Result<Checked, AuditError> {
        Ok(self.check(trusted, OtherKeys::Refused)?.0)
    }

    /// The same, and a line with this SHA-256 must be in it: what [`AuditLog::sign_head`] gave, kept where who owns this
    /// machine cannot change it.
    ///
    /// # Errors
    /// As [`AuditLog::verify`]; [`AuditError::Missing`].
    pub fn expect(&self, trusted: &[VerifyingKey], line: Digest) -> Result<Checked, AuditError> {
        let (checked, lines) = self.check(trusted, OtherKeys::Refused)?;
        if lines.contains(&line) {
            return Ok(checked);
        }
        let entries = checked.entries;
        Err(AuditError::Missing { line, entries })
    }

    /// Reads the whole log; its lines' digests too.
    fn check(
        &self,
        trusted: &[VerifyingKey],
        others: OtherKeys,
    ) -> Result<(Checked, Vec<Digest>), AuditError> {
        let mut lines: Vec<Digest> = Vec::new();
        let path = self.path();
        each_line(&path, LINE_BYTES_MAX, |number, line| {
            let changed = |fault| AuditError::Changed {
                path: path.clone(),
                line: number,
                fault,
            };
            let entry: Entry =
                serde_json::from_slice(line).map_err(|_| changed("it is no line of the log"))?;
            if entry.sequence.saturating_add(1) != number {
                return Err(changed("lines are missing or were put in before it"));
            }
            let previous = lines.last().copied().unwrap_or_else(|| Digest::of(b""));
            if entry.previous != previous {
                return Err(changed("the line before it is another than was written"));
            }
            lines.push(Digest::of(line));
            Ok(())
        })?;
        let entries = u64::try_from(lines.len()).unwrap_or(u64::MAX);
        let mut heads = 0_u64;
        if !trusted.is_empty() {
            each_line(&self.heads_path(), HEAD_BYTES_MAX, |number, line| {
                let untrusted = || AuditError::Untrusted { line: number };
                let signed = SignedDocument::parse(line, HEAD_TYPE, HEAD_BYTES_MAX);
                let signed = signed.map_err(|_| untrusted())?;
                let payload = match (signed.verify(trusted), others) {
                    (Ok(payload), _) => payload,
                    (Err(SignatureError::NoTrustedKey), OtherKeys::Passed) => return Ok(()),
                    (Err(_), _) => return Err(untrusted()),
                };
                let head: Head = serde_json::from_slice(payload).map_err(|_| untrusted())?;
                let there = usize::try_from(head.sequence)
                    .ok()
                    .and_then(|at| lines.get(at));
                if there != Some(&head.line) {
                    return Err(AuditError::Head {
                        sequence: head.sequence,
                        entries,
                    });
                }
                heads = heads.saturating_add(1);
                Ok(())
            })?;
        }
        let last = lines.last().copied();
        let checked = Checked {
            entries,
            last,
            heads,
        };
        Ok((checked, lines))
    }

    /// Hands every entry to `take`, after the whole log was verified.
    ///
    /// # Errors
    /// As [`AuditLog::verify`], and as `take` fails.
    pub fn read(
        &self,
        mut take: impl FnMut(Entry) -> Result<(), AuditError>,
    ) -> Result<Checked, AuditError> {
        let checked = self.verify(&[])?;
        let path = self.path();
        each_line(&path, LINE_BYTES_MAX, |number, line| {
            let entry = serde_json::from_slice(line).map_err(|_| AuditError::Changed {
                path: path.clone(),
                line: number,
                fault: "it is no line of the log",
            })?;
            take(entry)
        })?;
        Ok(checked)
    }
}

/// Each line of a file that may not be there, counted from 1. What follows the last line feed is no line.
fn each_line(
    path: &Path,
    bytes_max: usize,
    mut take: impl FnMut(u64, &[u8]) -> Result<(), AuditError>,
) -> Result<(), AuditError> {
    let io = |source| AuditError::Io {
        path: path.to_owned(),
        source,
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io(error)),
    };
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    let mut number = 0_u64;
    loop {
        line.clear();
        let bound = u64::try_from(bytes_max).unwrap_or(u64::MAX);
        let read = reader.by_ref().take(bound).read_until(b'\n', &mut line);
        read.map_err(io)?;
        if line.is_empty() {
            return Ok(());
        }
        number = number.saturating_add(1);
        match line.strip_suffix(b"\n") {
            Some(line) => take(number, line)?,
            // A crash tore it off: it was told to nobody.
            None if line.len() < bytes_max => return Ok(()),
            None => {
                return Err(AuditError::Changed {
                    path: path.to_owned(),
                    line: number,
                    fault: "it is longer than any line of the log",
                });
            }
        }
    }
}

#[cfg(test)]
mod tests;

//! Lines and how each is chained to the one before: making them, and walking them from file to file.
//!
//! Invariants: what is written is what is walked, and both go through [`Chain`]; a line is bounded, so that a file that
//! was made to has no endless one; text of clients is in no line but as ASCII without control characters.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::Path;

use runpack_core::digest::Digest;
use runpack_core::time::Timestamp;
use serde::Serialize as _;
use serde_json::ser::Formatter;

use super::files::{self, Listed};
use super::{AuditError, Entry, Event, Head};

/// The longest line, with its line feed.
pub(super) const LINE_BYTES_MAX: usize = 256 << 10;
/// As many bytes of lines are made durable at once, and one line more.
pub(super) const BATCH_BYTES_MAX: usize = 1 << 20;
/// What a crash can leave of lines that nobody was told of.
pub(super) const TORN_BYTES_MAX: u64 = 2 << 20;
/// The longest text in a line.
const TEXT_BYTES_MAX: usize = 1 << 10;

/// Where a chain ends: what the next line must say, or says.
#[derive(Debug, Clone, Default)]
pub(super) struct Chain {
    next: u64,
    head: Option<Head>,
    replica: Option<String>,
}

impl Chain {
    /// A chain in which the first line that is taken may have any line before it.
    fn from_the_middle(next: u64) -> Self {
        Self {
            next,
            ..Self::default()
        }
    }

    /// The sequence of the next line.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    pub(super) fn head(&self) -> Option<Head> {
        self.head
    }

    /// Whose chain it is, once a line told it.
    pub(super) fn replica(&self) -> Option<&str> {
        self.replica.as_deref()
    }

    /// Adds a line to `lines`.
    pub(super) fn append(
        &mut self,
        replica: &str,
        at: Timestamp,
        event: &Event,
        lines: &mut Vec<u8>,
    ) -> Result<(), AuditError> {
        let entry = Entry {
            sequence: self.next,
            previous: self.head.map_or_else(|| Digest::of(b""), |head| head.line),
            at,
            replica: replica.to_owned(),
            request: event.request.as_deref().map(cut),
            caller: event.caller.as_deref().map(cut),
            action: event.action.to_owned(),
            object: cut(&event.object),
            outcome: event.outcome,
            status: event.status,
            detail: event
                .detail
                .iter()
                .map(|(name, text)| ((*name).to_owned(), cut(text)))
                .collect(),
        };
        let mut line = Vec::with_capacity(512);
        let mut serializer = serde_json::Serializer::with_formatter(&mut line, Ascii);
        // Texts and numbers always serialize.
        let _ = entry.serialize(&mut serializer);
        let bytes = line.len();
        if bytes >= LINE_BYTES_MAX {
            let action = event.action;
            return Err(AuditError::TooLong { action, bytes });
        }
        self.advance(entry, Digest::of(&line));
        line.push(b'\n');
        lines.append(&mut line);
        Ok(())
    }

    /// Takes a line that was written.
    fn take(&mut self, line: &[u8]) -> Result<(Entry, Head), Fault> {
        let entry: Entry = serde_json::from_slice(line).map_err(|_| Fault::NoLine)?;
        if entry.sequence != self.next {
            return Err(Fault::Sequence);
        }
        let previous = match (self.head, self.next) {
            (Some(head), _) => head.line,
            (None, 0) => Digest::of(b""),
            (None, _) => entry.previous,
        };
        if entry.previous != previous {
            return Err(Fault::Previous);
        }
        if self.replica().is_some_and(|of| of != entry.replica) {
            return Err(Fault::Replica);
        }
        let head = self.advance(entry.clone(), Digest::of(line));
        Ok((entry, head))
    }

    fn advance(&mut self, entry: Entry, line: Digest) -> Head {
        let head = Head {
            sequence: entry.sequence,
            line,
        };
        self.next = entry.sequence.saturating_add(1);
        self.head = Some(head);
        self.replica.get_or_insert(entry.replica);
        head
    }
}

/// What is wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    NoLine,
    Sequence,
    Previous,
    Replica,
    TooLong,
    CutOff,
}

impl Fault {
    fn at(self, path: &Path, line: u64) -> AuditError {
        let fault = match self {
            Self::NoLine => "it is no line of the log",
            Self::Sequence => "lines are missing or were put in before it",
            Self::Previous => "the line before it is another than was written",
            Self::Replica => "it is a line of another replica",
            Self::TooLong => "it is longer than any line of the log",
            Self::CutOff => "its end is missing, and other files follow",
        };
        AuditError::Changed {
            path: path.to_owned(),
            line,
            fault,
        }
    }
}

/// How the last file ends.
#[derive(Debug, Default)]
pub(super) struct Walked {
    /// How many lines of it hold.
    lines: u64,
    /// Up to the end of the last line that holds.
    pub(super) whole_bytes: u64,
    /// What a crash left after it.
    pub(super) torn_bytes: u64,
    /// When the first line of the last file was written.
    pub(super) begun: Option<Timestamp>,
}

/// Walks all lines of these files, which follow each other.
pub(super) fn walk(
    chain: &mut Chain,
    listed: &[Listed],
    each: &mut dyn FnMut(&Entry, Head),
) -> Result<Walked, AuditError> {
    let mut walked = Walked::default();
    let mut before: Option<&Path> = None;
    for file in listed {
        if let Some(before) = before
            && walked.torn_bytes > 0
        {
            return Err(Fault::CutOff.at(before, walked.lines.saturating_add(1)));
        }
        if file.first != chain.next {
            return Err(Fault::Sequence.at(&file.path, 1));
        }
        walked = walk_file(chain, &file.path, each)?;
        before = Some(&file.path);
    }
    Ok(walked)
}

/// Walks the last file, and the one before it for what the last continues: all that is needed to write on.
pub(super) fn walk_end(listed: &[Listed]) -> Result<(Chain, Walked), AuditError> {
    let end = listed
        .get(listed.len().saturating_sub(2)..)
        .unwrap_or(listed);
    let mut chain = match end.first() {
        // The first file of all must begin at the begin.
        Some(file) if listed.len() > 2 => Chain::from_the_middle(file.first),
        _ => Chain::default(),
    };
    let walked = walk(&mut chain, end, &mut |_, _| {})?;
    Ok((chain, walked))
}

fn walk_file(
    chain: &mut Chain,
    path: &Path,
    each: &mut dyn FnMut(&Entry, Head),
) -> Result<Walked, AuditError> {
    let io = |source| AuditError::Io {
        path: path.to_owned(),
        source,
    };
    let (file, len) = opened(path).map_err(io)?;
    let mut reader = BufReader::new(file.take(len));
    let mut walked = Walked::default();
    let mut line = Vec::new();
    let bound = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX);
    loop {
        line.clear();
        let read = reader.by_ref().take(bound).read_until(b'\n', &mut line);
        let bytes = u64::try_from(read.map_err(io)?).unwrap_or(u64::MAX);
        if bytes == 0 {
            break;
        }
        let taken = match line.strip_suffix(b"\n") {
            Some(whole) => chain.take(whole),
            None if bytes == bound => Err(Fault::TooLong),
            None => Err(Fault::NoLine),
        };
        let left = len.saturating_sub(walked.whole_bytes);
        match taken {
            Ok((entry, head)) => {
                walked.lines = walked.lines.saturating_add(1);
                walked.begun.get_or_insert(entry.at);
                walked.whole_bytes = walked.whole_bytes.saturating_add(bytes);
                each(&entry, head);
            }
            Err(fault) if is_torn(fault, &line, left) => {
                walked.torn_bytes = left;
                break;
            }
            Err(fault) => return Err(fault.at(path, walked.lines.saturating_add(1))),
        }
    }
    Ok(walked)
}

fn opened(path: &Path) -> io::Result<(File, u64)> {
    let file = files::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    Ok((file, metadata.len()))
}

/// Whether a crash left that: part of a last line, or blocks of lines that never were durable, which read as zeros.
fn is_torn(fault: Fault, line: &[u8], left: u64) -> bool {
    let is_last = u64::try_from(line.len()) == Ok(left);
    (is_last && fault == Fault::NoLine) || (line.contains(&0) && left <= TORN_BYTES_MAX)
}

/// A text that may be long: cut, and its digest told.
fn cut(text: &str) -> String {
    if text.len() <= TEXT_BYTES_MAX {
        return text.to_owned();
    }
    let kept = text.get(..text.floor_char_boundary(TEXT_BYTES_MAX));
    format!(
        "{}... (bytes=`{}` sha256=`{}`)",
        kept.unwrap_or_default(),
        text.len(),
        Digest::of(text.as_bytes())
    )
}

/// JSON in which everything but printable ASCII is escaped: neither a terminal nor a reader of lines takes what a client
/// sent for anything else than text.
struct Ascii;

impl Formatter for Ascii {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        for found in fragment.chars() {
            if matches!(found, ' '..='~') {
                writer.write_all(found.encode_utf8(&mut [0; 4]).as_bytes())?;
            } else {
                for unit in found.encode_utf16(&mut [0; 2]) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
        }
        Ok(())
    }
}

//! `events/audit_trail.jsonl`: what happened, one line each, chained by digest (specification, section 14).
//!
//! The chain is that of the audit logs (`sequence`, `previous`, `at`, `action`, `detail`): a line carries the SHA-256 of
//! the line before it, without its line feed; the first carries the SHA-256 of nothing. So no line can be changed,
//! removed, put in or moved without all after it being written again. That the end was cut off or written again only a
//! [`Head`] tells that is kept elsewhere: the run's metadata has it. Invariants: every line has one spelling; what is
//! written is what is read; the caller says what time it is.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::agent::AgentName;
use super::story::FINISH;
use crate::count::len_u64;
use crate::digest::Digest;
use crate::id::StepId;
use crate::json;
use crate::manifest::{LabelKey, Text};
use crate::time::Timestamp;

/// The most bytes of a trail.
pub const TRAIL_BYTES_MAX: u64 = 64 << 20;
/// The longest line, without its line feed.
const LINE_BYTES_MAX: usize = 64 << 10;
/// The most facts of one event.
const DETAIL_MAX: usize = 64;
/// The deepest line.
const DEPTH_MAX: u32 = 4;

/// What was done: `step.commit`, `approval.given`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Action(Box<str>);

impl Action {
    /// An action of Runpack's own.
    pub(super) fn known(action: &'static str) -> Self {
        debug_assert!(action.parse::<Self>().is_ok(), "{action}");
        Self(action.into())
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether Runpack itself gives the action its meaning, so that nobody else writes it.
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with("run.") || self.0.starts_with("step.")
    }
}

/// Not an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "an action is 1 to 64 lower-case letters, digits and `.` `_` `-`, and starts with a letter or digit"
)]
pub struct ActionError;

impl FromStr for Action {
    type Err = ActionError;

    fn from_str(text: &str) -> Result<Self, ActionError> {
        let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let mut bytes = text.bytes();
        let first = bytes.next().is_some_and(alphanumeric);
        if first && text.len() <= 64 && bytes.all(|b| alphanumeric(b) || b"._-".contains(&b)) {
            Ok(Self(text.into()))
        } else {
            Err(ActionError)
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Serialize for Action {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Action {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        json::from_string(deserializer)
    }
}

/// What else is to be known of an event.
pub type Detail = BTreeMap<LabelKey, Text<1024>>;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What was done.
    pub action: Action,
    /// When, as whoever tells it says.
    pub at: Timestamp,
    /// In which step.
    pub step: Option<StepId>,
    /// By which agent.
    pub agent: Option<AgentName>,
    /// What else is to be known: at most 64 facts, and no credential.
    pub detail: Detail,
}

/// A line of a trail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// What was done.
    pub action: Action,
    /// By which agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentName>,
    /// When, as whoever told it says.
    pub at: Timestamp,
    /// What else is to be known.
    pub detail: Detail,
    /// The SHA-256 of the line before, without its line feed; of nothing for the first.
    pub previous: Digest,
    /// From 0, without a gap.
    pub sequence: u64,
    /// In which step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<StepId>,
}

/// Where a trail ends: what fixes all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// How many lines there are.
    pub entries: u64,
    /// The SHA-256 of the last line; of nothing where there is none.
    pub last: Digest,
}

/// A trail whose chain holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trail {
    lines: Vec<Line>,
    bytes: Vec<u8>,
    last: Digest,
}

/// What is wrong with a trail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrailFault {
    /// Not a line, or not in its one spelling.
    #[error("it is no line of a trail, or not as one is written")]
    NoLine,
    /// Lines before it are missing, or it was put in or moved.
    #[error("its number is not the next: lines before it were removed, put in or moved")]
    Sequence,
    /// The line before it is another than the one that was written.
    #[error("the line before it was changed")]
    Previous,
    /// Its end is missing.
    #[error("its end is missing")]
    CutOff,
    /// There are fewer lines than the head says.
    #[error("lines after it were cut off")]
    Cut,
    /// There are more lines than the head says.
    #[error("lines from it on were added")]
    Added,
    /// The last line is another than the head says.
    #[error("it was changed")]
    Changed,
    /// The line before it is the end of a run.
    #[error("nothing follows the end of a run")]
    Ended,
    /// Longer than a line, or the whole longer than a trail.
    #[error("it is longer than it may be")]
    TooLong,
}

/// The first line at which a trail does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the audit trail does not hold, line=`{line}`: {fault}")]
pub struct TrailError {
    /// Which line, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub fault: TrailFault,
}

impl Default for Trail {
    fn default() -> Self {
        Self {
            lines: Vec::new(),
            bytes: Vec::new(),
            last: Digest::of(b""),
        }
    }
}

impl Trail {
    /// Reads a trail, and walks its chain.
    ///
    /// # Errors
    /// The first line that does not hold.
    pub fn parse(bytes: &[u8]) -> Result<Self, TrailError> {
        let mut trail = Self::default();
        if len_u64(bytes) > TRAIL_BYTES_MAX {
            return Err(trail.fault(TrailFault::TooLong));
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
                return Err(trail.fault(TrailFault::CutOff));
            };
            let (line, after) = rest.split_at_checked(end).unwrap_or((rest, &[]));
            let taken = read(line).and_then(|read| trail.follows(&read).map(|()| read));
            trail.push(taken.map_err(|fault| trail.fault(fault))?, line);
            rest = after.get(1..).unwrap_or_default();
        }
        Ok(trail)
    }

    /// Holds the trail against the head that was kept elsewhere.
    ///
    /// # Errors
    /// The line from which it is another trail.
    pub fn check(&self, head: Head) -> Result<(), TrailError> {
        let entries = len_u64(&self.lines);
        let (line, fault) = match entries.cmp(&head.entries) {
            std::cmp::Ordering::Less => (entries, TrailFault::Cut),
            std::cmp::Ordering::Greater => (head.entries.saturating_add(1), TrailFault::Added),
            std::cmp::Ordering::Equal if self.last != head.last => (entries, TrailFault::Changed),
            std::cmp::Ordering::Equal => return Ok(()),
        };
        Err(TrailError { line, fault })
    }

    /// Adds an event, and gives its line with the line feed: what is to be written.
    ///
    /// # Errors
    /// The run has ended; the line or the trail would be longer than it may be.
    pub fn append(&mut self, event: Event) -> Result<&[u8], TrailError> {
        let last = self.lines.last();
        if last.is_some_and(|last| last.action.as_str() == FINISH) {
            return Err(self.fault(TrailFault::Ended));
        }
        let line = Line {
            action: event.action,
            agent: event.agent,
            at: event.at,
            detail: event.detail,
            previous: self.last,
            sequence: len_u64(&self.lines),
            step: event.step,
        };
        // Texts and numbers always become JSON.
        let bytes = serde_json::to_vec(&line).unwrap_or_default();
        let grown = len_u64(&self.bytes).saturating_add(len_u64(&bytes));
        if check_size(&line, &bytes).is_err() || grown >= TRAIL_BYTES_MAX {
            return Err(self.fault(TrailFault::TooLong));
        }
        let before = self.bytes.len();
        self.push(line, &bytes);
        Ok(self.bytes.get(before..).unwrap_or_default())
    }

    /// The lines.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The bytes as they are written.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where it ends.
    pub fn head(&self) -> Head {
        Head {
            entries: len_u64(&self.lines),
            last: self.last,
        }
    }

    fn follows(&self, line: &Line) -> Result<(), TrailFault> {
        if line.sequence != len_u64(&self.lines) {
            return Err(TrailFault::Sequence);
        }
        if line.previous != self.last {
            return Err(TrailFault::Previous);
        }
        Ok(())
    }

    fn push(&mut self, line: Line, bytes: &[u8]) {
        self.last = Digest::of(bytes);
        self.bytes.extend_from_slice(bytes);
        self.bytes.push(b'\n');
        self.lines.push(line);
    }

    /// At the next line.
    fn fault(&self, fault: TrailFault) -> TrailError {
        TrailError {
            line: len_u64(&self.lines).saturating_add(1),
            fault,
        }
    }
}

fn read(bytes: &[u8]) -> Result<Line, TrailFault> {
    if bytes.len() > LINE_BYTES_MAX {
        return Err(TrailFault::TooLong);
    }
    json::check(bytes, DEPTH_MAX).map_err(|_| TrailFault::NoLine)?;
    let line: Line = serde_json::from_slice(bytes).map_err(|_| TrailFault::NoLine)?;
    check_size(&line, bytes)?;
    if json::matches_canonical(&line, bytes) {
        Ok(line)
    } else {
        Err(TrailFault::NoLine)
    }
}

fn check_size(line: &Line, bytes: &[u8]) -> Result<(), TrailFault> {
    if bytes.len() > LINE_BYTES_MAX || line.detail.len() > DETAIL_MAX {
        return Err(TrailFault::TooLong);
    }
    Ok(())
}

//! Audits: whole stores verified, by any number of programs on any number of machines, each place once in the report.
//!
//! An [`Audit`] is planned from what the store lists and from what is known to have been there; an [`Auditor`] takes one
//! place after the other, verifies what lies there with the core's verifier, and writes down what it concludes. Invariants:
//!
//! - every place has one row, and a conclusion is written into it once, by whoever took it last: a worker that dies leaves
//!   a lease to expire, one that comes back from the dead writes nothing;
//! - the catalog and earlier audits never vouch for a pack. What they know only adds objections: a pack that is gone,
//!   another in its place, one that the listing leaves out (threat S11);
//! - what could not be read is undecided, also after every attempt;
//! - memory does not grow with the store, and a listing without end is an error (threat S16).

mod examine;
mod lease;
mod pace;
mod patience;
mod plan;
mod report;
mod run;
mod scope;
mod watch;

use std::error::Error;
use std::fmt;
use std::str::FromStr;

use runpack_core::id::{ExecutionId, IdError};
use runpack_core::store::StoreError;
use runpack_core::time::Timestamp;
use runpack_core::verify::{Level, Verdict};

pub use examine::{Examined, Objection, PinSource};
pub use pace::Rates;
pub use report::{AuditedPlace, Standing, Which};
pub use run::{AuditOptions, AuditProgress, Auditor};
pub use scope::Scope;

use crate::error::CatalogError;
use crate::sql::{Beside, Catalog, Columns, Question};

/// The name of an audit: a ULID, which nobody can tell beforehand.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuditId(ExecutionId);

impl AuditId {
    /// As text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for AuditId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        text.parse().map(Self)
    }
}

impl fmt::Display for AuditId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for AuditId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What is verified.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Audit {
    /// Its name.
    pub id: AuditId,
    /// The store, as the catalog names it ([`crate::StoreName::place`]).
    pub store: String,
    /// How much is checked.
    pub level: Level,
    /// Which of its places.
    pub scope: Scope,
    /// When it was begun, by the database's clock.
    pub begun_at: Timestamp,
    /// Whether all that is to be verified is known.
    pub is_planned: bool,
}

/// What an audit concluded of a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Conclusion {
    /// Pinned, and everything holds.
    Valid,
    /// Everything that was looked at holds, and nothing outside of the store vouches for the pack.
    Consistent,
    /// Something could not be read.
    Undecided,
    /// Something is wrong.
    Invalid,
    /// A retention plan removed the artifacts or the pack, as the store says, which proves nothing; the rest holds.
    Removed,
    /// The pack is older than what the audit is about; its manifest is one, and nothing more was looked at.
    Older,
}

impl Conclusion {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Valid,
        Self::Consistent,
        Self::Undecided,
        Self::Invalid,
        Self::Removed,
        Self::Older,
    ];

    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Consistent => "consistent",
            Self::Undecided => "undecided",
            Self::Invalid => "invalid",
            Self::Removed => "removed",
            Self::Older => "older",
        }
    }

    fn parse(text: &str) -> Result<Self, CatalogError> {
        let found = Self::ALL.into_iter().find(|one| one.as_str() == text);
        found.ok_or_else(|| CatalogError::damaged("a conclusion is none"))
    }
}

impl From<Verdict> for Conclusion {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Valid => Self::Valid,
            Verdict::Consistent => Self::Consistent,
            Verdict::Undecided => Self::Undecided,
            Verdict::Invalid => Self::Invalid,
        }
    }
}

/// Why an audit did not go on. What was concluded stays, and the same audit can be taken up again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// The catalog failed, for longer than one waits.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The store could not be listed.
    #[error("the store could not be listed")]
    Store(#[from] StoreError),
    /// The store's listing makes no sense.
    #[error("the listing of the store {reason}, shown=`{shown}`")]
    Listing {
        /// In what way.
        reason: &'static str,
        /// How many entries it had shown by then.
        shown: u64,
    },
}

/// Whatever a caller's own code fails with.
pub type BoxError = Box<dyn Error + Send + Sync>;

const SELECT: &str = "SELECT audit, store, level, scope, begun_at, \
                      CAST(CASE WHEN planned_at IS NULL THEN 0 ELSE 1 END AS BIGINT) FROM audits ";

impl Catalog {
    /// Begins an audit. Nothing of the store is looked at before [`Auditor::run`].
    ///
    /// # Errors
    /// As the database fails; there is an audit of this name.
    pub async fn begin_audit(
        &self,
        id: &AuditId,
        store: &str,
        level: Level,
        scope: &Scope,
    ) -> Result<(), CatalogError> {
        let mut question = Question::new(
            "INSERT INTO audits (audit, store, level, scope, begun_at, fence, ready_at) VALUES (",
        );
        question.value(id.as_str()).add(", ").value(store);
        question.add(", ").value(level.as_str()).add(", ");
        question.value(scope.to_json().as_str()).add(", ").now();
        question.add(", 0, 0)");
        let mut writing = self.begin("beginning an audit", Beside::Anybody).await?;
        writing.run(question).await?;
        writing.commit().await
    }

    /// An audit by its name.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn audit(&self, id: &AuditId) -> Result<Option<Audit>, CatalogError> {
        let mut question = Question::new(SELECT);
        question.add("WHERE audit = ").value(id.as_str());
        let rows = self.rows("looking for an audit", question).await?;
        rows.first().map(read).transpose()
    }

    /// The latest audits, newest first, at most so many.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn audits(&self, most: u64) -> Result<Vec<Audit>, CatalogError> {
        let mut question = Question::new(SELECT);
        question.add("ORDER BY audit DESC LIMIT ").value(most);
        let rows = self.rows("listing audits", question).await?;
        rows.iter().map(read).collect()
    }
}

fn read(row: &sqlx::any::AnyRow) -> Result<Audit, CatalogError> {
    let mut columns = Columns::of(row);
    Ok(Audit {
        id: columns.parsed()?,
        store: columns.text()?,
        level: level(&columns.text()?)?,
        scope: Scope::from_json(&columns.text()?)?,
        begun_at: {
            let seconds = columns.number()?.checked_div(1_000).unwrap_or(0);
            let time = Timestamp::from_unix_seconds(seconds);
            time.map_err(|_| CatalogError::damaged("a time is out of range"))?
        },
        is_planned: columns.number()? == 1,
    })
}

fn level(text: &str) -> Result<Level, CatalogError> {
    let levels = [Level::Presence, Level::Full, Level::Deep];
    let found = levels.into_iter().find(|level| level.as_str() == text);
    found.ok_or_else(|| CatalogError::damaged("a level is none"))
}

//! Why a catalog did not do what was asked.

use std::error::Error;

use runpack_core::display::chain;

/// Why a catalog did not do what was asked. Nothing of it concerns the stores: what they have they have.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogError {
    /// The database does not answer, or ended in the middle.
    #[error("the catalog's database cannot be reached, {action} was not done")]
    Unreachable {
        /// What was tried.
        action: &'static str,
        /// How it failed.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// Others write for longer than one waits.
    #[error("the catalog is being written by others, {action} was not done: try again")]
    Busy {
        /// What was tried.
        action: &'static str,
    },
    /// There is no space left for it.
    #[error("there is no space left for the catalog, {action} was not done")]
    Full {
        /// What was tried.
        action: &'static str,
    },
    /// A newer program made it.
    #[error(
        "the catalog was made by a newer version of this program, use that, or another catalog: it can be rebuilt, schema=`{found}`"
    )]
    Newer {
        /// The version of its schema.
        found: i64,
    },
    /// What it holds is no catalog.
    #[error("the catalog is damaged: {reason}")]
    Damaged {
        /// In what way.
        reason: String,
    },
    /// The database refused.
    #[error("the catalog's database refused {action}")]
    Refused {
        /// What was tried.
        action: &'static str,
        /// How it refused.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

impl CatalogError {
    /// Whether the same may succeed later without anybody changing anything.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Busy { .. })
    }

    pub(crate) fn damaged(reason: impl Into<String>) -> Self {
        Self::Damaged {
            reason: reason.into(),
        }
    }

    /// What a database said of `action`.
    pub(crate) fn of(action: &'static str, error: sqlx::Error) -> Self {
        use sqlx::Error as E;
        let code = match &error {
            E::Database(said) => said.code().map(std::borrow::Cow::into_owned),
            _ => None,
        };
        match Meaning::of(&error, code.as_deref()) {
            Meaning::Away => Self::Unreachable {
                action,
                source: Box::new(error),
            },
            Meaning::Busy => Self::Busy { action },
            Meaning::Full => Self::Full { action },
            Meaning::Damaged => Self::damaged(chain(&error)),
            Meaning::Other => Self::Refused {
                action,
                source: Box::new(error),
            },
        }
    }
}

enum Meaning {
    Away,
    Busy,
    Full,
    Damaged,
    Other,
}

impl Meaning {
    /// By the codes of SQLite (sqlite.org/rescode.html, extended ones by their lowest byte) and PostgreSQL (its manual,
    /// appendix A).
    fn of(error: &sqlx::Error, code: Option<&str>) -> Self {
        use sqlx::Error as E;
        match error {
            E::Io(source) if source.kind() == std::io::ErrorKind::StorageFull => Self::Full,
            E::Io(_) | E::PoolTimedOut | E::PoolClosed | E::WorkerCrashed | E::Tls(_) => Self::Away,
            E::ColumnDecode { .. } | E::Decode(_) | E::ColumnNotFound(_) => Self::Damaged,
            E::Database(_) => Self::of_code(code.unwrap_or_default()),
            _ => Self::Other,
        }
    }

    fn of_code(code: &str) -> Self {
        // Those of SQLite are shorter.
        if code.len() == 5 {
            return match code {
                "53100" => Self::Full,
                // Locks, deadlocks, serialization, and what was ended because it took too long.
                "55P03" | "40P01" | "40001" | "57014" => Self::Busy,
                // Shutting down, starting up, too many connections, out of memory, idle for too long, a standby.
                "57P01" | "57P02" | "57P03" | "57P05" | "53300" | "53200" | "25P03" | "25006" => {
                    Self::Away
                }
                // Of a connection.
                _ if code.starts_with("08") => Self::Away,
                // Of data and of an index. XX000 is anything that went wrong inside.
                "XX001" | "XX002" => Self::Damaged,
                _ => Self::Other,
            };
        }
        // The memory that its connections share lies in a file too, and found no room to grow.
        if code == "4874" {
            return Self::Full;
        }
        match code.parse::<u32>().map(|code| code & 0xff) {
            Ok(5 | 6) => Self::Busy,
            // I/O error, cannot be opened.
            Ok(10 | 14) => Self::Away,
            Ok(11 | 26) => Self::Damaged,
            Ok(13) => Self::Full,
            _ => Self::Other,
        }
    }
}

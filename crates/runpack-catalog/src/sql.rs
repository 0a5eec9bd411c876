//! The database: opened, brought to the present schema, and spoken to in words that SQLite and PostgreSQL share.
//!
//! What differs between the two stands here and nowhere else: the types of columns, and what is set for a connection.

mod columns;
mod question;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use sqlx::any::{AnyPoolOptions, AnyRow};
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{
    Any, AnyConnection, AnyPool, AssertSqlSafe, Connection as _, Executor as _, Row as _,
    SqlSafeStr as _, Transaction,
};
use tokio::time::timeout;

pub(crate) use self::columns::Columns;
pub(crate) use self::question::{Question, Value};
use crate::address::CatalogAddress;
use crate::error::CatalogError;

/// The migrations, in order; their numbers are the versions of the schema.
const MIGRATIONS: [(i64, &str, &str); 2] = [
    (1, "packs", include_str!("../migrations/0001_packs.sql")),
    (2, "audits", include_str!("../migrations/0002_audits.sql")),
];
/// How long a connection is waited for.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
const CONNECTIONS_MAX: u32 = 4;
/// The advisory lock of PostgreSQL that stands for a catalog, of which a database has one: `runpack` in ASCII.
const LOCK: i64 = 0x0072_756e_7061_636b;
/// What is said to SQLite first. A power cut takes nothing that was told as done: what an audit concluded comes from nowhere
/// else.
const SQLITE: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000; \
                      PRAGMA cache_size = -65536; PRAGMA trusted_schema = OFF;";

/// Which database it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    Postgres,
}

impl Dialect {
    /// A migration in the types of this database.
    fn types(self, migration: &str) -> String {
        let (text, bytes) = match self {
            Self::Sqlite => ("TEXT", "BLOB"),
            // Whatever the order of the database's language is.
            Self::Postgres => ("TEXT COLLATE \"C\"", "BYTEA"),
        };
        migration.replace("{text}", text).replace("{bytes}", bytes)
    }

    /// The database's own time, which does not stand still in a transaction: milliseconds since 1970.
    fn now(self) -> &'static str {
        match self {
            Self::Sqlite => "CAST(unixepoch('subsec') * 1000 AS INTEGER)",
            Self::Postgres => "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)",
        }
    }

    /// Leaves out rows that somebody else takes at this moment. In SQLite one writes at a time.
    fn skip_locked(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres => " FOR UPDATE SKIP LOCKED",
        }
    }
}

/// An index of packs. Clones are the same one.
#[derive(Clone)]
pub struct Catalog {
    pool: AnyPool,
    dialect: Dialect,
    address: CatalogAddress,
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Catalog").field(&self.address).finish()
    }
}

impl Catalog {
    /// Opens the catalog there. Its schema is made or brought to the present; a file of SQLite is made where it is missing.
    ///
    /// # Errors
    /// It cannot be reached, is damaged, or a newer program made it.
    pub async fn open(address: &CatalogAddress) -> Result<Self, CatalogError> {
        const OPENING: &str = "opening it";
        sqlx::any::install_drivers(&[sqlx::sqlite::any::DRIVER, sqlx::postgres::any::DRIVER])
            // Somebody else did before.
            .ok();
        let (dialect, url) = match address {
            CatalogAddress::Sqlite(path) => {
                let path =
                    resolved(path).map_err(|error| CatalogError::of(OPENING, error.into()))?;
                (Dialect::Sqlite, sqlite_url(&path))
            }
            CatalogAddress::Postgres(url) => (Dialect::Postgres, url.reveal()),
        };
        // A pool tries again and again, and tells of nothing but time.
        let connecting = timeout(CONNECT_WITHIN, AnyConnection::connect(&url)).await;
        let mut first = connecting
            .unwrap_or(Err(sqlx::Error::PoolTimedOut))
            .map_err(|error| CatalogError::of(OPENING, error))?;
        prepare(&mut first, dialect)
            .await
            .map_err(|error| CatalogError::of(OPENING, error))?;
        first
            .close()
            .await
            .map_err(|error| CatalogError::of(OPENING, error))?;
        let pool = AnyPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(CONNECT_WITHIN)
            .after_connect(move |connection, _| Box::pin(prepare(connection, dialect)))
            .connect(&url)
            .await
            .map_err(|error| CatalogError::of(OPENING, error))?;
        let catalog = Self {
            pool,
            dialect,
            address: address.clone(),
        };
        catalog.migrate().await?;
        Ok(catalog)
    }

    /// Where it is.
    pub fn address(&self) -> &CatalogAddress {
        &self.address
    }

    /// Ends its connections.
    pub async fn close(self) {
        self.pool.close().await;
    }

    async fn migrate(&self) -> Result<(), CatalogError> {
        const MIGRATING: &str = "bringing its schema to the present";
        let migrations = MIGRATIONS.map(|(version, name, sql)| {
            let sql = AssertSqlSafe(self.dialect.types(sql)).into_sql_str();
            Migration::new(version, name.into(), MigrationType::Simple, sql, false)
        });
        let migrator = Migrator::with_migrations(migrations.into());
        let mut tries = 0..3;
        loop {
            match migrator.run(&self.pool).await {
                Ok(()) => return Ok(()),
                Err(MigrateError::VersionMissing(found)) => {
                    return Err(CatalogError::Newer { found });
                }
                // SQLite lets two begin at once, and then the other has done it.
                Err(_) if self.dialect == Dialect::Sqlite && tries.next().is_some() => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) => {
                    return Err(CatalogError::of(MIGRATING, error));
                }
                Err(error) => return Err(CatalogError::damaged(error.to_string())),
            }
        }
    }

    /// Begins what is done wholly or not at all. Whoever drops this midway leaves no transaction open behind: it is begun to
    /// the end and rolled back, since sqlx rolls back only what it knows to have begun.
    pub(crate) async fn begin(
        &self,
        action: &'static str,
        beside: Beside,
    ) -> Result<Writing, CatalogError> {
        let (pool, dialect) = (self.pool.clone(), self.dialect);
        let begun = tokio::spawn(async move {
            match dialect {
                // So that whoever writes waits here, and not in the middle.
                Dialect::Sqlite => pool.begin_with("BEGIN IMMEDIATE").await,
                Dialect::Postgres => pool.begin().await,
            }
        });
        let begun = begun.await.map_err(|lost| CatalogError::Unreachable {
            action,
            source: Box::new(lost),
        })?;
        let transaction = begun.map_err(|error| CatalogError::of(action, error))?;
        let mut writing = Writing {
            transaction,
            dialect: self.dialect,
            action,
        };
        if self.dialect == Dialect::Postgres && beside != Beside::Anybody {
            writing.lock(beside).await?;
        }
        Ok(writing)
    }

    /// The rows that a question has.
    pub(crate) async fn rows(
        &self,
        action: &'static str,
        question: Question,
    ) -> Result<Vec<AnyRow>, CatalogError> {
        let query = question.query(self.dialect);
        let rows = query.fetch(&self.pool).try_collect().await;
        rows.map_err(|error| CatalogError::of(action, error))
    }

    pub(crate) fn dialect(&self) -> Dialect {
        self.dialect
    }
}

/// What is done wholly or not at all. Without [`Writing::commit`] nothing is done.
pub(crate) struct Writing {
    transaction: Transaction<'static, Any>,
    dialect: Dialect,
    action: &'static str,
}

/// Who may write at the same time. In SQLite nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beside {
    /// Anybody: what is written concerns no pack of the index.
    Anybody,
    /// Others that add.
    Others,
    /// Nobody: what is taken away must not be added to meanwhile.
    Nobody,
}

impl Writing {
    /// Takes the lock of this catalog until the end. Whoever adds does not wait for whoever takes away, which may take long.
    async fn lock(&mut self, beside: Beside) -> Result<(), CatalogError> {
        let number = Value::Number(LOCK);
        if beside == Beside::Nobody {
            // A store is read meanwhile, which takes as long as it takes.
            let patient = Question::new("SET LOCAL idle_in_transaction_session_timeout = 0");
            self.run(patient).await?;
            let mut question = Question::new("SELECT 1 FROM pg_advisory_xact_lock(");
            question.value(number).add(")");
            return self.rows(question).await.map(drop);
        }
        let mut question = Question::new("SELECT CAST(pg_try_advisory_xact_lock_shared(");
        question.value(number).add(") AS INTEGER)");
        let rows = self.rows(question).await?;
        let got: Option<i32> = rows.first().and_then(|row| row.try_get(0).ok());
        if got == Some(1) {
            return Ok(());
        }
        Err(CatalogError::Busy {
            action: self.action,
        })
    }

    /// Does a statement, and tells how many rows it changed.
    pub(crate) async fn run(&mut self, question: Question) -> Result<u64, CatalogError> {
        let query = question.query(self.dialect);
        let connection: &mut AnyConnection = &mut self.transaction;
        let done = query.execute(connection).await;
        done.map(|done| done.rows_affected())
            .map_err(|error| CatalogError::of(self.action, error))
    }

    /// The rows that a question has, by what was done so far.
    pub(crate) async fn rows(&mut self, question: Question) -> Result<Vec<AnyRow>, CatalogError> {
        let query = question.query(self.dialect);
        let connection: &mut AnyConnection = &mut self.transaction;
        let rows = query.fetch(connection).try_collect().await;
        rows.map_err(|error| CatalogError::of(self.action, error))
    }

    pub(crate) async fn commit(self) -> Result<(), CatalogError> {
        let done = self.transaction.commit().await;
        done.map_err(|error| CatalogError::of(self.action, error))
    }
}

/// Says to a new connection what is said first.
async fn prepare(connection: &mut AnyConnection, dialect: Dialect) -> Result<(), sqlx::Error> {
    if dialect == Dialect::Sqlite {
        connection.execute(SQLITE).await?;
    }
    Ok(())
}

/// Where the file is, in one spelling; the directory is made where it is missing.
fn resolved(path: &Path) -> std::io::Result<PathBuf> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(parent)?;
    let name = path.file_name().ok_or(std::io::ErrorKind::InvalidInput)?;
    Ok(parent.canonicalize()?.join(name))
}

/// A path as a URL has it (RFC 3986): whatever is no plain letter or digit is escaped.
fn sqlite_url(path: &Path) -> String {
    use std::fmt::Write as _;
    use std::os::unix::ffi::OsStrExt as _;
    let mut url = "sqlite://".to_owned();
    for byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-".contains(byte) {
            url.push(char::from(*byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(url, "%{byte:02X}");
        }
    }
    url + "?mode=rwc"
}

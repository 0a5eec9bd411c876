//! Statements, and what stands in them: nothing that somebody gave is ever a part of a statement.

use runpack_core::digest::Digest;
use sqlx::any::AnyArguments;
use sqlx::query::Query;
use sqlx::{Any, Arguments as _, AssertSqlSafe};

use super::Dialect;

/// What stands for a place in a statement until the database is known. No statement of ours has it otherwise.
const PLACE: char = '\u{1}';
/// What stands for the present time in a statement, and for leaving out rows that somebody else takes.
const NOW: char = '\u{2}';
const SKIP_LOCKED: char = '\u{3}';

/// What comes in a place of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    NoText,
    Number(i64),
    NoNumber,
    Bytes(Vec<u8>),
    NoBytes,
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<Option<&str>> for Value {
    fn from(text: Option<&str>) -> Self {
        text.map_or(Self::NoText, Self::from)
    }
}

impl From<&Digest> for Value {
    fn from(digest: &Digest) -> Self {
        Self::Bytes(digest.as_bytes().to_vec())
    }
}

impl From<Option<&Digest>> for Value {
    fn from(digest: Option<&Digest>) -> Self {
        digest.map_or(Self::NoBytes, Self::from)
    }
}

impl From<u64> for Value {
    /// No number of a manifest is larger than 2^53-1.
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<Option<u64>> for Value {
    fn from(number: Option<u64>) -> Self {
        number.map_or(Self::NoNumber, Self::from)
    }
}

/// A statement, built from parts that stand in this program, and what comes in its places.
#[derive(Debug, Clone, Default)]
pub(crate) struct Question {
    sql: String,
    values: Vec<Value>,
}

impl Question {
    pub(crate) fn new(sql: &'static str) -> Self {
        Self {
            sql: sql.to_owned(),
            values: Vec::new(),
        }
    }

    /// More of the statement. Nothing that somebody gave may ever be a part of it: see [`Question::value`].
    pub(crate) fn add(&mut self, sql: &'static str) -> &mut Self {
        self.sql.push_str(sql);
        self
    }

    /// A place in the statement for this value.
    pub(crate) fn value(&mut self, value: impl Into<Value>) -> &mut Self {
        self.values.push(value.into());
        self.sql.push(PLACE);
        self
    }

    /// The present time by the database's clock, in milliseconds since 1970.
    pub(crate) fn now(&mut self) -> &mut Self {
        self.sql.push(NOW);
        self
    }

    /// At the end of a selection of rows to be changed: leaves out those that somebody else is changing.
    pub(crate) fn skip_locked(&mut self) -> &mut Self {
        self.sql.push(SKIP_LOCKED);
        self
    }

    /// `(value, value, ...)`
    pub(crate) fn list(&mut self, values: impl IntoIterator<Item = Value>) -> &mut Self {
        self.add("(");
        for (at, value) in values.into_iter().enumerate() {
            if at > 0 {
                self.add(", ");
            }
            self.value(value);
        }
        self.add(")")
    }

    /// The same, asked how it is answered.
    pub(crate) fn explained(mut self, dialect: Dialect) -> Self {
        self.sql.insert_str(
            0,
            match dialect {
                Dialect::Sqlite => "EXPLAIN QUERY PLAN ",
                Dialect::Postgres => "EXPLAIN ",
            },
        );
        self
    }

    /// As it is asked.
    pub(super) fn query(self, dialect: Dialect) -> Query<'static, Any, AnyArguments> {
        let mut arguments = AnyArguments::default();
        for value in self.values {
            // These types are encoded by every database.
            let _ = match value {
                Value::Text(text) => arguments.add(text),
                Value::NoText => arguments.add(None::<String>),
                Value::Number(number) => arguments.add(number),
                Value::NoNumber => arguments.add(None::<i64>),
                Value::Bytes(bytes) => arguments.add(bytes),
                Value::NoBytes => arguments.add(None::<Vec<u8>>),
            };
        }
        sqlx::query_with(AssertSqlSafe(placed(&self.sql, dialect)), arguments)
    }
}

/// The statement with places as the database writes them. SQLite takes numbers too, and looks through all of them for each.
fn placed(sql: &str, dialect: Dialect) -> String {
    let mut placed = String::with_capacity(sql.len());
    let mut number = 0u32;
    for c in sql.chars() {
        match (c, dialect) {
            (PLACE, Dialect::Sqlite) => placed.push('?'),
            (PLACE, Dialect::Postgres) => {
                number = number.saturating_add(1);
                placed.push('$');
                placed.push_str(&number.to_string());
            }
            (NOW, dialect) => placed.push_str(dialect.now()),
            (SKIP_LOCKED, dialect) => placed.push_str(dialect.skip_locked()),
            _ => placed.push(c),
        }
    }
    placed
}

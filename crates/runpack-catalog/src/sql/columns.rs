//! Rows, read back: what is not of the type that was written there is damage.

use runpack_core::digest::Digest;
use runpack_core::time::Timestamp;
use sqlx::any::AnyRow;
use sqlx::{Any, Row as _};

use crate::error::CatalogError;

/// The columns of a row, in order. What is not of the type that was written there is damage.
pub(crate) struct Columns<'a> {
    row: &'a AnyRow,
    next: usize,
}

impl<'a> Columns<'a> {
    pub(crate) fn of(row: &'a AnyRow) -> Self {
        Self { row, next: 0 }
    }

    fn read<T>(&mut self) -> Result<T, CatalogError>
    where
        T: sqlx::Type<Any> + for<'r> sqlx::Decode<'r, Any>,
    {
        let at = self.next;
        self.next = at.saturating_add(1);
        self.row
            .try_get(at)
            .map_err(|error| CatalogError::damaged(error.to_string()))
    }

    pub(crate) fn text(&mut self) -> Result<String, CatalogError> {
        self.read()
    }

    pub(crate) fn text_if_any(&mut self) -> Result<Option<String>, CatalogError> {
        self.read()
    }

    pub(crate) fn number(&mut self) -> Result<u64, CatalogError> {
        let number: i64 = self.read()?;
        u64::try_from(number).map_err(|_| CatalogError::damaged("a number is negative"))
    }

    pub(crate) fn digest(&mut self) -> Result<Digest, CatalogError> {
        digest(self.read::<Vec<u8>>()?)
    }

    pub(crate) fn digest_if_any(&mut self) -> Result<Option<Digest>, CatalogError> {
        self.read::<Option<Vec<u8>>>()?.map(digest).transpose()
    }

    pub(crate) fn time(&mut self) -> Result<Timestamp, CatalogError> {
        let seconds = self.number()?;
        Timestamp::from_unix_seconds(seconds)
            .map_err(|_| CatalogError::damaged("a time is out of range"))
    }

    pub(crate) fn time_if_any(&mut self) -> Result<Option<Timestamp>, CatalogError> {
        let seconds: Option<i64> = self.read()?;
        let seconds = seconds.map(|seconds| u64::try_from(seconds).unwrap_or(u64::MAX));
        let time = seconds.map(Timestamp::from_unix_seconds).transpose();
        time.map_err(|_| CatalogError::damaged("a time is out of range"))
    }

    /// Leaves columns out.
    pub(crate) fn skip(&mut self, columns: usize) {
        self.next = self.next.saturating_add(columns);
    }

    /// A text that is one of ours, as `T`.
    pub(crate) fn parsed<T: std::str::FromStr>(&mut self) -> Result<T, CatalogError> {
        parsed(&self.text()?)
    }

    pub(crate) fn parsed_if_any<T: std::str::FromStr>(
        &mut self,
    ) -> Result<Option<T>, CatalogError> {
        self.text_if_any()?.as_deref().map(parsed).transpose()
    }
}

fn digest(bytes: Vec<u8>) -> Result<Digest, CatalogError> {
    let raw = <[u8; 32]>::try_from(bytes);
    raw.map(Digest::from_bytes)
        .map_err(|_| CatalogError::damaged("a digest is not of 32 bytes"))
}

fn parsed<T: std::str::FromStr>(text: &str) -> Result<T, CatalogError> {
    text.parse()
        .map_err(|_| CatalogError::damaged("a text is not of the grammar of its column"))
}

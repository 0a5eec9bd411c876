//! Where a catalog is.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where a catalog is: `sqlite:PATH`, or `postgres://USER@HOST:PORT/DATABASE`.
///
/// ```
/// use runpack_catalog::CatalogAddress;
///
/// let address: CatalogAddress = "postgres://me:secret@db.example/catalog".parse().unwrap();
/// assert_eq!(address.to_string(), "postgres://me@db.example/catalog");
/// assert!("mysql://db".parse::<CatalogAddress>().is_err());
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CatalogAddress {
    /// A file of SQLite.
    Sqlite(PathBuf),
    /// A database of PostgreSQL.
    Postgres(PostgresUrl),
}

/// The URL of a database, which may hold a password.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl(String);

/// No address of a catalog.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a catalog is written sqlite:PATH or postgres://USER@HOST/DATABASE")]
pub struct AddressError;

impl CatalogAddress {
    /// Whether it holds a password, which does not belong in a file or on a command line.
    pub fn has_password(&self) -> bool {
        match self {
            Self::Sqlite(_) => false,
            Self::Postgres(url) => url.without_password() != url.0,
        }
    }
}

impl PostgresUrl {
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    /// As it may be shown. A password may also stand among the parameters, which are left out.
    fn without_password(&self) -> String {
        let bare = self.0.split(['?', '#']).next().unwrap_or_default();
        let Some((scheme, rest)) = bare.split_once("://") else {
            return bare.to_owned();
        };
        // What stands before the last `@` of the authority is the user.
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let shown = match authority.rsplit_once('@') {
            Some((user, host)) => {
                let name = user.split(':').next().unwrap_or_default();
                format!("{name}@{host}")
            }
            None => authority.to_owned(),
        };
        format!("{scheme}://{shown}{path}")
    }
}

impl FromStr for CatalogAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(path) = text.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() || path.contains('\0') {
                return Err(AddressError);
            }
            return Ok(Self::Sqlite(path.into()));
        }
        let is_postgres = text.starts_with("postgres://") || text.starts_with("postgresql://");
        if is_postgres && !text.contains(char::is_whitespace) {
            return Ok(Self::Postgres(PostgresUrl(text.to_owned())));
        }
        Err(AddressError)
    }
}

impl fmt::Display for CatalogAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(url) => f.write_str(&url.without_password()),
        }
    }
}

impl fmt::Debug for CatalogAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CatalogAddress({self})")
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresUrl({})", self.without_password())
    }
}

#[cfg(test)]
mod tests {
    use super::CatalogAddress;

    #[test]
    fn k01_no_password_is_shown() {
        for (text, shown, has_password) in [
            ("sqlite:catalog.db", "sqlite:catalog.db", false),
            (
                "sqlite:///var/lib/catalog.db",
                "sqlite:/var/lib/catalog.db",
                false,
            ),
            ("postgres://host/db", "postgres://host/db", false),
            (
                "postgresql://me@host:5432/db",
                "postgresql://me@host:5432/db",
                false,
            ),
            (
                "postgres://me:se:cr@et@host/db",
                "postgres://me@host/db",
                true,
            ),
            (
                "postgres://host/db?user=me&password=secret",
                "postgres://host/db",
                true,
            ),
        ] {
            let address: CatalogAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), shown);
            assert_eq!(address.has_password(), has_password, "{text}");
            for said in [format!("{address:?}"), address.to_string()] {
                assert!(
                    !said.contains("secret") && !said.contains("cr@et"),
                    "{said}"
                );
            }
        }
        for text in [
            "",
            "sqlite:",
            "catalog.db",
            "mysql://host/db",
            "postgres://a b",
        ] {
            assert!(text.parse::<CatalogAddress>().is_err(), "{text}");
        }
    }
}

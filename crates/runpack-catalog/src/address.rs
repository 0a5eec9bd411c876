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
#[error(
    "a catalog is written sqlite:PATH or postgres://HOST/DATABASE, with the user before the host"
)]
pub struct AddressError;

impl PostgresUrl {
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    /// The scheme, what names user, host and database, and the parameters.
    fn parts(&self) -> Option<(&str, &str, &str)> {
        let (scheme, rest) = self.0.split_once("://")?;
        let (head, parameters) = match rest.find(['?', '#']) {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        Some((scheme, head, parameters))
    }

    /// As it may be shown: without a password, which may also stand among the parameters, and not at all where it cannot be
    /// told what is one.
    fn shown(&self) -> String {
        let Some((scheme, head, parameters)) = self.parts() else {
            return "(not shown)".to_owned();
        };
        if parameters.contains('@') {
            return format!("{scheme}://(not shown)");
        }
        match head.rsplit_once('@') {
            Some((user, host)) => {
                let name = user.split([':', '/']).next().unwrap_or_default();
                format!("{scheme}://{name}@{host}")
            }
            None => format!("{scheme}://{head}"),
        }
    }
}

impl CatalogAddress {
    /// Whether a password stands in it, or something of which that cannot be told.
    pub fn holds_password(&self) -> bool {
        match self {
            Self::Sqlite(_) => false,
            Self::Postgres(url) => url.parts().is_none_or(|(_, head, parameters)| {
                let user = head.rsplit_once('@').map_or("", |(user, _)| user);
                user.contains([':', '/'])
                    || parameters.contains('@')
                    || parameters.to_ascii_lowercase().contains("password")
            }),
        }
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
            Self::Postgres(url) => f.write_str(&url.shown()),
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
        write!(f, "PostgresUrl({})", self.shown())
    }
}

#[cfg(test)]
mod tests {
    use super::CatalogAddress;

    #[test]
    fn k01_no_password_is_shown() {
        for (text, shown) in [
            ("sqlite:catalog.db", "sqlite:catalog.db"),
            ("sqlite:///var/lib/catalog.db", "sqlite:/var/lib/catalog.db"),
            ("postgres://host/db", "postgres://host/db"),
            (
                "postgres://me@host/db?sslmode=verify-full",
                "postgres://me@host/db",
            ),
            (
                "postgresql://me@host:5432/db",
                "postgresql://me@host:5432/db",
            ),
            ("postgres://me:se:cr@et@host/db", "postgres://me@host/db"),
            (
                "postgres://host/db?user=me&password=secret",
                "postgres://host/db",
            ),
            (
                "postgres://host/db?password=secret@1",
                "postgres://(not shown)",
            ),
            ("postgres://me:secret?@host/db", "postgres://(not shown)"),
            ("postgres://me:sec/ret@host/db", "postgres://me@host/db"),
        ] {
            let address: CatalogAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), shown);
            let has_one =
                text.contains("secret") || text.contains("cr@et") || text.contains("sec/");
            assert_eq!(address.holds_password(), has_one, "{text}");
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

//! Where a catalog is.

use std::fmt;
use std::net::IpAddr;
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
///
/// A server of PostgreSQL on another machine has to prove who it is, by TLS (`sslmode=verify-full`, with `sslrootcert` where
/// its authority is one's own), unless the URL names another `sslmode` (PostgreSQL's manual, 32.19).
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
    /// All of it, as it is connected to: a server on another machine has to prove who it is (`sslmode=verify-full`), where the
    /// URL does not say otherwise.
    pub(crate) fn reveal(&self) -> String {
        let says_otherwise = self.parameter("sslmode").is_some();
        if says_otherwise || self.is_of_this_machine() {
            return self.0.clone();
        }
        let (url, fragment) = match self.0.split_once('#') {
            Some((url, fragment)) => (url, format!("#{fragment}")),
            None => (self.0.as_str(), String::new()),
        };
        let sign = if url.contains('?') { '&' } else { '?' };
        format!("{url}{sign}sslmode=verify-full{fragment}")
    }

    /// A parameter, as it is written.
    fn parameter(&self, name: &str) -> Option<&str> {
        let (_, _, parameters) = self.parts()?;
        let query = parameters.strip_prefix('?')?;
        let query = query.split('#').next().unwrap_or_default();
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(known, _)| *known == name).map(|pair| pair.1)
    }

    /// A socket or the loopback network: nobody is in between.
    fn is_of_this_machine(&self) -> bool {
        let Some((_, head, _)) = self.parts() else {
            return false;
        };
        let authority = head.rsplit_once('@').map_or(head, |(_, host)| host);
        let authority = authority.split('/').next().unwrap_or_default();
        let host = match authority.strip_prefix('[') {
            Some(v6) => v6.split(']').next().unwrap_or_default(),
            None => authority.split(':').next().unwrap_or_default(),
        };
        // What stands among the parameters counts more.
        ["hostaddr", "host"]
            .into_iter()
            .filter_map(|name| self.parameter(name))
            .chain([host])
            .next()
            .is_some_and(|host| {
                let is_socket = host.is_empty()
                    || host.starts_with('/')
                    || host.to_ascii_lowercase().starts_with("%2f");
                let is_loopback =
                    |host: &str| host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
                is_socket || host == "localhost" || is_loopback(host)
            })
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
    fn a_server_elsewhere_has_to_prove_who_it_is() {
        for (text, is_added) in [
            ("postgres://me@localhost/db", false),
            ("postgres://me@127.0.0.1:5433/db", false),
            ("postgres://me@[::1]:5433/db", false),
            ("postgres:///db", false),
            ("postgres://%2Fvar%2Frun%2Fpostgresql/db", false),
            ("postgres://db.example/db?host=/run/postgresql", false),
            ("postgres://localhost/db?host=db.example", true),
            ("postgres://localhost/db?hostaddr=192.0.2.1", true),
            ("postgres://me:p@db.example/db", true),
            ("postgres://db.example:5432/db?application_name=a", true),
            ("postgres://localhost.example/db", true),
            ("postgres://[2001:db8::1]/db", true),
            ("postgres://db.example/db?sslmode=require", false),
            ("postgres://db.example/db?a=sslmode", true),
        ] {
            let CatalogAddress::Postgres(url) = text.parse().unwrap() else {
                panic!("{text}");
            };
            let told = url.reveal();
            let expected = if is_added {
                let sign = if text.contains('?') { '&' } else { '?' };
                format!("{text}{sign}sslmode=verify-full")
            } else {
                text.to_owned()
            };
            assert_eq!(told, expected);
        }
    }

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

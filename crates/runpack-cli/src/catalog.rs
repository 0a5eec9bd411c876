//! The catalog that is named, and stores as it names them.

#![expect(
    clippy::doc_markdown,
    reason = "the comments on arguments are help texts, which are shown as they are written"
)]

#[cfg(feature = "server")]
mod following;
mod upkeep;

use clap::Args;
use runpack_catalog::{Catalog, CatalogAddress, CatalogError, StoreName, SurveyError};

#[cfg(feature = "server")]
pub(crate) use following::Following;
pub(crate) use upkeep::{Missed, Upkeep, tell};

use crate::context::Context;
use crate::failure::Failure;
use crate::storage::Storage;

/// Which catalog.
#[derive(Debug, Clone, Args)]
pub(crate) struct CatalogOption {
    /// The catalog: sqlite:PATH or postgres://USER@HOST/DATABASE [env: RUNPACK_CATALOG] [default: catalog.db in the state
    /// directory of this machine]
    #[arg(long, value_name = "CATALOG")]
    // Parsed later: what cannot be read may hold a password, and is not quoted.
    catalog: Option<String>,
}

impl CatalogOption {
    /// Opens it; a file is made where it is missing.
    ///
    /// # Errors
    /// It cannot be used; the error says what to do.
    pub(crate) fn open(&self, context: &Context) -> Result<Catalog, Failure> {
        let address = self.address(context)?;
        Ok(context.wait(Catalog::open(&address))??)
    }

    /// Opens one that is there: nobody is answered from a catalog that was made for the question.
    ///
    /// # Errors
    /// There is none, or it cannot be used; the error says what to do.
    pub(crate) fn open_filled(&self, context: &Context) -> Result<Catalog, Failure> {
        let address = self.address(context)?;
        if let CatalogAddress::Sqlite(file) = &address
            && !file.exists()
        {
            return Err(Failure::new(
                format!("there is no catalog here, catalog=`{address}`"),
                "fill one by `runpack catalog update STORE`, or name the one that is there with --catalog",
            ));
        }
        Ok(context.wait(Catalog::open(&address))??)
    }

    fn address(&self, context: &Context) -> Result<CatalogAddress, Failure> {
        match &self.catalog {
            Some(text) => text.parse().map_err(|error| {
                Failure::new("--catalog names no catalog", "correct it").because(&error)
            }),
            None => Ok(configured(context)?.0),
        }
    }
}

/// The catalog where no flag names one, and whether somebody has named it.
fn configured(context: &Context) -> Result<(CatalogAddress, Named), Failure> {
    if let Some(given) = &context.environment.catalog {
        let address = given.reveal().parse().map_err(|error| {
            Failure::new(
                "a variable is not what is expected, name=`RUNPACK_CATALOG`",
                "correct it, or unset it",
            )
            .because(&error)
        })?;
        return Ok((address, Named::Yes));
    }
    if let Some(address) = context.config()?.catalog {
        return Ok((address, Named::Yes));
    }
    let file = context.environment.state()?.join("catalog.db");
    Ok((CatalogAddress::Sqlite(file), Named::No))
}

/// The catalog that is kept up with commits, if there is one: what is named, or the file of this machine if it is there.
fn wanted(context: &Context) -> Result<Option<CatalogAddress>, Failure> {
    let (address, named) = configured(context)?;
    let is_there = matches!(&address, CatalogAddress::Sqlite(file) if file.exists());
    Ok((named == Named::Yes || is_there).then_some(address))
}

/// Whether somebody has named the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    Yes,
    No,
}

/// A store as the catalog names it.
pub(crate) fn name(storage: &Storage) -> StoreName {
    StoreName {
        place: storage.place(),
        region: storage
            .s3()
            .and_then(|store| store.settings().region.clone()),
    }
}

impl From<CatalogError> for Failure {
    fn from(error: CatalogError) -> Self {
        let help = match &error {
            CatalogError::Unreachable { .. } => {
                "check that the database runs, may be written to and, on another machine, proves who it is by TLS \
                 (sslmode=verify-full); what the stores have is not touched by this"
            }
            CatalogError::Busy { .. } => "wait until others have written, then run the same again",
            CatalogError::Full { .. } => "free some space, then run `runpack catalog update`",
            CatalogError::Newer { .. } => {
                "update this program, or name another catalog with --catalog and fill it by `runpack catalog rebuild`"
            }
            CatalogError::Damaged { .. } => {
                "run `runpack catalog rebuild`: what it says of packs comes from the stores. Where that says the same, \
                 save what audits found (`runpack audit report --json`), which comes from nowhere else, and remove it"
            }
            _ => {
                "see what the database says; a catalog can be made anew by `runpack catalog rebuild`"
            }
        };
        let failure = Self::new(error.to_string(), help);
        match std::error::Error::source(&error) {
            Some(source) => failure.because(source),
            None => failure,
        }
    }
}

impl From<SurveyError> for Failure {
    fn from(error: SurveyError) -> Self {
        match error {
            SurveyError::Store(error) => error.into(),
            SurveyError::Catalog(error) => error.into(),
            error => Self::new(
                error.to_string(),
                "check the store, then run the same again",
            ),
        }
    }
}

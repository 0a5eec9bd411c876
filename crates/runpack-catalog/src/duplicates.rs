//! Duplicates: what a store holds more than once, and what that costs.
//!
//! The same bytes are known by their commitment alone: a digest that a producer claims for the whole of a large artifact is
//! no identity. What lies in bundles is left out, which are compressed as a whole; so are copies in another store, which are
//! somebody's intention. Packs that share an object hold it once: the definition that all runs of a pipeline have, and the
//! manifest of a step, which only its run lists as an artifact.

use runpack_core::digest::Digest;
use serde::Serialize;

use crate::error::CatalogError;
use crate::sql::{Catalog, Columns, Question};

/// Bytes that a store holds more than once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Duplicate {
    /// The store.
    pub store: String,
    /// What stands for the bytes.
    pub commitment: Digest,
    /// How many.
    pub bytes: u64,
    /// How many objects have them.
    pub copies: u64,
    /// The bytes of all copies but one.
    pub wasted_bytes: u64,
}

/// What is held more than once, by what it costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Duplicates {
    /// The costliest.
    pub costliest: Vec<Duplicate>,
    /// Bytes of artifacts in all stores, each as often as it is held.
    pub bytes: u64,
    /// The objects that they are.
    pub objects: u64,
    /// How much of that would be there if each store had the same bytes once.
    pub bytes_once: u64,
}

/// Every object once. Definitions are few, and only among them is looked for those that several runs have.
const COPIES: &str = "SELECT store, commitment, bytes, COUNT(*) AS copies FROM (\
                      SELECT p.store AS store, a.commitment AS commitment, a.bytes AS bytes \
                      FROM artifacts a JOIN places p ON p.pack_id = a.pack_id \
                      WHERE p.form = 'files' AND a.kind <> 'pipeline-definition' \
                      UNION ALL SELECT store, commitment, bytes FROM (\
                      SELECT DISTINCT p.store AS store, a.commitment AS commitment, a.bytes AS bytes, a.tenant AS tenant, \
                      CASE WHEN k.subject = 'pipeline' THEN '' ELSE p.key || a.name END AS held \
                      FROM artifacts a JOIN places p ON p.pack_id = a.pack_id JOIN packs k ON k.pack_id = a.pack_id \
                      WHERE p.form = 'files' AND a.kind = 'pipeline-definition') definitions\
                      ) objects GROUP BY commitment, bytes, store";

impl Catalog {
    /// What stores hold more than once: at most `most` of it, the costliest first, and the sums of all.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn duplicates(&self, most: u64) -> Result<Duplicates, CatalogError> {
        const LOOKING: &str = "looking for duplicates";
        let mut question = Question::new("SELECT store, commitment, bytes, copies FROM (");
        question.add(COPIES);
        question.add(
            ") held WHERE copies > 1 ORDER BY (copies - 1) * bytes DESC, commitment, store LIMIT ",
        );
        question.value(most);
        let rows = self.rows(LOOKING, question).await?;
        let costliest = rows.iter().map(|row| {
            let mut columns = Columns::of(row);
            let (store, commitment) = (columns.text()?, columns.digest()?);
            let (bytes, copies) = (columns.number()?, columns.number()?);
            Ok(Duplicate {
                store,
                commitment,
                bytes,
                copies,
                wasted_bytes: copies.saturating_sub(1).saturating_mul(bytes),
            })
        });
        let costliest = costliest.collect::<Result<_, CatalogError>>()?;
        // Sums of PostgreSQL are of a wider type.
        let mut sums = Question::new(
            "SELECT CAST(COALESCE(SUM(bytes * copies), 0) AS BIGINT), CAST(COALESCE(SUM(copies), 0) AS BIGINT), \
             CAST(COALESCE(SUM(bytes), 0) AS BIGINT) FROM (",
        );
        sums.add(COPIES).add(") held");
        let rows = self.rows(LOOKING, sums).await?;
        let Some(row) = rows.first() else {
            return Err(CatalogError::damaged("a sum has no row"));
        };
        let mut columns = Columns::of(row);
        Ok(Duplicates {
            costliest,
            bytes: columns.number()?,
            objects: columns.number()?,
            bytes_once: columns.number()?,
        })
    }
}

//! How a database answers: the plan of a question, as the database tells it.

use crate::error::CatalogError;
use crate::search::{self, Query};
use crate::sql::{Catalog, Columns, Dialect, Question};

/// How a question is answered, in the words of the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Its lines.
    pub lines: Vec<String>,
}

impl Catalog {
    /// How a search would be done.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn plan(&self, query: &Query) -> Result<Plan, CatalogError> {
        let limit = query.limit.clamp(1, search::PAGE_MAX);
        self.explain(search::question(query, limit)).await
    }

    pub(crate) async fn explain(&self, question: Question) -> Result<Plan, CatalogError> {
        let rows = self
            .rows("explaining", question.explained(self.dialect()))
            .await?;
        let lines = rows.iter().map(|row| {
            let mut columns = Columns::of(row);
            if self.dialect() == Dialect::Sqlite {
                columns.skip(3);
            }
            columns.text()
        });
        Ok(Plan {
            lines: lines.collect::<Result<_, _>>()?,
        })
    }
}

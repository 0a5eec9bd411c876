//! Prices of storage: a table that says where it is from and of what day, which anybody can replace.

use std::collections::BTreeMap;

use runpack_core::lifecycle::StorageClass;
use serde::Deserialize;

use super::money::Money;

/// The format that a table names.
const FORMAT: &str = "runpack/prices/v1";

/// What storing and asking costs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    format: String,
    /// Whose prices they are, and where.
    pub name: String,
    /// Where they were read.
    pub source: String,
    /// Of what day, as YYYY-MM-DD.
    pub date: String,
    /// What is left out or simplified.
    pub note: String,
    /// The currency.
    pub currency: String,
    classes: BTreeMap<String, ClassPrices>,
}

/// What one storage class costs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassPrices {
    /// A month of 30 days of 2^30 bytes.
    pub storage_gib_month: Money,
    /// A thousand requests that write or list.
    pub put_1000: Money,
    /// A thousand requests that read.
    pub get_1000: Money,
    /// A thousand objects that a rule moves here.
    pub transition_1000: Money,
    /// A thousand objects that are asked back from here.
    pub restore_1000: Money,
    /// Reading 2^30 bytes from here.
    pub retrieval_gib: Money,
    /// A smaller object is billed as so many bytes.
    pub bytes_min: u64,
    /// What the service adds to each object here, in bytes of this class.
    pub overhead_bytes: u64,
    /// What the service adds to each object here, in bytes of the standard class.
    pub overhead_standard_bytes: u64,
}

/// Why a text is no table of prices.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PricesError {
    /// It is not of the format.
    #[error("this is no table of prices")]
    Malformed(#[source] serde_json::Error),
    /// It is of another format.
    #[error("a table of prices names its format, format=`{FORMAT}` found=`{found}`")]
    Format {
        /// What it names.
        found: String,
    },
    /// It has a class that nobody knows.
    #[error("a table of prices has a class that is none, class=`{class}`")]
    Class {
        /// The class.
        class: String,
    },
    /// It has no prices of a class that is needed.
    #[error("the table of prices has none of a storage class, class=`{class}`")]
    Missing {
        /// The class.
        class: StorageClass,
    },
}

impl Prices {
    /// Those of Amazon S3 in us-east-1, as of the day that the table says.
    ///
    /// # Errors
    /// None, but for a program that was built from something else.
    pub fn amazon() -> Result<Self, PricesError> {
        Self::parse(include_str!("aws-us-east-1.json"))
    }

    /// Reads a table in JSON.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &str) -> Result<Self, PricesError> {
        let table: Self = serde_json::from_str(text).map_err(PricesError::Malformed)?;
        if table.format != FORMAT {
            let found = table.format;
            return Err(PricesError::Format { found });
        }
        if let Some(class) = table
            .classes
            .keys()
            .find(|class| class.parse::<StorageClass>().is_err())
        {
            let class = class.clone();
            return Err(PricesError::Class { class });
        }
        table.of(StorageClass::Standard)?;
        Ok(table)
    }

    /// The prices of a class.
    ///
    /// # Errors
    /// The table has none.
    pub fn of(&self, class: StorageClass) -> Result<&ClassPrices, PricesError> {
        let prices = self.classes.get(class.as_str());
        prices.ok_or(PricesError::Missing { class })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_amazon_has_every_class_and_gets_cheaper() {
        let prices = Prices::amazon().unwrap();
        let each = StorageClass::ALL.map(|class| prices.of(class).unwrap().clone());
        assert!(
            each.windows(2)
                .all(|two| two[0].storage_gib_month > two[1].storage_gib_month)
        );
        assert!(prices.source.starts_with("https://"));
        assert_eq!(prices.date.len(), 10);
    }

    #[test]
    fn tables_that_are_none() {
        let good = include_str!("aws-us-east-1.json");
        for bad in [
            good.replace("prices/v1", "prices/v2"),
            good.replace("\"DEEP_ARCHIVE\"", "\"DEEPER\""),
            good.replace("\"STANDARD\"", "\"GLACIER_IR\""),
            good.replace("\"0.023\"", "0.023"),
            good.replace("\"0.023\"", "\"-0.023\""),
            good.replacen("\"name\"", "\"nome\"", 1),
            String::new(),
        ] {
            assert!(Prices::parse(&bad).is_err(), "{bad}");
        }
        assert!(Prices::parse(good).is_ok());
    }
}

//! An index of packs: what manifests say of them, for questions that no listing of a store answers.
//!
//! A [`Catalog`] lies in SQLite, for one machine, or in PostgreSQL, for several. It is filled from manifests as they are
//! committed ([`Catalog::admit`]) and from what a store holds ([`Catalog::take_up`], [`Catalog::catch_up`],
//! [`Catalog::rebuild`]). Invariants:
//!
//! - it is never the source of truth: whatever becomes of it, the stores have everything that it says, and no verifier asks
//!   it;
//! - the same packs give the same catalog: its exported form ([`Catalog::export`]) is the same to the byte, whichever
//!   database it lies in, whatever order they came in and however often;
//! - both databases are asked the same questions in the same words.
//!
//! Beside the index lie the results of [`audit`]s, which verify what whole stores hold. Those come from nowhere else.

mod address;
pub mod audit;
mod catch_up;
mod check;
pub mod cost;
mod duplicates;
mod entry;
mod error;
mod explain;
mod export;
mod fill;
mod filled;
mod interchange;
mod lineage;
mod read;
mod rebuild;
mod retention;
mod search;
mod sql;
mod survey;

pub use address::{AddressError, CatalogAddress, PostgresUrl};
pub use check::{Checked, Difference};
pub use duplicates::{Duplicate, Duplicates};
pub use entry::{ArtifactEntry, InputEntry, PackEntry, RetentionEntry};
pub use error::CatalogError;
pub use explain::Plan;
pub use fill::{Form, Found, StoreName};
pub use filled::{Filled, Gone, Odd};
pub use interchange::{Interchange, StartError};
pub use lineage::{Direction, Edge, Known, Lineage, LineageFinding, Node, Origin, Reach, Starting};
pub use read::PlaceEntry;
pub use search::{Cursor, CursorError, Hit, Page, Query};
pub use sql::Catalog;
pub use survey::{Fault, SurveyError};

//! For tests: what every store must do ([`macro@conformance`]), and a store that lies ([`LyingStore`]).

#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failed assertion is how a test speaks"
)]

pub mod conformance;
mod lying;
mod scratch;

pub use lying::{Lie, LyingStore};
pub use scratch::{block_on, scratch};

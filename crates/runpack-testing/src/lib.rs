//! For tests: what every store must do ([`macro@conformance`]), a store that lies ([`LyingStore`]), real S3
//! servers ([`servers`]), faults on the way to them ([`proxy`]), one that costs nothing ([`null`]), and the tools by which
//! others read exports ([`validators`]).

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
pub mod null;
pub mod proxy;
mod scratch;
pub mod servers;
pub mod validators;
mod wire;

pub use lying::{Lie, LyingStore};
pub use scratch::{block_on, scratch};

//! The program as an enterprise has it: packs that are locked by configuration, holds, proofs, and what is refused.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed assertion is how a test speaks"
)]

mod attesting;
mod holding;
mod locking;
mod policies;
mod replicas;
mod serving;
mod support;

//! Locked storage on real servers, and what is attested of it as others see it: their verifiers, schemas, reports.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failed assertion is how a test speaks"
)]

mod auditors;
mod authority;
mod holding;
mod locking;
mod oscal;
mod policy;
mod proving;
mod report;
mod sample;
mod schema;
mod sigstore;
mod support;

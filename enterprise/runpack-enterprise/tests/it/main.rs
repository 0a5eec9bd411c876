//! What is attested, seen by others: verifiers of other people, schemas, reports.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed assertion is how a test speaks"
)]

mod auditors;
mod authority;
mod oscal;
mod report;
mod sample;
mod schema;
mod sigstore;

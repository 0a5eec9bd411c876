//! What is attested, seen by others: verifiers of other people, schemas, reports.

mod auditors;
mod authority;
mod report;
mod sample;
mod schema;
mod sigstore;

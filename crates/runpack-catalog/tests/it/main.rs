//! The catalog on both databases.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failed assertion is how a test speaks"
)]

mod auditing;
mod concluding;
mod costing;
mod failing;
mod filling;
mod gate;
mod interchange;
mod removing;
mod retaining;
mod searching;
mod support;
mod tracing;

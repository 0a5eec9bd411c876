//! The server as its users meet it.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::format_collect,
    clippy::format_push_string,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a failed assertion is how a test speaks, and what was counted is printed"
)]

mod access;
mod audit;
mod browsing;
mod buckets;
mod ingest;
mod listening;
mod scopes;
mod serving;
mod shipping;
mod spooling;
mod support;
mod tooling;

//! The program as a user has it: every command, every exit code, every misuse, and packs that somebody
//! has tampered with.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::format_push_string,
    clippy::print_stdout,
    reason = "a failed assertion is how a test speaks, and what was counted is printed"
)]

mod action;
mod attestation;
#[cfg(feature = "catalog")]
mod audit;
mod baseline;
mod catalog;
mod config;
#[cfg(feature = "catalog")]
mod cost;
mod crash;
mod job;
mod json;
mod killed;
mod lifecycle;
mod manipulate;
mod misuse;
mod names;
mod output;
mod pipeline;
mod regions;
mod retention;
mod s3;
mod schema;
#[cfg(feature = "server")]
mod serving;
mod stores;
mod support;

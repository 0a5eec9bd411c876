//! The command line of Runpack, as a library, so that another program can be `runpack` with more
//! commands ([`main_with`]).
//!
//! Invariants of every command: one exit code for one meaning ([`Exit`]); an error is one line that
//! says what happened and one that says what to do; text from packs, stores and file names reaches a
//! terminal or a page only through [`runpack_core::display::Printable`] (threats B13, B29); printing,
//! reading the environment and reading the clock each happen in one module ([`output`],
//! [`environment`], [`clock`]).

/// Adds formatted text to a string, which does not fail.
macro_rules! add {
    ($to:expr, $($text:tt)*) => {{
        use std::fmt::Write as _;
        let _ = write!($to, $($text)*);
    }};
}

pub mod app;
pub mod attestation;
pub mod bundle_file;
#[cfg(feature = "catalog")]
mod catalog;
pub mod check;
pub mod clock;
pub mod command;
mod committed;
pub mod config;
pub mod context;
mod delivery;
mod duration;
pub mod environment;
pub mod failure;
pub mod file;
mod glob;
pub mod identity;
pub mod kinds;
pub mod limits;
pub mod mapping;
pub mod output;
pub mod pins;
pub mod place;
mod profiles;
pub mod progress;
mod receipts;
pub mod regions;
pub mod report;
pub mod settings;
mod sources;
pub mod storage;
pub mod table;
pub mod target;
mod terraform;
mod unsound;
#[cfg(feature = "catalog")]
pub mod yaml;

pub use app::{NoMore, Program, Run, main, main_with};
pub use context::Context;
pub use failure::{Exit, Failure};
pub use storage::{PlainStorage, StoragePolicy};

//! Integration tests of the core that need files.

#![cfg_attr(
    feature = "file",
    expect(
        clippy::unwrap_used,
        clippy::panic,
        reason = "a failed assertion is how a test speaks"
    )
)]

#[cfg(feature = "file")]
mod vectors;

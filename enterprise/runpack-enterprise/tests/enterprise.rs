//! Locked storage on real servers.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failed assertion is how a test speaks"
)]

mod enterprise {
    mod holding;
    mod locking;
    mod policy;
    mod proving;
    mod support;
}

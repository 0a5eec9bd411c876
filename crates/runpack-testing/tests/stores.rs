//! The stores of the core, held to what every store must do and against each other.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a failed assertion is how a test speaks, and what was counted is printed"
)]

mod stores {
    mod bucket;
    mod conforming;
    mod failover;
    mod faulty;
    mod hostile;
    mod killed;
    mod lying;
    mod model;
    mod presigned;
    mod quirks;
    mod racing;
    mod s3;
    mod s3_servers;
    mod verifying;
}

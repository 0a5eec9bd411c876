//! Runpack core.
#[cfg(feature = "file")]
mod blocking;
pub mod commitment;
pub mod digest;
pub mod display;
pub mod id;
mod json;
pub mod key;
pub mod limits;
pub mod manifest;
pub mod name;
pub mod store;
pub mod time;
pub mod verify;

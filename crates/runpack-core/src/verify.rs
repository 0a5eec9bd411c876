//! Verification.
mod finding;
pub use finding::{Code, Finding};

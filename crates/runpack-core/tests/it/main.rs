//! Integration tests of the core that need files.

#[cfg(feature = "file")]
mod vectors;

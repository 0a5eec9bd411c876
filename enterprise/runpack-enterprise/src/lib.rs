//! Storage that keeps: retention, legal holds, proofs and attestations over buckets with Object Lock.

pub mod keys;
pub mod report;
pub mod timestamp;

//! Storage that keeps: retention, legal holds, proofs and attestations over buckets with Object Lock.

pub mod audit;
pub mod batch;
pub mod bucket;
pub mod copies;
mod durable;
pub mod evidence;
pub mod facts;
pub mod guard;
pub mod hold;
pub mod keys;
pub mod ledger;
pub mod locked;
pub mod matter;
pub mod observe;
pub mod policy;
pub mod prove;
pub mod receipt;
pub mod replicas;
pub mod report;
pub mod retention;
pub mod routing;
mod section;
pub mod status;
pub mod tenure;
pub mod terms;
pub mod timestamp;

//! Bucket policies: made so that evidence stays, and judged by what they still let happen.
//!
//! Nothing here asks a store. [`generate()`] makes a document, [`lint()`] judges documents that somebody else read.
//! The judgement is conservative: a statement that is not understood to the end counts for an attacker, an `Allow`
//! as if it applied, a `Deny` as if it did not; what was not observed is a finding, and never clean.
//!
//! | file | what |
//! |---|---|
//! | `document` | a policy as it is written, strictly read |
//! | `pattern`, `truth` | wildcards, and answers that may be *maybe* |
//! | `principal`, `condition`, `evaluate` | who, under what circumstances, may do what |
//! | `generate` | the statements worth having, in each server's language |
//! | `lint` | what could still remove or lose evidence |

mod condition;
mod document;
mod evaluate;
mod generate;
mod json;
mod lint;
mod pattern;
mod principal;
mod truth;

#[cfg(test)]
mod reference;

pub use document::{Effect, PolicyDocument, PolicyError, Statement};
pub use generate::{
    Dialect, Generated, PolicyInput, PrincipalArn, PrincipalError, StatementKind, WriteLock,
    generate,
};
pub use lint::{
    Basis, BucketEncryption, DefaultRetention, Destination, Expiration, Inputs, KeyState,
    LifecycleFilter, LifecycleRule, LintCode, LintFinding, Logging, NoncurrentExpiration,
    ObjectLockState, Observed, PublicAccessBlock, Replication, ReplicationRule, Roles, Severity,
    Transition, VersioningState, lint,
};

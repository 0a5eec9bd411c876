//! Evidence packs: what a run put out, under one manifest that commits to every byte and every
//! identity.
//!
//! A pack is made with [`pack::PackDraft`], kept in a [`store`], and checked with [`verify::Pack`] by
//! somebody who trusts neither the store nor the network. The format is specified apart from this code, in
//! `Docs/spec/runpack-v1.md`; whatever is said here of bytes comes from there.
//!
//! | to do | entry point |
//! |---|---|
//! | make a pack | [`pack::PackDraft`] → `stage` → `commit` |
//! | verify a pack | [`verify::Pack::open`] → [`verify::Pack::verify`] → [`verify::VerifyReport::into_verified`] |
//! | read artifacts, never an unverified byte | [`verify::Pack::pinned`] → [`read::PinnedPack::read`] |
//! | keep the run of a pipeline, step by step | [`pipeline`] |
//! | carry a pack as one file | [`bundle`] |
//! | sign and check signatures | [`sign`] |
//! | check what somebody attests of the store | [`attestation::verify`] |
//! | say beforehand which pack it must be | [`pin::Pins`], `receipt::ReceiptBook` |
//! | say how long packs stay, and remove what may go | [`retention`] |
//! | keep packs somewhere else | implement [`store::ArtifactReader`] and [`store::ArtifactSink`] |
//!
//! # Features
//!
//! `file` (default): directories, the file store and receipts on disk; Linux. Without it the crate does no
//! input or output of its own.
//!
//! # Example
//!
//! ```
//! use std::sync::Arc;
//! use runpack_core::manifest::{Producer, Subject};
//! use runpack_core::pack::{BytesSource, NewArtifact, PackDraft};
//! use runpack_core::pin::Pins;
//! use runpack_core::store::MemoryStore;
//! use runpack_core::verify::{Pack, StorePack, Verdict, VerifyOptions};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
//! let spec_hash = format!("sha256:{}", "0".repeat(64)).parse()?;
//! let subject = Subject::Run {
//!     tenant: "acme".parse()?,
//!     namespace: "prod".parse()?,
//!     scenario: "loan-approval".parse()?,
//!     run_id: "run-1".parse()?,
//!     spec_hash,
//! };
//! let producer = Producer { name: "my-service".parse()?, version: "1.0".parse()? };
//! let mut draft = PackDraft::new(subject.clone(), "2026-11-20T12:00:00Z".parse()?, producer);
//! let log = Arc::new(BytesSource("{\"approved\":true}".into()));
//! draft.add(NewArtifact::new("decisions.json".parse()?, "decision-log".parse()?, "application/json".parse()?, log));
//!
//! let store = Arc::new(MemoryStore::new());
//! let committed = draft.stage(store.clone()).await?.commit().await?;
//!
//! let pack = Pack::open(Arc::new(StorePack::new(store, subject)), &Default::default()).await.unwrap();
//! let pins = Pins::pack_id(committed.manifest.pack_id());
//! let report = pack.verify(&pins, &VerifyOptions::default()).await;
//! assert_eq!(report.verdict, Verdict::Valid);
//! # Ok(())
//! # })
//! # }
//! ```

/// The example of the README, held to compile.
#[cfg(all(doctest, feature = "file"))]
#[doc = include_str!("../../../README.md")]
mod readme {}

pub mod attestation;
#[cfg(feature = "file")]
mod blocking;
pub mod bundle;
pub mod commitment;
mod container;
mod count;
pub mod digest;
#[cfg(feature = "file")]
pub mod directory;
pub mod display;
mod finding;
#[cfg(feature = "file")]
mod fs;
pub mod id;
mod json;
pub mod key;
mod level;
pub mod lifecycle;
pub mod limits;
pub mod manifest;
pub mod name;
pub mod pack;
pub mod pin;
pub mod pipeline;
pub mod progress;
pub mod read;
#[cfg(feature = "file")]
pub mod receipt;
pub mod reference;
pub mod residue;
pub mod retention;
pub mod routing;
pub mod sign;
pub mod store;
pub mod time;
pub mod verify;
mod workers;

//! What follows the commit of a pack of a run: receipt, reference, catalog, and what is said of it.

use std::path::PathBuf;
use std::sync::Arc;

use runpack_core::pack::CommittedPack;
use serde_json::{Value, json};

use crate::committed;
use crate::context::Context;
use crate::delivery;
use crate::failure::Failure;
use crate::receipts::{self, Seen};
use crate::storage::{PlaceInStore, Storage};
use crate::table::{fields, safe};

/// A pack that was committed, and where.
pub(super) struct Kept {
    pub(super) committed: CommittedPack,
    at: PlaceInStore,
    receipt: PathBuf,
}

impl Kept {
    /// Records what was committed.
    pub(super) fn record(
        context: &Context,
        storage: &Storage,
        committed: CommittedPack,
        seen: Seen,
    ) -> Result<Self, Failure> {
        let manifest = Arc::clone(&committed.manifest);
        let at = storage.pack(manifest.subject());
        let receipt = receipts::record(context, &manifest, vec![at.place.clone()], seen)
            .map_err(|failure| failure.with_details(committed::there(&manifest, &at)))?;
        if storage.s3().is_some() {
            context.wait(delivery::refer(context, storage, &manifest))?;
        }
        context.wait(delivery::index(
            context,
            storage,
            &manifest,
            delivery::Form::Files,
        ))?;
        Ok(Self {
            committed,
            at,
            receipt,
        })
    }

    /// What JSON says of it, with these members more.
    pub(super) fn json(&self, more: Value) -> Value {
        let manifest = &self.committed.manifest;
        let mut result = json!({
            "pack_id": manifest.pack_id(),
            "subject": manifest.subject(),
            "created_at": manifest.created_at(),
            "commit": committed::name(self.committed.commit),
            "artifacts": manifest.artifacts().len(),
            "artifact_bytes": manifest.artifact_bytes(),
            "pack": self.at.shown,
            "storage_uri": self.committed.storage_uri,
            "receipt": self.receipt.to_string_lossy(),
        });
        if let (Some(members), Value::Object(more)) = (result.as_object_mut(), more) {
            members.extend(more);
        }
        result
    }

    /// What a person reads of it, with these facts more.
    pub(super) fn text(&self, done: &str, more: Vec<(&'static str, String)>) -> String {
        let manifest = &self.committed.manifest;
        let headline = committed::headline(done, self.committed.commit, manifest);
        let mut facts = committed::facts(manifest, &self.at);
        facts.extend(more);
        facts.push(("receipt", safe(&self.receipt.to_string_lossy())));
        format!("{headline}{}", fields(&facts))
    }
}

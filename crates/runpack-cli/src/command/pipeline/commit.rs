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

/// Who says that a pack is the one that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Witness {
    /// This machine, or whoever gave it the pack ids of what others made.
    Machine(Seen),
    /// The store alone. Whoever can write there must not get a receipt for what they put there.
    Store,
}

/// A pack that was committed, and where.
pub(super) struct Kept {
    pub(super) committed: CommittedPack,
    at: PlaceInStore,
    /// `None` where the store alone tells of it.
    receipt: Option<PathBuf>,
}

impl Kept {
    /// Records what was committed.
    pub(super) fn record(
        context: &Context,
        storage: &Storage,
        committed: CommittedPack,
        witness: Witness,
    ) -> Result<Self, Failure> {
        let manifest = Arc::clone(&committed.manifest);
        let at = storage.pack(manifest.subject());
        let places = vec![at.place.clone()];
        let receipt = match witness {
            Witness::Machine(seen) => receipts::record(context, &manifest, places, seen).map(Some),
            Witness::Store => receipts::record_known(context, &manifest, places),
        };
        let receipt =
            receipt.map_err(|failure| failure.with_details(committed::there(&manifest, &at)))?;
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
            "receipt": self.receipt.as_ref().map(|path| path.to_string_lossy()),
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
        let receipt = match &self.receipt {
            Some(path) => safe(&path.to_string_lossy()),
            None => "none: of this run the store alone tells".to_owned(),
        };
        facts.push(("receipt", receipt));
        format!("{headline}{}", fields(&facts))
    }
}

//! Where packs lie, and what the manifests there say.
//!
//! Invariant: what a pack was made from is not known before every version of its manifest was read and understood.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::plan::WhyKept;
use crate::bundle::first_manifest;
use crate::display::chain;
use crate::id::PackId;
use crate::key::{DeletionObject, Location, ObjectKey};
use crate::limits::Limits;
use crate::manifest::{Artifact, Manifest, RunPart, Subject};
use crate::store::{
    ArtifactReader, Housekeeping, ObjectRef, ObjectStat, StoreError, Stored, read_capped,
};

/// Where a manifest is, by a key alone.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) key: ObjectKey,
    pub(super) form: Form,
}

/// How a pack lies there.
#[derive(Debug, Clone)]
pub(super) enum Form {
    /// As a manifest and artifacts.
    Files(Subject),
    /// As one object.
    Bundle(PackId),
    /// As the manifest of a bundle that went.
    Metadata(PackId),
}

/// What was found in a place.
#[derive(Debug)]
pub(super) enum Found {
    /// The pack whose place it is.
    Pack(Arc<Manifest>),
    /// Something that nobody can judge.
    Unfit {
        why: WhyKept,
        detail: String,
        /// What it was made from, each with what was made; `None` where that is not known.
        inputs: Option<BTreeMap<PackId, PackId>>,
    },
    /// Nothing any more.
    Gone,
}

fn is_step(artifact: &Artifact) -> bool {
    matches!(
        RunPart::named(artifact.name().as_str()),
        Some(RunPart::Step(_))
    )
}

/// The manifest that one version is or begins with, or why there is none in it.
type Understood = Result<Arc<Manifest>, String>;

impl Place {
    /// `None` where no pack can lie.
    pub(super) fn of(key: &str) -> Option<Self> {
        let location = Location::parse(key)?;
        let key = location.key().ok()?;
        let form = match location {
            Location::Bundle { pack_id, .. } => Form::Bundle(pack_id),
            Location::Deletion {
                pack_id,
                object: DeletionObject::Manifest,
                ..
            } => Form::Metadata(pack_id),
            location => Form::Files(location.manifest_subject()?),
        };
        Some(Self { key, form })
    }

    /// Whether it is the place of this pack.
    fn is_of(&self, manifest: &Manifest) -> bool {
        match &self.form {
            Form::Files(subject) => manifest.subject() == subject,
            Form::Bundle(pack_id) | Form::Metadata(pack_id) => manifest.pack_id() == *pack_id,
        }
    }

    /// What packs here were made from, each with what was made: the inputs, and the steps that a pipeline's run lists. Of a
    /// bundle that went nothing is left that was made from anything.
    pub(super) fn inputs_of(&self, manifest: &Manifest) -> BTreeMap<PackId, PackId> {
        if matches!(self.form, Form::Metadata(_)) {
            return BTreeMap::new();
        }
        let made = manifest.pack_id();
        let artifacts = manifest.artifacts().iter();
        let inputs = artifacts.clone().flat_map(Artifact::inputs);
        let is_run = matches!(manifest.subject(), Subject::Pipeline { .. });
        let steps = artifacts.filter(|artifact| is_run && is_step(artifact));
        inputs
            .map(|input| input.pack)
            // The commitment of a step's manifest is the step's pack id.
            .chain(steps.map(|step| PackId::new(step.commitment())))
            .filter(|pack| *pack != made)
            .map(|pack| (pack, made))
            .collect()
    }

    /// What packs here were made from, where a manifest cannot be read.
    pub(super) fn inputs_unread(&self) -> Option<BTreeMap<PackId, PackId>> {
        matches!(self.form, Form::Metadata(_)).then(BTreeMap::new)
    }

    /// Reads every version of the manifest of the pack that lies here.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub(super) async fn look(
        &self,
        store: &Arc<dyn Housekeeping>,
        limits: &Limits,
    ) -> Result<Found, StoreError> {
        match self.read(store, limits).await {
            // It may have gone meanwhile. A version that is listed and not there is something else.
            Err(StoreError::NotFound { .. }) if store.versions(&self.key).await?.is_empty() => {
                Ok(Found::Gone)
            }
            found => found,
        }
    }

    async fn read(
        &self,
        store: &Arc<dyn Housekeeping>,
        limits: &Limits,
    ) -> Result<Found, StoreError> {
        let (mut first, mut is_one) = (None::<Arc<Manifest>>, true);
        let (mut inputs, mut not_understood) = (BTreeMap::new(), None);
        for version in store.versions(&self.key).await? {
            let understood = match self.form {
                Form::Bundle(_) => self.bundled(store, version, limits).await?,
                Form::Files(_) | Form::Metadata(_) => self.kept(store, version, limits).await?,
            };
            match understood {
                Ok(manifest) => {
                    inputs.extend(self.inputs_of(&manifest));
                    let first = first.get_or_insert_with(|| Arc::clone(&manifest));
                    is_one &= first.pack_id() == manifest.pack_id();
                }
                Err(detail) => not_understood = Some(detail),
            }
        }
        let unfit = |why, detail: &str, inputs| Found::Unfit {
            why,
            detail: detail.to_owned(),
            inputs,
        };
        Ok(match (first, not_understood) {
            (None, None) => Found::Gone,
            (None, Some(detail)) => unfit(WhyKept::Unsound, &detail, self.inputs_unread()),
            (Some(_), Some(detail)) => unfit(
                WhyKept::Equivocal,
                &format!("the store has a manifest here, and something else: {detail}"),
                self.inputs_unread(),
            ),
            (Some(_), None) if !is_one => unfit(
                WhyKept::Equivocal,
                "the store has more than one manifest here",
                Some(inputs),
            ),
            (Some(manifest), None) if !self.is_of(&manifest) => unfit(
                WhyKept::Unsound,
                "the manifest of another pack stands in this one's place",
                Some(inputs),
            ),
            (Some(manifest), None) => Found::Pack(manifest),
        })
    }

    fn object(&self, version: ObjectStat) -> ObjectRef {
        ObjectRef {
            key: self.key.clone(),
            version: version.version,
        }
    }

    async fn kept(
        &self,
        store: &Arc<dyn Housekeeping>,
        version: ObjectStat,
        limits: &Limits,
    ) -> Result<Understood, StoreError> {
        let object = self.object(version);
        let read = read_capped(&**store, &object, limits.manifest_bytes_max).await?;
        Ok(match read {
            None => Err("the manifest is larger than the limit".to_owned()),
            Some(bytes) => Manifest::parse(&bytes, limits)
                .map(Arc::new)
                .map_err(|error| chain(&error)),
        })
    }

    async fn bundled(
        &self,
        store: &Arc<dyn Housekeeping>,
        version: ObjectStat,
        limits: &Limits,
    ) -> Result<Understood, StoreError> {
        let (bytes, object) = (version.bytes, self.object(version));
        let reader: Arc<dyn ArtifactReader> = Arc::<dyn Housekeeping>::clone(store);
        let (stored, limits) = (Stored::of(reader, object.clone(), bytes), limits.clone());
        let read = stored.read(move |source| first_manifest(source, limits));
        let outcome = match read.await? {
            Ok(manifest) => return Ok(Ok(manifest)),
            Err(outcome) => outcome,
        };
        let finding = outcome.findings.into_iter().next();
        if finding
            .as_ref()
            .is_some_and(|found| found.code.is_undecided())
        {
            // What the store said of it is text by now: it is asked again.
            store.open(&object, 0..1).await?;
            return Err(StoreError::Io {
                action: "reading a bundle",
                path: self.key.to_string(),
                source: io::Error::other(finding.map(|found| found.detail).unwrap_or_default()),
            });
        }
        Ok(Err(finding.map_or_else(
            || "it is no bundle".to_owned(),
            |found| found.detail,
        )))
    }
}

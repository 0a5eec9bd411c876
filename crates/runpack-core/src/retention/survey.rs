//! Looking through a store: which packs have expired, and which of them are needed by packs that stay.
//!
//! What a listing shows is only where to look: a pack counts by its own manifest, in its own place. Memory: some hundred
//! bytes a pack that has expired, 64 bytes for each input of one that stays.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _};

use super::plan::{Kept, WhyKept};
use super::policy::RetentionPolicies;
use crate::bundle::first_manifest;
use crate::display::chain;
use crate::id::{PackId, PolicyName};
use crate::key::{DeletionObject, KeyPrefix, Location, ObjectKey};
use crate::limits::Limits;
use crate::manifest::{Artifact, Manifest, Subject};
use crate::store::{ArtifactReader, Housekeeping, ObjectRef, StoreError, Stored, read_capped};
use crate::time::Timestamp;

/// How many manifests are read at once.
const READ_AT_ONCE: usize = 32;

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

    /// Reads the manifest of the pack that lies here.
    ///
    /// # Errors
    /// Why it stays: there is none, more than one, or it cannot be read.
    pub(super) async fn manifest(
        &self,
        store: &Arc<dyn Housekeeping>,
        limits: &Limits,
    ) -> Result<Arc<Manifest>, (WhyKept, String)> {
        let manifest = match &self.form {
            Form::Bundle(_) => self.bundled(store, limits).await?,
            Form::Files(_) | Form::Metadata(_) => self.kept(store, limits).await?,
        };
        let is_here = match &self.form {
            Form::Files(subject) => manifest.subject() == subject,
            Form::Bundle(pack_id) | Form::Metadata(pack_id) => manifest.pack_id() == *pack_id,
        };
        if !is_here {
            let detail = "the manifest of another pack stands in this one's place";
            return Err((WhyKept::Unsound, detail.to_owned()));
        }
        Ok(manifest)
    }

    async fn kept(
        &self,
        store: &Arc<dyn Housekeeping>,
        limits: &Limits,
    ) -> Result<Arc<Manifest>, (WhyKept, String)> {
        let versions = store.versions(&self.key).await.map_err(unread)?;
        let mut first: Option<Vec<u8>> = None;
        for version in versions {
            let object = ObjectRef {
                key: self.key.clone(),
                version: version.version,
            };
            let read = read_capped(&**store, &object, limits.manifest_bytes_max).await;
            let Some(bytes) = read.map_err(unread)? else {
                return Err((
                    WhyKept::Unsound,
                    "the manifest is larger than the limit".to_owned(),
                ));
            };
            match &first {
                None => first = Some(bytes),
                Some(first) if *first == bytes => {}
                Some(_) => {
                    let detail = "the store has more than one manifest here";
                    return Err((WhyKept::Equivocal, detail.to_owned()));
                }
            }
        }
        let bytes = first.ok_or_else(|| gone("the manifest"))?;
        let manifest = Manifest::parse(&bytes, limits);
        manifest
            .map(Arc::new)
            .map_err(|error| (WhyKept::Unsound, chain(&error)))
    }

    async fn bundled(
        &self,
        store: &Arc<dyn Housekeeping>,
        limits: &Limits,
    ) -> Result<Arc<Manifest>, (WhyKept, String)> {
        let reader: Arc<dyn ArtifactReader> = Arc::<dyn Housekeeping>::clone(store);
        let stored = Stored::find(reader, &self.key).await.map_err(unread)?;
        let limits = limits.clone();
        let read = stored.read(move |source| first_manifest(source, limits));
        read.await.map_err(unread)?.map_err(|outcome| {
            let finding = outcome.findings.into_iter().next();
            let detail = finding.map_or_else(|| "it is no bundle".to_owned(), |found| found.detail);
            (WhyKept::Unreadable, detail)
        })
    }
}

fn gone(what: &str) -> (WhyKept, String) {
    (WhyKept::Unsound, format!("{what} is gone"))
}

fn unread(error: StoreError) -> (WhyKept, String) {
    match error {
        StoreError::NotFound { .. } => gone("the object"),
        error => (WhyKept::Unreadable, chain(&error)),
    }
}

/// A pack that has expired.
#[derive(Debug)]
pub(super) struct Expired {
    pub(super) place: Place,
    pub(super) pack_id: PackId,
    pub(super) subject: Subject,
    pub(super) created_at: Timestamp,
    pub(super) policy: PolicyName,
    pub(super) expires_at: Timestamp,
    inputs: Vec<PackId>,
}

/// What a look through a store found: packs that have expired, to be taken one after the other, products before what they
/// were made from.
#[derive(Debug, Default)]
pub(super) struct Survey {
    expired: BTreeMap<PackId, Vec<Expired>>,
    /// Packs all of whose products were taken, by expiry.
    ready: BTreeSet<(Timestamp, PackId)>,
    /// How many products of a pack have expired and were not taken yet.
    products: HashMap<PackId, u64>,
    /// What stays needs these, and which of it does.
    needed: HashMap<PackId, PackId>,
    keeps_inputs: bool,
    /// Manifests of which nobody knows what they need.
    unread: u64,
    /// What could not be judged.
    pub(super) kept: Vec<Kept>,
}

/// What the manifest in a place says.
enum Seen {
    Expired(Box<Expired>),
    Stays(PackId, Vec<PackId>),
    Unjudged(Kept),
}

impl Survey {
    /// Reads every manifest of a store.
    pub(super) async fn of(
        store: &Arc<dyn Housekeeping>,
        policies: &RetentionPolicies,
        now: Timestamp,
        limits: &Limits,
    ) -> Result<Self, StoreError> {
        let mut survey = Self {
            keeps_inputs: policies.keeps_inputs(),
            ..Self::default()
        };
        let mut seen = store
            .list(&KeyPrefix::all())
            .try_filter_map(async |entry| Ok(Place::of(&entry.key)))
            .map(|place| async move {
                Ok::<_, StoreError>(look(store, place?, policies, now, limits).await)
            })
            .buffer_unordered(READ_AT_ONCE)
            .boxed();
        let mut places = BTreeSet::new();
        while let Some(seen) = seen.try_next().await? {
            match seen {
                Seen::Unjudged(kept) => {
                    if kept.why == WhyKept::Unreadable {
                        survey.unread = survey.unread.saturating_add(1);
                    }
                    survey.kept.push(kept);
                }
                Seen::Stays(pack_id, inputs) => survey.need(pack_id, &inputs),
                // A listing may show a key twice.
                Seen::Expired(expired) if places.insert(expired.place.key.clone()) => {
                    let of_pack = survey.expired.entry(expired.pack_id).or_default();
                    of_pack.push(*expired);
                }
                Seen::Expired(_) => {}
            }
        }
        drop(seen);
        survey.put_in_order();
        Ok(survey)
    }

    fn put_in_order(&mut self) {
        let mut products: HashMap<PackId, u64> = HashMap::new();
        for of_pack in self.expired.values_mut() {
            of_pack.sort_by(|a, b| a.place.key.cmp(&b.place.key));
            for input in of_pack.iter().flat_map(|expired| &expired.inputs) {
                let count = products.entry(*input).or_default();
                *count = count.saturating_add(1);
            }
        }
        for (pack_id, of_pack) in &self.expired {
            if let Some(first) = of_pack.first()
                && !products.contains_key(pack_id)
            {
                self.ready.insert((first.expires_at, *pack_id));
            }
        }
        self.products = products;
    }

    /// The next pack in all its places. An id is made of what it was made from, so there are no cycles.
    pub(super) fn next(&mut self) -> Option<Vec<Expired>> {
        let (_, pack_id) = self.ready.pop_first()?;
        let taken = self.expired.remove(&pack_id)?;
        for input in taken.iter().flat_map(|expired| &expired.inputs) {
            let Some(left) = self.products.get_mut(input) else {
                continue;
            };
            *left = left.saturating_sub(1);
            if *left == 0
                && let Some(first) = self.expired.get(input).and_then(|of_pack| of_pack.first())
            {
                self.ready.insert((first.expires_at, *input));
            }
        }
        Some(taken)
    }

    /// That a pack stays, and with it what it was made from.
    pub(super) fn stays(&mut self, expired: &Expired) {
        self.need(expired.pack_id, &expired.inputs);
    }

    fn need(&mut self, by: PackId, inputs: &[PackId]) {
        if self.keeps_inputs {
            for input in inputs {
                self.needed.entry(*input).or_insert(by);
            }
        }
    }

    /// Why a pack is needed, if it is.
    pub(super) fn need_of(&self, pack_id: PackId) -> Option<String> {
        if let Some(by) = self.needed.get(&pack_id) {
            return Some(format!(
                "a pack that stays was made from it, pack_id=`{by}`"
            ));
        }
        (self.keeps_inputs && self.unread > 0).then(|| {
            format!(
                "{} manifests cannot be read, and what they were made from is not known",
                self.unread
            )
        })
    }
}

async fn look(
    store: &Arc<dyn Housekeeping>,
    place: Place,
    policies: &RetentionPolicies,
    now: Timestamp,
    limits: &Limits,
) -> Seen {
    let manifest = match place.manifest(store, limits).await {
        Ok(manifest) => manifest,
        Err((why, detail)) => {
            return Seen::Unjudged(Kept {
                detail,
                expires_at: None,
                key: place.key.to_string(),
                pack_id: None,
                why,
            });
        }
    };
    let pack_id = manifest.pack_id();
    let inputs = manifest.artifacts().iter().flat_map(Artifact::inputs);
    // Of a bundle that went nothing is left that was made from anything.
    let is_there = !matches!(place.form, Form::Metadata(_)) && policies.keeps_inputs();
    let inputs: BTreeSet<PackId> = inputs
        .map(|input| input.pack)
        .filter(|input| *input != pack_id && is_there)
        .collect();
    let inputs: Vec<PackId> = inputs.into_iter().collect();
    let expiry = policies.of(manifest.subject(), manifest.created_at());
    match (expiry.policy, expiry.expires_at) {
        (Some(policy), Some(expires_at)) if expires_at <= now => Seen::Expired(Box::new(Expired {
            place,
            pack_id,
            subject: manifest.subject().clone(),
            created_at: manifest.created_at(),
            policy: policy.clone(),
            expires_at,
            inputs,
        })),
        _ => Seen::Stays(pack_id, inputs),
    }
}

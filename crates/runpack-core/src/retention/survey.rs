//! Looking through a store: which packs have expired, and which of them are needed by packs that stay.
//!
//! What a store lists is only where to look: a pack counts by its own manifest, in its own place, also where a delete marker
//! stands over it. Memory: some hundred bytes a pack that has expired or cannot be judged, 64 bytes for each input of one
//! that stays.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures_util::{Stream, StreamExt as _, TryStreamExt as _, future};

use super::RetentionError;
use super::judge::Judge;
use super::place::{Found, Place};
use super::plan::{Kept, Removal, WhyKept};
use crate::display::chain;
use crate::id::{PackId, PolicyName};
use crate::key::{KeyPrefix, ObjectKey};
use crate::manifest::Subject;
use crate::store::{Holding, State, StoreError};
use crate::time::Timestamp;

/// How many manifests are read at once.
const READ_AT_ONCE: usize = 32;
/// How many packs that stay a plan names; more are counted.
pub(super) const KEPT_MAX: usize = 10_000;

/// Bounds of what a store lists.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Versions and markers of any kind. Stops a listing without end.
    pub(super) entries_max: u64,
    /// Places of packs. Stops one that fills the memory.
    pub(super) places_max: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            entries_max: 10_000_000_000,
            places_max: 50_000_000,
        }
    }
}

/// Of what stays and cannot be judged, what is told.
#[derive(Debug, Clone, Copy)]
pub(super) enum Told<'a> {
    /// The first of it, by key.
    First,
    /// What a plan names, by key.
    Planned(&'a BTreeMap<&'a str, &'a Removal>),
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

impl Expired {
    /// Whether it was made from other packs.
    pub(super) fn has_inputs(&self) -> bool {
        !self.inputs.is_empty()
    }
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
    pub(super) unread: u64,
    /// What could not be judged, by key, as far as it is told.
    pub(super) kept: BTreeMap<String, Kept>,
    /// How much there is of it.
    pub(super) kept_counts: BTreeMap<WhyKept, u64>,
    /// Where the store failed in a way that may pass.
    pub(super) failures: BTreeMap<String, StoreError>,
}

/// What the manifest in a place says.
enum Seen {
    Expired(Box<Expired>),
    Unexpired(BTreeMap<PackId, PackId>),
    Unjudged(Box<Unjudged>),
    Gone,
}

struct Unjudged {
    key: ObjectKey,
    kept: Kept,
    inputs: Option<BTreeMap<PackId, PackId>>,
    failure: Option<StoreError>,
}

/// What a store lists, on its way to the places in it.
struct Walk {
    bounds: Bounds,
    entries: u64,
    places: u64,
    last: Option<ObjectKey>,
}

impl Walk {
    fn place(&mut self, held: &Holding) -> Result<Option<Place>, RetentionError> {
        self.entries = self.entries.saturating_add(1);
        if self.entries > self.bounds.entries_max {
            return Err(self.senseless("has no end within the limit of entries"));
        }
        let place = Place::of(&held.key).filter(|place| {
            // Versions of one key mostly come one after the other.
            held.state == State::Object && self.last.as_ref() != Some(&place.key)
        });
        if let Some(place) = &place {
            self.last = Some(place.key.clone());
            self.places = self.places.saturating_add(1);
            if self.places > self.bounds.places_max {
                return Err(self.senseless("has more packs than the limit"));
            }
        }
        Ok(place)
    }

    fn senseless(&self, reason: &'static str) -> RetentionError {
        RetentionError::Listing {
            reason,
            shown: self.entries,
        }
    }
}

fn places(judge: &Judge<'_>, bounds: Bounds) -> impl Stream<Item = Result<Place, RetentionError>> {
    let mut walk = Walk {
        bounds,
        entries: 0,
        places: 0,
        last: None,
    };
    let all = judge.store.versions_below(&KeyPrefix::all());
    all.map_err(RetentionError::from)
        .try_filter_map(move |held| future::ready(walk.place(&held)))
}

impl Survey {
    /// Reads every manifest of a store.
    pub(super) async fn of(
        judge: &Judge<'_>,
        bounds: Bounds,
        told: Told<'_>,
    ) -> Result<Self, RetentionError> {
        let mut survey = Self {
            keeps_inputs: judge.policies.keeps_inputs(),
            ..Self::default()
        };
        let mut seen = places(judge, bounds)
            .map(|place| async move { Ok::<_, RetentionError>(look(judge, place?).await) })
            .buffer_unordered(READ_AT_ONCE)
            .boxed();
        // A listing may show a key twice.
        let mut known = BTreeSet::new();
        while let Some(seen) = seen.try_next().await? {
            match seen {
                Seen::Gone => {}
                Seen::Unexpired(inputs) => survey.need(inputs),
                Seen::Expired(expired) => {
                    if known.insert(expired.place.key.clone()) {
                        let of_pack = survey.expired.entry(expired.pack_id).or_default();
                        of_pack.push(*expired);
                    }
                }
                Seen::Unjudged(unjudged) => {
                    if known.insert(unjudged.key.clone()) {
                        survey.keep(*unjudged, told);
                    }
                }
            }
        }
        drop(seen);
        survey.put_in_order();
        Ok(survey)
    }

    fn keep(&mut self, unjudged: Unjudged, told: Told<'_>) {
        let Unjudged {
            key,
            kept,
            inputs,
            failure,
        } = unjudged;
        match inputs {
            Some(inputs) => self.need(inputs),
            None => self.unread = self.unread.saturating_add(1),
        }
        let count = self.kept_counts.entry(kept.why).or_default();
        *count = count.saturating_add(1);
        self.failures
            .extend(failure.map(|failure| (key.to_string(), failure)));
        match told {
            Told::Planned(planned) if !planned.contains_key(key.as_str()) => {}
            _ => {
                self.kept.insert(key.to_string(), kept);
            }
        }
        if matches!(told, Told::First) && self.kept.len() > KEPT_MAX {
            self.kept.pop_last();
        }
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

    /// That a pack that has expired stays, and with it what it was made from.
    pub(super) fn stays(&mut self, expired: &Expired) {
        let made = expired.pack_id;
        self.need(expired.inputs.iter().map(|input| (*input, made)));
    }

    fn need(&mut self, inputs: impl IntoIterator<Item = (PackId, PackId)>) {
        if self.keeps_inputs {
            for (input, by) in inputs {
                self.needed.entry(input).or_insert(by);
            }
        }
    }

    /// Why a pack is needed, if it is.
    pub(super) fn need_of(&self, pack_id: PackId) -> Option<String> {
        if let Some(by) = self.needed.get(&pack_id) {
            return Some(format!(
                "a pack that stays was made from it or lists it, pack_id=`{by}`"
            ));
        }
        (self.keeps_inputs && self.unread > 0).then(|| {
            format!(
                "{} manifests cannot be read or understood, and what they were made from is not known",
                self.unread
            )
        })
    }
}

async fn look(judge: &Judge<'_>, place: Place) -> Seen {
    let unjudged = |why, detail, inputs, failure| {
        Seen::Unjudged(Box::new(Unjudged {
            kept: Kept {
                detail,
                expires_at: None,
                key: place.key.to_string(),
                pack_id: None,
                why,
            },
            key: place.key.clone(),
            inputs,
            failure,
        }))
    };
    let manifest = match place.look(judge.store, judge.limits).await {
        Ok(Found::Pack(manifest)) => manifest,
        Ok(Found::Gone) => return Seen::Gone,
        Ok(Found::Unfit {
            why,
            detail,
            inputs,
        }) => return unjudged(why, detail, inputs, None),
        Err(error) => {
            let detail = chain(&error);
            let failure = Some(error).filter(StoreError::is_retryable);
            let inputs = place.inputs_unread();
            return unjudged(WhyKept::Unreadable, detail, inputs, failure);
        }
    };
    let inputs = place.inputs_of(&manifest);
    let expiry = judge.policies.of(manifest.subject(), manifest.created_at());
    match (expiry.policy, expiry.expires_at) {
        (Some(policy), Some(expires_at)) if expires_at <= judge.now => {
            let keeps_inputs = judge.policies.keeps_inputs();
            Seen::Expired(Box::new(Expired {
                place,
                pack_id: manifest.pack_id(),
                subject: manifest.subject().clone(),
                created_at: manifest.created_at(),
                policy: policy.clone(),
                expires_at,
                inputs: inputs.into_keys().filter(|_| keeps_inputs).collect(),
            }))
        }
        _ => Seen::Unexpired(inputs),
    }
}

//! What packs cost to keep: by whose they are, in which storage class they lie, and under other rules.
//!
//! Reckoned from what the catalog knows and, where a store was listed, from what lies there. It is an estimate of a bill and no
//! evidence. Invariants: amounts are exact whole numbers, and the parts of a report add up to its total; the same packs cost
//! the same in either database; nothing is left out in silence: what was not found, and what belongs to no pack, is told; an
//! object that several packs share is counted once.
//!
//! A manifest's size is not in the catalog: where the store was not listed it is estimated from what it lists. What is in a
//! bundle is taken uncompressed there.

mod measured;
mod money;
mod prices;
mod usage;

use std::collections::{BTreeMap, HashSet};

use runpack_core::commitment::chunk_count;
use runpack_core::digest::Digest;
use runpack_core::id::{ExecutionId, Namespace, PackId, PipelineTenant, RunId, Scenario, Tenant};
use runpack_core::key::{Location, PipelineObject};
use runpack_core::lifecycle::{Rule, StorageClass};
use runpack_core::manifest::Subject;
use runpack_core::name::ArtifactName;
use runpack_core::time::Timestamp;
use serde::Serialize;

pub use measured::{Lying, Measured};
pub use money::{Money, MoneyError};
pub use prices::{ClassPrices, Prices, PricesError};
pub use usage::{Bill, ClassBill, RequestBill, Window};

use self::usage::{Object, Usage};
use crate::entry::PackEntry;
use crate::error::CatalogError;
use crate::sql::{Catalog, Columns, Question};

const RECKONING: &str = "reckoning what packs cost";
const DAY_SECONDS: u64 = 86_400;
/// The most groups of a report.
pub const GROUPS_MAX: usize = 100_000;
/// A page has packs until they have so many artifacts, or are so many.
const ARTIFACTS_AT_ONCE: u64 = 10_000;
const PACKS_AT_ONCE: u64 = 200;

/// By what costs are grouped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CostBy {
    /// The store.
    Store,
    /// Whose packs they are.
    Tenant,
    /// The tenant's namespaces.
    Namespace,
    /// The namespaces' scenarios.
    Scenario,
    /// The run.
    Run,
    /// The execution.
    Execution,
}

/// Which packs, and how they are grouped. What is not given is not asked for.
#[derive(Debug, Clone)]
pub struct CostQuery {
    /// By what.
    pub by: CostBy,
    /// In this store, as the catalog names it.
    pub store: Option<String>,
    /// Of this tenant.
    pub tenant: Option<Tenant>,
    /// In this namespace.
    pub namespace: Option<Namespace>,
    /// Of this scenario.
    pub scenario: Option<Scenario>,
    /// Of this run.
    pub run_id: Option<RunId>,
    /// Of this execution.
    pub execution_id: Option<ExecutionId>,
    /// Made at this time or later.
    pub after: Option<Timestamp>,
    /// Made before this time.
    pub before: Option<Timestamp>,
    /// When the time that is reckoned begins.
    pub at: Timestamp,
    /// The time that is reckoned.
    pub window: Window,
}

/// What some packs cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Cost {
    /// By group, the costliest first.
    pub groups: Vec<GroupCost>,
    /// All of it.
    pub total: Bill,
    /// Objects that the catalog knows and the store, as it was listed, does not have. They cost nothing.
    pub missing: u64,
    /// What lies in the store, as it was listed, and belongs to none of these packs.
    pub others: Option<Bill>,
}

/// What a group costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct GroupCost {
    /// Which: its parts with `/` between them, `-` where a pack has none.
    pub group: String,
    /// What it costs.
    #[serde(flatten)]
    pub bill: Bill,
}

/// Why costs were not reckoned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CostError {
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The prices do not do.
    #[error(transparent)]
    Prices(#[from] PricesError),
    /// They are too many to be told one by one.
    #[error("these are more than {GROUPS_MAX} groups")]
    TooManyGroups,
}

/// A pack where it lies.
struct Placed {
    store: String,
    key: String,
    form: String,
    pack_id: PackId,
    artifacts: u64,
}

/// An artifact as it lies somewhere.
struct Part {
    name: String,
    commitment: Digest,
    bytes: u64,
}

impl Catalog {
    /// What packs cost under each of these sets of rules, whose prefixes are below the store. Objects that are in `measured`
    /// have the sizes, ages and classes that they have there; else they are where the first set has moved them, and the
    /// others take them from there.
    ///
    /// # Errors
    /// [`CostError`].
    pub async fn cost(
        &self,
        query: &CostQuery,
        prices: &Prices,
        rules: &[Vec<Rule>],
        mut measured: Option<Measured>,
    ) -> Result<Vec<Cost>, CostError> {
        let mut groups: Vec<BTreeMap<String, Usage>> = vec![BTreeMap::new(); rules.len()];
        let (mut missing, mut shared) = (0u64, Shared::default());
        let mut after = (String::new(), String::new());
        loop {
            let page = self.placed(query, &after).await?;
            let Some(last) = page.last() else { break };
            after = (last.store.clone(), last.key.clone());
            let ids: Vec<PackId> = page.iter().map(|placed| placed.pack_id).collect();
            let packs = self.packs(&ids).await?;
            let parts = self.parts(&page).await?;
            for placed in &page {
                // Between the questions it may have been forgotten.
                let Some(pack) = packs.get(&placed.pack_id) else {
                    continue;
                };
                let parts = parts.get(&placed.pack_id).map_or(&[][..], Vec::as_slice);
                let mut objects = objects(placed, pack, parts, &mut shared);
                if let Some(measured) = measured.as_mut() {
                    let before = objects.len();
                    objects.retain_mut(|object| object.take_from(measured));
                    let gone = before.saturating_sub(objects.len());
                    missing = missing.saturating_add(gone.try_into().unwrap_or(u64::MAX));
                }
                let group = group(query.by, placed, &pack.subject);
                for (groups, rules) in groups.iter_mut().zip(rules) {
                    let usage = groups.entry(group.clone()).or_default();
                    usage.add_pack(objects.len().try_into().unwrap_or(u64::MAX));
                    for object in &mut objects {
                        let first = usage.add(object.at(query.at), rules, query.window, prices)?;
                        object.class = Some(first);
                    }
                }
            }
            if groups
                .first()
                .is_some_and(|groups| groups.len() > GROUPS_MAX)
            {
                return Err(CostError::TooManyGroups);
            }
        }
        let others = match &measured {
            Some(measured) => Some(measured.rest(query, prices)?),
            None => None,
        };
        let costs = groups.into_iter().map(|groups| {
            Cost::of(groups, query.window, prices, missing, others.clone()).map_err(CostError::from)
        });
        costs.collect()
    }

    async fn placed(
        &self,
        query: &CostQuery,
        (store, key): &(String, String),
    ) -> Result<Vec<Placed>, CatalogError> {
        let mut asked = Question::new(
            "SELECT p.store, p.key, p.form, p.pack_id, k.artifacts FROM places p JOIN packs k ON k.pack_id = p.pack_id \
             WHERE (p.store, p.key) > (",
        );
        asked.value(store.as_str()).add(", ").value(key.as_str());
        asked.add(")");
        let texts = [
            (" AND p.store = ", query.store.as_deref()),
            (
                " AND k.tenant = ",
                query.tenant.as_ref().map(Tenant::as_str),
            ),
            (
                " AND k.namespace = ",
                query.namespace.as_ref().map(Namespace::as_str),
            ),
            (
                " AND k.scenario = ",
                query.scenario.as_ref().map(Scenario::as_str),
            ),
            (" AND k.run_id = ", query.run_id.as_ref().map(RunId::as_str)),
            (
                " AND k.execution_id = ",
                query.execution_id.as_ref().map(ExecutionId::as_str),
            ),
        ];
        for (condition, text) in texts {
            if let Some(text) = text {
                asked.add(condition).value(text);
            }
        }
        if let Some(after) = query.after {
            asked
                .add(" AND k.created_at >= ")
                .value(after.unix_seconds());
        }
        if let Some(before) = query.before {
            asked
                .add(" AND k.created_at < ")
                .value(before.unix_seconds());
        }
        asked
            .add(" ORDER BY p.store, p.key LIMIT ")
            .value(PACKS_AT_ONCE);
        let (mut page, mut artifacts) = (Vec::new(), 0u64);
        for row in self.rows(RECKONING, asked).await? {
            let mut columns = Columns::of(&row);
            let placed = Placed {
                store: columns.text()?,
                key: columns.text()?,
                form: columns.text()?,
                pack_id: PackId::new(columns.digest()?),
                artifacts: columns.number()?,
            };
            artifacts = artifacts.saturating_add(placed.artifacts);
            page.push(placed);
            if artifacts >= ARTIFACTS_AT_ONCE {
                break;
            }
        }
        Ok(page)
    }

    /// The artifacts of those that lie as files.
    async fn parts(&self, page: &[Placed]) -> Result<BTreeMap<PackId, Vec<Part>>, CatalogError> {
        let mut parts: BTreeMap<PackId, Vec<Part>> = BTreeMap::new();
        let files = page.iter().filter(|placed| placed.form == "files");
        let mut ids: Vec<PackId> = files.map(|placed| placed.pack_id).collect();
        ids.sort_unstable();
        ids.dedup();
        if ids.is_empty() {
            return Ok(parts);
        }
        let mut asked = Question::new(
            "SELECT pack_id, name, commitment, bytes FROM artifacts WHERE pack_id IN ",
        );
        asked.list(ids.iter().map(|pack| pack.digest().into()));
        for row in self.rows(RECKONING, asked).await? {
            let mut columns = Columns::of(&row);
            let pack = PackId::new(columns.digest()?);
            parts.entry(pack).or_default().push(Part {
                name: columns.text()?,
                commitment: columns.digest()?,
                bytes: columns.number()?,
            });
        }
        Ok(parts)
    }
}

/// An object of a pack, as far as it is known.
struct Known {
    key: String,
    bytes: u64,
    since: u64,
    /// Where it lies, once that is known.
    class: Option<StorageClass>,
}

impl Known {
    /// Takes what was seen of it; whether it was seen at all.
    fn take_from(&mut self, measured: &mut Measured) -> bool {
        let seen = measured.take(&self.key);
        if let Some(seen) = seen {
            (self.bytes, self.since) = (seen.bytes, seen.since.unix_seconds());
            self.class = Some(seen.class);
        }
        seen.is_some()
    }

    fn at(&self, at: Timestamp) -> Object<'_> {
        Object {
            key: &self.key,
            bytes: self.bytes,
            age_days: age_days(self.since, at),
            seen: self.class,
        }
    }
}

/// In whole days; what is made later has none.
fn age_days(since: u64, at: Timestamp) -> u32 {
    let seconds = at.unix_seconds().saturating_sub(since);
    let days = seconds.checked_div(DAY_SECONDS).unwrap_or(0);
    days.try_into().unwrap_or(u32::MAX)
}

/// Definitions of pipelines that were counted: the store, whose they are, and the hash.
type Shared = HashSet<(String, PipelineTenant, Digest)>;

/// The objects that a pack is where it lies: its artifacts and its manifest, or one bundle. What it shares with others is
/// counted once: the manifests of a run's steps are theirs, and a definition is of the first run.
fn objects(placed: &Placed, pack: &PackEntry, parts: &[Part], shared: &mut Shared) -> Vec<Known> {
    let since = pack.created_at.unix_seconds();
    let known = |key: String, bytes: u64| Known {
        key,
        bytes,
        since,
        class: None,
    };
    if placed.form != "files" {
        return vec![known(placed.key.clone(), pack.artifact_bytes)];
    }
    let mut objects: Vec<Known> = parts
        .iter()
        .filter_map(|part| {
            let name: Option<ArtifactName> = part.name.parse().ok();
            let location =
                name.map(|name| Location::artifact(&pack.subject, &name, part.commitment));
            match &location {
                Some(Location::Pipeline {
                    object: PipelineObject::StepManifest { .. },
                    ..
                }) => return None,
                Some(Location::PipelineDefinition { tenant, definition }) => {
                    let key = (placed.store.clone(), tenant.clone(), *definition);
                    if !shared.insert(key) {
                        return None;
                    }
                }
                _ => {}
            }
            // A name that is none is damage, and has no key: it is counted all the same.
            let key = location.and_then(|location| location.key().ok());
            let key = key.map(|key| key.to_string()).unwrap_or_default();
            Some(known(key, part.bytes))
        })
        .collect();
    objects.push(known(placed.key.clone(), manifest_bytes(parts)));
    objects
}

/// About what a manifest takes: 300 bytes, 250 for each artifact, and a digest for each chunk of a large one.
fn manifest_bytes(parts: &[Part]) -> u64 {
    let each = parts.iter().map(|part| {
        let digests = match chunk_count(part.bytes) {
            0 | 1 => 0,
            chunks => chunks.saturating_mul(67),
        };
        digests.saturating_add(250)
    });
    each.fold(300, u64::saturating_add)
}

fn group(by: CostBy, placed: &Placed, subject: &Subject) -> String {
    let (mut tenant, mut namespace, mut scenario, mut run, mut execution) =
        (None, None, None, None, None);
    match subject {
        Subject::Run {
            tenant: whose,
            namespace: space,
            scenario: what,
            run_id,
            ..
        } => {
            tenant = Some(whose.as_str());
            (namespace, scenario) = (Some(space.as_str()), Some(what.as_str()));
            run = Some(run_id.as_str());
        }
        Subject::Step {
            tenant: whose,
            run_id,
            ..
        }
        | Subject::Pipeline {
            tenant: whose,
            run_id,
        } => (tenant, run) = (Some(whose.as_str()), Some(run_id.as_str())),
        Subject::Execution { execution_id } => execution = Some(execution_id.as_str()),
        // The compiler wants it: the catalog reads no other kind, and a new one comes with its columns there.
        _ => {}
    }
    let parts = match by {
        CostBy::Store => return placed.store.clone(),
        CostBy::Tenant => vec![tenant],
        CostBy::Namespace => vec![tenant, namespace],
        CostBy::Scenario => vec![tenant, namespace, scenario],
        CostBy::Run => vec![tenant, namespace, scenario, run],
        CostBy::Execution => vec![execution],
    };
    let parts: Vec<&str> = parts.into_iter().map(|part| part.unwrap_or("-")).collect();
    parts.join("/")
}

impl Cost {
    fn of(
        groups: BTreeMap<String, Usage>,
        window: Window,
        prices: &Prices,
        missing: u64,
        others: Option<Bill>,
    ) -> Result<Self, PricesError> {
        let mut bills = Vec::new();
        let mut total = Bill::default();
        for (group, usage) in groups {
            let bill = usage.bill(window, prices)?;
            total.add(&bill);
            bills.push(GroupCost { group, bill });
        }
        bills.sort_by(|a, b| b.bill.total.cmp(&a.bill.total).then(a.group.cmp(&b.group)));
        Ok(Self {
            groups: bills,
            total,
            missing,
            others,
        })
    }
}

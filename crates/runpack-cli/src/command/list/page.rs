//! One page of a list: which keys, and what their manifests say.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use runpack_core::bundle::first_manifest;
use runpack_core::id::PackId;
use runpack_core::key::{Location, ObjectKey};
use runpack_core::limits::Limits;
use runpack_core::manifest::{Manifest, Subject};
use runpack_core::retention::Removed;
use runpack_core::store::{ArtifactReader, Stored};
use runpack_core::time::Timestamp;
use runpack_core::verify::{Pack, StorePack};
use serde_json::{Value, json};

use super::List;
use crate::check;
use crate::failure::Failure;
use crate::report;
use crate::storage::Storage;
use crate::table::{Align, columns, grouped, safe, size};

/// How many manifests are read at once.
const READ_AT_ONCE: usize = 16;
/// How many keys are held where most of them may not be asked for.
const CANDIDATES: usize = 20_000;

/// What is listed, and where to go on.
pub(super) struct Page {
    pub(super) rows: Vec<Row>,
    pub(super) next: Option<String>,
}

/// A pack of a store, by the key of its manifest or bundle.
pub(super) struct Row {
    key: String,
    storage_uri: String,
    found: Result<Summary, String>,
}

/// What is kept of a manifest, which may be large.
struct Summary {
    pack_id: PackId,
    subject: Subject,
    created_at: Timestamp,
    artifacts: usize,
    artifact_bytes: u64,
    is_bundle: bool,
    /// What the store says of the removal of its artifacts.
    removed: Option<Removed>,
}

impl Summary {
    fn of(manifest: &Manifest, is_bundle: bool, removed: Option<Removed>) -> Self {
        Self {
            pack_id: manifest.pack_id(),
            subject: manifest.subject().clone(),
            created_at: manifest.created_at(),
            artifacts: manifest.artifacts().len(),
            artifact_bytes: manifest.artifact_bytes(),
            is_bundle,
            removed,
        }
    }
}

/// Whether a key is that of a pack, and one that may be asked for as far as the key tells.
fn is_candidate(list: &List, key: &str) -> bool {
    match Location::parse(key) {
        Some(Location::Bundle { run_id, .. }) => list
            .run
            .run_id
            .as_ref()
            .is_none_or(|wanted| *wanted == run_id),
        Some(location) => location
            .manifest_subject()
            .is_some_and(|subject| list.run.wants(&subject)),
        None => false,
    }
}

/// The next keys in order, and whether there are more after them. A listing has no order of its own.
async fn next_keys(
    list: &List,
    reader: &Arc<dyn ArtifactReader>,
    after: Option<&str>,
    keys_max: usize,
) -> Result<(Vec<String>, bool), Failure> {
    let mut keys = BTreeSet::new();
    let mut more = false;
    let mut entries = reader.list(&list.run.prefix());
    while let Some(entry) = entries.next().await {
        let key = entry?.key;
        let is_next = after.is_none_or(|after| *key > *after);
        let is_beyond = keys.len() == keys_max && keys.last().is_some_and(|last| key > *last);
        if !is_next || !is_candidate(list, &key) {
            continue;
        }
        if is_beyond {
            more = true;
            continue;
        }
        keys.insert(key);
        if keys.len() > keys_max {
            keys.pop_last();
            more = true;
        }
    }
    Ok((keys.into_iter().collect(), more))
}

/// Reads a page.
pub(super) async fn read(list: &List, storage: &Storage, limits: &Limits) -> Result<Page, Failure> {
    let store = storage.reader();
    let limit = usize::try_from(list.limit).unwrap_or(usize::MAX);
    // What the key does not tell, the manifest has to be read for.
    let is_narrowed = list.after.is_some() || list.before.is_some() || list.run.is_given();
    let keys_max = if is_narrowed {
        limit.max(CANDIDATES)
    } else {
        limit
    };
    let mut rows = Vec::new();
    let mut after = list.start_after.clone();
    loop {
        let (keys, more) = next_keys(list, &store, after.as_deref(), keys_max).await?;
        let furthest = keys.last().cloned();
        let reading = stream::iter(keys).map(|key| row(&store, key, limits));
        let mut coming = std::pin::pin!(reading.buffered(READ_AT_ONCE));
        while let Some(row) = coming.next().await {
            let row = row?;
            if !is_wanted(list, &row) {
                continue;
            }
            if rows.len() == limit {
                let next = rows.last().map(|row: &Row| row.key.clone());
                return Ok(Page { rows, next });
            }
            rows.push(row);
        }
        if !more {
            return Ok(Page { rows, next: None });
        }
        if rows.len() >= limit {
            let next = rows.last().map(|row| row.key.clone());
            return Ok(Page { rows, next });
        }
        after = furthest;
    }
}

/// Whether a pack is asked for by what its manifest says. What is none is shown: nobody knows what it was.
fn is_wanted(list: &List, row: &Row) -> bool {
    let Ok(found) = &row.found else { return true };
    list.run.wants(&found.subject)
        && list.after.is_none_or(|after| found.created_at >= after)
        && list.before.is_none_or(|before| found.created_at < before)
}

async fn row(
    reader: &Arc<dyn ArtifactReader>,
    key: String,
    limits: &Limits,
) -> Result<Row, Failure> {
    let gone = || Failure::new(format!("a key is none, key=`{key}`"), "report it");
    let location = Location::parse(&key).ok_or_else(gone)?;
    let object = location.key().map_err(|_| gone())?;
    let storage_uri = reader.storage_uri(&object);
    let found = match location.manifest_subject() {
        Some(subject) => of_manifest(reader, subject, limits).await,
        None => of_bundle(reader, &location, &object, limits).await?,
    };
    Ok(Row {
        key,
        storage_uri,
        found,
    })
}

async fn of_bundle(
    reader: &Arc<dyn ArtifactReader>,
    location: &Location,
    object: &ObjectKey,
    limits: &Limits,
) -> Result<Result<Summary, String>, Failure> {
    let stored = match Stored::find(Arc::clone(reader), object).await {
        Ok(stored) => stored,
        Err(error) => return Ok(Err(runpack_core::display::chain(&error))),
    };
    let bounds = limits.clone();
    let manifest = stored.read(move |source| first_manifest(source, bounds));
    Ok(match (manifest.await?, location) {
        (Ok(manifest), Location::Bundle { pack_id, .. }) if manifest.pack_id() == *pack_id => {
            Ok(Summary::of(&manifest, true, None))
        }
        (Ok(_), _) => Err("the bundle of another pack".to_owned()),
        (Err(outcome), _) => Err(outcome.findings.first().map_or_else(
            || "no bundle".to_owned(),
            |finding| format!("{}: {}", finding.code, finding.detail),
        )),
    })
}

async fn of_manifest(
    reader: &Arc<dyn ArtifactReader>,
    subject: Subject,
    limits: &Limits,
) -> Result<Summary, String> {
    let place = StorePack::new(Arc::clone(reader), subject.clone());
    match Pack::open(Arc::new(place), limits).await {
        Ok(pack) if *pack.manifest().subject() == subject => {
            let removed = check::removed_from(&**reader, pack.manifest()).await;
            Ok(Summary::of(pack.manifest(), false, removed))
        }
        Ok(_) => Err("the manifest of another subject".to_owned()),
        Err(report) => Err(report.findings.first().map_or_else(
            || "no manifest".to_owned(),
            |finding| format!("{}: {}", finding.code, finding.detail),
        )),
    }
}

impl Row {
    pub(super) fn to_json(&self) -> Value {
        match &self.found {
            Ok(found) => {
                let mut line = json!({
                    "key": self.key,
                    "storage_uri": self.storage_uri,
                    "form": found.form(),
                    "pack_id": found.pack_id,
                    "subject": found.subject,
                    "created_at": found.created_at,
                    "artifacts": found.artifacts,
                    "artifact_bytes": found.artifact_bytes,
                });
                if let (Some(members), Some(removed)) = (line.as_object_mut(), &found.removed) {
                    members.insert("removed".to_owned(), json!(removed));
                }
                line
            }
            Err(fault) => json!({
                "key": self.key,
                "storage_uri": self.storage_uri,
                "fault": fault,
            }),
        }
    }
}

impl Summary {
    const fn form(&self) -> &'static str {
        if self.is_bundle { "bundle" } else { "files" }
    }
}

impl Page {
    pub(super) fn text(&self) -> String {
        if self.rows.is_empty() {
            return "no packs\n".to_owned();
        }
        let mut cells = vec![
            ["CREATED", "SUBJECT", "FORM", "ARTIFACTS", "SIZE", "PACK ID"]
                .map(str::to_owned)
                .to_vec(),
        ];
        let mut faulty = String::new();
        for row in &self.rows {
            match &row.found {
                Ok(found) => cells.push(vec![
                    found.created_at.to_string(),
                    report::subject(&found.subject),
                    match &found.removed {
                        Some(_) => format!("{}, removed", found.form()),
                        None => found.form().to_owned(),
                    },
                    grouped(u64::try_from(found.artifacts).unwrap_or(u64::MAX)),
                    size(found.artifact_bytes),
                    found.pack_id.to_string(),
                ]),
                Err(fault) => {
                    add!(faulty, "no pack: {}\n  {}\n", safe(&row.key), safe(fault));
                }
            }
        }
        let align = [
            Align::Left,
            Align::Left,
            Align::Left,
            Align::Right,
            Align::Right,
            Align::Left,
        ];
        let mut text = if cells.len() > 1 {
            columns(&align, &cells)
        } else {
            String::new()
        };
        text.push_str(&faulty);
        if let Some(next) = &self.next {
            add!(text, "more: --start-after {}\n", safe(next));
        }
        text
    }
}

//! `runpack list`: the packs of a store.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use futures_util::StreamExt as _;
use runpack_core::id::{Namespace, RunId, Scenario, Tenant};
use runpack_core::key::{KeyPrefix, Location, PipelineObject};
use runpack_core::limits::Limits;
use runpack_core::manifest::{Manifest, Subject};
use runpack_core::store::{ArtifactReader as _, FileStore};
use runpack_core::verify::{Pack, StorePack};
use serde_json::{Value, json};

use super::Execute;
use crate::config::{parse_store, store_root};
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::limits::LimitOptions;
use crate::output::Format;
use crate::report;
use crate::table::{Align, columns, count, grouped, safe, size};

/// List the packs of a store, without verifying them
///
/// Only manifests are read. A manifest that is none, or stands in another's place, is shown as such.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// The store: file:PATH [env: RUNPACK_STORE_ROOT] [default: file:./runpacks]
    #[arg(value_name = "STORE", value_parser = parse_store)]
    positional: Option<PathBuf>,
    /// The same, by name
    #[arg(long, value_name = "STORE", value_parser = parse_store, conflicts_with = "positional")]
    store: Option<PathBuf>,
    /// Only packs of this tenant
    #[arg(long, value_name = "TENANT")]
    tenant: Option<Tenant>,
    /// Only packs of this namespace
    #[arg(long, value_name = "NAMESPACE")]
    namespace: Option<Namespace>,
    /// Only packs of this scenario
    #[arg(long, value_name = "SCENARIO")]
    scenario: Option<Scenario>,
    /// Only packs of this run
    #[arg(long, value_name = "ID")]
    run_id: Option<RunId>,
    /// At most so many packs
    #[arg(long, value_name = "NUMBER", default_value_t = 1_000)]
    limit: u64,
    #[command(flatten)]
    limits: LimitOptions,
}

/// A pack of a store, by its manifest's key.
struct Row {
    key: String,
    storage_uri: String,
    found: Result<Arc<Manifest>, String>,
}

impl Execute for List {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        let limits = context.limits(&self.limits)?;
        let given = self.positional.as_deref().or(self.store.as_deref());
        let root = store_root(given, context)?;
        let store = Arc::new(context.wait(FileStore::open(&root))??);
        let (rows, more) = context.wait(self.rows(&store, &limits))??;
        match context.output.format() {
            Format::Json => {
                for row in &rows {
                    context.output.print_json(&row.to_json())?;
                }
                if more > 0 {
                    context
                        .output
                        .remark(&format!("{more} more: raise --limit"));
                }
            }
            Format::Text => context.output.print(&text(&rows, more))?,
        }
        Ok(Exit::Success)
    }
}

impl List {
    fn prefix(&self) -> KeyPrefix {
        self.tenant.as_ref().map_or_else(KeyPrefix::all, |tenant| {
            Location::runs_prefix(
                tenant,
                self.namespace.as_ref(),
                self.scenario.as_ref(),
                self.run_id.as_ref(),
            )
        })
    }

    /// Whether a subject is asked for; one that does not have a field has not this value of it.
    fn wants(&self, subject: &Subject) -> bool {
        let fields = subject.fields();
        let is = |member: &str, wanted: Option<&str>| {
            wanted.is_none_or(|wanted| {
                fields
                    .iter()
                    .any(|(known, value)| *known == member && value == wanted)
            })
        };
        is("tenant", self.tenant.as_ref().map(Tenant::as_str))
            && is("namespace", self.namespace.as_ref().map(Namespace::as_str))
            && is("scenario", self.scenario.as_ref().map(Scenario::as_str))
            && is("run_id", self.run_id.as_ref().map(RunId::as_str))
    }

    /// The packs in the order of their keys, and how many more there are.
    async fn rows(
        &self,
        store: &Arc<FileStore>,
        limits: &Limits,
    ) -> Result<(Vec<Row>, u64), Failure> {
        let mut packs: Vec<(String, Subject)> = Vec::new();
        let mut prefixes = vec![self.prefix()];
        if self.tenant.is_some() && self.namespace.is_none() && self.scenario.is_none() {
            // A tenant's pipelines lie elsewhere than its runs.
            prefixes = vec![KeyPrefix::all()];
        }
        for prefix in prefixes {
            let mut entries = store.list(&prefix);
            while let Some(entry) = entries.next().await {
                let key = entry?.key;
                if let Some(subject) = Location::parse(&key).and_then(subject_of_manifest)
                    && self.wants(&subject)
                {
                    packs.push((key, subject));
                }
            }
        }
        packs.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let all = u64::try_from(packs.len()).unwrap_or(u64::MAX);
        packs.truncate(usize::try_from(self.limit).unwrap_or(usize::MAX));
        let mut rows = Vec::with_capacity(packs.len());
        for (key, subject) in packs {
            rows.push(row(store, key, subject, limits).await);
        }
        let shown = u64::try_from(rows.len()).unwrap_or(u64::MAX);
        Ok((rows, all.saturating_sub(shown)))
    }
}

async fn row(store: &Arc<FileStore>, key: String, subject: Subject, limits: &Limits) -> Row {
    let place = StorePack::new(store.clone(), subject.clone());
    let storage_uri = place.storage_uri().unwrap_or_default();
    let found = match Pack::open(Arc::new(place), limits).await {
        Ok(pack) if *pack.manifest().subject() == subject => Ok(Arc::clone(pack.manifest())),
        Ok(_) => Err("the manifest of another subject".to_owned()),
        Err(report) => Err(report.findings.first().map_or_else(
            || "no manifest".to_owned(),
            |finding| format!("{}: {}", finding.code, finding.detail),
        )),
    };
    Row {
        key,
        storage_uri,
        found,
    }
}

fn subject_of_manifest(location: Location) -> Option<Subject> {
    match location {
        Location::Run {
            tenant,
            namespace,
            scenario,
            run_id,
            spec_hash,
            artifact: None,
        } => Some(Subject::Run {
            tenant,
            namespace,
            scenario,
            run_id,
            spec_hash,
        }),
        Location::Pipeline {
            tenant,
            run_id,
            object: PipelineObject::StepManifest { step_id },
        } => Some(Subject::Step {
            tenant,
            run_id,
            step_id,
        }),
        Location::Execution {
            execution_id,
            artifact: None,
        } => Some(Subject::Execution { execution_id }),
        _ => None,
    }
}

impl Row {
    fn to_json(&self) -> Value {
        match &self.found {
            Ok(manifest) => json!({
                "key": self.key,
                "storage_uri": self.storage_uri,
                "pack_id": manifest.pack_id(),
                "subject": manifest.subject(),
                "created_at": manifest.created_at(),
                "artifacts": manifest.artifacts().len(),
                "artifact_bytes": manifest.artifact_bytes(),
            }),
            Err(fault) => json!({
                "key": self.key,
                "storage_uri": self.storage_uri,
                "fault": fault,
            }),
        }
    }
}

fn text(rows: &[Row], more: u64) -> String {
    if rows.is_empty() {
        return "no packs\n".to_owned();
    }
    let mut cells = vec![
        ["CREATED", "SUBJECT", "ARTIFACTS", "SIZE", "PACK ID"]
            .map(str::to_owned)
            .to_vec(),
    ];
    let mut faulty = String::new();
    for row in rows {
        match &row.found {
            Ok(manifest) => cells.push(vec![
                manifest.created_at().to_string(),
                report::subject(manifest.subject()),
                grouped(u64::try_from(manifest.artifacts().len()).unwrap_or(u64::MAX)),
                size(manifest.artifact_bytes()),
                manifest.pack_id().to_string(),
            ]),
            Err(fault) => {
                add!(faulty, "no pack: {}\n  {}\n", safe(&row.key), safe(fault));
            }
        }
    }
    let align = [
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
    if more > 0 {
        add!(text, "{} more: raise --limit\n", count(more, "pack"));
    }
    text
}

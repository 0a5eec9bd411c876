//! `runpack catalog search`: artifacts by what is known of them.

use clap::Args;
use runpack_catalog::{Cursor, Hit, Page, Query};
use runpack_core::digest::Digest;
use runpack_core::id::{
    AgentId, AgentVersion, ExecutionId, Namespace, PackId, PolicyName, RunId, Scenario, StepId,
    Tenant,
};
use runpack_core::manifest::{Kind, MediaType};
use runpack_core::time::Timestamp;
use serde_json::json;

use crate::catalog::CatalogOption;
use crate::command::Execute;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::Format;
use crate::report;
use crate::table::{Align, columns, safe, size};

/// Search for artifacts by what is known of them, newest first, or by when they expire
///
/// What is given narrows, all of it together. Where there are more than --limit, the last line says how to go on; what is
/// added or forgotten meanwhile moves nothing from one page to another.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Search {
    #[command(flatten)]
    catalog: CatalogOption,
    /// Of this tenant
    #[arg(long, value_name = "TENANT")]
    tenant: Option<Tenant>,
    /// Of packs in this namespace
    #[arg(long, value_name = "NAMESPACE")]
    namespace: Option<Namespace>,
    /// Of packs of this scenario
    #[arg(long, value_name = "SCENARIO")]
    scenario: Option<Scenario>,
    /// Of packs of this run
    #[arg(long, value_name = "ID")]
    run_id: Option<RunId>,
    /// Of the pack of this execution
    #[arg(long, value_name = "ID")]
    execution_id: Option<ExecutionId>,
    /// Of this pack
    #[arg(long, value_name = "ID")]
    pack_id: Option<PackId>,
    /// Made by this step
    #[arg(long, value_name = "ID")]
    step: Option<StepId>,
    /// Of this kind
    #[arg(long, value_name = "KIND")]
    kind: Option<Kind>,
    /// Of this media type
    #[arg(long, value_name = "TYPE")]
    media_type: Option<MediaType>,
    /// With these bytes, by their commitment: sha256:HEX
    #[arg(long, value_name = "DIGEST", value_parser = commitment)]
    digest: Option<Digest>,
    /// Of packs with this label, as KEY=VALUE; may be given several times
    #[arg(long = "label", value_name = "LABEL", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Of packs made at this time or later, as 2026-11-20T12:00:00Z
    #[arg(long, value_name = "TIME")]
    after: Option<Timestamp>,
    /// Of packs made before this time
    #[arg(long, value_name = "TIME")]
    before: Option<Timestamp>,
    /// Of so many bytes or more
    #[arg(long, value_name = "BYTES")]
    min_bytes: Option<u64>,
    /// Of so many bytes or less
    #[arg(long, value_name = "BYTES")]
    max_bytes: Option<u64>,
    /// Of packs that this agent made, as their label `agent` says
    #[arg(long, value_name = "AGENT")]
    agent: Option<AgentId>,
    /// Of packs that this version of an agent made, as their label `agent_version` says
    #[arg(long, value_name = "VERSION")]
    agent_version: Option<AgentVersion>,
    /// Of packs that this policy of retention keeps
    #[arg(long, value_name = "NAME")]
    policy: Option<PolicyName>,
    /// Of packs that expire at this time or later; what expires first comes first
    #[arg(long, value_name = "TIME")]
    expires_after: Option<Timestamp>,
    /// Of packs that expire before this time; what expires first comes first
    #[arg(long, value_name = "TIME")]
    expires_before: Option<Timestamp>,
    /// Of packs that have expired
    #[arg(long, conflicts_with = "expires_before")]
    expired: bool,
    /// At most so many artifacts
    #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    limit: u64,
    /// Go on where an earlier page ended
    #[arg(long, value_name = "CURSOR")]
    start_after: Option<Cursor>,
    /// Tell how the database would answer, and search nothing
    #[arg(long)]
    explain: bool,
}

const EXAMPLES: &str = "\
Examples:
  runpack catalog search --tenant acme --kind model --after 2026-11-01T00:00:00Z
  runpack catalog search --digest sha256:9f2c... --json     # which runs have these bytes
  runpack catalog search --tenant acme --expires-before 2027-01-01T00:00:00Z
  runpack catalog search --label commit_sha=2fd4e1c --min-bytes 1000000";

fn label(text: &str) -> Result<(String, String), String> {
    let (label, value) = text.split_once('=').ok_or("a label is written KEY=VALUE")?;
    Ok((label.to_owned(), value.to_owned()))
}

fn commitment(text: &str) -> Result<Digest, String> {
    let hex = text.strip_prefix("sha256:");
    let digest = hex.and_then(|hex| hex.parse().ok());
    digest.ok_or_else(|| "a commitment is written sha256: and 64 hex digits".to_owned())
}

impl Execute for Search {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        let catalog = self.catalog.open_filled(context)?;
        let is_explained = self.explain;
        let query = self.query(context.now.time);
        if !query.goes_on() {
            return Err(Failure::new(
                "--start-after is of another order: by expiry is one, newest first the other",
                "give what the page before said, with the same options",
            ));
        }
        if is_explained {
            let plan = context.wait(catalog.plan(&query))??;
            let lines: Vec<String> = plan.lines.iter().map(|line| safe(line)).collect();
            match context.output.format() {
                Format::Json => context.output.print_json(&json!({ "plan": lines }))?,
                Format::Text => context.output.print(&format!("{}\n", lines.join("\n")))?,
            }
            return Ok(Exit::Success);
        }
        let page = context.wait(catalog.search(&query))??;
        match context.output.format() {
            Format::Json => {
                for hit in &page.hits {
                    context.output.print_json(hit)?;
                }
                if let Some(next) = &page.next {
                    let next = json!({ "start_after": next.to_string() });
                    context.output.print_json(&next)?;
                }
            }
            Format::Text => context.output.print(&told(&page))?,
        }
        Ok(Exit::Success)
    }
}

impl Search {
    fn query(self, now: Timestamp) -> Query {
        // What expires this second has expired.
        let expired = self.expired.then(|| now.later(1));
        Query {
            tenant: self.tenant,
            namespace: self.namespace,
            scenario: self.scenario,
            run_id: self.run_id,
            execution_id: self.execution_id,
            pack_id: self.pack_id,
            step: self.step,
            kind: self.kind.map(|kind| kind.to_string()),
            media_type: self.media_type.map(|media_type| media_type.to_string()),
            commitment: self.digest,
            labels: self.labels,
            after: self.after,
            before: self.before,
            bytes_min: self.min_bytes,
            bytes_max: self.max_bytes,
            agent: self.agent,
            agent_version: self.agent_version,
            policy: self.policy,
            expires_after: self.expires_after,
            expires_before: self.expires_before.or(expired),
            limit: self.limit,
            start_after: self.start_after,
        }
    }
}

fn told(page: &Page) -> String {
    if page.hits.is_empty() {
        return "no artifacts\n".to_owned();
    }
    let header = [
        "CREATED", "EXPIRES", "SUBJECT", "NAME", "KIND", "SIZE", "BYTES",
    ];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    rows.extend(page.hits.iter().map(row));
    let align = [
        Align::Left,
        Align::Left,
        Align::Left,
        Align::Left,
        Align::Left,
        Align::Right,
        Align::Left,
    ];
    let mut text = columns(&align, &rows);
    if let Some(next) = &page.next {
        add!(text, "more: --start-after {}\n", quoted(&next.to_string()));
    }
    text
}

/// As a shell takes it. A cursor has no control characters.
fn quoted(cursor: &str) -> String {
    format!("'{}'", cursor.replace('\'', r"'\''"))
}

fn row(hit: &Hit) -> Vec<String> {
    let artifact = &hit.artifact;
    vec![
        artifact.created_at.to_string(),
        match artifact.retention.expires_at {
            Some(expires_at) => expires_at.to_string(),
            None => "never".to_owned(),
        },
        report::subject(&hit.subject),
        safe(&artifact.name),
        safe(&artifact.kind),
        size(artifact.bytes),
        format!("sha256:{}", artifact.commitment),
    ]
}

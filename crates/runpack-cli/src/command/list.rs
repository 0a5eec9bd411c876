//! `runpack list`: the packs of a store, as files and as bundles.
//!
//! Memory is bounded by `--limit` and not by the store: of a listing, which has no order, the keys that come
//! next are kept, and their manifests are read several at a time.

mod page;

use clap::Args;
use runpack_core::time::Timestamp;

use super::Execute;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::identity::RunOptions;
use crate::limits::LimitOptions;
use crate::output::Format;
use crate::sources;
use crate::storage::{Storage, StoreAddress, parse_store};

/// List the packs of a store, without verifying them
///
/// Only manifests are read. A manifest that is none, or stands in another's place, is shown as such. Packs come in the
/// order of their keys; where there are more than --limit, the last line says how to go on. With --tenant and
/// --namespace only their part of the store is looked through, in which there are no bundles and no pipelines.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
#[command(mut_arg("tenant", |arg| arg.help("Only packs of this tenant")))]
#[command(mut_arg("namespace", |arg| arg.help("Only packs of this namespace")))]
#[command(mut_arg("scenario", |arg| arg.help("Only packs of this scenario")))]
#[command(mut_arg("run_id", |arg| arg.help("Only packs of this run")))]
pub(crate) struct List {
    /// The store: file:PATH or s3://BUCKET/PREFIX [env: RUNPACK_STORE_ROOT, RUNPACK_STORE_BUCKET]
    /// [default: file:./runpacks]
    #[arg(value_name = "STORE", value_parser = parse_store)]
    positional: Option<StoreAddress>,
    /// The same, by name
    #[arg(long, value_name = "STORE", value_parser = parse_store, conflicts_with = "positional")]
    store: Option<StoreAddress>,
    #[command(flatten)]
    run: RunOptions,
    /// Only packs made at this time or later, as 2026-11-20T12:00:00Z
    #[arg(long, value_name = "TIME")]
    after: Option<Timestamp>,
    /// Only packs made before this time
    #[arg(long, value_name = "TIME")]
    before: Option<Timestamp>,
    /// At most so many packs
    #[arg(long, value_name = "NUMBER", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    limit: u64,
    /// Go on after this key, where an earlier list ended
    #[arg(long, value_name = "KEY")]
    start_after: Option<String>,
    #[command(flatten)]
    limits: LimitOptions,
}

const EXAMPLES: &str = "\
Examples:
  runpack list s3://evidence/ci --tenant acme --after 2026-11-01T00:00:00Z
  runpack list file:/srv/packs --json --limit 100";

impl Execute for List {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        let limits = context.limits(&self.limits)?;
        let address = match self.positional.as_ref().or(self.store.as_ref()) {
            Some(address) => address.clone(),
            None => context.settings()?.address()?,
        };
        let storage = Storage::open_with_replicas(context, &address)?;
        let page = context.wait(page::read(&self, &storage, &limits))??;
        match context.output.format() {
            Format::Json => {
                for row in &page.rows {
                    context.output.print_json(&row.to_json())?;
                }
                if let Some(next) = &page.next {
                    context
                        .output
                        .print_json(&serde_json::json!({ "start_after": next }))?;
                }
                if let Some(failover) = storage.failover() {
                    let mut last = serde_json::json!({});
                    sources::add_to(&mut last, Some(failover));
                    context.output.print_json(&last)?;
                }
            }
            Format::Text => {
                context.output.print(&page.text())?;
                sources::remark(context, storage.failover());
            }
        }
        Ok(Exit::Success)
    }
}

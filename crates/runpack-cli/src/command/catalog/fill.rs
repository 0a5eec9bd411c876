//! `runpack catalog update`, `rebuild` and `check`: what stores have, and what the catalog says of it.

use clap::Args;
use runpack_catalog::{Catalog, Checked, Difference, Fault, Filled, Gone, Odd};
use serde_json::{Value, json};

use crate::catalog::{self, CatalogOption, Missed};
use crate::command::Execute;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::limits::LimitOptions;
use crate::output::Format;
use crate::storage::{Access, Storage, StoreAddress, parse_store};
use crate::table::{count, fields, grouped, safe};

/// How many of a kind are named in text.
const NAMED_MAX: usize = 50;

/// Which store, and which catalog.
#[derive(Debug, Args)]
struct Both {
    /// The store: file:PATH or s3://BUCKET/PREFIX [default: the store that is configured]
    #[arg(value_name = "STORE", value_parser = parse_store)]
    store: Option<StoreAddress>,
    #[command(flatten)]
    catalog: CatalogOption,
    #[command(flatten)]
    limits: LimitOptions,
}

impl Both {
    fn storage(&self, context: &Context) -> Result<Storage, Failure> {
        let address = match &self.store {
            Some(address) => address.clone(),
            None => context.settings()?.address()?,
        };
        Storage::open(context, &address, Access::Read)
    }
}

/// Take up what a store has and the catalog has not, and forget what is gone from the store
///
/// What is forgotten is named: nobody else would miss a pack that a store hides.
///
/// The store is listed; manifests are read of packs that are new alone. Where the policies of retention in runpack.yaml have
/// changed, every pack in the catalog gets its policy and expiry by the new ones.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Update {
    #[command(flatten)]
    both: Both,
}

const EXAMPLES: &str = "\
Examples:
  runpack catalog update file:/srv/packs
  runpack catalog update s3://evidence/ci --catalog postgres://catalog@db.example/runpack";

impl Execute for Update {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        let limits = context.limits(&self.both.limits)?;
        let storage = self.both.storage(context)?;
        let catalog = self.both.catalog.open(context)?;
        set_policies(context, &catalog)?;
        let (name, reader) = (catalog::name(&storage), storage.reader());
        let missed = Missed::of(context, &storage, catalog.address());
        let mut filled = context.wait(catalog.catch_up(&name, &reader, &limits))??;
        let taken = context.wait(missed.take_up(context, &storage, &catalog, &limits))??;
        filled.add(&taken);
        tell(context, &filled)
    }
}

/// Make anew what the catalog says of a store, from what is there
///
/// Every manifest is read. Until it has ended, and if it fails, the catalog is as it was.
#[derive(Debug, Args)]
pub(super) struct Rebuild {
    #[command(flatten)]
    both: Both,
}

impl Execute for Rebuild {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        let limits = context.limits(&self.both.limits)?;
        let storage = self.both.storage(context)?;
        let catalog = self.both.catalog.open(context)?;
        set_policies(context, &catalog)?;
        let (name, reader) = (catalog::name(&storage), storage.reader());
        let missed = Missed::of(context, &storage, catalog.address());
        let mut filled = context.wait(catalog.rebuild(&name, &reader, &limits))??;
        // What came meanwhile was told that the catalog is busy.
        let since = context.wait(catalog.take_up(&name, &reader, &limits))??;
        filled.add(&since);
        filled.odd = since.odd;
        let taken = context.wait(missed.take_up(context, &storage, &catalog, &limits))??;
        filled.add(&taken);
        tell(context, &filled)
    }
}

/// Brings the catalog to the policies of this machine's configuration. Where it has none, the catalog keeps to those that it
/// was given last.
fn set_policies(context: &Context, catalog: &Catalog) -> Result<(), Failure> {
    let Some(policies) = context.settings()?.retention.value else {
        return Ok(());
    };
    let changed = context.wait(catalog.set_policies(&policies))??;
    if changed > 0 {
        let packs = count(changed, "pack");
        context.output.remark(&format!(
            "the policies of retention have changed: {packs} with another policy or expiry"
        ));
    }
    Ok(())
}

fn tell(context: &Context, filled: &Filled) -> Result<Exit, Failure> {
    match context.output.format() {
        Format::Json => context.output.print_json(&json!({
            "added": filled.added,
            "artifacts": filled.artifacts,
            "known": filled.known,
            "removed": filled.removed,
            "gone": filled.gone.iter().map(gone).collect::<Vec<_>>(),
            "faults": filled.odd.faults.iter().map(fault).collect::<Vec<_>>(),
            "faults_unlisted": filled.odd.faults_unlisted,
            "unread": filled.odd.unread.iter().map(fault).collect::<Vec<_>>(),
        }))?,
        Format::Text => {
            let artifacts = count(filled.artifacts, "artifact");
            let mut text = fields(&[
                (
                    "added",
                    format!("{}, {artifacts}", count(filled.added, "pack")),
                ),
                ("known", grouped(filled.known)),
                ("removed", grouped(filled.removed)),
            ]);
            for gone in filled.gone.iter().take(NAMED_MAX) {
                add!(
                    text,
                    "not in the store any more: {}\n  {}\n",
                    gone.pack_id,
                    safe(&gone.key)
                );
            }
            more(&mut text, filled.removed);
            text.push_str(&odd(&filled.odd));
            context.output.print(&text)?;
        }
    }
    Ok(if filled.odd.unread.is_empty() {
        Exit::Success
    } else {
        Exit::Trouble
    })
}

fn fault(fault: &Fault) -> Value {
    json!({ "key": fault.key, "reason": fault.reason })
}

fn gone(gone: &Gone) -> Value {
    json!({ "key": gone.key, "pack_id": gone.pack_id })
}

/// What stands where a pack should, and what could not be read.
fn odd(odd: &Odd) -> String {
    let mut text = String::new();
    for (what, faults, unlisted) in [
        ("no pack", &odd.faults, odd.faults_unlisted),
        ("not read", &odd.unread, 0),
    ] {
        for fault in faults.iter().take(NAMED_MAX) {
            let (key, reason) = (safe(&fault.key), safe(&fault.reason));
            add!(text, "{what}: {key}\n  {reason}\n");
        }
        more(&mut text, number(faults.len()).saturating_add(unlisted));
    }
    text
}

fn more(text: &mut String, all: u64) {
    let more = all.saturating_sub(number(NAMED_MAX));
    if more > 0 {
        add!(text, "and {} more\n", grouped(more));
    }
}

fn number(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// Compare what the catalog says of a store with what is there
///
/// Every manifest is read.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 the catalog says what is there, 1 it does not, 2 something could not be read"
)]
pub(super) struct Check {
    #[command(flatten)]
    both: Both,
}

impl Execute for Check {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        let limits = context.limits(&self.both.limits)?;
        let storage = self.both.storage(context)?;
        let catalog = self.both.catalog.open_filled(context)?;
        let (name, reader) = (catalog::name(&storage), storage.reader());
        let checked = context.wait(catalog.check(&name, &reader, &limits))??;
        match context.output.format() {
            Format::Json => context.output.print_json(&json!({
                "packs": checked.packs,
                "differences": checked.differences.iter().map(difference).collect::<Vec<_>>(),
                "faults": checked.odd.faults.iter().map(fault).collect::<Vec<_>>(),
                "faults_unlisted": checked.odd.faults_unlisted,
                "unread": checked.odd.unread.iter().map(fault).collect::<Vec<_>>(),
            }))?,
            Format::Text => context.output.print(&told(&checked))?,
        }
        Ok(if !checked.differences.is_empty() {
            Exit::Invalid
        } else if checked.odd.unread.is_empty() {
            Exit::Success
        } else {
            Exit::Trouble
        })
    }
}

/// Its name, where, and which pack.
fn parts(difference: &Difference) -> (&'static str, Option<&str>, String) {
    match difference {
        Difference::Missing { key, pack_id } => ("missing", Some(key), pack_id.to_string()),
        Difference::Other { key, pack_id } => ("other", Some(key), pack_id.to_string()),
        Difference::Gone { key, pack_id } => ("gone", Some(key), pack_id.to_string()),
        Difference::Placeless { pack_id } => ("placeless", None, pack_id.to_string()),
        _ => ("unknown", None, String::new()),
    }
}

fn difference(difference: &Difference) -> Value {
    let (what, key, pack_id) = parts(difference);
    json!({ "difference": what, "key": key, "pack_id": pack_id })
}

fn told(checked: &Checked) -> String {
    let packs = count(checked.packs, "pack");
    let mut text = if checked.differences.is_empty() {
        format!("the catalog says what is there: {packs}\n")
    } else {
        let differences = checked.differences.len();
        let differences = count(number(differences), "difference");
        format!("the catalog does not say what is there: {differences} in {packs}\n")
    };
    for difference in checked.differences.iter().take(NAMED_MAX) {
        let (what, key, pack_id) = parts(difference);
        let what = match what {
            "missing" => "not in the catalog",
            "other" => "something else in the catalog",
            "gone" => "not in the store any more",
            _ => "in no store",
        };
        add!(text, "{what}: {pack_id}\n");
        if let Some(key) = key {
            add!(text, "  {}\n", safe(key));
        }
    }
    more(&mut text, number(checked.differences.len()));
    text.push_str(&odd(&checked.odd));
    text
}

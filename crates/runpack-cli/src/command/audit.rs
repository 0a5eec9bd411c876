//! `runpack audit`: a whole store verified, by any number of machines.

mod report;
mod run;

use clap::{Args, Subcommand};
use runpack_catalog::audit::{Audit, AuditId, Standing};
use serde_json::{Value, json};

use super::Execute;
use crate::catalog::CatalogOption;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::Format;
use crate::table::{Align, columns, grouped, safe};

/// Verify whole stores, with as many programs on as many machines as there are
///
/// Who verifies what, and what came of it, lies in the catalog: a file of this machine, or PostgreSQL where several machines
/// work on one audit. Every place of a pack is in the report once, whoever was killed, cut off or restarted meanwhile.
#[derive(Debug, Args)]
pub(crate) struct AuditCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Run(Box<run::Run>),
    Report(report::Report),
    List(List),
}

impl Execute for AuditCommand {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        match self.what {
            What::Run(command) => command.execute(context),
            What::Report(command) => command.execute(context),
            What::List(command) => command.execute(context),
        }
    }
}

/// List audits, newest first
#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    catalog: CatalogOption,
    /// At most so many
    #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    limit: u64,
}

impl Execute for List {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        let catalog = self.catalog.open_filled(context)?;
        let header = [
            "AUDIT",
            "BEGUN",
            "LEVEL",
            "DONE",
            "OPEN",
            "INVALID",
            "UNDECIDED",
            "STORE",
        ];
        let mut rows = vec![header.map(str::to_owned).to_vec()];
        for audit in context.wait(catalog.audits(self.limit))?? {
            let standing = context.wait(catalog.audit_standing(&audit.id))??;
            match context.output.format() {
                Format::Json => context.output.print_json(&summary(&audit, &standing))?,
                Format::Text => rows.push(vec![
                    audit.id.to_string(),
                    audit.begun_at.to_string(),
                    audit.level.as_str().to_owned(),
                    grouped(standing.concluded()),
                    if standing.complete {
                        "complete".to_owned()
                    } else {
                        grouped(standing.open)
                    },
                    grouped(standing.invalid),
                    grouped(standing.undecided),
                    safe(&audit.store),
                ]),
            }
        }
        if context.output.format() == Format::Text {
            let (left, right) = (Align::Left, Align::Right);
            let align = [left, left, left, right, right, right, right, left];
            context.output.print(&columns(&align, &rows))?;
        }
        Ok(Exit::Success)
    }
}

/// An audit and how far it is: `{"audit": ...}`.
fn summary(audit: &Audit, standing: &Standing) -> Value {
    json!({
        "audit": {
            "id": audit.id.as_str(),
            "store": audit.store,
            "level": audit.level.as_str(),
            "scope": audit.scope,
            "begun_at": audit.begun_at,
            "standing": standing,
        }
    })
}

/// What is let pass of what nobody but the store vouches for.
#[derive(Debug, Clone, Copy, Default, Args)]
struct Allowed {
    /// Exit with 0 instead of 3 where everything holds but nothing vouches for some packs
    #[arg(long)]
    allow_unpinned: bool,
    /// Exit as if packs were not there that a retention plan removed, or their artifacts, as the store says
    #[arg(long)]
    allow_removed: bool,
}

const EXIT_CODES: &str = "\
Exit codes, the first that fits: 1 something is invalid, or removed by plan as the store says (not with --allow-removed), 2
something is undecided or not done, or nothing was verified at all, 3 nothing vouches for some packs (0 with
--allow-unpinned), 0 all are valid";

/// What an audit as a whole says: something wrong comes before something open, that before something unproven. An audit that
/// verified nothing says nothing.
fn exit_of(standing: &Standing, allowed: Allowed) -> Exit {
    if standing.invalid > 0 || (standing.removed > 0 && !allowed.allow_removed) {
        Exit::Invalid
    } else if standing.undecided > 0 || !standing.complete || verified(standing) == 0 {
        Exit::Trouble
    } else if standing.consistent > 0 && !allowed.allow_unpinned {
        Exit::Consistent
    } else {
        Exit::Success
    }
}

/// How many packs were looked at whole, and hold.
fn verified(standing: &Standing) -> u64 {
    standing.valid.saturating_add(standing.consistent)
}

/// The audit of this name.
fn find(
    context: &Context,
    catalog: &runpack_catalog::Catalog,
    id: &AuditId,
) -> Result<Audit, Failure> {
    context.wait(catalog.audit(id))??.ok_or_else(|| {
        Failure::new(
            format!("the catalog has no such audit, audit=`{id}`"),
            "`runpack audit list` shows those that there are; another catalog is named by --catalog",
        )
    })
}

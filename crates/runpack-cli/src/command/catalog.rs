//! `runpack catalog`: the index of packs.

mod cost;
mod fill;
mod search;

use clap::{Args, Subcommand};
use futures_util::TryStreamExt as _;
use runpack_catalog::Duplicates;

use super::Execute;
use crate::catalog::CatalogOption;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::Format;
use crate::table::{Align, columns, count, safe, size};

/// Keep and ask an index of packs: what manifests say, for questions that no listing answers
///
/// The catalog lies in a file of SQLite on this machine, or in PostgreSQL where several machines share it. It is made from
/// what stores have and can be made anew at any time; nothing is ever verified by it.
#[derive(Debug, Args)]
pub(crate) struct CatalogCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Update(fill::Update),
    Rebuild(fill::Rebuild),
    Check(fill::Check),
    Search(Box<search::Search>),
    Duplicates(DuplicatesCommand),
    Cost(Box<cost::CostCommand>),
    Export(Export),
}

impl Execute for CatalogCommand {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        match self.what {
            What::Update(command) => command.execute(context),
            What::Rebuild(command) => command.execute(context),
            What::Check(command) => command.execute(context),
            What::Search(command) => command.execute(context),
            What::Duplicates(command) => command.execute(context),
            What::Cost(command) => command.execute(context),
            What::Export(command) => command.execute(context),
        }
    }
}

/// Tell what stores hold more than once, and what that costs
///
/// The same bytes are known by their commitment. Bundles are left out, which are compressed as a whole, and copies in another
/// store, which are somebody's intention.
#[derive(Debug, Args)]
struct DuplicatesCommand {
    #[command(flatten)]
    catalog: CatalogOption,
    /// How many of the costliest are named
    #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    limit: u64,
}

impl Execute for DuplicatesCommand {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        let catalog = self.catalog.open_filled(context)?;
        let duplicates = context.wait(catalog.duplicates(self.limit))??;
        match context.output.format() {
            Format::Json => context.output.print_json(&duplicates)?,
            Format::Text => context.output.print(&told(&duplicates))?,
        }
        Ok(Exit::Success)
    }
}

fn told(duplicates: &Duplicates) -> String {
    let twice = duplicates.bytes.saturating_sub(duplicates.bytes_once);
    let mut text = format!(
        "{} in {}, of which {} are there more than once\n",
        size(duplicates.bytes),
        count(duplicates.objects, "object"),
        size(twice)
    );
    if duplicates.costliest.is_empty() {
        return text;
    }
    let mut rows = vec![
        ["COPIES", "SIZE", "MORE THAN ONCE", "BYTES", "STORE"]
            .map(str::to_owned)
            .to_vec(),
    ];
    rows.extend(duplicates.costliest.iter().map(|one| {
        vec![
            one.copies.to_string(),
            size(one.bytes),
            size(one.wasted_bytes),
            format!("sha256:{}", one.commitment),
            safe(&one.store),
        ]
    }));
    let align = [
        Align::Right,
        Align::Right,
        Align::Right,
        Align::Left,
        Align::Left,
    ];
    text.push('\n');
    text.push_str(&columns(&align, &rows));
    text
}

/// Write all that the catalog holds, as JSON lines in one order
///
/// The same packs give the same lines, whichever database they lie in and however they came there.
#[derive(Debug, Args)]
struct Export {
    #[command(flatten)]
    catalog: CatalogOption,
}

impl Execute for Export {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        let catalog = self.catalog.open_filled(context)?;
        let mut lines = catalog.export();
        while let Some(some) = context.wait(lines.try_next())?? {
            context.output.print_foreign(some.as_bytes())?;
        }
        Ok(Exit::Success)
    }
}

//! `runpack lineage`: what an artifact came from, and what came from it.

mod export;

use clap::{Args, Subcommand, ValueEnum};
use runpack_catalog::{Direction, Reach};

use super::Execute;
use crate::catalog::CatalogOption;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::Format;
use crate::table::safe;

/// Trace what an artifact came from, or what came from it, across packs
///
/// Manifests name what artifacts were made from by pack, name and bytes. What is named and is not so is a finding. Nothing is
/// verified: `runpack verify` tells whether a pack is the one that was made.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct LineageCommand {
    #[command(subcommand)]
    way: Way,
}

#[derive(Debug, Subcommand)]
enum Way {
    /// What it came from
    Up(Trace),
    /// What came from it
    Down(Trace),
    Export(export::Export),
}

/// From where, how far, and how it is shown.
#[derive(Debug, Args)]
struct Trace {
    /// A pack (sha256:HEX), an artifact of it (sha256:HEX/NAME), or bytes by their commitment (sha256:HEX)
    #[arg(value_name = "START")]
    start: String,
    #[command(flatten)]
    catalog: CatalogOption,
    /// How it is shown; --json for a graph as JSON
    #[arg(long, value_enum, default_value = "text")]
    format: Shown,
    /// How many steps far
    #[arg(long, value_name = "NUMBER", default_value_t = Reach::default().depth_max)]
    depth: usize,
    /// How many artifacts
    #[arg(long, value_name = "NUMBER", default_value_t = Reach::default().nodes_max)]
    limit: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shown {
    /// A tree
    Text,
    /// A flowchart for Markdown
    Mermaid,
    /// A graph for `dot`
    Graphviz,
}

const EXAMPLES: &str = "\
Examples:
  runpack lineage up sha256:9f2c.../report.html           # what this report came from
  runpack lineage down sha256:51b0... --format mermaid    # which runs used this dataset

Exit codes: 0 traced, 1 a source is not as it is named, or artifacts come from each other";

impl Execute for LineageCommand {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        let (trace, direction) = match self.way {
            Way::Up(trace) => (trace, Direction::Up),
            Way::Down(trace) => (trace, Direction::Down),
            Way::Export(export) => return export.execute(context),
        };
        let catalog = trace.catalog.open_filled(context)?;
        let starting = context.wait(catalog.starting(&trace.start))??;
        let starting = starting.ok_or_else(|| {
            Failure::new(
                format!("the catalog knows no such pack, artifact or bytes, start=`{}`", safe(&trace.start)),
                "write it sha256:HEX or sha256:HEX/NAME; `runpack catalog update` takes up what is new in a store",
            )
        })?;
        let mut reach = Reach::default();
        (reach.depth_max, reach.nodes_max) = (trace.depth, trace.limit);
        let lineage = context.wait(catalog.lineage(&starting, direction, reach))??;
        match (context.output.format(), trace.format) {
            (Format::Json, _) => context.output.print_json(&lineage)?,
            (Format::Text, Shown::Text) => context.output.print(&lineage.to_text())?,
            (Format::Text, Shown::Mermaid) => context.output.print(&lineage.to_mermaid())?,
            (Format::Text, Shown::Graphviz) => context.output.print(&lineage.to_graphviz())?,
        }
        Ok(if lineage.has_wrong {
            Exit::Invalid
        } else {
            Exit::Success
        })
    }
}

//! `runpack lineage export`: packs as OpenLineage, PROV-JSON or RO-Crate.

use std::ffi::OsString;

use clap::{Args, ValueEnum};
use runpack_catalog::{Direction, Interchange, Reach};
use runpack_core::id::PackId;
use runpack_core::time::Timestamp;

use crate::catalog::CatalogOption;
use crate::command::Execute;
use crate::command::show::manifest_of;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::limits::LimitOptions;
use crate::target::{Locate, Target};

/// Write a pack and its lineage for other systems: OpenLineage, PROV-JSON, RO-Crate
///
/// A pack id is looked up in the catalog, and what the pack was made from is compared with what the catalog has: a source
/// that is not as it is named is left out and told. Of a directory, a bundle or a place in a store only the manifest is read,
/// and its sources are marked as claimed. Nothing is verified either way, and the output says so.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Export {
    /// A pack: sha256:HEX in the catalog, or a directory, a bundle, `-` for a bundle on standard input, or a pack's place in a
    /// store
    #[arg(value_name = "PACK")]
    pack: OsString,
    /// What it is written as
    #[arg(long, value_enum)]
    format: Written,
    #[command(flatten)]
    catalog: CatalogOption,
    /// With the packs that it came from
    #[arg(long)]
    up: bool,
    /// With the packs that came from it
    #[arg(long)]
    down: bool,
    /// How many steps far the catalog is searched
    #[arg(long, value_name = "NUMBER", default_value_t = Reach::default().depth_max)]
    depth: usize,
    /// How many artifacts
    #[arg(long, value_name = "NUMBER", default_value_t = Reach::default().nodes_max)]
    limit: usize,
    /// When the run began, for instance 2026-11-20T12:00:00Z; else the label `started_at` says it, or nothing does
    #[arg(long, value_name = "TIME", conflicts_with_all = ["up", "down"])]
    started_at: Option<Timestamp>,
    #[command(flatten)]
    limits: LimitOptions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Written {
    /// Events of OpenLineage 2-0-2, one on each line
    Openlineage,
    /// One document of PROV-JSON
    ProvJson,
    /// `ro-crate-metadata.json` of RO-Crate 1.3, for a crate that has the pack in its folder `pack`
    RoCrate,
}

const EXAMPLES: &str = "\
Examples:
  runpack lineage export sha256:9f2c... --format openlineage --up      # a run, and what it came from
  runpack lineage export run-42.tar.gz --format prov-json              # without a catalog
  runpack lineage export crate/pack --format ro-crate > crate/ro-crate-metadata.json

Exit codes: 0 written, 1 written without sources that are not as they are named, or that come from each other";

impl Execute for Export {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        let format = self.format;
        let is_many = self.up || self.down;
        if format == Written::RoCrate && is_many {
            return Err(Failure::new(
                "a crate is about one pack, and --up and --down ask for several",
                "leave them out, and write a crate for each pack",
            ));
        }
        let told = self.interchange(context)?;
        let output = &context.output;
        match format {
            Written::Openlineage => told
                .to_openlineage()
                .try_for_each(|event| output.print_json(&event))?,
            Written::ProvJson => output.print_json(&told.to_prov_json())?,
            Written::RoCrate => output.print_json(&told.to_ro_crate())?,
        }
        for finding in told.findings() {
            output.remark(&format!("finding: {finding}"));
        }
        Ok(if told.is_sound() {
            Exit::Success
        } else {
            Exit::Invalid
        })
    }
}

impl Export {
    fn interchange(self, context: &Context) -> Result<Interchange, Failure> {
        let pack_id = self
            .pack
            .to_str()
            .filter(|pack| pack.starts_with("sha256:"));
        let told = match pack_id {
            Some(pack_id) => self.known(pack_id, context)?,
            None => self.read(context)?,
        };
        match self.started_at {
            Some(started_at) => told.with_start(started_at).map_err(|error| {
                Failure::new(error.to_string(), "give the time at which the run began")
            }),
            None => Ok(told),
        }
    }

    /// What the catalog knows of it.
    fn known(&self, pack_id: &str, context: &Context) -> Result<Interchange, Failure> {
        let pack_id: PackId = pack_id.parse().map_err(|error| {
            Failure::new("this is no pack id", "write it sha256:HEX").because(&error)
        })?;
        let ways = [(self.up, Direction::Up), (self.down, Direction::Down)];
        let ways: Vec<_> = ways
            .iter()
            .filter(|(asked, _)| *asked)
            .map(|(_, way)| *way)
            .collect();
        let mut reach = Reach::default();
        (reach.depth_max, reach.nodes_max) = (self.depth, self.limit);
        let catalog = self.catalog.open_filled(context)?;
        let known = context.wait(catalog.interchange(pack_id, &ways, reach))??;
        known.ok_or_else(|| {
            Failure::new(
                format!("the catalog knows no such pack, pack_id=`{pack_id}`"),
                "`runpack catalog update` takes up what is new in a store; a pack directory or bundle can be given by its path",
            )
        })
    }

    /// What its manifest says.
    fn read(&self, context: &Context) -> Result<Interchange, Failure> {
        if self.up || self.down {
            return Err(Failure::new(
                "--up and --down ask the catalog, and this is no pack id",
                "give the pack as sha256:HEX, as the catalog knows it",
            ));
        }
        let limits = context.limits(&self.limits)?;
        let target = Target::locate(&self.pack, &Locate::default(), context)?;
        let manifest = manifest_of(&target, &limits, context)?;
        Ok(Interchange::of(&manifest))
    }
}

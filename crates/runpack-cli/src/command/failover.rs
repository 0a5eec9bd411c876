//! `runpack failover test`: whether the replicas of a region could take its place.

mod examine;
mod examined;
mod packs;
mod reading;

use clap::{Args, Subcommand};
use runpack_core::id::PackId;
use serde_json::{Value, json};

use super::Execute;
use crate::context::Context;
use crate::duration::{DurationArgument, parse_duration};
use crate::failure::{Exit, Failure};
use crate::identity::RunOptions;
use crate::limits::LimitOptions;
use crate::output::Format;
use crate::regions::{Region, RegionName, Regions};
use crate::table::{Align, columns, grouped, safe};
use examined::{Examined, ReplicaExamined, Standing};

/// Find out whether replicas could take over
#[derive(Debug, Args)]
pub(crate) struct FailoverCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Test(Box<Test>),
}

/// Read packs of each region from its replicas alone, and see what they lack
///
/// Each region and each replica is asked whether it answers and where it is. A sample of the region's packs is verified in
/// full from each replica by itself, by the pack ids that the region has, and once more as a reader does it that has no
/// region to read from. What the region has and a replica has not is counted; packs younger than --max-behind may be on
/// their way. Nothing is changed in any store.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
#[command(mut_arg("tenant", |arg| arg.help("Only packs of this tenant")))]
#[command(mut_arg("namespace", |arg| arg.help("Only packs of this namespace")))]
#[command(mut_arg("scenario", |arg| arg.help("Only packs of this scenario")))]
#[command(mut_arg("run_id", |arg| arg.help("Only packs of this run")))]
struct Test {
    /// Only this region; may be given several times [default: every region that has replicas]
    #[arg(long = "region-name", value_name = "NAME", value_parser = parse_name)]
    regions: Vec<RegionName>,
    /// How many packs of each region are verified
    #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    sample: u64,
    /// Verify every pack
    #[arg(long, conflicts_with = "sample")]
    all: bool,
    /// Verify this pack, which needs no region to say its id; may be given several times
    #[arg(long, value_name = "PACK_ID", conflicts_with_all = ["sample", "all", "tenant", "namespace", "scenario", "run_id"])]
    pack_id: Vec<PackId>,
    /// How long a pack may take to reach a replica
    #[arg(long, value_name = "LENGTH", default_value = "15m", value_parser = parse_duration)]
    max_behind: DurationArgument,
    #[command(flatten)]
    run: RunOptions,
    #[command(flatten)]
    limits: LimitOptions,
}

const EXAMPLES: &str = "\
Examples:
  runpack failover test
  runpack failover test --region-name frankfurt --tenant acme --sample 100
  runpack failover test --pack-id sha256:9f2c...    # also while the region is away

Exit codes: 0 every replica could take over, 1 one could not, 2 it cannot be told, as where nothing was verified";

fn parse_name(text: &str) -> Result<RegionName, String> {
    let rule = "a region is named as below `runpacks.regions.stores`";
    text.parse().map_err(|_| rule.to_owned())
}

impl Execute for FailoverCommand {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        let What::Test(test) = self.what;
        let settings = context.settings()?;
        let regions = settings.regions().ok_or_else(|| {
            Failure::new(
                "the configuration has no regions",
                "write them below `runpacks.regions` in runpack.yaml; Docs/operations/regions.md shows how",
            )
        })?;
        let examined = test
            .wanted(regions)?
            .into_iter()
            .map(|region| examine::region(context, &settings, regions, region, &test))
            .collect::<Result<Vec<_>, Failure>>()?;
        let standing = examined.iter().map(Examined::standing).max();
        let standing = standing.unwrap_or(Standing::Undecided);
        match context.output.format() {
            Format::Json => context.output.print_json(&json!({
                "takes_over": standing.as_str(),
                "regions": examined.iter().map(Examined::to_json).collect::<Vec<_>>(),
            }))?,
            Format::Text => context.output.print(&text(&examined))?,
        }
        Ok(match standing {
            Standing::Yes => Exit::Success,
            Standing::No => Exit::Invalid,
            Standing::Undecided => Exit::Trouble,
        })
    }
}

impl Test {
    fn wanted<'a>(&self, regions: &'a Regions) -> Result<Vec<&'a Region>, Failure> {
        let wanted: Vec<&Region> = if self.regions.is_empty() {
            let with_replicas = regions.all();
            with_replicas
                .filter(|region| !region.replicas.is_empty())
                .collect()
        } else {
            let named = self.regions.iter().map(|name| regions.named(name));
            named.collect::<Result<_, Failure>>()?
        };
        if let Some(alone) = wanted.iter().find(|region| region.replicas.is_empty()) {
            return Err(Failure::new(
                format!("this region has no replicas, region=`{}`", alone.name),
                "name some as `replicas` below `runpacks.regions.stores`",
            ));
        }
        if wanted.is_empty() {
            return Err(Failure::new(
                "no region has replicas, so nothing could take over",
                "name some as `replicas` below `runpacks.regions.stores`",
            ));
        }
        Ok(wanted)
    }
}

impl Examined {
    fn to_json(&self) -> Value {
        json!({
            "region": self.name.as_str(),
            "takes_over": self.standing().as_str(),
            "reached": self.is_reached,
            "trouble": self.trouble,
            "place": self.place.is,
            "place_detail": self.place.detail,
            "packs": self.packs,
            "sampled": self.sampled,
            "faults": self.faults,
            "replicas": self.replicas.iter().map(ReplicaExamined::to_json).collect::<Vec<_>>(),
            "without_region": {
                "verified": self.without_region.verified,
                "faults": self.without_region.faults,
            },
        })
    }
}

impl ReplicaExamined {
    fn to_json(&self) -> Value {
        json!({
            "replica": self.name.as_str(),
            "takes_over": self.standing.as_str(),
            "reached": self.reached.is_ok(),
            "trouble": self.reached.as_ref().err(),
            "place": self.place.is,
            "place_detail": self.place.detail,
            "verified": self.read.verified,
            "faults": self.read.faults,
            "missing": self.behind.missing,
            "missing_late": self.behind.late,
            "oldest_missing": self.behind.oldest_missing,
            "newest_common": self.behind.newest_common,
            "newest_common_seconds": self.behind.newest_common_seconds,
        })
    }
}

fn text(examined: &[Examined]) -> String {
    let mut rows = vec![
        [
            "REGION",
            "REPLICA",
            "REACHED",
            "PLACE",
            "VERIFIED",
            "MISSING",
            "NEWEST COMMON",
            "TAKES OVER",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    let mut more = String::new();
    let reached = |is_reached| if is_reached { "yes" } else { "no" };
    for region in examined {
        rows.push(vec![
            region.name.to_string(),
            "-".to_owned(),
            reached(region.is_reached).to_owned(),
            region.place.is.to_owned(),
            "-".to_owned(),
            "-".to_owned(),
            "-".to_owned(),
            region.standing().as_str().to_owned(),
        ]);
        for replica in &region.replicas {
            let newest = replica.behind.newest_common;
            rows.push(vec![
                region.name.to_string(),
                replica.name.to_string(),
                reached(replica.reached.is_ok()).to_owned(),
                replica.place.is.to_owned(),
                format!(
                    "{} of {}",
                    grouped(replica.read.verified),
                    grouped(region.sampled)
                ),
                grouped(replica.behind.missing),
                newest.map_or_else(|| "-".to_owned(), |time| time.to_string()),
                replica.standing.as_str().to_owned(),
            ]);
            let who = format!("replica `{}` of `{}`", replica.name, region.name);
            let of_place = replica.place.detail.iter();
            let told = replica.reached.as_ref().err().into_iter().chain(of_place);
            told.chain(&replica.read.faults)
                .for_each(|what| add!(more, "{who}: {}\n", safe(what)));
            if replica.behind.late > 0 {
                let late = grouped(replica.behind.late);
                add!(
                    more,
                    "{who}: {late} packs are missing there for longer than they may\n"
                );
            }
        }
        let who = format!("region `{}`", region.name);
        let told = region.trouble.iter();
        told.chain(&region.place.detail)
            .chain(&region.faults)
            .for_each(|what| add!(more, "{who}: {}\n", safe(what)));
        for what in &region.without_region.faults {
            add!(
                more,
                "{who}, read from its replicas alone: {}\n",
                safe(what)
            );
        }
    }
    let align = [
        Align::Left,
        Align::Left,
        Align::Left,
        Align::Left,
        Align::Right,
        Align::Right,
        Align::Left,
        Align::Left,
    ];
    let mut text = columns(&align, &rows);
    text.push_str(&more);
    text
}

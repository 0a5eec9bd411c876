//! `runpack catalog cost`: what packs cost to keep, and what other rules would save.

mod told;

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, ValueEnum};
use futures_util::TryStreamExt as _;
use runpack_catalog::cost::{
    CostBy, CostError, CostQuery, Lying, Measured, Prices, PricesError, Window,
};
use runpack_core::id::{ExecutionId, Namespace, RunId, Scenario, Tenant};
use runpack_core::key::KeyPrefix;
use runpack_core::lifecycle::{Lifecycle, Rule, overlaps};
use runpack_core::store::s3::S3Store;
use runpack_core::time::Timestamp;

use self::told::Told;
use crate::catalog::{CatalogOption, name};
use crate::command::Execute;
use crate::config::lifecycle::load;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::file;
use crate::output::Format;
use crate::storage::{Access, Storage, StoreAddress, parse_store};

/// Tell what packs cost to keep, by whose they are, and what other lifecycle rules would save
///
/// Reckoned from the catalog and a table of prices: an estimate, and no bill. Where objects lie is reckoned by their age and
/// the rules, or with --measured seen in a listing of the bucket. The built-in prices are list prices of Amazon S3 in
/// us-east-1 of the day that is told.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct CostCommand {
    #[command(flatten)]
    catalog: CatalogOption,
    /// In this store only: file:PATH or s3://BUCKET/PREFIX [default: every store in the catalog]
    #[arg(value_name = "STORE", value_parser = parse_store)]
    store: Option<StoreAddress>,
    /// By what it is told
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = By::Tenant)]
    by: By,
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
    /// Of packs made at this time or later, as 2026-11-20T12:00:00Z
    #[arg(long, value_name = "TIME")]
    after: Option<Timestamp>,
    /// Of packs made before this time
    #[arg(long, value_name = "TIME")]
    before: Option<Timestamp>,
    /// From when on it is reckoned [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// For how many days
    #[arg(long, value_name = "NUMBER", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
    /// How often everything is verified in that time
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    verifications: u32,
    /// A table of prices, in place of the one that is built in (crates/runpack-catalog/src/cost/aws-us-east-1.json)
    #[arg(long, value_name = "FILE")]
    prices: Option<PathBuf>,
    /// List the bucket, and go by the storage classes and sizes that it tells
    #[arg(long)]
    measured: bool,
    /// The rules: a FILE, `current` (those of the bucket), `configured` or `none`
    #[arg(long, value_name = "RULES", default_value = "configured")]
    lifecycle: Rules,
    /// Other rules to compare with, written likewise, that take objects from where the first have moved them
    #[arg(long, value_name = "RULES")]
    with_lifecycle: Option<Rules>,
    /// How many of the costliest are named
    #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    limit: u64,
}

/// The largest table of prices.
const PRICES_BYTES_MAX: u64 = 1 << 20;
const TABLE: &str = "compare it with the table that is built in, crates/runpack-catalog/src/cost/aws-us-east-1.json";

const EXAMPLES: &str = "\
Examples:
  runpack catalog cost --by run --tenant acme --limit 10
  runpack catalog cost s3://evidence/ci --measured --with-lifecycle cold.yaml --days 365
  runpack catalog cost s3://evidence/ci --lifecycle current --with-lifecycle configured --json";

/// By what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    Store,
    Tenant,
    Namespace,
    Scenario,
    Run,
    Execution,
}

/// Which rules.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Rules {
    None,
    Configured,
    Current,
    File(PathBuf),
}

impl FromStr for Rules {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "none" => Self::None,
            "configured" => Self::Configured,
            "current" => Self::Current,
            path => Self::File(path.into()),
        })
    }
}

impl Execute for CostCommand {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        let prices = self.prices()?;
        let catalog = self.catalog.open_filled(context)?;
        let storage = match &self.store {
            Some(address) => Some(Storage::open(context, address, Access::Read)?),
            None => None,
        };
        let query = self.query(context, storage.as_ref());
        let mut cautions = Vec::new();
        let mut sets = vec![rules(
            &self.lifecycle,
            context,
            storage.as_ref(),
            &mut cautions,
        )?];
        if let Some(with) = &self.with_lifecycle {
            sets.push(rules(with, context, storage.as_ref(), &mut cautions)?);
        }
        let measured = if self.measured {
            Some(context.wait(measure(bucket(storage.as_ref())?))??)
        } else {
            None
        };
        let mut costs = context
            .wait(catalog.cost(&query, &prices, &sets, measured))??
            .into_iter();
        let Some(cost) = costs.next() else {
            return Err(Failure::new("nothing was reckoned", "try again"));
        };
        let told = Told {
            query,
            prices,
            cost,
            with: costs.next(),
            cautions,
            limit: usize::try_from(self.limit).unwrap_or(usize::MAX),
        };
        match context.output.format() {
            Format::Json => context.output.print_json(&told.to_json())?,
            Format::Text => context.output.print(&told.text(context))?,
        }
        Ok(Exit::Success)
    }
}

impl CostCommand {
    fn prices(&self) -> Result<Prices, Failure> {
        let Some(path) = &self.prices else {
            return Ok(Prices::amazon()?);
        };
        let bytes = file::read_capped(path, PRICES_BYTES_MAX, "the table of prices", TABLE)?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let path = path.display();
            Failure::new(
                format!("the table of prices is no text, path=`{path}`"),
                TABLE,
            )
            .because(&error)
        })?;
        Ok(Prices::parse(&text)?)
    }

    fn query(&self, context: &Context, storage: Option<&Storage>) -> CostQuery {
        CostQuery {
            by: match self.by {
                By::Store => CostBy::Store,
                By::Tenant => CostBy::Tenant,
                By::Namespace => CostBy::Namespace,
                By::Scenario => CostBy::Scenario,
                By::Run => CostBy::Run,
                By::Execution => CostBy::Execution,
            },
            store: storage.map(|storage| name(storage).place),
            tenant: self.tenant.clone(),
            namespace: self.namespace.clone(),
            scenario: self.scenario.clone(),
            run_id: self.run_id.clone(),
            execution_id: self.execution_id.clone(),
            after: self.after,
            before: self.before,
            at: self.at.unwrap_or(context.now.time),
            window: Window {
                days: self.days,
                verifications: self.verifications,
            },
        }
    }
}

fn bucket(storage: Option<&Storage>) -> Result<&S3Store, Failure> {
    storage.and_then(Storage::s3).ok_or_else(|| {
        Failure::new(
            "only a bucket can be asked for its rules and storage classes",
            "name it as s3://BUCKET/PREFIX",
        )
    })
}

/// What a bucket holds, and where.
async fn measure(store: &S3Store) -> Result<Measured, Failure> {
    let mut measured = Measured::default();
    let mut listed = store.classed(&KeyPrefix::all());
    while let Some(object) = listed.try_next().await? {
        let class = object.class.parse().map_err(|error| {
            Failure::new(
                format!(
                    "an object lies where nobody knows what it costs, key=`{}`",
                    object.key
                ),
                "leave --measured out, and reckon by rules",
            )
            .because(&error)
        })?;
        let (bytes, since) = (object.bytes, object.modified);
        measured.add(
            &object.key,
            Lying {
                bytes,
                class,
                since,
            },
        );
    }
    Ok(measured)
}

/// The rules, their prefixes below the store.
fn rules(
    which: &Rules,
    context: &Context,
    storage: Option<&Storage>,
    cautions: &mut Vec<String>,
) -> Result<Vec<Rule>, Failure> {
    let of = |wishes: &Lifecycle| wishes.rules("").map_err(Failure::from);
    match which {
        Rules::None => Ok(Vec::new()),
        Rules::Configured => of(&context.config()?.lifecycle.unwrap_or_default()),
        Rules::File(path) => of(&load(Path::new(path))?),
        Rules::Current => {
            let store = bucket(storage)?;
            let prefix = store.settings().path_prefix.as_str();
            let mut below = Vec::new();
            for live in context.wait(store.lifecycle())??.rules() {
                if !live.is_enabled || !overlaps(&live.prefix, prefix) {
                    continue;
                }
                let Some(mut rule) = live.rule else {
                    cautions.push(format!(
                        "a rule of the bucket is not reckoned with: {}, rule=`{}`",
                        live.deeds.join(", "),
                        live.id
                    ));
                    continue;
                };
                rule.prefix = match rule.prefix.strip_prefix(prefix) {
                    Some(rest) => rest.to_owned(),
                    None => String::new(),
                };
                below.push(rule);
            }
            Ok(below)
        }
    }
}

impl From<PricesError> for Failure {
    fn from(error: PricesError) -> Self {
        let failure = Self::new(error.to_string(), TABLE);
        match std::error::Error::source(&error) {
            Some(source) => failure.because(source),
            None => failure,
        }
    }
}

impl From<CostError> for Failure {
    fn from(error: CostError) -> Self {
        match error {
            CostError::Catalog(error) => error.into(),
            CostError::Prices(error) => error.into(),
            error => Self::new(error.to_string(), "narrow them, or group by something else"),
        }
    }
}

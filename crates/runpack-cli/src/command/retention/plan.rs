//! `runpack retention plan`: what would go, and what stays although it has expired.

use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;
use runpack_core::id::Tenant;
use runpack_core::retention::{Asked, Kept, Phase, Plan, Removal, WhyKept, make_plan};
use runpack_core::time::Timestamp;

use super::{Execute, NAMED_MAX, more, policies};
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::file;
use crate::limits::LimitOptions;
use crate::output::Format;
use crate::storage::{Access, Storage, StoreAddress, parse_store};
use crate::table::{Align, columns, count, fields, safe, size};

/// Look through a store, and write down what would go and what stays although it has expired
///
/// Every manifest is read from the store; nothing is removed. The plan names every version of every object that would go.
/// It may be carried out for 7 days, by `runpack retention apply`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct PlanCommand {
    /// The store: file:PATH or s3://BUCKET/PREFIX [default: the store that is configured]
    #[arg(value_name = "STORE", value_parser = parse_store)]
    store: Option<StoreAddress>,
    /// Only packs of this tenant
    #[arg(long, value_name = "TENANT")]
    tenant: Option<Tenant>,
    /// What would have expired at this time, as 2026-11-20T12:00:00Z [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// Write the plan to this new file
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    limits: LimitOptions,
}

const EXAMPLES: &str = "\
Examples:
  runpack retention plan s3://evidence/ci --out plan.json
  runpack retention plan --tenant acme --at 2027-01-01T00:00:00Z   # what will have expired by then

Exit codes: 0 planned, 2 something could not be read";

impl Execute for PlanCommand {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        let limits = context.limits(&self.limits)?;
        let policies = policies(context)?;
        if let Some(path) = &self.out {
            file::check_free(path)?;
        }
        let address = match &self.store {
            Some(address) => address.clone(),
            None => context.settings()?.address()?,
        };
        let storage = Storage::open(context, &address, Access::Read)?;
        let place = storage.place();
        let asked = Asked {
            place: &place,
            tenant: self.tenant.as_ref(),
            at: self.at,
            now: context.now.time,
            limits: &limits,
        };
        let plan = context.wait(make_plan(&storage.housekeeping(), &policies, &asked))??;
        let bytes = plan.to_bytes();
        if let Some(path) = &self.out {
            file::create(path, |out| {
                out.write_all(&bytes).map_err(|error| {
                    Failure::new("the plan could not be written", "check that there is space")
                        .because(&error)
                })
            })?;
        }
        match context.output.format() {
            Format::Json => context.output.print_foreign(&bytes)?,
            Format::Text => context.output.print(&self.told(&plan))?,
        }
        Ok(if plan.kept_counts.contains_key(&WhyKept::Unreadable) {
            Exit::Trouble
        } else {
            Exit::Success
        })
    }
}

impl PlanCommand {
    fn told(&self, plan: &Plan) -> String {
        let packs = u64::try_from(plan.removals.len()).unwrap_or(u64::MAX);
        let mut text = fields(&[
            (
                "goes",
                format!("{}, {}", count(packs, "pack"), size(plan.bytes())),
            ),
            ("judged at", plan.at.to_string()),
            ("apply by", plan.expires_at.to_string()),
            ("plan", format!("sha256:{}", plan.digest())),
        ]);
        if !plan.removals.is_empty() {
            let header = ["EXPIRED", "POLICY", "WHAT", "OBJECTS", "SIZE", "PACK"];
            let mut rows = vec![header.map(str::to_owned).to_vec()];
            rows.extend(plan.removals.iter().take(NAMED_MAX).map(row));
            let align = [
                Align::Left,
                Align::Left,
                Align::Left,
                Align::Right,
                Align::Right,
                Align::Left,
            ];
            text.push('\n');
            text.push_str(&columns(&align, &rows));
            more(&mut text, packs);
        }
        if !plan.kept_counts.is_empty() {
            let counts = plan.kept_counts.iter();
            let counts: Vec<_> = counts
                .map(|(why, count)| format!("{} {count}", why.as_str()))
                .collect();
            add!(text, "\nstays: {}\n", counts.join(", "));
            plan.kept
                .iter()
                .take(NAMED_MAX)
                .for_each(|kept| add!(text, "  {}\n", kept_line(kept)));
            let all = plan.kept_counts.values().copied();
            more(&mut text, all.fold(0, u64::saturating_add));
        }
        if plan.more {
            text.push_str(
                "\nmore has expired than one plan takes: make another when this one is done\n",
            );
        }
        if self.out.is_none() && !plan.removals.is_empty() {
            text.push_str(
                "\nnothing was removed: add --out FILE, then `runpack retention apply FILE`\n",
            );
        }
        text
    }
}

fn row(removal: &Removal) -> Vec<String> {
    vec![
        removal.expires_at.to_string(),
        removal.policy.to_string(),
        match removal.phase {
            Phase::Artifacts => "artifacts",
            Phase::Manifest => "manifest",
        }
        .to_owned(),
        removal.objects.len().to_string(),
        size(removal.bytes()),
        safe(&removal.key),
    ]
}

fn kept_line(kept: &Kept) -> String {
    format!(
        "{}  {}\n      {}",
        kept.why.as_str(),
        safe(&kept.key),
        safe(&kept.detail)
    )
}

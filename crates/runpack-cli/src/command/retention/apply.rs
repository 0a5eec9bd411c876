//! `runpack retention apply`: removing what a plan names.

use std::path::PathBuf;

use clap::Args;
use runpack_core::retention::{Applied, Outcome, PLAN_BYTES_MAX, Plan, Removal, Removing};
use serde_json::{Value, json};

use super::{Execute, NAMED_MAX, more, policies};
use crate::clock::SystemClock;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::file;
use crate::limits::LimitOptions;
use crate::output::Format;
use crate::storage::{Access, Storage, StoreAddress, parse_store};
use crate::table::{count, safe, size};

/// Remove what a plan names, and nothing else
///
/// Every pack of the plan is judged again, from the store and by the policies as they are now, and stays whole where anything
/// differs; what comes while its objects go ends that, and how many went is told. That it begins, and that it has ended, is written down in the store below `_runpack/audit/deletions/`. After an
/// interruption the same command goes on.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Apply {
    /// The plan, as `runpack retention plan --out` wrote it
    #[arg(value_name = "PLAN")]
    plan: PathBuf,
    /// The store that it was made of: file:PATH or s3://BUCKET/PREFIX [default: the store that is configured]
    #[arg(long, value_name = "STORE", value_parser = parse_store)]
    store: Option<StoreAddress>,
    /// Who removes, for whoever reads the receipts [default: USER@HOST]
    #[arg(long, value_name = "NAME", value_parser = operator)]
    operator: Option<String>,
    #[command(flatten)]
    limits: LimitOptions,
}

const EXAMPLES: &str = "\
Examples:
  runpack retention apply plan.json --store s3://evidence/ci --operator maria@example.com

Exit codes: 0 all of the plan is done, 1 something stays, 2 something failed: run the same again";

/// The most characters of an operator's name.
const OPERATOR_MAX: usize = 256;

fn operator(text: &str) -> Result<String, String> {
    let is_name =
        (1..=OPERATOR_MAX).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    is_name
        .then(|| text.to_owned())
        .ok_or_else(|| format!("a name has 1 to {OPERATOR_MAX} characters"))
}

impl Execute for Apply {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        let limits = context.limits(&self.limits)?;
        let policies = policies(context)?;
        let help = "give a plan as `runpack retention plan --out` wrote it";
        let bytes = file::read_capped(&self.plan, PLAN_BYTES_MAX, "the plan", help)?;
        let plan = Plan::parse(&bytes).map_err(|error| Failure::new(error.to_string(), help))?;
        let address = match &self.store {
            Some(address) => address.clone(),
            None => context.settings()?.address()?,
        };
        // Looked at and removed from as `gc` does; written to as by every command that writes.
        let storage = Storage::open(context, &address, Access::Read)?;
        let written = Storage::open(context, &address, Access::Write)?.store();
        let (store, place) = (storage.housekeeping(), storage.place());
        let removing = Removing {
            store: &store,
            sink: &*written,
            policies: &policies,
            place: &place,
            by: &self.operator.unwrap_or_else(|| whoever(context)),
            clock: &SystemClock,
            limits: &limits,
        };
        let is_json = context.output.format() == Format::Json;
        let (mut named, mut unwritten) = (Vec::new(), None);
        let mut tell = |removal: &Removal, outcome: &Outcome| {
            if is_json {
                // One line for each as it comes: there may be many.
                let line = context.output.print_json(&to_json(removal, outcome));
                unwritten = unwritten.take().or(line.err());
            } else if outcome.detail().is_some() && named.len() < NAMED_MAX {
                named.push(line(removal, outcome));
            }
        };
        let applied = context.wait(removing.apply(&plan, &mut tell))??;
        if let Some(failure) = unwritten {
            return Err(failure);
        }
        if is_json {
            context.output.print_json(&summary(&plan, &applied))?;
        } else {
            context.output.print(&text(&applied, &named))?;
        }
        Ok(if applied.failed > 0 {
            Exit::Trouble
        } else if applied.kept > 0 {
            Exit::Invalid
        } else {
            Exit::Success
        })
    }
}

/// Who acts, as this machine says.
fn whoever(context: &Context) -> String {
    let user = context.environment.user.as_ref();
    let user = user.map_or("unknown".into(), |user| user.to_string_lossy());
    let host = rustix::system::uname();
    format!("{user}@{}", host.nodename().to_string_lossy())
}

fn to_json(removal: &Removal, outcome: &Outcome) -> Value {
    let why = match outcome {
        Outcome::Kept(why, ..) => Some(why.as_str()),
        _ => None,
    };
    let went = outcome.went();
    json!({
        "key": removal.key,
        "pack_id": removal.pack_id,
        "phase": removal.phase,
        "policy": removal.policy,
        "outcome": outcome.as_str(),
        "objects": went.objects,
        "bytes": went.bytes,
        "why": why,
        "detail": outcome.detail(),
    })
}

fn summary(plan: &Plan, applied: &Applied) -> Value {
    json!({
        "plan": plan.digest(),
        "packs": applied.packs,
        "objects": applied.objects,
        "bytes": applied.bytes,
        "kept": applied.kept,
        "failed": applied.failed,
    })
}

fn line(removal: &Removal, outcome: &Outcome) -> String {
    let what = match outcome {
        Outcome::Kept(why, ..) => format!("stays, {}", why.as_str()),
        _ => outcome.as_str().to_owned(),
    };
    // Whatever it ended with, this is gone.
    let what = match outcome.went().objects {
        0 => what,
        objects => format!("{what}, and some of it went: {}", count(objects, "object")),
    };
    let detail = outcome.detail().unwrap_or_default();
    format!("{what}: {}\n  {}\n", safe(&removal.key), safe(&detail))
}

fn text(applied: &Applied, named: &[String]) -> String {
    let mut text = named.concat();
    more(&mut text, applied.kept.saturating_add(applied.failed));
    add!(
        text,
        "{} done: {} removed, {}; {} kept, {} failed\n",
        count(applied.packs, "pack"),
        count(applied.objects, "object"),
        size(applied.bytes),
        applied.kept,
        applied.failed
    );
    if applied.failed > 0 {
        text.push_str("run the same again: it goes on where it stopped\n");
    }
    text
}

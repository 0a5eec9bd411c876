//! `runpack retention`: what has expired, and removing it by plan.

mod apply;
mod plan;

use clap::{Args, Subcommand};
use runpack_core::retention::{PlanError, RetentionError, RetentionPolicies};

use super::Execute;
use crate::context::Context;
use crate::failure::{Exit, Failure};

/// How many packs of a kind are named in text.
const NAMED_MAX: usize = 50;

/// Says how many there are beyond those that are named.
fn more(text: &mut String, all: u64) {
    let named = u64::try_from(NAMED_MAX).unwrap_or(u64::MAX);
    let more = all.saturating_sub(named);
    if more > 0 {
        add!(text, "  and {more} more\n");
    }
}

/// See what has expired by the policies of the configuration, and remove it by plan
///
/// Policies stand in runpack.yaml below `runpacks.retention`; what none of them matches is kept forever. `plan` looks through
/// a store and writes down what would go; `apply` removes what a plan names, and nothing else.
#[derive(Debug, Args)]
pub(crate) struct RetentionCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Plan(plan::PlanCommand),
    Apply(apply::Apply),
}

impl Execute for RetentionCommand {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        match self.what {
            What::Plan(command) => command.execute(context),
            What::Apply(command) => command.execute(context),
        }
    }
}

fn policies(context: &Context) -> Result<RetentionPolicies, Failure> {
    context.settings()?.retention.value.ok_or_else(|| {
        Failure::new(
            "there are no policies of retention, so everything is kept forever",
            "write them below `runpacks.retention` in runpack.yaml; Docs/operations/retention.md shows how",
        )
    })
}

impl From<RetentionError> for Failure {
    fn from(error: RetentionError) -> Self {
        let help = match error {
            RetentionError::Store(error) => return error.into(),
            RetentionError::Plan(PlanError::Form(_)) => {
                "give a plan as `runpack retention plan --out` wrote it"
            }
            RetentionError::Plan(PlanError::Store { .. }) => {
                "name the store that the plan was made of with --store"
            }
            RetentionError::Listing { .. } => {
                "nothing was removed: look at what the store lists, or give parts of it prefixes of their own"
            }
            _ => "nothing was removed: run `runpack retention plan` again, and read what it says",
        };
        Self::new(error.to_string(), help)
    }
}

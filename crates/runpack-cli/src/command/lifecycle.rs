//! `runpack lifecycle`: what of a store moves to a cheaper storage class, and when.
//!
//! Invariants: nothing is sent without --yes; rules that are not of this store stay as they are, and what they do to it is
//! told; what the store does not have, or is not known to have, is refused and not left to be found out when bytes are
//! missing.

mod apply;
mod difference;

use clap::{Args, Subcommand};
use runpack_core::lifecycle::{Lifecycle, LifecycleError, Rule, StorageClass};
use serde_json::json;

use self::difference::Difference;
use super::Execute;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::{Format, Tone};
use crate::storage::{Access, BucketAddress, Storage, StoreAddress, bucket_named, parse_store};
use crate::table::{safe, size};
use crate::terraform;

/// Move what is old to cheaper storage classes, by rules of the bucket
///
/// The rules are made from `runpacks.lifecycle` in runpack.yaml and hold below the store's prefix. None removes a pack: packs
/// go by a plan alone. What is as small as a manifest stays where it is read at once, or nothing could be verified.
#[derive(Debug, Args)]
pub(crate) struct LifecycleCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print the rules, without asking anybody
    Rules(Target),
    /// Compare the rules with those of the bucket
    #[command(
        after_help = "Exit codes: 0 the bucket has these rules, 1 it has others, 2 it could not be asked"
    )]
    Diff(Target),
    Apply(apply::Apply),
    /// Print the rules as Terraform, without asking anybody
    Terraform(Target),
}

/// Which store.
#[derive(Debug, Args)]
struct Target {
    /// The store: s3://BUCKET/PREFIX or region:NAME [default: the bucket that is configured]
    #[arg(value_name = "STORE", value_parser = parse_store)]
    store: Option<StoreAddress>,
}

/// The store, and the rules that are wanted of its bucket.
struct Wanted {
    /// As it was named.
    store: StoreAddress,
    address: BucketAddress,
    wishes: Lifecycle,
    rules: Vec<Rule>,
}

impl Execute for LifecycleCommand {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        match self.what {
            What::Rules(target) => {
                let wanted = target.wanted(context)?;
                wanted.print(context)?;
                Ok(Exit::Success)
            }
            What::Diff(target) => {
                let wanted = target.wanted(context)?;
                let storage = wanted.open(context)?;
                let seen = context.wait(bucket(&storage)?.lifecycle())??;
                let difference = Difference::of(&wanted, &seen);
                difference.print(context, &wanted, None)?;
                Ok(difference.exit())
            }
            What::Apply(command) => command.execute(context),
            What::Terraform(target) => {
                let wanted = target.wanted(context)?;
                if wanted.rules.is_empty() {
                    return Err(Failure::new(
                        "there are no rules, and Terraform takes no set without one",
                        "write a wish below `runpacks.lifecycle`, or leave the resource out",
                    ));
                }
                let text = terraform::lifecycle(&wanted.rules, &wanted.cautions());
                match context.output.format() {
                    Format::Json => context.output.print_json(&json!({ "terraform": text }))?,
                    Format::Text => context.output.print(&text)?,
                }
                Ok(Exit::Success)
            }
        }
    }
}

impl Target {
    fn wanted(self, context: &Context) -> Result<Wanted, Failure> {
        let store = match self.store {
            Some(store) => store,
            None => context.settings()?.remote()?,
        };
        let (_, address) = bucket_named(context, &store)?.ok_or_else(|| {
            Failure::new(
                format!("a directory has no storage classes, store=`{store}`"),
                "give s3://BUCKET/PREFIX",
            )
        })?;
        let wishes = context.config()?.lifecycle.ok_or_else(|| {
            Failure::new(
                "nothing is wished for: runpack.yaml has no `runpacks.lifecycle`",
                "write one; Docs/operations/lifecycle.md shows an example",
            )
        })?;
        let rules = wishes.rules(address.prefix.as_str())?;
        Ok(Wanted {
            store,
            address,
            wishes,
            rules,
        })
    }
}

impl From<LifecycleError> for Failure {
    fn from(error: LifecycleError) -> Self {
        Self::new(
            error.to_string(),
            "correct `runpacks.lifecycle`; Docs/operations/lifecycle.md says what each bound is for",
        )
    }
}

impl Wanted {
    fn open(&self, context: &Context) -> Result<Storage, Failure> {
        Storage::open(context, &self.store, Access::Read)
    }

    /// What one should know before these rules act.
    fn cautions(&self) -> Vec<String> {
        let mut cautions = Vec::new();
        let moves = || {
            self.wishes
                .transitions
                .iter()
                .chain(&self.wishes.noncurrent)
        };
        let safe_bytes = Lifecycle::default().archive_larger_than;
        let bytes = self.wishes.archive_larger_than;
        if moves().any(|transition| !transition.to.is_read_at_once()) {
            cautions.push(
                "what is archived is undecided to `verify` until `runpack restore` has asked it back"
                    .to_owned(),
            );
            if bytes < safe_bytes {
                cautions.push(format!(
                    "a manifest of more than {} is archived as well, and with it all of its pack is undecided: that is a \
                     pack of some thousands of artifacts, or of some 100 GiB for each 1 MiB",
                    size(bytes)
                ));
            }
        }
        if moves().any(|transition| transition.to == StorageClass::OneZoneIa) {
            cautions.push("ONEZONE_IA is in one zone: who loses that loses the packs".to_owned());
        }
        if self.wishes.dangerous_noncurrent_expiry_days.is_some() {
            cautions.push(format!(
                "versions of more than {} that others lie over are REMOVED, which are artifacts and bundles: whoever may \
                 write lays a version over one, and it goes once no lock keeps it",
                size(bytes)
            ));
        }
        cautions
    }

    fn print(&self, context: &Context) -> Result<(), Failure> {
        let cautions = self.cautions();
        let output = &context.output;
        if output.format() == Format::Json {
            return output.print_json(&json!({
                "store": self.address.to_string(),
                "rules": self.rules,
                "cautions": cautions,
            }));
        }
        let mut text = String::new();
        if self.rules.is_empty() {
            text.push_str("no rules: nothing is wished for\n");
        }
        for rule in &self.rules {
            add!(text, "{}\n", output.tone(Tone::Strong, &safe(&rule.id)));
            add!(text, "  {}\n", whose(rule));
            for deed in rule.deeds() {
                add!(text, "  {deed}\n");
            }
        }
        text.push_str(&told(context, &cautions));
        output.print(&text)
    }
}

/// Which objects a rule has, in words.
fn whose(rule: &Rule) -> String {
    let mut said = match rule.prefix.as_str() {
        "" => "in the whole bucket".to_owned(),
        prefix => format!("below {}", safe(prefix)),
    };
    if let Some(bytes) = rule.larger_than {
        add!(said, ", larger than {}", size(bytes));
    }
    if let Some(bytes) = rule.smaller_than {
        add!(said, ", up to {}", size(bytes.saturating_sub(1)));
    }
    said
}

fn told(context: &Context, cautions: &[String]) -> String {
    let mut text = String::new();
    if !cautions.is_empty() {
        add!(text, "\n{}\n", context.output.tone(Tone::Open, "to know"));
    }
    for caution in cautions {
        add!(text, "  {}\n", safe(caution));
    }
    text
}

fn bucket(storage: &Storage) -> Result<&runpack_core::store::s3::S3Store, Failure> {
    storage.s3().ok_or_else(|| {
        Failure::new(
            format!("only a bucket has a lifecycle, store=`{}`", storage.shown()),
            "give s3://BUCKET/PREFIX",
        )
    })
}

//! `runpack store`: what a bucket does, measured, and what it is set to.

mod baseline;

use std::sync::Arc;

use clap::{Args, Subcommand};
use runpack_core::store::s3::CreateOnly;
use runpack_core::store::s3::{Leaving, Profile};
use runpack_core::time::Clock;
use serde_json::{Value, json};

use super::Execute;
use crate::clock::SystemClock;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::{Format, Tone};
use crate::profiles;
use crate::storage::{Access, Storage, StoreAddress, parse_store};
use crate::table::{fields, safe};

/// Look at a store, and at what its bucket is set to
#[derive(Debug, Args)]
pub(crate) struct StoreCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Status(Status),
    Baseline(baseline::BaselineCommand),
}

/// Measure what a bucket does, with harmless objects of its own that are removed again
///
/// What the credentials may do; whether an object that is there is really kept from being replaced, also in a race;
/// whether checksums are checked; versions, Object Lock, encryption, the clock. What was measured is kept on this machine
/// for a day, and exports and pushes go by it. Where the bucket locks every new object by itself, nothing is written
/// without --yes.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
struct Status {
    /// The store: s3://BUCKET/PREFIX [default: the bucket that is configured]
    #[arg(value_name = "STORE", value_parser = parse_store)]
    store: Option<StoreAddress>,
    /// Write probes also where the bucket locks them, so that they stay
    #[arg(long)]
    yes: bool,
}

const EXAMPLES: &str = "\
Examples:
  runpack store status                       # the bucket in runpack.yaml
  runpack store status s3://evidence/ci --json";

impl Execute for StoreCommand {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        match self.what {
            What::Status(command) => command.run(context),
            What::Baseline(command) => command.execute(context),
        }
    }
}

impl Status {
    fn run(self, context: &Context) -> Result<Exit, Failure> {
        let address = match self.store {
            Some(address) => address,
            None => context.settings()?.remote()?,
        };
        let storage = Storage::open(context, &address, Access::Read)?;
        let store = storage.s3().ok_or_else(|| {
            Failure::new(
                format!("only buckets are measured, store=`{}`", storage.shown()),
                "give s3://BUCKET/PREFIX",
            )
        })?;
        let leaving = if self.yes {
            Leaving::LockedObjects
        } else {
            Leaving::Nothing
        };
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let profile = context.wait(store.profile(&clock, profiles::nonce(), leaving))??;
        profiles::keep(context, store.settings(), &profile.writing_rules())?;
        match context.output.format() {
            Format::Json => context.output.print_json(&json!({
                "profile": profile,
                "safe_writing": profile.safe_writing().map(writing),
                "warnings": profile.warnings(),
            }))?,
            Format::Text => context.output.print(&text(&profile, context))?,
        }
        Ok(Exit::Success)
    }
}

const fn writing(how: CreateOnly) -> &'static str {
    match how {
        CreateOnly::Conditional => "conditional",
        CreateOnly::OldestVersion => "oldest-version",
        CreateOnly::DangerouslyCheckFirst => "dangerously-check-first",
    }
}

/// The lines of a profile, as its own names and words have it.
fn text(profile: &Profile, context: &Context) -> String {
    let output = &context.output;
    let warnings = profile.warnings();
    let said = match (profile.safe_writing(), warnings.is_empty()) {
        (Some(_), true) => output.tone(Tone::Good, "good"),
        (Some(_), false) => output.tone(Tone::Open, "usable, with warnings"),
        (None, _) if !profile.writing_rules().is_measured() => {
            output.tone(Tone::Open, "not measured as a writer")
        }
        (None, _) => output.tone(Tone::Bad, "not safe to write to"),
    };
    let value = serde_json::to_value(profile).unwrap_or_default();
    let lines = flat(&value);
    let lines: Vec<(&str, String)> = lines
        .iter()
        .map(|(name, value)| (name.as_str(), safe(value)))
        .collect();
    let mut text = format!("{said}: {}\n\n{}", safe(&profile.store), fields(&lines));
    for (heading, sentences) in [
        ("quirks", &profile.quirks),
        ("left in the bucket", &profile.left),
        ("warnings", &warnings),
    ] {
        if !sentences.is_empty() {
            add!(text, "\n{}\n", output.tone(Tone::Strong, heading));
        }
        for sentence in sentences {
            add!(text, "  {}\n", safe(sentence));
        }
    }
    text
}

fn flat(profile: &Value) -> Vec<(String, String)> {
    let mut lines = Vec::new();
    for (name, value) in profile.as_object().into_iter().flatten() {
        match (name.as_str(), value) {
            ("format" | "store" | "quirks" | "left", _) => {}
            (_, Value::Object(members)) if members.contains_key("is") => {
                let mut said = word(members.get("is").unwrap_or(&Value::Null));
                let more = members.iter().filter(|(member, _)| *member != "is");
                for (member, value) in more.filter(|(_, value)| !value.is_null()) {
                    add!(said, " ({member}: {})", word(value));
                }
                lines.push((name.clone(), said));
            }
            (_, Value::Object(members)) => {
                let said: Vec<String> = members
                    .iter()
                    .map(|(member, value)| format!("{member} {}", word(value)))
                    .collect();
                lines.push((name.clone(), said.join(", ")));
            }
            (_, value) => lines.push((name.clone(), word(value))),
        }
    }
    lines
}

fn word(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

//! `policy generate`: the document for a bucket, and what it does not do.

use std::path::PathBuf;

use clap::Args;
use runpack_cli::output::Format;
use runpack_cli::storage::{StoreAddress, parse_store};
use runpack_cli::{Context, Exit, Failure};
use runpack_enterprise::policy::{PolicyInput, PrincipalArn, generate};
use runpack_enterprise::terms::RetainUntil;
use serde_json::json;

use super::{RoleOptions, Server, bucket};

/// Make a policy that keeps evidence where it is
///
/// The document goes to standard output, as it is to be set; what it does not do goes to standard error. What a server
/// would take and never act on is left out and said. Nothing is asked of the bucket, and nothing is set.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct PolicyGenerate {
    /// The bucket: s3://BUCKET/PREFIX [default: the one that is configured]
    #[arg(value_name = "STORE", value_parser = parse_store)]
    store: Option<StoreAddress>,
    /// In whose language
    #[arg(long, value_name = "SERVER")]
    dialect: Server,
    /// Who writes packs and locks them: the ARN of a user or role; may be given several times
    #[arg(long = "writer", value_name = "ARN")]
    writers: Vec<PrincipalArn>,
    /// Who reads everything, and changes nothing
    #[arg(long = "auditor", value_name = "ARN")]
    auditors: Vec<PrincipalArn>,
    #[command(flatten)]
    roles: RoleOptions,
    /// Deny locks that have fewer days left than this [default: a day less than `object_lock` says]
    ///
    /// A lock of 90 days has less than 90 left when the store counts: give 89.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    retention_days: Option<u32>,
    /// The file to write the document to, which must not be there
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  runpack-enterprise policy generate s3://evidence --dialect aws --writer arn:aws:iam::123456789012:role/ci > policy.json
  aws s3api put-bucket-policy --bucket evidence --policy file://policy.json
  runpack-enterprise policy lint s3://evidence --dialect aws";

impl PolicyGenerate {
    pub(super) fn run(self, context: &Context) -> Result<Exit, Failure> {
        let address = bucket(context, self.store.as_ref())?;
        let mut input = PolicyInput::new(address.bucket, self.dialect.into());
        input.path_prefix = address.prefix;
        input.writers = self.writers;
        input.auditors = self.auditors;
        input.holders = self.roles.holders;
        input.cleaners = self.roles.cleaners;
        input.administrators = self.roles.administrators;
        input.retention_days_min = match self.retention_days {
            Some(days) => Some(days),
            None => configured_days(context)?,
        };
        let made = generate(&input);
        let text = serde_json::to_string_pretty(&made.document).map_err(|error| {
            Failure::new(
                "the policy could not be written as JSON",
                "this is a bug in Runpack: report it",
            )
            .because(&error)
        })?;
        if let Some(path) = &self.out {
            crate::write_new(path, format!("{text}\n").as_bytes())?;
        }
        match context.output.format() {
            Format::Json => context.output.print_json(&json!({
                "document": made.document,
                "notes": made.notes,
            }))?,
            Format::Text => {
                for note in &made.notes {
                    context.output.remark(&format!("note: {note}"));
                }
                match &self.out {
                    Some(path) => context
                        .output
                        .remark(&format!("written to {}", path.display())),
                    None => context.output.print(&format!("{text}\n"))?,
                }
            }
        }
        Ok(Exit::Success)
    }
}

/// A day less than packs are locked for; nothing where they are locked until a date.
fn configured_days(context: &Context) -> Result<Option<u32>, Failure> {
    let terms = crate::storage::terms(&context.settings()?)?;
    Ok(terms.and_then(|terms| match terms.until() {
        RetainUntil::For(wanted) => wanted.days_min().checked_sub(1).filter(|days| *days > 0),
        RetainUntil::At(_) => None,
    }))
}

//! `runpack server`: what operators do beside serving.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use clap::{Args, Subcommand};
use runpack_core::id::{Organization, Project};
use runpack_core::time::Timestamp;
use runpack_server::access::{Access, NewToken};
use runpack_server::audit;
use runpack_server::record::{HelperSettings, Helpers, Records};
use serde_json::json;

use super::Execute;
use crate::clock::SystemClock;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::Format;
use crate::storage::{self, Storage, StoreAddress, parse_store};
use crate::table::{fields, grouped, safe};

/// Prepare and look after a server
#[derive(Debug, Args)]
pub(crate) struct ServerCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Token(Token),
    CheckAccess(CheckAccess),
    CheckAudit(CheckAudit),
    Rebuild(Rebuild),
}

/// Make a token, and the lines of the access policy that let it in
///
/// The token is shown once, on standard output; the policy has only its SHA-256. For a new one in the place of an old one,
/// put both under the same name, hand the new one out, and remove the old one.
#[derive(Debug, Args)]
struct Token {
    /// Whose it is, as the audit log and records name it
    #[arg(long, value_name = "NAME")]
    name: Organization,
    /// What it may do: ORGANIZATION/PROJECT:read, :write or :read,write; `*` for all projects
    #[arg(long = "grant", value_name = "GRANT", required = true)]
    grants: Vec<GrantArgument>,
    /// When it ends, as 2027-01-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    expires: Option<Timestamp>,
}

/// `acme/web:read,write`
#[derive(Debug, Clone)]
struct GrantArgument {
    organization: Organization,
    project: Option<Project>,
    verbs: Vec<&'static str>,
}

impl FromStr for GrantArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || "a grant is written ORGANIZATION/PROJECT:read,write".to_owned();
        let (scope, verbs) = text.split_once(':').ok_or_else(form)?;
        let (organization, project) = scope.split_once('/').ok_or_else(form)?;
        let mut found = Vec::new();
        for verb in verbs.split(',') {
            let verb = match verb {
                "read" => "read",
                "write" => "write",
                _ => return Err(form()),
            };
            if !found.contains(&verb) {
                found.push(verb);
            }
        }
        let wrong = |error: runpack_core::id::IdError| error.to_string();
        Ok(Self {
            organization: organization.parse().map_err(wrong)?,
            project: match project {
                "*" => None,
                project => Some(project.parse().map_err(wrong)?),
            },
            verbs: found,
        })
    }
}

/// Check an access policy without serving
#[derive(Debug, Args)]
struct CheckAccess {
    /// The policy
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Check that an audit log is whole: that no line was changed, removed or put in between
///
/// That its end was cut shows only against a head that was kept elsewhere: --expect.
#[derive(Debug, Args)]
struct CheckAudit {
    /// The directory of the log: `audit` in the state of the server
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// A line that must be in it, as an earlier check showed its head: SEQUENCE:SHA256
    #[arg(long, value_name = "HEAD")]
    expect: Option<HeadArgument>,
}

#[derive(Debug, Clone)]
struct HeadArgument(audit::Head);

impl FromStr for HeadArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || "a head is written SEQUENCE:SHA256".to_owned();
        let (sequence, line) = text.split_once(':').ok_or_else(form)?;
        Ok(Self(audit::Head {
            sequence: sequence.parse().map_err(|_| form())?,
            line: line.parse().map_err(|_| form())?,
        }))
    }
}

/// Build latest.json and the daily lists of records anew, from the records alone
#[derive(Debug, Args)]
struct Rebuild {
    /// The store: file:PATH or s3://BUCKET/PREFIX [default: the store that is configured]
    #[arg(value_name = "STORE", value_parser = parse_store)]
    store: Option<StoreAddress>,
}

impl Execute for ServerCommand {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        match self.what {
            What::Token(command) => command.run(context),
            What::CheckAccess(command) => command.run(context),
            What::CheckAudit(command) => command.run(context),
            What::Rebuild(command) => command.run(context),
        }
    }
}

impl Token {
    fn run(self, context: &Context) -> Result<Exit, Failure> {
        let token = NewToken::generate()
            .map_err(|error| Failure::new("no token could be made", "try again").because(&error))?;
        let mut lines = String::from("tokens:\n");
        add!(lines, "  - name: {}\n", self.name);
        add!(lines, "    sha256: \"{}\"\n", token.sha256());
        if let Some(expires) = self.expires {
            add!(lines, "    expires: \"{expires}\"\n");
        }
        add!(lines, "    grants:\n");
        for grant in &self.grants {
            let project = grant.project.as_ref().map_or("*", Project::as_str);
            add!(
                lines,
                "      - {{organization: {}, project: \"{project}\", may: [{}]}}\n",
                grant.organization,
                grant.verbs.join(", ")
            );
        }
        match context.output.format() {
            Format::Json => context.output.print_json(&json!({
                "name": self.name,
                "token": token.secret(),
                "sha256": token.sha256(),
                "expires": self.expires,
                "policy": lines,
            }))?,
            Format::Text => context.output.print(&format!(
                "{}\n\nThe token is shown only now: give it to whoever calls, as a secret. For the access policy:\n\n{lines}",
                token.secret()
            ))?,
        }
        Ok(Exit::Success)
    }
}

impl CheckAccess {
    fn run(self, context: &Context) -> Result<Exit, Failure> {
        Access::load(&self.file, Arc::new(SystemClock)).map_err(|error| {
            Failure::new(
                format!(
                    "the access policy cannot be used, path=`{}`",
                    self.file.display()
                ),
                "correct what is named",
            )
            .because(&error)
        })?;
        match context.output.format() {
            Format::Json => context.output.print_json(&json!({ "usable": true }))?,
            Format::Text => context.output.print("the access policy can be used\n")?,
        }
        Ok(Exit::Success)
    }
}

impl CheckAudit {
    fn run(self, context: &Context) -> Result<Exit, Failure> {
        let checked = match &self.expect {
            Some(HeadArgument(head)) => audit::expect(&self.directory, *head),
            None => audit::check(&self.directory),
        };
        let checked = checked.map_err(|error| {
            let exit = if error.is_tampering() {
                Exit::Invalid
            } else {
                Exit::Trouble
            };
            Failure::new(
                "the audit log does not hold",
                "keep a copy of it as it is, and find out who changed it",
            )
            .because(&error)
            .with_exit(exit)
        })?;
        let head = checked
            .last
            .map(|head| format!("{}:{}", head.sequence, head.line));
        match context.output.format() {
            Format::Json => context.output.print_json(&json!({
                "entries": checked.entries,
                "files": checked.files,
                "head": head,
                "torn_bytes": checked.torn_bytes,
            }))?,
            Format::Text => {
                let mut rows = vec![
                    ("lines", grouped(checked.entries)),
                    ("head", safe(head.as_deref().unwrap_or("none"))),
                ];
                if checked.torn_bytes > 0 {
                    rows.push((
                        "torn",
                        format!(
                            "{} bytes at the end, which nobody was told of",
                            checked.torn_bytes
                        ),
                    ));
                }
                context.output.print(&fields(&rows))?;
            }
        }
        Ok(Exit::Success)
    }
}

impl Rebuild {
    fn run(self, context: &Context) -> Result<Exit, Failure> {
        let address = match &self.store {
            Some(address) => address.clone(),
            None => context.settings()?.address()?,
        };
        // Looked at and removed from as `gc` does; written to as by every command that writes.
        let storage = Storage::open(context, &address, storage::Access::Read)?;
        let written = Storage::open(context, &address, storage::Access::Write)?;
        let records = Records::new(storage.store(), Arc::new(SystemClock));
        let helpers = Helpers::new(
            written.store(),
            storage.housekeeping(),
            HelperSettings::default(),
        );
        let rebuilt = context.wait(helpers.rebuild(&records))?.map_err(|error| {
            Failure::new(
                "the lists were not all built",
                "correct what is named and run it again: what was built stays",
            )
            .because(&error)
        })?;
        match context.output.format() {
            Format::Json => context.output.print_json(&json!({
                "services": rebuilt.services,
                "days": rebuilt.days,
                "records": rebuilt.records,
            }))?,
            Format::Text => context.output.print(&fields(&[
                ("services", grouped(rebuilt.services)),
                ("days", grouped(rebuilt.days)),
                ("records", grouped(rebuilt.records)),
            ]))?,
        }
        Ok(Exit::Success)
    }
}

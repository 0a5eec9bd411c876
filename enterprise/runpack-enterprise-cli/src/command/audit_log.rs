//! `audit-log`: the log of every action here, held against what was written.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use runpack_cli::clock::SystemClock;
use runpack_cli::output::{Format, Tone};
use runpack_cli::table::fields;
use runpack_cli::{Context, Exit, Failure};
use runpack_core::digest::Digest;
use runpack_enterprise::audit::Checked;
use serde_json::json;

use crate::desk::{Desk, of_audit};
use crate::{keys, options};

/// Look at the audit log of this machine
#[derive(Debug, Args)]
pub(crate) struct AuditLogCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Hold every line, and every signed head, against what was written
    ///
    /// Heads are held against the log where --trusted-key or --signing-key names a key.
    Verify {
        /// The SHA-256 of a line that must be in the log, as `audit-log sign` gave it
        #[arg(long, value_name = "SHA256")]
        expect_head: Option<Digest>,
    },
    /// Sign the last line, and print its digest to be kept elsewhere
    ///
    /// Log and signed heads are files of this machine, and whoever owns it can cut both. Keep the digest where they cannot
    /// change it: `audit-log verify --expect-head` then says whether the log still goes so far.
    Sign,
    /// Write the log, verified, to a file or to standard output, one JSON object a line
    Export {
        /// The file, which must not be there
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

impl AuditLogCommand {
    pub(super) fn run(self, context: &Context) -> Result<Exit, Failure> {
        let desk = Desk::of(context)?;
        match self.what {
            What::Verify { expect_head } => {
                let is_keyed = !options::trusted_keys(&context.given).is_empty()
                    || options::signing_key(&context.given).is_some();
                let trusted = if is_keyed {
                    keys::trusted(context)?
                } else {
                    Vec::new()
                };
                let audit = desk.audit();
                let checked = match expect_head {
                    Some(line) => audit.expect(&trusted, line),
                    None => audit.verify(&trusted),
                };
                let checked = checked.map_err(|error| of_audit(&error))?;
                print(context, &desk, &checked, is_keyed)?;
            }
            What::Sign => {
                let signer = keys::signer(context)?;
                let head = desk
                    .audit()
                    .sign_head(&SystemClock, &*signer)
                    .map_err(|error| of_audit(&error))?;
                match (context.output.format(), head) {
                    (Format::Json, head) => context.output.print_json(&json!({"head": head}))?,
                    (Format::Text, Some(head)) => context.output.print(&format!(
                        "signed line {} of the audit log, {line}\nkeep this elsewhere: `runpack-enterprise audit-log verify --expect-head {line}` says whether the log still goes so far\n",
                        head.sequence,
                        line = head.line
                    ))?,
                    (Format::Text, None) => {
                        context.output.print("the audit log is empty\n")?;
                    }
                }
            }
            What::Export { out } => export(context, &desk, out)?,
        }
        Ok(Exit::Success)
    }
}

fn export(context: &Context, desk: &Desk, out: Option<PathBuf>) -> Result<(), Failure> {
    let mut lines = Vec::new();
    let read = desk.audit().read(|entry| {
        lines.push(serde_json::to_string(&entry).unwrap_or_default());
        Ok(())
    });
    read.map_err(|error| of_audit(&error))?;
    let mut text = lines.join("\n");
    if !text.is_empty() {
        text.push('\n');
    }
    let Some(path) = out else {
        return context.output.print(&text);
    };
    crate::write_new(&path, text.as_bytes())?;
    context
        .output
        .print(&format!("{} lines: {}\n", lines.len(), path.display()))
}

fn print(context: &Context, desk: &Desk, checked: &Checked, is_keyed: bool) -> Result<(), Failure> {
    if context.output.format() == Format::Json {
        return context.output.print_json(&json!({
            "log": desk.audit().path().to_string_lossy(),
            "entries": checked.entries,
            "last": checked.last,
            "heads": checked.heads,
            "heads_checked": is_keyed,
        }));
    }
    let heads = match (is_keyed, checked.heads) {
        (false, _) => "not checked: no key was named".to_owned(),
        (true, 0) => "none: a log that was cut at its end looks like this too".to_owned(),
        (true, heads) => format!("{heads}, all agree"),
    };
    let text = fields(&[
        ("log", desk.audit().path().to_string_lossy().into_owned()),
        ("entries", checked.entries.to_string()),
        (
            "last",
            checked
                .last
                .map_or_else(|| "none".to_owned(), |last| last.to_string()),
        ),
        ("heads", heads),
    ]);
    let chained = context.output.tone(Tone::Good, "every line is chained");
    context.output.print(&format!("{chained}\n{text}"))
}

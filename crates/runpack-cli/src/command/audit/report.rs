//! `runpack audit report`: what an audit concluded, as a whole and of each place.

use std::path::PathBuf;

use clap::Args;
use runpack_catalog::Catalog;
use runpack_catalog::audit::{Audit, AuditId, AuditedPlace, Conclusion, Standing};
use serde_json::json;

use super::{exit_of, find, summary};
use crate::catalog::CatalogOption;
use crate::command::Execute;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::file;
use crate::output::{Format, Tone};
use crate::report::html::audit as page;
use crate::table::{count, fields, grouped, safe, size};

/// How many places are read at once.
const PAGE: u64 = 1_000;
/// How many places with something wrong are named in text.
const NAMED_MAX: usize = 50;

/// Tell what an audit concluded
///
/// Text names the places with something wrong or open; --json writes a line for every place, by their keys, and one for the
/// audit as a whole at the end.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Report {
    /// The audit
    #[arg(value_name = "ID")]
    audit: AuditId,
    #[command(flatten)]
    catalog: CatalogOption,
    /// Write a report for people: one HTML page that needs nothing else
    #[arg(long, value_name = "OUT.html")]
    html: Option<PathBuf>,
    /// Exit with 0 instead of 3 where everything holds but nothing vouches for some packs
    #[arg(long)]
    allow_unpinned: bool,
}

const EXIT_CODES: &str = "\
Exit codes, the first that fits: 1 something is invalid, 2 something is undecided or the audit is not complete, 3 nothing
vouches for some packs (0 with --allow-unpinned), 0 all are valid";

impl Execute for Report {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        if let Some(path) = &self.html {
            file::check_free(path)?;
        }
        let catalog = self.catalog.open(context)?;
        let audit = find(context, &catalog, &self.audit)?;
        let standing = context.wait(catalog.audit_standing(&audit.id))??;
        match context.output.format() {
            Format::Json => {
                each(context, &catalog, &audit, None, |place| {
                    context.output.print_json(&json!({ "place": place }))?;
                    Ok(true)
                })?;
                context.output.print_json(&summary(&audit, &standing))?;
            }
            Format::Text => {
                context.output.print(&told(context, &audit, &standing))?;
                for conclusion in [Conclusion::Invalid, Conclusion::Undecided] {
                    name(context, &catalog, &audit, conclusion)?;
                }
            }
        }
        if let Some(path) = &self.html {
            write_page(context, &catalog, &audit, &standing, path)?;
        }
        Ok(exit_of(&standing, self.allow_unpinned))
    }
}

/// Hands out the places of an audit, until `take` has had enough.
fn each(
    context: &Context,
    catalog: &Catalog,
    audit: &Audit,
    only: Option<Conclusion>,
    mut take: impl FnMut(&AuditedPlace) -> Result<bool, Failure>,
) -> Result<(), Failure> {
    let mut after = String::new();
    loop {
        let page = context.wait(catalog.audit_places(&audit.id, only, &after, PAGE))??;
        for place in &page {
            if !take(place)? {
                return Ok(());
            }
        }
        let Some(last) = page.last() else {
            return Ok(());
        };
        after.clone_from(&last.key);
    }
}

/// The audit as a whole.
pub(super) fn told(context: &Context, audit: &Audit, standing: &Standing) -> String {
    let (tone, word) = match exit_of(standing, false) {
        Exit::Success => (Tone::Good, "valid"),
        Exit::Invalid => (Tone::Bad, "invalid"),
        Exit::Consistent => (Tone::Open, "consistent"),
        Exit::Trouble if !standing.complete => (Tone::Open, "not complete"),
        Exit::Trouble => (Tone::Open, "undecided"),
    };
    let mut text = format!(
        "{}: {}\n",
        context.output.tone(tone, word),
        because(standing)
    );
    let mut facts = vec![
        ("audit", audit.id.to_string()),
        ("store", safe(&audit.store)),
        ("begun", audit.begun_at.to_string()),
        ("level", audit.level.as_str().to_owned()),
    ];
    facts.extend(scope(audit).map(|scope| ("scope", scope)));
    facts.extend([
        ("concluded", concluded(standing)),
        ("read", size(standing.bytes_read)),
        ("known before", known(standing)),
    ]);
    text.push_str(&fields(&facts));
    if !standing.complete {
        add!(text, "go on with: runpack audit run --audit {}\n", audit.id);
    }
    text
}

/// What the whole says, after its name.
pub(super) fn because(standing: &Standing) -> String {
    let places = |number, what: &str| format!("{} {what}", count(number, "place"));
    if standing.invalid > 0 {
        places(standing.invalid, "with something wrong")
    } else if !standing.complete {
        format!(
            "{} so far, and more to come",
            places(standing.concluded(), "concluded")
        )
    } else if standing.undecided > 0 {
        places(standing.undecided, "that could not be read")
    } else if standing.consistent > 0 {
        format!(
            "everything that was looked at is as committed, and nothing outside the store vouches for {}",
            count(standing.consistent, "pack")
        )
    } else {
        "every pack is the one that was made, and every byte is as committed".to_owned()
    }
}

pub(super) fn concluded(standing: &Standing) -> String {
    [
        (standing.valid, "valid"),
        (standing.consistent, "consistent"),
        (standing.invalid, "invalid"),
        (standing.undecided, "undecided"),
        (standing.older, "older and left out"),
        (standing.open, "open"),
    ]
    .into_iter()
    .filter(|(number, what)| *number > 0 || *what == "valid")
    .map(|(number, what)| format!("{} {what}", grouped(number)))
    .collect::<Vec<_>>()
    .join(", ")
}

/// What a hidden pack would be found by.
pub(super) fn known(standing: &Standing) -> String {
    if standing.known == 0 {
        return "nothing: packs that the store hides are not found".to_owned();
    }
    format!(
        "{}; packs that nobody here has seen may be hidden",
        count(standing.known, "place")
    )
}

/// What narrows it, if anything does.
pub(super) fn scope(audit: &Audit) -> Option<String> {
    let scope = &audit.scope;
    let parts = [
        scope.tenant.as_ref().map(|id| format!("tenant {id}")),
        scope.namespace.as_ref().map(|id| format!("namespace {id}")),
        scope.scenario.as_ref().map(|id| format!("scenario {id}")),
        scope.run_id.as_ref().map(|id| format!("run {id}")),
        scope.since.map(|time| format!("since {time}")),
        scope
            .one_of
            .map(|number| format!("one of {number}, by lot")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn name(
    context: &Context,
    catalog: &Catalog,
    audit: &Audit,
    conclusion: Conclusion,
) -> Result<(), Failure> {
    let (mut named, mut text) = (0usize, String::new());
    each(context, catalog, audit, Some(conclusion), |place| {
        if named == NAMED_MAX {
            text.push_str("and more: --json names all of them\n");
            return Ok(false);
        }
        named = named.saturating_add(1);
        add!(text, "{}: {}\n", conclusion.as_str(), safe(&place.key));
        for finding in &place.findings {
            let about = finding.about.as_deref().unwrap_or_default();
            add!(
                text,
                "  {} {}\n    {}\n",
                safe(&finding.code),
                safe(about),
                safe(&finding.detail)
            );
        }
        Ok(true)
    })?;
    context.output.print(&text)
}

fn write_page(
    context: &Context,
    catalog: &Catalog,
    audit: &Audit,
    standing: &Standing,
    path: &std::path::Path,
) -> Result<(), Failure> {
    let failed = |error: &std::io::Error| {
        Failure::new(
            "the report could not be written",
            "check that there is space",
        )
        .because(error)
    };
    let facts = page::Facts {
        store: &audit.store,
        conclusion: match exit_of(standing, false) {
            Exit::Success => runpack_core::verify::Verdict::Valid,
            Exit::Invalid => runpack_core::verify::Verdict::Invalid,
            Exit::Consistent => runpack_core::verify::Verdict::Consistent,
            Exit::Trouble => runpack_core::verify::Verdict::Undecided,
        },
        because: &because(standing),
        named: &[
            ("Audit", audit.id.to_string()),
            ("Begun", audit.begun_at.to_string()),
            ("Level", audit.level.as_str().to_owned()),
            (
                "Scope",
                scope(audit).unwrap_or_else(|| "the whole store".to_owned()),
            ),
            ("Concluded", concluded(standing)),
            ("Read", size(standing.bytes_read)),
            ("Known before", known(standing)),
        ],
        written_at: context.now.time,
        version: context.producer.version.as_str(),
    };
    file::create(path, |out| {
        let mut table = page::Table::begin(out, &facts);
        for conclusion in [
            Conclusion::Invalid,
            Conclusion::Undecided,
            Conclusion::Consistent,
            Conclusion::Valid,
            Conclusion::Older,
        ] {
            each(context, catalog, audit, Some(conclusion), |place| {
                table.row(place);
                Ok(true)
            })?;
        }
        table.end().map_err(|error| failed(&error))
    })
}

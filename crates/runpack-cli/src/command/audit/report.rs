//! `runpack audit report`: what an audit concluded, as a whole and of each place.

use std::path::PathBuf;

use clap::Args;
use runpack_catalog::Catalog;
use runpack_catalog::audit::{Audit, AuditId, AuditedPlace, Conclusion, Standing, Which};
use serde_json::json;

use super::{Allowed, EXIT_CODES, exit_of, find, summary, verified};
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
/// Text names the places with something wrong, unread or open; --json writes a line for every place, by their keys, and one for the
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
    #[command(flatten)]
    allowed: Allowed,
}

impl Execute for Report {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        if let Some(path) = &self.html {
            file::check_free(path)?;
        }
        let catalog = self.catalog.open_filled(context)?;
        let audit = find(context, &catalog, &self.audit)?;
        if context.output.format() == Format::Json {
            each(context, &catalog, &audit, Which::All, |place| {
                context.output.print_json(&json!({ "place": place }))?;
                Ok(true)
            })?;
        }
        // Asked last: nothing that was shown is missing in it.
        let standing = context.wait(catalog.audit_standing(&audit.id))??;
        match context.output.format() {
            Format::Json => context.output.print_json(&summary(&audit, &standing))?,
            Format::Text => {
                tell(context, &catalog, &audit, &standing, self.allowed)?;
                name(context, &catalog, &audit, "open", Which::Open)?;
            }
        }
        if let Some(path) = &self.html {
            write_page(context, &catalog, &audit, &standing, self.allowed, path)?;
        }
        Ok(exit_of(&standing, self.allowed))
    }
}

/// Tells of the audit as a whole, and of every place with something wrong.
pub(super) fn tell(
    context: &Context,
    catalog: &Catalog,
    audit: &Audit,
    standing: &Standing,
    allowed: Allowed,
) -> Result<(), Failure> {
    let text = told(context, audit, standing, allowed);
    context.output.print(&text)?;
    for conclusion in [
        Conclusion::Invalid,
        Conclusion::Undecided,
        Conclusion::Removed,
    ] {
        if conclusion == Conclusion::Removed && allowed.allow_removed {
            continue;
        }
        let which = Which::Concluded(conclusion);
        name(context, catalog, audit, conclusion.as_str(), which)?;
    }
    Ok(())
}

/// Hands out the places of an audit, until `take` has had enough.
fn each(
    context: &Context,
    catalog: &Catalog,
    audit: &Audit,
    which: Which,
    mut take: impl FnMut(&AuditedPlace) -> Result<bool, Failure>,
) -> Result<(), Failure> {
    let mut after = String::new();
    loop {
        let page = context.wait(catalog.audit_places(&audit.id, which, &after, PAGE))??;
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
fn told(context: &Context, audit: &Audit, standing: &Standing, allowed: Allowed) -> String {
    let (tone, word) = match exit_of(standing, shown(allowed)) {
        Exit::Invalid if standing.invalid == 0 => (Tone::Open, "removed"),
        Exit::Success => (Tone::Good, "valid"),
        Exit::Invalid => (Tone::Bad, "invalid"),
        Exit::Consistent => (Tone::Open, "consistent"),
        Exit::Trouble if !standing.complete => (Tone::Open, "not complete"),
        Exit::Trouble if standing.undecided == 0 => (Tone::Open, "nothing was verified"),
        Exit::Trouble => (Tone::Open, "undecided"),
    };
    let mut text = format!(
        "{}: {}\n",
        context.output.tone(tone, word),
        because(standing, allowed)
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
    if standing.removed > 0 && !allowed.allow_removed {
        text.push_str("where you know of that plan: --allow-removed\n");
    }
    if !standing.complete {
        add!(
            text,
            "go on with: runpack audit run STORE --audit {}, where STORE is as above, and with the same --catalog\n",
            audit.id
        );
    }
    text
}

/// The word stays what it is: that a pack is unpinned is seen.
fn shown(allowed: Allowed) -> Allowed {
    Allowed {
        allow_unpinned: false,
        ..allowed
    }
}

/// What the whole says, after its name.
fn because(standing: &Standing, allowed: Allowed) -> String {
    let places = |number, what: &str| format!("{} {what}", count(number, "place"));
    if standing.invalid > 0 {
        places(standing.invalid, "with something wrong")
    } else if standing.removed > 0 && !allowed.allow_removed {
        places(
            standing.removed,
            "of which the store alone says that a retention plan removed what is missing",
        )
    } else if !standing.complete {
        format!(
            "{} so far, and more to come",
            places(standing.concluded(), "concluded")
        )
    } else if standing.undecided > 0 {
        places(standing.undecided, "that could not be read")
    } else if verified(standing) == 0 {
        "no pack that the audit is about was found: see the store, its prefix and the scope"
            .to_owned()
    } else if standing.consistent > 0 {
        format!(
            "everything that was looked at is as committed, and nothing outside the store vouches for {}",
            count(standing.consistent, "pack")
        )
    } else if standing.older > 0 || standing.removed > 0 {
        "every pack that was looked at is the one that was made, and every byte is as committed"
            .to_owned()
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
        (standing.removed, "removed by plan, as the store says"),
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
    what: &str,
    which: Which,
) -> Result<(), Failure> {
    let (mut named, mut text) = (0usize, String::new());
    each(context, catalog, audit, which, |place| {
        if named == NAMED_MAX {
            text.push_str("and more: --json names all of them\n");
            return Ok(false);
        }
        named = named.saturating_add(1);
        add!(text, "{what}: {}\n", safe(&place.key));
        for finding in &place.findings {
            add!(text, "  {}", safe(&finding.code));
            if let Some(about) = &finding.about {
                add!(text, " {}", safe(about));
            }
            add!(text, "\n    {}\n", safe(&finding.detail));
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
    allowed: Allowed,
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
        conclusion: match exit_of(standing, shown(allowed)) {
            Exit::Invalid if standing.invalid == 0 => runpack_core::verify::Verdict::Undecided,
            Exit::Success => runpack_core::verify::Verdict::Valid,
            Exit::Invalid => runpack_core::verify::Verdict::Invalid,
            Exit::Consistent => runpack_core::verify::Verdict::Consistent,
            Exit::Trouble => runpack_core::verify::Verdict::Undecided,
        },
        because: &because(standing, allowed),
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
            Conclusion::Removed,
            Conclusion::Consistent,
            Conclusion::Valid,
            Conclusion::Older,
        ] {
            each(
                context,
                catalog,
                audit,
                Which::Concluded(conclusion),
                |place| {
                    table.row(place);
                    Ok(true)
                },
            )?;
        }
        table.end().map_err(|error| failed(&error))
    })
}

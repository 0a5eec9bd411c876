//! The report as one page without scripts and without anything from elsewhere, to be read, printed and
//! kept (threat B29).
//!
//! Invariant: every text that is not ours is escaped twice over, for what is invisible or directional
//! and for HTML; the page's own policy forbids everything but its style.

use std::fmt::{Display, Write as _};

use runpack_core::display::Printable;

use super::{Control, Outcome, Report, TimeBasis};

const STYLE: &str = include_str!("html/style.css");

/// The page.
pub(super) fn page(report: &Report) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"referrer\" content=\"no-referrer\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <header><p>Report on an attestation of storage</p><h1>{title}</h1></header>\n",
        title = escape(report.title)
    );
    summary(&mut page, report);
    overview(&mut page, report);
    for control in &report.controls {
        section(&mut page, control);
    }
    let findings = report.findings.iter().map(|finding| {
        let of = finding.key.as_ref().map(|key| format!(", {key}"));
        let of = of.unwrap_or_default();
        format!("{}{of}: {}", finding.code, finding.text)
    });
    list(&mut page, "What the observer objected to", findings);
    let risks = report.residual_risks.iter().cloned();
    list(&mut page, "What could still lose the objects", risks);
    let non_claims = report.non_claims.iter().cloned();
    list(&mut page, "What this does not say", non_claims);
    add(
        &mut page,
        format_args!(
            "<footer>Made from attestation {}. Do not trust this page: verify the attestation with the signer's public key.</footer>\n</main>\n</body>\n</html>\n",
            escape(&report.nonce)
        ),
    );
    page
}

fn summary(page: &mut String, report: &Report) {
    let met = report.count(Outcome::Met);
    let counted = report
        .controls
        .len()
        .saturating_sub(report.count(Outcome::NotApplicable));
    let tone = match (report.count(Outcome::NotMet), met == counted) {
        (0, true) => "good",
        (0, false) => "open",
        _ => "bad",
    };
    add(
        page,
        format_args!(
            "<section class=\"banner {tone}\"><p class=\"lead\">{met} of {counted} controls are shown by what was observed; {} not met, {} not observed.</p><p>Protection: {}.</p></section>\n",
            report.count(Outcome::NotMet),
            report.count(Outcome::NotObserved),
            escape(report.protection)
        ),
    );
    let time = match (report.observed_at_basis, report.time_stamped_at) {
        (TimeBasis::TimeStamped, Some(at)) => {
            format!(
                "{}, time-stamped by a trusted authority at {at}",
                report.observed_at
            )
        }
        _ => format!(
            "{}, as the signer claims: there is no verified time stamp",
            report.observed_at
        ),
    };
    let until = report.retained_until.map_or_else(
        || "none: at least one object has no retention".to_owned(),
        |until| until.to_string(),
    );
    let rows = [
        ("Pack", report.pack_id.to_string()),
        ("Place", report.place.clone()),
        ("Objects", report.objects.to_string()),
        ("Retained until", until),
        ("Observed at", time),
        ("Signed by key", report.key_id.to_string()),
    ];
    page.push_str("<dl>\n");
    for (name, value) in rows {
        let value = escape(&value);
        add(
            page,
            format_args!("<div><dt>{name}</dt><dd>{value}</dd></div>\n"),
        );
    }
    page.push_str("</dl>\n");
}

fn overview(page: &mut String, report: &Report) {
    page.push_str("<h2>Overview</h2>\n<table><thead><tr><th>Control</th><th>Result</th><th>Basis</th></tr></thead><tbody>\n");
    for control in &report.controls {
        add(
            page,
            format_args!(
                "<tr><td>{}</td><td class=\"status {}\">{}</td><td>{}</td></tr>\n",
                escape(control.id),
                tone(control.result),
                control.result.as_str(),
                control.basis.as_str()
            ),
        );
    }
    page.push_str("</tbody></table>\n");
}

const fn tone(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Met => "good",
        Outcome::NotMet => "bad",
        Outcome::NotObserved => "open",
        Outcome::NotApplicable => "aside",
    }
}

fn section(page: &mut String, control: &Control) {
    add(
        page,
        format_args!(
            "<section class=\"control\"><h2>{} <span class=\"status {}\">{}</span></h2>\n<h3>Requirement</h3><p>{}</p>\n<h3>Assessment</h3><p>{}</p>\n<p class=\"aside\">Basis: {}.",
            escape(control.id),
            tone(control.result),
            control.result.as_str(),
            escape(control.requirement),
            escape(&control.assessment),
            control.basis.as_str()
        ),
    );
    if !control.evidence.is_empty() {
        page.push_str(" Evidence:");
        for pointer in &control.evidence {
            add(page, format_args!(" <code>{}</code>", escape(pointer)));
        }
    }
    add(
        page,
        format_args!(
            "</p>\n<h3>Capabilities</h3><p>{}</p>\n<h3>Additional considerations</h3><ul>\n",
            escape(control.capabilities)
        ),
    );
    for consideration in &control.considerations {
        add(page, format_args!("<li>{}</li>\n", escape(consideration)));
    }
    page.push_str("</ul></section>\n");
}

fn list(page: &mut String, title: &str, items: impl Iterator<Item = String>) {
    let mut items = items.peekable();
    if items.peek().is_none() {
        return;
    }
    add(page, format_args!("<section><h2>{title}</h2><ul>\n"));
    for item in items {
        add(page, format_args!("<li>{}</li>\n", escape(&item)));
    }
    page.push_str("</ul></section>\n");
}

fn add(page: &mut String, text: impl Display) {
    // Text takes all that is written to it.
    let _ = write!(page, "{text}");
}

/// Text that is not ours, for HTML.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for found in Printable(text).to_string().chars() {
        match found {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            found => escaped.push(found),
        }
    }
    escaped
}

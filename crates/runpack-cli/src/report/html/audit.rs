//! The page about an audit: what it concluded as a whole, and of each place, what is wrong first.

use std::io;

use runpack_catalog::audit::AuditedPlace;
use runpack_core::time::Timestamp;
use runpack_core::verify::Verdict;

use super::{Body, Page, capital, code, escape, page};
use crate::table::{count, grouped, size};

/// How many places a page names.
const ROWS_MAX: u64 = 10_000;

/// What a page says beside its table.
pub(crate) struct Facts<'a> {
    /// What was audited.
    pub(crate) store: &'a str,
    /// The conclusion of the whole.
    pub(crate) conclusion: Verdict,
    /// What it rests on.
    pub(crate) because: &'a str,
    /// Names and values.
    pub(crate) named: &'a [(&'a str, String)],
    /// When the page was written, by the local clock.
    pub(crate) written_at: Timestamp,
    /// The program.
    pub(crate) version: &'a str,
}

/// The page while its table is written: it may have many rows.
pub(crate) struct Table<'a> {
    body: Body<'a>,
    frame: Page<'a>,
    rows: u64,
    unnamed: u64,
}

impl<'a> Table<'a> {
    /// Writes all that comes before the rows.
    pub(crate) fn begin(out: &'a mut dyn io::Write, facts: &Facts<'a>) -> Self {
        let mut body = Body { out, failed: None };
        let frame = Page::new(facts.store, facts.written_at, "", facts.version);
        page::head(&mut body, facts.conclusion, &frame, "Audit of a store");
        let verdict = facts.conclusion.as_str();
        add!(
            body,
            "<section class=\"banner {verdict}\"><div><h1>{}</h1><p>{}.</p></div></section>\n",
            capital(verdict),
            capital(&escape(facts.because))
        );
        add!(body, "<section><h2>The audit</h2>\n<dl>\n");
        for (name, value) in facts.named {
            add!(
                body,
                "<div><dt>{}</dt><dd>{}</dd></div>\n",
                escape(name),
                escape(value)
            );
        }
        add!(
            body,
            "</dl></section>\n<section><h2>Places</h2>\n<table class=\"artifacts\"><thead><tr><th>Place</th>\
             <th>What was found</th><th class=\"number\">Read</th><th>Conclusion</th></tr></thead><tbody>\n"
        );
        Self {
            body,
            frame,
            rows: 0,
            unnamed: 0,
        }
    }

    /// Writes the row of a place, or counts it where enough are named.
    pub(crate) fn row(&mut self, place: &AuditedPlace) {
        if self.rows >= ROWS_MAX {
            self.unnamed = self.unnamed.saturating_add(1);
            return;
        }
        self.rows = self.rows.saturating_add(1);
        let (class, conclusion) = match place.conclusion {
            Some("valid") => ("good", "valid"),
            Some("invalid") => ("bad", "invalid"),
            Some(other) => ("open", other),
            None => ("open", "open"),
        };
        let body = &mut self.body;
        add!(body, "<tr><td>{}", code(&place.key));
        if let Some(pack_id) = &place.pack_id {
            add!(body, "<br><span class=\"aside\">{pack_id}</span>");
        }
        add!(body, "</td><td>");
        for finding in &place.findings {
            let about = finding.about.as_deref();
            let about = about.map_or_else(String::new, |about| format!(" {}", code(about)));
            add!(
                body,
                "{}{about}: {}<br>",
                code(&finding.code),
                escape(&finding.detail)
            );
        }
        if place.findings.is_empty() {
            let by = place.pinned_by.join(", ");
            let by = if by.is_empty() { "nothing" } else { &by };
            add!(
                body,
                "<span class=\"aside\">vouched for by {}</span>",
                escape(by)
            );
        }
        add!(
            body,
            "</td><td class=\"number\">{}</td><td class=\"status {class}\">{conclusion}</td></tr>\n",
            size(place.bytes_read)
        );
    }

    /// Writes the rest.
    ///
    /// # Errors
    /// As the page could not be written.
    pub(crate) fn end(mut self) -> io::Result<()> {
        add!(self.body, "</tbody></table>\n");
        if self.unnamed > 0 {
            add!(
                self.body,
                "<p>And {} more: <code>--json</code> names all.</p>\n",
                count(self.unnamed, "place")
            );
        }
        add!(
            self.body,
            "<p>{} named here.</p></section>\n<section class=\"limits\"><h2>What this does not show</h2><ul>\n\
             <li>That packs are here that nobody has seen before: a store can leave them out of its listing.</li>\n\
             <li>That whoever keeps the store will go on keeping it.</li>\n\
             <li>That what was exported was right: it shows that it has not changed since.</li>\n</ul></section>\n",
            grouped(self.rows)
        );
        page::foot(&mut self.body, &self.frame);
        self.body.failed.map_or(Ok(()), Err)
    }
}

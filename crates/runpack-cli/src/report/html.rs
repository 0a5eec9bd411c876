//! A report as one page without scripts and without anything from elsewhere, to be read, printed and
//! kept (threat B29).
//!
//! Invariant: every text that is not ours is escaped twice over, for what is invisible or directional
//! and for HTML; the page's own policy forbids everything but its style.

#[cfg(feature = "catalog")]
pub(crate) mod audit;
mod pack;
mod page;

use std::fmt;
use std::io;
use std::path::Path;

use runpack_core::display::Printable;
use runpack_core::time::Timestamp;
use runpack_core::verify::{Level, Verdict, VerifyReport};

use super::{because, next_steps};

/// What a page says beside the report.
#[derive(Debug)]
#[non_exhaustive]
pub struct Page<'a> {
    /// What was verified, as the user named it.
    pub target: &'a str,
    /// When, by the local clock.
    pub verified_at: Timestamp,
    /// The command to verify it again.
    pub command: &'a str,
    /// The verifier.
    pub version: &'a str,
}

impl<'a> Page<'a> {
    /// A page on `target`.
    pub const fn new(
        target: &'a str,
        verified_at: Timestamp,
        command: &'a str,
        version: &'a str,
    ) -> Self {
        Self {
            target,
            verified_at,
            command,
            version,
        }
    }
}

/// Text that is not ours, for HTML.
pub fn escape(text: &str) -> String {
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

/// A page on its way out, piece by piece: it may have a hundred thousand rows.
struct Body<'a> {
    out: &'a mut dyn io::Write,
    /// The first failure; after it nothing more is written.
    failed: Option<io::Error>,
}

impl fmt::Write for Body<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.failed.is_none() {
            self.failed = self.out.write_all(text.as_bytes()).err();
        }
        Ok(())
    }
}

/// Writes the report as a page.
///
/// # Errors
/// As `out` fails.
pub fn render(report: &VerifyReport, page: &Page<'_>, out: &mut dyn io::Write) -> io::Result<()> {
    let mut body = Body { out, failed: None };
    page::head(
        &mut body,
        report.verdict,
        page,
        "Verification of an evidence pack",
    );
    banner(&mut body, report);
    let manifest = report.manifest.as_deref();
    pack::findings(&mut body, report);
    if let Some(manifest) = manifest {
        pack::identity(&mut body, report, manifest);
    }
    notes(&mut body, report);
    if let Some(manifest) = manifest {
        pack::artifacts(&mut body, report, manifest);
    }
    again(&mut body, page);
    limits(&mut body, report);
    page::foot(&mut body, page);
    body.failed.map_or(Ok(()), Err)
}

fn banner(body: &mut Body<'_>, report: &VerifyReport) {
    let verdict = report.verdict.as_str();
    let sign = match report.verdict {
        Verdict::Valid => "\u{2713}",
        Verdict::Invalid => "\u{2717}",
        Verdict::Consistent => "\u{25d0}",
        Verdict::Undecided => "?",
    };
    add!(
        body,
        "<section class=\"banner {verdict}\"><p class=\"sign\" aria-hidden=\"true\">{sign}</p><div><h1>{}</h1><p>{}.</p>",
        capital(verdict),
        capital(&escape(&because(report)))
    );
    if let Some(next) = next_steps(report) {
        add!(body, "<p class=\"next\">Next: {}.</p>", escape(next));
    }
    add!(body, "</div></section>\n");
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

fn code(text: &str) -> String {
    format!("<code>{}</code>", escape(text))
}

fn notes(body: &mut Body<'_>, report: &VerifyReport) {
    if report.notes.is_empty() {
        return;
    }
    add!(body, "<section><h2>Notes</h2><ul>\n");
    for note in &report.notes {
        add!(body, "<li>{}</li>\n", escape(note));
    }
    add!(body, "</ul></section>\n");
}

fn again(body: &mut Body<'_>, page: &Page<'_>) {
    add!(
        body,
        "<section><h2>How to verify again</h2>\n<p>Do not trust this page: it is a copy of what one verifier said at one time. With the pack and what vouches for it (its id, or the signer's public key) anybody can verify it, offline:</p>\n<pre>{}</pre>\n<p>The format is public. A second verifier, one Python file without dependencies, comes with Runpack; a pack id is the SHA-256 of <code>manifest.json</code>.</p></section>\n",
        escape(page.command)
    );
}

fn limits(body: &mut Body<'_>, report: &VerifyReport) {
    add!(
        body,
        "<section class=\"limits\"><h2>What this does not show</h2><ul>\n"
    );
    let mut item = |text: &str| {
        add!(body, "<li>{text}</li>\n");
    };
    item("That what was exported was right or complete: it shows that it has not changed since.");
    item("When the pack was made, and by which program: those are the pack's own claims.");
    if report.pinned_by.is_empty() {
        item(
            "That this is the pack that was made: nothing outside of it was consulted that says so.",
        );
    }
    if report.level == Level::Presence {
        item("Anything of the contents: they were not read.");
    }
    item("That whoever keeps the pack will go on keeping it.");
    add!(body, "</ul></section>\n");
}

/// The file name of a path for a command line, quoted for a shell where it has to be.
pub fn shell_word(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+=:@,%".contains(&byte);
    if !text.is_empty() && !text.starts_with('-') && text.bytes().all(plain) {
        return text.into_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

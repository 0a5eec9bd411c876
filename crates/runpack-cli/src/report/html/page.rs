//! The frame of a report's page: head, style, footer.

use runpack_core::verify::Verdict;

use super::{Body, Page, capital, escape};

const STYLE: &str = include_str!("style.css");

pub(super) fn head(body: &mut Body<'_>, verdict: Verdict, page: &Page<'_>, what: &str) {
    let title = format!("{}: {}", capital(verdict.as_str()), page.target);
    add!(
        body,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"referrer\" content=\"no-referrer\">\n\
         <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <header><p>{}</p><p class=\"target\">{}</p></header>\n",
        escape(&title),
        escape(what),
        escape(page.target)
    );
}

pub(super) fn foot(body: &mut Body<'_>, page: &Page<'_>) {
    add!(
        body,
        "<footer>Verified at {} (by the verifier's clock) with runpack {}.</footer>\n</main>\n</body>\n</html>\n",
        page.verified_at,
        escape(page.version)
    );
}

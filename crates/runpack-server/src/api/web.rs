//! The pages for people: files that come with the program, and nothing that has to be built.
//!
//! Invariants: the browser runs what is served here and nothing else; text of others is shown as text (threat B29); a token
//! is sent to this server alone, in a header, and is in no address.

use std::sync::Arc;

use axum::Router;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;

use crate::service::Service;

/// Nothing from elsewhere, nothing inline, no frame around it, no form that is sent, and no text that becomes HTML, even by
/// a mistake in the pages (threat B29).
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const ICON: &str = "image/svg+xml";

macro_rules! files {
    ($($path:literal: $media_type:ident, $file:literal;)*) => {
        /// Where each file is served, what it is, and the file.
        const FILES: &[(&str, &str, &str)] = &[$(($path, $media_type, include_str!(concat!("web/", $file))),)*];
    };
}

files! {
    "/": HTML, "index.html";
    "/docs": HTML, "docs.html";
    "/style.css": STYLE, "style.css";
    "/icon.svg": ICON, "icon.svg";
    "/app.js": SCRIPT, "app.js";
    "/client.js": SCRIPT, "client.js";
    "/docs.js": SCRIPT, "docs.js";
    "/executions.js": SCRIPT, "executions.js";
    "/json.js": SCRIPT, "json.js";
    "/log.js": SCRIPT, "log.js";
    "/packs.js": SCRIPT, "packs.js";
    "/page.js": SCRIPT, "page.js";
    "/records.js": SCRIPT, "records.js";
}

pub(super) fn router() -> Router<Arc<Service>> {
    FILES.iter().fold(Router::new(), |router, file| {
        let (path, media_type, text) = *file;
        router.route(path, get(move || async move { answer(media_type, text) }))
    })
}

fn answer(media_type: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, media_type),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        // A new server's pages are not mixed with an old one's.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}

#[cfg(test)]
mod tests {
    use super::{FILES, HTML, SCRIPT};

    #[test]
    fn b29_no_script_makes_html_of_text() {
        for word in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "createContextualFragment",
            "DOMParser",
            "setHTML",
            "eval(",
            "Function(",
            "localStorage",
            "document.cookie",
        ] {
            for (path, _, text) in FILES {
                assert!(!text.contains(word), "{path} has {word}");
            }
        }
    }

    #[test]
    fn b29_no_page_has_script_or_style_inline_or_from_elsewhere() {
        for (path, _, text) in FILES.iter().filter(|file| file.1 == HTML) {
            for word in ["<style", "style=", " on", "javascript:", "//"] {
                assert!(!text.contains(word), "{path} has {word}");
            }
            for tag in text.split("<script").skip(1) {
                let tag = tag.split('>').next().unwrap();
                assert!(tag.contains(" src=\"/"), "{path} has {tag}");
            }
        }
    }

    #[test]
    fn every_file_that_a_file_names_is_served() {
        for (path, media_type, text) in FILES {
            let names: Vec<_> = if *media_type == SCRIPT {
                text.lines()
                    .filter_map(|line| line.split_once(" from \"./"))
                    .map(|(_, rest)| rest.trim_end_matches("\";"))
                    .collect()
            } else {
                text.split("=\"/")
                    .skip(1)
                    .filter_map(|rest| rest.split(['"', '#']).next())
                    .collect()
            };
            for name in names {
                let is_served = name == "openapi.json"
                    || FILES
                        .iter()
                        .any(|file| file.0.trim_start_matches('/') == name);
                assert!(is_served, "{path} names {name}");
            }
        }
    }
}

//! What a file is, told from its name: kind and media type. The first row that fits counts; the
//! mapping file of `--map` comes before all of them. The table is documented in `Docs/cli/README.md`.

use crate::glob;

/// Kinds by the whole file name, in lower case.
pub const KINDS_BY_NAME: &[(&str, &str)] = &[
    ("*decision*", "decision-log"),
    ("*trace*", "trace"),
    ("*junit*.xml", "test-results"),
    ("*coverage*", "coverage"),
    ("*lcov*", "coverage"),
];

/// Media type and kind by what follows the last dot, in lower case.
pub const BY_EXTENSION: &[(&str, &str, &str)] = &[
    ("json", "application/json", "data"),
    ("jsonl", "application/jsonl", "data"),
    ("ndjson", "application/x-ndjson", "data"),
    ("csv", "text/csv", "data"),
    ("tsv", "text/tab-separated-values", "data"),
    ("yaml", "application/yaml", "data"),
    ("yml", "application/yaml", "data"),
    ("toml", "application/toml", "data"),
    ("parquet", "application/vnd.apache.parquet", "data"),
    ("log", "text/plain", "log"),
    ("txt", "text/plain", "log"),
    ("xml", "application/xml", "test-results"),
    ("html", "text/html", "report"),
    ("htm", "text/html", "report"),
    ("md", "text/markdown", "report"),
    ("pdf", "application/pdf", "report"),
    ("png", "image/png", "image"),
    ("jpg", "image/jpeg", "image"),
    ("jpeg", "image/jpeg", "image"),
    ("svg", "image/svg+xml", "image"),
    ("gif", "image/gif", "image"),
    ("webp", "image/webp", "image"),
    ("gz", "application/gzip", "archive"),
    ("tgz", "application/gzip", "archive"),
    ("zip", "application/zip", "archive"),
    ("tar", "application/x-tar", "archive"),
    ("zst", "application/zstd", "archive"),
    ("xz", "application/x-xz", "archive"),
    ("lcov", "text/plain", "coverage"),
    ("bin", "application/octet-stream", "file"),
];

/// What everything else is.
pub const OTHERWISE: (&str, &str) = ("application/octet-stream", "file");

/// `(media type, kind)` of a file with this name, given as raw bytes.
pub fn of_file_name(name: &[u8]) -> (&'static str, &'static str) {
    let name = name.to_ascii_lowercase();
    let extension = name
        .iter()
        .rposition(|&byte| byte == b'.')
        .filter(|&dot| dot > 0)
        .and_then(|dot| name.get(dot.saturating_add(1)..));
    let (media_type, kind) = BY_EXTENSION
        .iter()
        .find(|(known, ..)| extension == Some(known.as_bytes()))
        .map_or(OTHERWISE, |(_, media_type, kind)| (media_type, kind));
    let by_name = KINDS_BY_NAME
        .iter()
        .find(|(pattern, _)| glob::matches(pattern.as_bytes(), &name));
    (media_type, by_name.map_or(kind, |(_, kind)| kind))
}

#[cfg(test)]
mod tests {
    use runpack_core::manifest::{Kind, MediaType};

    use super::*;

    #[test]
    fn files_by_their_names() {
        for (name, media_type, kind) in [
            ("results.json", "application/json", "data"),
            ("DECISIONS.JSON", "application/json", "decision-log"),
            ("my-decision-log.jsonl", "application/jsonl", "decision-log"),
            ("run.log", "text/plain", "log"),
            ("notes.txt", "text/plain", "log"),
            ("junit.xml", "application/xml", "test-results"),
            ("any.xml", "application/xml", "test-results"),
            ("trace.bin", "application/octet-stream", "trace"),
            ("coverage.xml", "application/xml", "coverage"),
            ("lcov.info", "application/octet-stream", "coverage"),
            ("photo.JPG", "image/jpeg", "image"),
            ("a.tar.gz", "application/gzip", "archive"),
            ("model.bin", "application/octet-stream", "file"),
            ("no-extension", "application/octet-stream", "file"),
            (".json", "application/octet-stream", "file"),
            ("json", "application/octet-stream", "file"),
            ("", "application/octet-stream", "file"),
        ] {
            assert_eq!(of_file_name(name.as_bytes()), (media_type, kind), "{name}");
        }
    }

    #[test]
    fn every_row_is_in_its_grammar_and_documented() {
        let readme = include_str!("../../../Docs/cli/README.md");
        for (extension, media_type, kind) in BY_EXTENSION {
            assert!(media_type.parse::<MediaType>().is_ok() && kind.parse::<Kind>().is_ok());
            assert!(
                readme.contains(&format!("`.{extension}`")),
                ".{extension} is not in the README"
            );
            assert!(
                readme.contains(media_type),
                "{media_type} is not in the README"
            );
        }
        for (pattern, kind) in KINDS_BY_NAME {
            assert!(kind.parse::<Kind>().is_ok());
            assert!(
                readme.contains(&format!("`{pattern}`")),
                "{pattern} is not in the README"
            );
        }
    }
}

//! YAML from a user, read strictly (threat B32): unknown keys, duplicate keys, several documents,
//! unknown tags and merge keys are refused, and a text is taken as it is written (`no` is `no`).

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_saphyr::{Error, MergeKeyPolicy};

use crate::failure::Failure;

/// The largest file that is read.
const YAML_BYTES_MAX: u64 = 1 << 20;

/// Reads a YAML file; `None` where there is none.
///
/// # Errors
/// It cannot be read, or is not what is expected.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Failure> {
    let shown = path.display().to_string();
    let failed = |error: std::io::Error| {
        Failure::new(
            format!("a file could not be read, path=`{shown}`"),
            "check the path and its permissions",
        )
        .because(&error)
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    file.take(YAML_BYTES_MAX.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if u64::try_from(bytes.len()).is_ok_and(|bytes| bytes > YAML_BYTES_MAX) {
        return Err(Failure::new(
            format!(
                "a file is too large for what it is, path=`{shown}` bytes_max=`{YAML_BYTES_MAX}`"
            ),
            "check that it is the file you mean",
        ));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        Failure::new(
            format!("a file is not text, path=`{shown}`"),
            "write it as UTF-8",
        )
        .because(&error)
    })?;
    parse(&text, &shown).map(Some)
}

fn parse<T: DeserializeOwned>(text: &str, path: &str) -> Result<T, Failure> {
    let options = serde_saphyr::options! {
        merge_keys: MergeKeyPolicy::Error,
        reject_unsupported_tags: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| refusal(&error, path))
}

fn refusal(error: &Error, path: &str) -> Failure {
    let place = error.location().map_or_else(String::new, |at| {
        format!(" line=`{}` column=`{}`", at.line(), at.column())
    });
    match error.without_snippet() {
        Error::SerdeUnknownField { field, .. } if is_credential(field) => Failure::new(
            format!("credentials never stand in a file, key=`{field}` path=`{path}`{place}"),
            "give them in the environment, as RUNPACK_STORE_ACCESS_KEY and RUNPACK_STORE_SECRET_KEY or in one of the \
             standard AWS ways, and change those that stood in the file",
        ),
        Error::SerdeUnknownField {
            field, expected, ..
        } => Failure::new(
            format!("unknown key, key=`{field}` path=`{path}`{place}"),
            suggestion(field, expected),
        ),
        Error::DuplicateMappingKey { key, .. } => Failure::new(
            format!(
                "a key stands twice, key=`{}` path=`{path}`{place}",
                key.as_deref().unwrap_or("")
            ),
            "keep one of the two",
        ),
        Error::MultipleDocuments { .. } => Failure::new(
            format!("a file has more than one document, path=`{path}`{place}"),
            "remove the line `---` and what follows it",
        ),
        Error::SerdeMissingField { field, .. } => Failure::new(
            format!("a key is missing, key=`{field}` path=`{path}`{place}"),
            "add it; Docs/cli/README.md shows an example",
        ),
        other => Failure::new(
            format!("a file is not what is expected, path=`{path}`{place}"),
            "compare it with the example in Docs/cli/README.md",
        )
        .because(&Plain(other.to_string())),
    }
}

/// Whether a key looks as if a secret stood behind it (threat K01).
fn is_credential(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    [
        "secret",
        "access_key",
        "accesskey",
        "token",
        "password",
        "credential",
    ]
    .iter()
    .any(|part| key.contains(part))
}

/// An error as the library words it.
#[derive(Debug)]
struct Plain(String);

impl std::fmt::Display for Plain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Plain {}

fn suggestion(unknown: &str, known: &[&str]) -> String {
    let all = known
        .iter()
        .map(|key| format!("`{key}`"))
        .collect::<Vec<_>>()
        .join(", ");
    let nearest = known
        .iter()
        .map(|key| (distance(unknown, key), key))
        .min_by_key(|(distance, _)| *distance);
    match nearest {
        Some((_, nearest)) if known.len() > 1 => {
            format!("did you mean `{nearest}`? The keys here are {all}")
        }
        _ => format!("the only key here is {all}"),
    }
}

/// How many letters have to be changed, added or removed.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (at, left) in a.chars().take(128).enumerate() {
        let mut diagonal = at;
        let mut before = at.saturating_add(1);
        let mut next = vec![before];
        for (right, above) in b.iter().zip(row.iter().skip(1)) {
            let changed = diagonal.saturating_add(usize::from(left != *right));
            let best = changed
                .min(before.saturating_add(1))
                .min(above.saturating_add(1));
            diagonal = *above;
            before = best;
            next.push(best);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Two {
        tenant: String,
        #[serde(default)]
        other: Vec<String>,
    }

    #[test]
    fn b32_a_text_is_what_is_written() {
        for text in [
            "yes",
            "no",
            "on",
            "true",
            "1e3",
            "0123",
            "0x1F",
            "12_000",
            "1.10",
            ".inf",
            "2026-11-20",
        ] {
            let two: Two = parse(&format!("tenant: {text}"), "f").unwrap();
            assert_eq!(two.tenant, text);
        }
    }

    #[test]
    fn b32_everything_ambiguous_is_refused() {
        let bomb = {
            let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
            for at in 1..12 {
                let items = vec![format!("*a{}", at - 1); 10].join(",");
                add!(bomb, "a{at}: &a{at} [{items}]\n");
            }
            bomb
        };
        for bad in [
            "tenant:",
            "tenant: null",
            "tenant: ~",
            "tenant: [a]",
            "tenant: {a: b}",
            "tenant: !!int 5",
            "tenant: !foo bar",
            "tenant: a\ntenant: b",
            "tenant: a\n---\ntenant: b",
            "<<: {tenant: a}",
            "- a",
            "x",
            "",
            "tenant: a\nother: b",
            &bomb,
        ] {
            assert!(parse::<Two>(bad, "f").is_err(), "{bad}");
        }
    }

    #[test]
    fn the_nearest_known_key_is_named() {
        let failure = parse::<Two>("tenent: x", "f.yaml").unwrap_err();
        assert_eq!(
            failure.line(),
            "unknown key, key=`tenent` path=`f.yaml` line=`1` column=`1`"
        );
        assert_eq!(
            failure.help(),
            "did you mean `tenant`? The keys here are `tenant`, `other`"
        );
        for (a, b, expected) in [
            ("", "", 0),
            ("a", "", 1),
            ("", "ab", 2),
            ("kitten", "sitting", 3),
            ("namspace", "namespace", 1),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }
}

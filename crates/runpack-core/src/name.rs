//! Artifact names: ASCII, one spelling, safe on every store and file system (specification, section 5).
//!
//! A name is the image of an original path under an injective escape, and nothing else is a name.
//! So no traversal, no device name, no Unicode twin can be spelled, and no reader needs Unicode tables.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::Digest;

/// The longest component, in bytes: what file systems take.
pub const COMPONENT_BYTES_MAX: usize = 255;
/// The longest name, in bytes.
pub const NAME_BYTES_MAX: usize = 512;
/// How much of an over-long component stays in front of its digest.
const CUT_PREFIX_BYTES: usize = 190;

/// The name of an artifact within its pack: escaped components joined by `/`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArtifactName(Box<str>);

/// Why something is no artifact name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// No bytes at all, in the name or in a component.
    #[error("a name has no empty component")]
    Empty,
    /// `.` or `..`.
    #[error("a name has no component `.` or `..`")]
    Dots,
    /// Over [`NAME_BYTES_MAX`] or a component over [`COMPONENT_BYTES_MAX`].
    #[error(
        "a name has at most 512 bytes, each component at most 255: give it a shorter one in the mapping file"
    )]
    Long,
    /// `manifest.json` as first component.
    #[error("`manifest.json` is reserved: give it another name in the mapping file")]
    Reserved,
    /// Not the escaped form of any file name.
    #[error("not the escaped form of a file name")]
    Spelling,
}

impl ArtifactName {
    /// The name of an original path, given as its components' raw bytes.
    ///
    /// ```
    /// use runpack_core::name::ArtifactName;
    ///
    /// let path = "traces/Übersicht.bin";
    /// let name = ArtifactName::from_original(path.split('/').map(str::as_bytes)).unwrap();
    /// assert_eq!(name.as_str(), "traces/%C3%9Cbersicht.bin");
    /// ```
    ///
    /// # Errors
    /// A component that is empty, `.`, `..` or has `/` or NUL; `manifest.json` in front; too long.
    pub fn from_original<'a>(
        components: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Self, NameError> {
        let mut name = String::new();
        for component in components {
            if !name.is_empty() {
                name.push('/');
            }
            name.push_str(&cut(escape(component)?, component));
        }
        check_whole(&name)?;
        Ok(Self(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The components in order.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }
}

fn check_whole(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(NameError::Long);
    }
    match name.split('/').next() {
        Some(first) if first.eq_ignore_ascii_case("manifest.json") => Err(NameError::Reserved),
        _ => Ok(()),
    }
}

impl FromStr for ArtifactName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        check_whole(text)?;
        for component in text.split('/') {
            if component.len() > COMPONENT_BYTES_MAX {
                return Err(NameError::Long);
            }
            if component.is_empty() {
                return Err(NameError::Empty);
            }
            let original = unescape(component).ok_or(NameError::Spelling)?;
            if escape(&original)? != component {
                return Err(NameError::Spelling);
            }
        }
        Ok(Self(text.into()))
    }
}

/// Rules 1 to 3: the escaped form of one original component.
fn escape(original: &[u8]) -> Result<String, NameError> {
    match original {
        b"" => return Err(NameError::Empty),
        b"." | b".." => return Err(NameError::Dots),
        _ if original.iter().any(|byte| matches!(byte, b'/' | 0)) => {
            return Err(NameError::Spelling);
        }
        _ => {}
    }
    let last = original.len().saturating_sub(1);
    let mut escaped = String::with_capacity(original.len());
    for (at, &byte) in original.iter().enumerate() {
        let at_start = at == 0 && matches!(byte, b' ' | b'-');
        let at_end = at == last && matches!(byte, b' ' | b'.');
        if is_plain(byte) && !at_start && !at_end {
            escaped.push(char::from(byte));
        } else {
            push_escaped(&mut escaped, byte);
        }
    }
    if !is_device(&escaped) {
        return Ok(escaped);
    }
    let mut bytes = escaped.bytes();
    let mut spelled = String::with_capacity(escaped.len());
    if let Some(first) = bytes.next() {
        push_escaped(&mut spelled, first);
    }
    spelled.extend(bytes.map(char::from));
    Ok(spelled)
}

fn push_escaped(escaped: &mut String, byte: u8) {
    escaped.push('%');
    escaped.extend([byte >> 4, byte & 15].map(upper_hex));
}

const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b' ' | b'.' | b'_' | b'-' | b'+' | b'=' | b'@' | b',' | b'~' | b'(' | b')'
        )
}

fn upper_hex(nibble: u8) -> char {
    char::from_digit(u32::from(nibble), 16).map_or('0', |digit| digit.to_ascii_uppercase())
}

/// Rule 3: what the first two rules gave is a device name on Windows, with or without an extension.
fn is_device(escaped: &str) -> bool {
    let stem = escaped.split('.').next().unwrap_or_default();
    match stem.trim_end_matches(' ').to_ascii_uppercase().as_bytes() {
        b"CON" | b"PRN" | b"AUX" | b"NUL" => true,
        [b'C', b'O', b'M', digit] | [b'L', b'P', b'T', digit] => matches!(digit, b'1'..=b'9'),
        _ => false,
    }
}

/// Rule 4: an over-long component becomes a prefix and the digest of the original.
fn cut(escaped: String, original: &[u8]) -> String {
    if escaped.len() <= COMPONENT_BYTES_MAX {
        return escaped;
    }
    let mut prefix: String = escaped.chars().take(CUT_PREFIX_BYTES).collect();
    if let Some(at) = prefix.rfind('%')
        && prefix.len().saturating_sub(at) < 3
    {
        prefix.truncate(at);
    }
    format!("{prefix}~{}", Digest::of(original))
}

/// `%XX` to bytes; `None` where a `%` is not followed by two upper-case digits.
fn unescape(component: &str) -> Option<Vec<u8>> {
    let mut bytes = component.bytes();
    let mut original = Vec::with_capacity(component.len());
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let mut nibble = || {
                let digit = bytes.next().filter(|digit| !digit.is_ascii_lowercase())?;
                u8::try_from(char::from(digit).to_digit(16)?).ok()
            };
            original.push(nibble()? << 4 | nibble()?);
        } else {
            original.push(byte);
        }
    }
    Some(original)
}

impl fmt::Display for ArtifactName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for ArtifactName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Serialize for ArtifactName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ArtifactName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::json::from_string(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn named(original: &str) -> String {
        ArtifactName::from_original(original.split('/').map(str::as_bytes))
            .unwrap()
            .to_string()
    }

    #[test]
    fn originals_get_the_names_the_specification_shows() {
        for (original, name) in [
            ("My report (1).pdf", "My report (1).pdf"),
            ("Übersicht.json", "%C3%9Cbersicht.json"),
            ("a/100%", "a/100%25"),
            (".env", ".env"),
            ("-rf", "%2Drf"),
            (" x ", "%20x%20"),
            ("trailing.", "trailing%2E"),
            ("...", "..%2E"),
            ("aux.txt", "%61ux.txt"),
            ("NUL .tar.gz", "%4EUL .tar.gz"),
            ("COM1", "%43OM1"),
            ("com10", "com10"),
            ("CON ", "CON%20"),
            ("CON.", "CON%2E"),
            ("a\nb", "a%0Ab"),
            ("back\\slash", "back%5Cslash"),
        ] {
            assert_eq!(named(original), name, "{original}");
        }
    }

    #[test]
    fn b11_b13_nothing_else_is_a_name() {
        for bad in [
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            ".",
            "..",
            "a/../b",
            "./a",
            "a\\b",
            "C:x",
            "-a",
            "a ",
            " a",
            "a.",
            "aux",
            "AUX.txt",
            "nul .x",
            "lpt9",
            "%41",
            "%61a",
            "%c3%9c",
            "%2E%2E",
            "%2F",
            "%00",
            "%",
            "%4",
            "a%2",
            "a%GG",
            "ü",
            "a\u{2215}b",
            "a\0",
            "a\n",
            "manifest.json",
            "Manifest.JSON/x",
            "a:b",
            "%2E",
            "%61ux1",
            "%C3%BC ",
            "\u{202e}",
        ] {
            assert!(bad.parse::<ArtifactName>().is_err(), "{bad:?}");
        }
        assert!("a/manifest.json".parse::<ArtifactName>().is_ok());
    }

    #[test]
    fn b12_long_components_are_cut_to_a_digest() {
        assert_eq!(named(&"x".repeat(255)), "x".repeat(255));
        let cut = named(&"x".repeat(256));
        assert_eq!(cut.len(), 255);
        assert!(cut.starts_with(&"x".repeat(190)) && cut.contains('~'));
        let umlauts = named(&"ü".repeat(100));
        assert!(umlauts.parse::<ArtifactName>().is_ok());
        assert!(umlauts.contains(&format!("~{}", Digest::of("ü".repeat(100).as_bytes()))));
        assert_eq!(
            "x".repeat(256).parse::<ArtifactName>(),
            Err(NameError::Long)
        );
        assert_eq!(
            ["x".repeat(255), "x".repeat(255), "x".repeat(10)]
                .join("/")
                .parse::<ArtifactName>(),
            Err(NameError::Long)
        );
    }

    proptest! {
        #[test]
        fn every_file_name_has_a_name_that_parses_back(original in proptest::collection::vec(1u8..=255, 1..300)) {
            prop_assume!(!original.contains(&b'/') && original != b"." && original != b"..");
            prop_assume!(!original.eq_ignore_ascii_case(b"manifest.json"));
            let name = ArtifactName::from_original([original.as_slice()]).unwrap();
            prop_assert_eq!(name.as_str().parse::<ArtifactName>(), Ok(name.clone()));
            if !name.as_str().contains('~') {
                prop_assert_eq!(unescape(name.as_str()), Some(original));
            }
        }

        #[test]
        fn the_escape_is_injective(originals in proptest::collection::vec("[ .%~aAuUxX12-]{1,5}", 1..40)) {
            let mut seen: HashMap<String, String> = HashMap::new();
            for original in originals.into_iter().filter(|original| original != "." && original != "..") {
                let name = named(&original);
                let first = seen.entry(name).or_insert_with(|| original.clone());
                prop_assert_eq!(&*first, &original);
            }
        }

        #[test]
        fn parsing_never_panics_and_accepts_only_its_own_image(text in ".{0,40}") {
            if let Ok(name) = text.parse::<ArtifactName>() {
                prop_assert_eq!(name.as_str(), text.as_str());
                prop_assert!(text.is_ascii());
            }
        }
    }
}

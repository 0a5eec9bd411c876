//! The small texts of a manifest: kinds, media types, label keys, free text (specification, section 2).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a text is not what a manifest allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GrammarError {
    /// Not a kind.
    #[error(
        "a kind is 1 to 64 lower-case letters, digits and `-`, and starts with a letter or digit"
    )]
    Kind,
    /// Not a media type.
    #[error("a media type is `type/subtype` (RFC 6838) without parameters")]
    MediaType,
    /// Not a label key.
    #[error(
        "a label key is 1 to 128 letters, digits and `.` `_` `/` `-`, and starts with a letter or digit"
    )]
    LabelKey,
    /// Not a text.
    #[error("a text has at least one byte, no control characters, and is not over its length")]
    Text,
    /// Digests that do not fit the size.
    #[error("the number of chunk digests does not fit the size")]
    Chunks,
}

macro_rules! text_type {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                crate::json::from_string(deserializer)
            }
        }

        impl $name {
            /// As text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
    };
}

/// What kind of artifact it is: `decision-log`, `trace`, `spec`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind(pub(super) Arc<str>);

/// A media type without parameters (RFC 6838, section 4.2).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MediaType(pub(super) Arc<str>);

/// The key of a label.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabelKey(Box<str>);

text_type!(Kind);
text_type!(MediaType);
text_type!(LabelKey);

impl LabelKey {
    /// A key that is known to be one.
    pub(crate) fn known(key: &'static str) -> Self {
        debug_assert!(key.parse::<Self>().is_ok(), "{key}");
        Self(key.into())
    }
}

impl Kind {
    /// Whether it is the kind of the specification that proves a run's `spec_hash`.
    pub fn is_spec(&self) -> bool {
        &*self.0 == "spec"
    }
}

/// Whether the first byte is one of `first` and every other one of `rest`, at most `bytes_max` in all.
fn is_word(text: &str, bytes_max: usize, first: fn(u8) -> bool, rest: fn(u8) -> bool) -> bool {
    let mut bytes = text.bytes();
    text.len() <= bytes_max && bytes.next().is_some_and(first) && bytes.all(rest)
}

impl FromStr for Kind {
    type Err = GrammarError;

    fn from_str(text: &str) -> Result<Self, GrammarError> {
        let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let rest = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if is_word(text, 64, alphanumeric, rest) {
            Ok(Self(text.into()))
        } else {
            Err(GrammarError::Kind)
        }
    }
}

impl FromStr for MediaType {
    type Err = GrammarError;

    fn from_str(text: &str) -> Result<Self, GrammarError> {
        let restricted = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&byte);
        let name = |text| is_word(text, 127, |first| first.is_ascii_alphanumeric(), restricted);
        match text.split_once('/') {
            Some((main, sub)) if name(main) && name(sub) => Ok(Self(text.into())),
            _ => Err(GrammarError::MediaType),
        }
    }
}

impl FromStr for LabelKey {
    type Err = GrammarError;

    fn from_str(text: &str) -> Result<Self, GrammarError> {
        let rest = |byte: u8| byte.is_ascii_alphanumeric() || b"._/-".contains(&byte);
        if is_word(text, 128, |first| first.is_ascii_alphanumeric(), rest) {
            Ok(Self(text.into()))
        } else {
            Err(GrammarError::LabelKey)
        }
    }
}

/// Free text of 1 to `MAX` bytes without control characters. It may hold anything else, bidirectional
/// overrides too: whoever shows it escapes it ([`crate::display::Printable`]).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text<const MAX: usize>(Box<str>);

impl<const MAX: usize> Text<MAX> {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text of an id or digest of ours, which have no other characters and are shorter.
    pub(crate) fn known(id: &impl fmt::Display) -> Self {
        let text = id.to_string();
        debug_assert!(text.parse::<Self>().is_ok(), "{text}");
        Self(text.into())
    }

    /// The nearest text to any bytes, for display: what is not UTF-8 or a control character becomes
    /// U+FFFD, and what is too long is cut. `None` where nothing is left.
    pub fn lossy(bytes: &[u8]) -> Option<Self> {
        let mut text = String::new();
        for found in String::from_utf8_lossy(bytes).chars() {
            let shown = if found.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                found
            };
            if text.len().saturating_add(shown.len_utf8()) > MAX {
                break;
            }
            text.push(shown);
        }
        text.parse().ok()
    }
}

impl<const MAX: usize> FromStr for Text<MAX> {
    type Err = GrammarError;

    fn from_str(text: &str) -> Result<Self, GrammarError> {
        // char::is_control is general category Cc: U+0000-U+001F and U+007F-U+009F.
        if text.is_empty() || text.len() > MAX || text.chars().any(char::is_control) {
            return Err(GrammarError::Text);
        }
        Ok(Self(text.into()))
    }
}

impl<const MAX: usize> fmt::Display for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl<const MAX: usize> fmt::Debug for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<const MAX: usize> Serialize for Text<MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for Text<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::json::from_string(deserializer)
    }
}

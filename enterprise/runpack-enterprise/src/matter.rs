//! The name of a legal matter that a hold is for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::retention::shown;

/// A legal matter: 1 to 128 letters, digits and `.` `_` `-`, the first a letter or digit. The same grammar as
/// the ids of the format, so that a name fits into a key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Matter(Box<str>);

impl Matter {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Not the name of a matter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a matter is 1 to 128 letters, digits and `.` `_` `-`, and starts with a letter or digit, found=`{0}`"
)]
pub struct MatterError(String);

impl FromStr for Matter {
    type Err = MatterError;

    fn from_str(text: &str) -> Result<Self, MatterError> {
        let mut bytes = text.bytes();
        let is_first = bytes
            .next()
            .is_some_and(|byte| byte.is_ascii_alphanumeric());
        let is_rest = bytes.all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        if is_first && is_rest && text.len() <= 128 {
            Ok(Self(text.into()))
        } else {
            Err(MatterError(shown(text)))
        }
    }
}

impl fmt::Display for Matter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl<'de> Deserialize<'de> for Matter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Matter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

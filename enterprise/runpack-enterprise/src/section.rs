//! A section of the configuration, read key by key: every error names the path, and no key is left unread.
//!
//! The loader of the settings passes such sections on as they are written. They come from a person, so a
//! wrong one is refused with what to write in its place, never guessed at.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde_json::{Map, Value};

use crate::retention::shown;

/// What is wrong with a section, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {rule}")]
pub struct ConfigError {
    path: String,
    rule: String,
}

impl ConfigError {
    pub(crate) fn new(path: impl Into<String>, rule: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            rule: rule.into(),
        }
    }

    /// Where it is, such as `runpacks.policy.routes[2].region`.
    pub fn path(&self) -> &str {
        &self.path
    }
}

/// Keys and values below a path.
pub(crate) struct Section<'a> {
    path: String,
    /// Those that nobody asked for yet.
    unread: BTreeMap<&'a str, &'a Value>,
}

impl<'a> Section<'a> {
    /// The section at `path`.
    ///
    /// # Errors
    /// It is something else than keys and values.
    pub(crate) fn new(path: impl Into<String>, value: &'a Value) -> Result<Self, ConfigError> {
        let path = path.into();
        let Some(members) = value.as_object() else {
            return Err(ConfigError::new(
                path,
                format!("write keys below this one, found {}", kind(value)),
            ));
        };
        let unread = Map::iter(members).map(|(name, value)| (name.as_str(), value));
        Ok(Self {
            unread: unread.collect(),
            path,
        })
    }

    /// Its own path.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The path of one of its keys.
    pub(crate) fn path_of(&self, key: &str) -> String {
        format!("{}.{key}", self.path)
    }

    /// An error about one of its keys.
    pub(crate) fn error(&self, key: &str, rule: impl Into<String>) -> ConfigError {
        ConfigError::new(self.path_of(key), rule)
    }

    /// An error about the whole of it.
    pub(crate) fn error_here(&self, rule: impl Into<String>) -> ConfigError {
        ConfigError::new(self.path.clone(), rule)
    }

    /// A value as it is written.
    pub(crate) fn value(&mut self, key: &str) -> Option<&'a Value> {
        self.unread.remove(key)
    }

    /// A text. A key that is there has a value: an empty one is no way to say nothing.
    pub(crate) fn text(&mut self, key: &str) -> Result<Option<&'a str>, ConfigError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::String(text)) if !text.is_empty() => Ok(Some(text)),
            Some(Value::String(_)) => Err(self.error(key, "write a value, or remove the key")),
            Some(other) => {
                let found = kind(other);
                Err(self.error(
                    key,
                    format!(
                        "write a text, in quotes where it looks like something else, found {found}"
                    ),
                ))
            }
        }
    }

    /// A value by its own parser.
    pub(crate) fn parsed<T: FromStr<Err: std::error::Error>>(
        &mut self,
        key: &str,
    ) -> Result<Option<T>, ConfigError> {
        let text = self.text(key)?;
        let parsed = text.map(T::from_str).transpose();
        parsed.map_err(|error| self.error(key, error.to_string()))
    }

    /// The same, where it must be there.
    pub(crate) fn required<T: FromStr<Err: std::error::Error>>(
        &mut self,
        key: &str,
    ) -> Result<T, ConfigError> {
        let parsed = self.parsed(key)?;
        parsed.ok_or_else(|| self.error(key, "this key is missing, add it"))
    }

    /// A section below this one.
    pub(crate) fn section(&mut self, key: &str) -> Result<Option<Section<'a>>, ConfigError> {
        let value = self.value(key);
        let path = self.path_of(key);
        value.map(|value| Section::new(path, value)).transpose()
    }

    /// Makes sure that nothing was left unread.
    ///
    /// # Errors
    /// There is a key that means nothing here.
    pub(crate) fn finish(self, known: &str) -> Result<(), ConfigError> {
        match self.unread.first_key_value() {
            None => Ok(()),
            Some((key, _)) => {
                let rule = format!("no such key here, there are {known}");
                Err(self.error(&shown(key), rule))
            }
        }
    }
}

/// What a value is, in a word.
pub(crate) const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "keys",
    }
}

//! Where settings come from: environment over file over default.

use std::borrow::Cow;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::failure::Failure;

/// Where a setting comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A flag of this command.
    Flag(&'static str),
    /// A variable of the environment.
    Environment(Cow<'static, str>),
    /// The configuration file.
    File(PathBuf),
    /// Nothing says otherwise.
    Default,
}

impl Origin {
    /// Its kind, and which one.
    pub(crate) fn named(&self) -> (&'static str, Option<String>) {
        match self {
            Self::Flag(name) => ("flag", Some((*name).to_owned())),
            Self::Environment(name) => ("environment", Some(name.clone().into_owned())),
            Self::File(path) => ("file", Some(path.display().to_string())),
            Self::Default => ("default", None),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "flag {name}"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A setting, and where it comes from.
#[derive(Debug, Clone)]
pub struct Setting<T> {
    /// What it is.
    pub value: T,
    /// Where it comes from.
    pub origin: Origin,
}

/// A variable of the environment: its name, and what it holds.
pub(super) type Variable<'a> = (&'static str, Option<&'a OsString>);

pub(super) struct Layers {
    pub(super) file: Option<PathBuf>,
}

impl Layers {
    /// Environment over file over default.
    pub(super) fn of<T>(
        &self,
        environment: Option<(&'static str, T)>,
        file: Option<T>,
        default: T,
    ) -> Setting<T> {
        let (value, origin) = match (environment, file, &self.file) {
            (Some((name, value)), _, _) => (value, Origin::Environment(name.into())),
            (None, Some(value), Some(path)) => (value, Origin::File(path.clone())),
            (None, Some(value), None) => (value, Origin::Default),
            (None, None, _) => (default, Origin::Default),
        };
        Setting { value, origin }
    }

    pub(super) fn only<T>(&self, file: Option<T>, default: T) -> Setting<T> {
        self.of(None, file, default)
    }

    /// As [`Layers::of`], for what is parsed and need not be there.
    pub(super) fn parsed<T>(
        &self,
        variable: Variable<'_>,
        file: Option<T>,
    ) -> Result<Setting<Option<T>>, Failure>
    where
        T: FromStr<Err: std::error::Error>,
    {
        Ok(self.of(
            parse(variable)?.map(|(name, value)| (name, Some(value))),
            file.map(Some),
            None,
        ))
    }
}

pub(super) fn parse<T>((name, value): Variable<'_>) -> Result<Option<(&'static str, T)>, Failure>
where
    T: FromStr<Err: std::error::Error>,
{
    let Some(value) = value else { return Ok(None) };
    let text = value.to_string_lossy();
    let wrong = |error: T::Err| {
        Failure::new(
            format!("a variable is not what is expected, name=`{name}`"),
            "correct it, or unset it",
        )
        .because(&error)
    };
    text.parse().map(|value| Some((name, value))).map_err(wrong)
}

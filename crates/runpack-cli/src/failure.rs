//! Exit codes, and errors as a person reads them: what happened, why, and what to do next.

mod explain;

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

use serde_json::{Value, json};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: valid, or done.
    Success,
    /// 1: invalid, or (of `diff`) different.
    Invalid,
    /// 2: undecided, or not done: misuse, or something failed.
    Trouble,
    /// 3: consistent, and nothing outside the pack vouches for it.
    Consistent,
}

impl Exit {
    /// The number.
    pub const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Invalid => 1,
            Self::Trouble => 2,
            Self::Consistent => 3,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command was not done.
#[derive(Debug, Clone)]
pub struct Failure {
    message: String,
    details: Vec<String>,
    causes: Vec<String>,
    help: String,
    exit: Exit,
}

impl Failure {
    /// What happened, and what to do about it.
    pub fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            details: Vec::new(),
            causes: Vec::new(),
            help: help.into(),
            exit: Exit::Trouble,
        }
    }

    /// With the error behind it, and what is behind that.
    #[must_use]
    pub fn because(mut self, error: &dyn Error) -> Self {
        let mut cause = Some(error);
        while let Some(error) = cause {
            self.causes.push(error.to_string());
            cause = error.source();
        }
        self
    }

    /// With one line more for each thing that it is about.
    #[must_use]
    pub fn with_details(mut self, details: Vec<String>) -> Self {
        self.details.extend(details);
        self
    }

    /// With another exit code than 2.
    #[must_use]
    pub fn with_exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// The exit code.
    pub const fn exit(&self) -> Exit {
        self.exit
    }

    /// What happened and why, in one line. May quote untrusted text.
    pub fn line(&self) -> String {
        let mut line = self.message.clone();
        for cause in &self.causes {
            line.push_str(": ");
            line.push_str(cause);
        }
        line
    }

    /// One line for each thing that it is about. May quote untrusted text.
    pub fn details(&self) -> &[String] {
        &self.details
    }

    /// What to do next. May quote untrusted text.
    pub fn help(&self) -> &str {
        &self.help
    }

    /// The same without what could be a credential: what stands before the `@` of a URL (RFC 3986, section 3.2.1).
    pub(crate) fn masked(self) -> Self {
        let all = |texts: Vec<String>| texts.iter().map(|text| mask(text)).collect();
        Self {
            message: mask(&self.message),
            details: all(self.details),
            causes: all(self.causes),
            help: mask(&self.help),
            exit: self.exit,
        }
    }

    /// As JSON: `Docs/cli/error.schema.json`.
    pub fn to_json(&self) -> Value {
        json!({
            "error": {
                "message": self.message,
                "causes": self.causes,
                "details": self.details,
                "help": self.help,
                "exit_code": self.exit.code(),
            }
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line())
    }
}

impl Error for Failure {}

fn mask(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        masked.push_str(before);
        masked.push_str("://");
        let authority = after.find(|c: char| c == '/' || c.is_whitespace());
        let (authority, further) = after.split_at(authority.unwrap_or(after.len()));
        match authority.rsplit_once('@') {
            Some((_, host)) => {
                masked.push_str("(not shown)@");
                masked.push_str(host);
            }
            None => masked.push_str(authority),
        }
        rest = further;
    }
    masked.push_str(rest);
    masked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k01_what_stands_before_a_host_is_not_shown() {
        for (text, shown) in [
            (
                "`https://KEY:SECRET@host:9000/a`",
                "`https://(not shown)@host:9000/a`",
            ),
            (
                "x://a@b@c y://d@e z",
                "x://(not shown)@c y://(not shown)@e z",
            ),
            (
                "s3://bucket/a@b and mail@host",
                "s3://bucket/a@b and mail@host",
            ),
            ("https://", "https://"),
        ] {
            assert_eq!(mask(text), shown);
        }
    }
}

//! Which requests something goes wrong for.

use std::sync::Arc;

use super::fault::Fault;
use crate::wire::Request;

/// A fault, which requests it is for, and from which of them on.
///
/// Without more, it applies to the first request. Every condition must hold; requests for which they hold
/// are counted, also while another rule applies to them.
#[derive(Debug)]
pub struct Rule {
    pub(super) fault: Arc<Fault>,
    conditions: Vec<Condition>,
    first: u64,
    times: u64,
}

#[derive(Debug)]
enum Condition {
    Method(String),
    KeyEndsWith(String),
    KeyContains(String),
    Query(String),
    QueryIs(String, String),
    NoQuery(String),
    Header(String),
    NoHeader(String),
}

impl Rule {
    /// This fault, at the first request.
    pub fn new(fault: Fault) -> Self {
        Self {
            fault: Arc::new(fault),
            conditions: Vec::new(),
            first: 1,
            times: 1,
        }
    }

    /// Only for this method.
    #[must_use]
    pub fn method(self, method: &str) -> Self {
        self.only(Condition::Method(method.to_owned()))
    }

    /// Only where the path, as it is decoded and without the query, ends so.
    #[must_use]
    pub fn key_ends_with(self, suffix: &str) -> Self {
        self.only(Condition::KeyEndsWith(suffix.to_owned()))
    }

    /// Only where the path, as it is decoded and without the query, has this somewhere.
    #[must_use]
    pub fn key_contains(self, part: &str) -> Self {
        self.only(Condition::KeyContains(part.to_owned()))
    }

    /// Only with this name in the query: `uploads` begins an upload in parts, `partNumber` is one of them,
    /// `list-type` a listing.
    #[must_use]
    pub fn query(self, name: &str) -> Self {
        self.only(Condition::Query(name.to_owned()))
    }

    /// Only with this in the query.
    #[must_use]
    pub fn query_is(self, name: &str, value: &str) -> Self {
        self.only(Condition::QueryIs(name.to_owned(), value.to_owned()))
    }

    /// Only without this name in the query.
    #[must_use]
    pub fn no_query(self, name: &str) -> Self {
        self.only(Condition::NoQuery(name.to_owned()))
    }

    /// Only with this header.
    #[must_use]
    pub fn header(self, name: &str) -> Self {
        self.only(Condition::Header(name.to_owned()))
    }

    /// Only without this header.
    #[must_use]
    pub fn no_header(self, name: &str) -> Self {
        self.only(Condition::NoHeader(name.to_owned()))
    }

    /// Only a plain write of an object: no part, no copy.
    #[must_use]
    pub fn put_object(self) -> Self {
        self.method("PUT")
            .no_query("partNumber")
            .no_header("x-amz-copy-source")
    }

    /// Only a part of an upload.
    #[must_use]
    pub fn upload_part(self) -> Self {
        self.method("PUT").query("partNumber")
    }

    /// Only the beginning of an upload in parts.
    #[must_use]
    pub fn begin_upload(self) -> Self {
        self.method("POST").query("uploads")
    }

    /// Only the completion of an upload in parts.
    #[must_use]
    pub fn complete_upload(self) -> Self {
        self.method("POST").query("uploadId")
    }

    /// From the `number`th such request on; the first is 1.
    #[must_use]
    pub fn nth(mut self, number: u64) -> Self {
        self.first = number;
        self
    }

    /// For so many such requests.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }

    /// For all such requests, from the first or the [`Rule::nth`] on.
    #[must_use]
    pub fn always(self) -> Self {
        self.times(u64::MAX)
    }

    fn only(mut self, condition: Condition) -> Self {
        self.conditions.push(condition);
        self
    }
}

impl Condition {
    fn holds(&self, request: &Request) -> bool {
        let has = |name: &String| request.query.iter().any(|(found, _)| found == name);
        match self {
            Self::Method(method) => request.head.method() == method,
            Self::KeyEndsWith(suffix) => request.path.ends_with(suffix),
            Self::KeyContains(part) => request.path.contains(part),
            Self::Query(name) => has(name),
            Self::QueryIs(name, value) => {
                let wanted = (name, value);
                request
                    .query
                    .iter()
                    .any(|(name, value)| (name, value) == wanted)
            }
            Self::NoQuery(name) => !has(name),
            Self::Header(name) => request.head.header(name).is_some(),
            Self::NoHeader(name) => request.head.header(name).is_none(),
        }
    }
}

/// A rule, and how many requests it has seen.
pub(super) struct Planned {
    pub(super) rule: Rule,
    seen: u64,
}

impl Planned {
    pub(super) fn new(rule: Rule) -> Self {
        Self { rule, seen: 0 }
    }

    /// Counts the request if it is one of those, and says whether its turn has come.
    pub(super) fn is_due(&mut self, request: &Request) -> bool {
        let rule = &self.rule;
        if !rule
            .conditions
            .iter()
            .all(|condition| condition.holds(request))
        {
            return false;
        }
        self.seen += 1;
        self.seen >= rule.first && self.seen - rule.first < rule.times
    }
}

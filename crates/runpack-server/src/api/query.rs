//! Parts of paths, queries and headers, parsed and never repaired.

use std::fmt::Display;
use std::str::FromStr;

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use runpack_core::display::Printable;
use runpack_core::id::{Organization, Project};
use serde::de::DeserializeOwned;

use crate::access::Scope;
use crate::problem::Problem;

/// The most of a list that one answer has.
pub(super) const PAGE_MAX: u32 = 1_000;
/// How much of a list an answer has where nothing is asked.
pub(super) const PAGE: u32 = 100;

/// How much of a list is asked for.
///
/// # Errors
/// Nothing, or more than an answer has.
pub(super) fn page(limit: Option<u32>) -> Result<usize, Problem> {
    let limit = limit.unwrap_or(PAGE);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Problem::bad_request(format!("`limit` is 1 to {PAGE_MAX}")));
    }
    Ok(usize::try_from(limit).unwrap_or(1))
}

/// A part of a request.
///
/// # Errors
/// It is not what is expected there.
pub(crate) fn parse<T: FromStr<Err: Display>>(name: &str, text: &str) -> Result<T, Problem> {
    text.parse().map_err(|error: T::Err| {
        Problem::bad_request(format!("`{name}`: {}", Printable(&error.to_string())))
    })
}

/// The same, where it may be missing.
///
/// # Errors
/// It is there, and not what is expected.
pub(crate) fn parse_some<T: FromStr<Err: Display>>(
    name: &str,
    text: Option<&str>,
) -> Result<Option<T>, Problem> {
    text.map(|text| parse(name, text)).transpose()
}

/// Whose something is.
pub(super) fn scope(organization: &Organization, project: &Project) -> Scope {
    Scope {
        organization: organization.as_str().into(),
        project: Some(project.as_str().into()),
    }
}

/// The parts of the path.
#[derive(Debug)]
pub(super) struct At<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for At<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(found)) => Ok(Self(found)),
            Err(_) => Err(Problem::bad_request("the path is not UTF-8")),
        }
    }
}

/// The query, each parameter once and none that is not known.
#[derive(Debug)]
pub(super) struct Asked<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(found)) => Ok(Self(found)),
            Err(error) => Err(Problem::bad_request(
                Printable(&error.body_text()).to_string(),
            )),
        }
    }
}

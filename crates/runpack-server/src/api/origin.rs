//! From which page a request comes (C43): a browser sends what a proxy takes for a login with every request, whoever's page
//! asked for it.

use axum::http::uri::{Authority, Uri};
use axum::http::{HeaderMap, HeaderValue, header};

use crate::problem::Problem;

/// That the request comes from no page of another host.
///
/// Browsers say of themselves how the page and the server are to each other (Fetch Metadata, `Sec-Fetch-Site`), over TLS and
/// on loopback; elsewhere they name the page's origin, which is held against `Host`. Other programs say nothing.
///
/// # Errors
/// It comes from one.
pub(super) fn check(headers: &HeaderMap, uri: &Uri) -> Result<(), Problem> {
    let is_ours = match headers.get("sec-fetch-site") {
        Some(site) => site == "same-origin" || site == "none",
        None => is_same_origin(headers, uri),
    };
    if is_ours {
        return Ok(());
    }
    Err(Problem::forbidden(
        "a page of another host may not ask for this here",
    ))
}

fn is_same_origin(headers: &HeaderMap, uri: &Uri) -> bool {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let Some(origin) = origins.next() else {
        return true;
    };
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let host = match host {
        Some(host) => host.parse().ok(),
        None => uri.authority().cloned(),
    };
    origins.next().is_none() && host.is_some_and(|host| is_same_host(origin, &host))
}

fn is_same_host(origin: &HeaderValue, host: &Authority) -> bool {
    let Some(origin) = origin
        .to_str()
        .ok()
        .and_then(|text| text.parse::<Uri>().ok())
    else {
        return false;
    };
    let port = match origin.scheme_str() {
        Some("http") => 80,
        Some("https") => 443,
        _ => return false,
    };
    let is_same = |from: &Authority| {
        from.host().eq_ignore_ascii_case(host.host())
            && from.port_u16().unwrap_or(port) == host.port_u16().unwrap_or(port)
    };
    origin.authority().is_some_and(is_same)
}

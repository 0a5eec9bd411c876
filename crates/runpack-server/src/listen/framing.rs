//! Requests whose end two servers may see in different places (threat C05), which are refused though hyper reads them.
//!
//! hyper refuses on its own: lengths that differ or are no number, folded lines, a space before a colon, a transfer
//! coding that does not end in `chunked` or comes with HTTP/1.0. Of a request with both a length and a transfer coding it
//! reads the coding, drops the length, and closes the connection after the answer (RFC 9112, section 6.3), so that what
//! follows is no request; that a length was there cannot be seen here.

use axum::http::{HeaderMap, Version, header};

/// What is wrong with the framing of a request, if anything is.
pub(super) fn fault(version: Version, headers: &HeaderMap) -> Option<&'static str> {
    // Any more than `chunked` alone is a coding that we do not undo, or one that others may not see as we do.
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next()
        && (codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
    {
        return Some("the one transfer coding that is taken is `chunked`, once");
    }
    let hosts = headers.get_all(header::HOST).iter().count();
    // RFC 9112, section 3.2.
    if hosts > 1 || (hosts == 0 && version == Version::HTTP_11) {
        return Some("one header `Host` is needed");
    }
    None
}

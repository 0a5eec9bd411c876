//! Places in buckets as receipts record them: a service other than Amazon's is part of the place, since two
//! services may each have a bucket of one name.
//!
//! At Amazon S3, whose buckets are unique: `s3://BUCKET/KEY`. Elsewhere: `s3+https://HOST[:PORT]/BUCKET/KEY`,
//! the host in lower case and the port left out where it is the scheme's own.

use runpack_core::store::s3::{Endpoint, S3Settings};

/// For people: without the endpoint.
pub(super) fn shown(settings: &S3Settings, key: &str) -> String {
    format!(
        "s3://{}/{}{key}",
        settings.bucket,
        settings.path_prefix.as_str()
    )
}

/// For receipts.
pub(super) fn recorded(settings: &S3Settings, key: &str) -> String {
    match settings.endpoint.as_ref().and_then(service) {
        None => shown(settings, key),
        Some(service) => format!(
            "s3+{service}/{}/{}{key}",
            settings.bucket,
            settings.path_prefix.as_str()
        ),
    }
}

/// The base URL of a service that is not Amazon S3, in one spelling.
fn service(endpoint: &Endpoint) -> Option<String> {
    let url = endpoint.as_str().to_ascii_lowercase();
    let host = endpoint.host().to_ascii_lowercase();
    if host == "amazonaws.com" || host.ends_with(".amazonaws.com") {
        return None;
    }
    let own_port = if endpoint.is_plain() { ":80" } else { ":443" };
    Some(url.strip_suffix(own_port).unwrap_or(&url).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_told_apart_and_spelled_in_one_way() {
        for (endpoint, expected) in [
            (None, "s3://bucket/p/k"),
            (
                Some("https://s3.eu-central-1.amazonaws.com"),
                "s3://bucket/p/k",
            ),
            (
                Some("https://EXAMPLE.com"),
                "s3+https://example.com/bucket/p/k",
            ),
            (
                Some("https://example.com:443"),
                "s3+https://example.com/bucket/p/k",
            ),
            (
                Some("https://example.com:9000"),
                "s3+https://example.com:9000/bucket/p/k",
            ),
            (
                Some("http://127.0.0.1:80"),
                "s3+http://127.0.0.1/bucket/p/k",
            ),
            (
                Some("http://127.0.0.1:8000"),
                "s3+http://127.0.0.1:8000/bucket/p/k",
            ),
            (
                Some("https://notamazonaws.com"),
                "s3+https://notamazonaws.com/bucket/p/k",
            ),
        ] {
            let mut settings = S3Settings::new("bucket".parse().unwrap());
            settings.path_prefix = "p".parse().unwrap();
            settings.endpoint = endpoint.map(|endpoint| endpoint.parse().unwrap());
            assert_eq!(recorded(&settings, "k"), expected);
            assert_eq!(shown(&settings, "k"), "s3://bucket/p/k");
        }
    }
}

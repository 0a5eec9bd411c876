//! How people name a store: `file:PATH`, `s3://BUCKET/PREFIX` or `region:NAME`, in one parser.

use std::fmt;
use std::path::PathBuf;

use runpack_core::key::{Location, ObjectKey};
use runpack_core::manifest::Subject;
use runpack_core::store::s3::{BucketName, PathPrefix};

use crate::place;
use crate::regions::RegionName;

/// A store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreAddress {
    /// A directory.
    File(PathBuf),
    /// A bucket.
    S3(BucketAddress),
    /// One of `runpacks.regions`.
    Region(RegionName),
}

/// A bucket, and the part of it that is the store. Where its service is, the settings say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketAddress {
    /// The bucket.
    pub bucket: BucketName,
    /// What stands before every key.
    pub prefix: PathPrefix,
}

impl fmt::Display for StoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::S3(address) => address.fmt(f),
            Self::Region(name) => write!(f, "region:{name}"),
        }
    }
}

impl fmt::Display for BucketAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = self.prefix.as_str();
        let slash = if prefix.is_empty() { "" } else { "/" };
        write!(
            f,
            "s3://{}{slash}{}",
            self.bucket,
            prefix.trim_end_matches('/')
        )
    }
}

/// What is named within a store, where the address goes on to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Within {
    /// A run's pack.
    Pack(Box<Subject>),
    /// A bundle.
    Bundle(ObjectKey),
}

/// A store as `--to`, `--from` and `--store` name it.
///
/// # Errors
/// It is none; the text says how one is written.
pub fn parse_store(text: &str) -> Result<StoreAddress, String> {
    if let Some(rest) = text.strip_prefix("s3://") {
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let wrong =
            |error: &dyn fmt::Display| format!("{error}: a bucket is written s3://BUCKET/PREFIX");
        return Ok(StoreAddress::S3(BucketAddress {
            bucket: bucket.parse().map_err(|error| wrong(&error))?,
            prefix: prefix.parse().map_err(|error| wrong(&error))?,
        }));
    }
    if let Some(name) = text.strip_prefix("region:") {
        let wrong =
            |_| "a region is written region:NAME, as `runpacks.regions` names it".to_owned();
        return name.parse().map(StoreAddress::Region).map_err(wrong);
    }
    match place::path_of_file_uri(text) {
        Some(path) => Ok(StoreAddress::File(path)),
        None if text.contains("://") => {
            Err("a store is written file:PATH or s3://BUCKET/PREFIX".to_owned())
        }
        None => Err(format!(
            "a store is written file:PATH or s3://BUCKET/PREFIX, here file:{text}"
        )),
    }
}

/// Whether a target is named as a store, or as something within one.
pub(crate) fn is_store(text: &[u8]) -> bool {
    [&b"file:"[..], b"s3://", b"region:"]
        .iter()
        .any(|scheme| text.starts_with(scheme))
}

/// A store, and what is named within it: the place of a run's pack or of its manifest, or a bundle, as `list` and
/// `export` print them.
///
/// # Errors
/// It is none.
pub(crate) fn parse_within(text: &str) -> Result<(StoreAddress, Option<Within>), String> {
    let segments: Vec<&str> = text.trim_end_matches('/').split('/').collect();
    // The place of a manifest, with or without `/manifest.json`, or a bundle, below as long a store as can be: of the
    // layouts the longest place has ten segments. Some of the address must be left for the store.
    let starts = (1..segments.len()).rev().take(10);
    for (start, then) in starts.flat_map(|start| [(start, ""), (start, "/manifest.json")]) {
        let (store, key) = segments.split_at(start);
        let location = Location::parse(&format!("{}{then}", key.join("/")));
        let within = location.and_then(|location| match location {
            Location::Bundle { .. } => location.key().ok().map(Within::Bundle),
            other => other
                .manifest_subject()
                .map(|subject| Within::Pack(Box::new(subject))),
        });
        let store = store.join("/");
        if within.is_some() && store != "s3:/" {
            return parse_store(&store).map(|store| (store, within));
        }
    }
    parse_store(text).map(|store| (store, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_and_what_is_none() {
        for (text, shown) in [
            ("file:packs", "file:packs"),
            ("file:///srv/a%20b", "file:/srv/a b"),
            ("s3://bucket", "s3://bucket"),
            ("s3://bucket/", "s3://bucket"),
            ("s3://bucket/a/b/", "s3://bucket/a/b"),
            ("region:eu-1", "region:eu-1"),
        ] {
            assert_eq!(parse_store(text).unwrap().to_string(), shown);
        }
        for bad in [
            "",
            "file:",
            "packs",
            "s3:bucket",
            "s3://",
            "s3:///prefix",
            "s3://b",
            "s3://user:secret@bucket",
            "s3://bucket/../x",
            "s3://bucket//x",
            "s3://bucket?x=y",
            "https://host/bucket",
            "region:",
            "region:EU",
            "region:eu/x",
            "region:-eu",
            "region:eu_1",
            "file://host/a",
        ] {
            assert!(parse_store(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn steps_and_executions_are_within_too() {
        for place in [
            "executions/01ARZ3NDEKTSV4RRFFQ69G5FAV",
            "acme/runs/r-1/steps/s-1",
        ] {
            for text in [
                format!("s3://bucket/p/{place}"),
                format!("s3://bucket/p/{place}/manifest.json"),
            ] {
                let (found, within) = parse_within(&text).unwrap();
                assert_eq!(found.to_string(), "s3://bucket/p", "{text}");
                assert!(
                    matches!(within, Some(Within::Pack(_))),
                    "{text}: {within:?}"
                );
            }
        }
    }

    #[test]
    fn what_is_within() {
        let spec = "0".repeat(64);
        let pack = format!("tenant/a/namespace/b/scenario/c/run/d/{spec}");
        let bundle = format!("2026/11/d/{spec}.tar.gz");
        for store in [
            "s3://bucket",
            "s3://bucket/p/q",
            "file:/srv/packs",
            "file:///srv/packs",
            "region:eu",
        ] {
            let plain = parse_store(store).unwrap();
            for text in [
                format!("{store}/{pack}"),
                format!("{store}/{pack}/"),
                format!("{store}/{pack}/manifest.json"),
            ] {
                let (found, within) = parse_within(&text).unwrap();
                assert_eq!(found, plain, "{text}");
                assert!(matches!(within, Some(Within::Pack(_))), "{text}");
            }
            let (found, within) = parse_within(&format!("{store}/{bundle}")).unwrap();
            assert_eq!(found, plain);
            assert!(matches!(&within, Some(Within::Bundle(key)) if key.as_str() == bundle));
            assert_eq!(parse_within(store).unwrap(), (plain, None));
        }
        assert!(parse_within(&format!("s3://{pack}")).is_ok_and(|(_, within)| within.is_none()));
    }
}

//! Listings of the null server, and what little XML it reads.

use std::fmt::Write as _;
use std::ops::Bound;

use super::memory::{Bucket, Object};
use super::request::Asked;

const KEYS_MAX: usize = 1_000;

/// The answer to a GET that is not for an object; nothing where such a thing is not set up.
pub(super) fn of(asked: &Asked<'_>) -> Option<String> {
    if asked.bucket.is_empty() {
        let names = asked.memory.bucket_names().into_iter().map(|name| {
            format!("<Bucket><Name>{name}</Name><CreationDate>2026-01-01T00:00:00.000Z</CreationDate></Bucket>")
        });
        let names: String = names.collect();
        return Some(format!(
            "<ListAllMyBucketsResult><Owner><ID>null</ID></Owner><Buckets>{names}</Buckets></ListAllMyBucketsResult>"
        ));
    }
    if asked.has("uploadId") {
        return parts(asked);
    }
    if !asked.key.is_empty() {
        return None;
    }
    if asked.has("location") {
        return Some("<LocationConstraint></LocationConstraint>".to_owned());
    }
    if asked.has("versioning") {
        return Some("<VersioningConfiguration></VersioningConfiguration>".to_owned());
    }
    if asked.has("uploads") {
        return Some(uploads(asked));
    }
    let is_listing = asked.request.query.iter().all(|(name, _)| {
        matches!(
            name.as_str(),
            "list-type"
                | "prefix"
                | "delimiter"
                | "max-keys"
                | "marker"
                | "start-after"
                | "continuation-token"
                | "encoding-type"
                | "fetch-owner"
                | "versions"
                | "key-marker"
                | "version-id-marker"
                | "x-id"
        )
    });
    is_listing.then(|| objects(asked))
}

/// One page of a bucket.
struct Page {
    entries: String,
    prefixes: Vec<String>,
    count: usize,
    /// The last key of the page, where there are more.
    next: Option<String>,
}

fn objects(asked: &Asked<'_>) -> String {
    let with_versions = asked.has("versions");
    let page = asked
        .memory
        .with_bucket(asked.bucket, |bucket| page(asked, bucket, with_versions));
    let name = |text: &str| spelled(asked, text);
    let mut body = format!(
        "<Name>{}</Name><Prefix>{}</Prefix><KeyCount>{}</KeyCount><MaxKeys>{KEYS_MAX}</MaxKeys><IsTruncated>{}</IsTruncated>",
        asked.bucket,
        name(asked.query("prefix").unwrap_or("")),
        page.count,
        page.next.is_some()
    );
    if let Some(next) = &page.next {
        let next = name(next);
        // Writing to a string does not fail.
        let _ = if with_versions {
            write!(
                body,
                "<NextKeyMarker>{next}</NextKeyMarker><NextVersionIdMarker>null</NextVersionIdMarker>"
            )
        } else if asked.has("list-type") {
            write!(
                body,
                "<NextContinuationToken>{next}</NextContinuationToken>"
            )
        } else {
            write!(body, "<NextMarker>{next}</NextMarker>")
        };
    }
    if asked.has("encoding-type") {
        body.push_str("<EncodingType>url</EncodingType>");
    }
    body.push_str(&page.entries);
    for prefix in page.prefixes {
        let prefix = name(&prefix);
        let _ = write!(
            body,
            "<CommonPrefixes><Prefix>{prefix}</Prefix></CommonPrefixes>"
        );
    }
    let element = if with_versions {
        "ListVersionsResult"
    } else {
        "ListBucketResult"
    };
    format!("<{element} xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{body}</{element}>")
}

fn page(asked: &Asked<'_>, bucket: &Bucket, with_versions: bool) -> Page {
    let prefix = asked.query("prefix").unwrap_or("");
    let delimiter = asked
        .query("delimiter")
        .filter(|delimiter| !delimiter.is_empty());
    let keys_max = asked.query("max-keys").and_then(|keys| keys.parse().ok());
    let keys_max = keys_max.unwrap_or(KEYS_MAX).min(KEYS_MAX);
    let markers = ["continuation-token", "start-after", "marker", "key-marker"];
    let after = markers
        .iter()
        .find_map(|name| asked.query(name))
        .unwrap_or("");
    let start = if after < prefix {
        Bound::Included(prefix)
    } else {
        Bound::Excluded(after)
    };
    let mut page = Page {
        entries: String::new(),
        prefixes: Vec::new(),
        count: 0,
        next: None,
    };
    let mut last: Option<String> = None;
    for (key, object) in bucket.range::<str, _>((start, Bound::Unbounded)) {
        let Some(rest) = key.strip_prefix(prefix) else {
            break;
        };
        let folder = delimiter.and_then(|delimiter| {
            let end = rest.find(delimiter)? + delimiter.len();
            Some(format!("{prefix}{}", rest.get(..end)?))
        });
        if let Some(folder) = &folder
            && (page.prefixes.last() == Some(folder) || after.starts_with(folder.as_str()))
        {
            // The next page begins behind all of it.
            last = Some(key.clone());
            continue;
        }
        if page.count == keys_max {
            page.next = last;
            return page;
        }
        page.count += 1;
        last = Some(key.clone());
        match folder {
            Some(folder) => page.prefixes.push(folder),
            None => entry(asked, &mut page.entries, key, object, with_versions),
        }
    }
    page
}

fn entry(asked: &Asked<'_>, entries: &mut String, key: &str, object: &Object, is_version: bool) {
    let (element, version) = if is_version {
        (
            "Version",
            "<VersionId>null</VersionId><IsLatest>true</IsLatest>",
        )
    } else {
        ("Contents", "")
    };
    let _ = write!(
        entries,
        "<{element}><Key>{}</Key>{version}<LastModified>{:.3}</LastModified><ETag>{}</ETag><Size>{}</Size>\
         <StorageClass>STANDARD</StorageClass></{element}>",
        spelled(asked, key),
        object.modified,
        escape(&object.tag),
        object.bytes
    );
}

fn uploads(asked: &Asked<'_>) -> String {
    let prefix = asked.query("prefix").unwrap_or("");
    let uploads = asked.memory.uploads();
    let mine = uploads
        .iter()
        .filter(|(_, upload)| upload.bucket == asked.bucket && upload.key.starts_with(prefix));
    let mut entries = String::new();
    for (number, upload) in mine {
        let _ = write!(
            entries,
            "<Upload><Key>{}</Key><UploadId>{number}</UploadId><Initiated>{:.3}</Initiated></Upload>",
            spelled(asked, &upload.key),
            upload.begun
        );
    }
    format!(
        "<ListMultipartUploadsResult><Bucket>{}</Bucket><IsTruncated>false</IsTruncated>{entries}</ListMultipartUploadsResult>",
        asked.bucket
    )
}

fn parts(asked: &Asked<'_>) -> Option<String> {
    let uploads = asked.memory.uploads();
    let upload = uploads.get(&asked.upload()?)?;
    let mut entries = String::new();
    for (number, part) in &upload.parts {
        let _ = write!(
            entries,
            "<Part><PartNumber>{number}</PartNumber><ETag>{}</ETag><Size>{}</Size></Part>",
            escape(&part.tag),
            part.segment.bytes
        );
    }
    Some(format!(
        "<ListPartsResult><IsTruncated>false</IsTruncated>{entries}</ListPartsResult>"
    ))
}

/// A name as the client wants it.
fn spelled(asked: &Asked<'_>, name: &str) -> String {
    if !asked.has("encoding-type") {
        return escape(name);
    }
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~/*".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// The text inside XML.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            _ => escaped.push(char),
        }
    }
    escaped
}

/// The texts of all elements of this name.
pub(super) fn texts(xml: &str, element: &str) -> Vec<String> {
    let (open, close) = (format!("<{element}>"), format!("</{element}>"));
    let inside = xml.split(&open).skip(1);
    let texts = inside.filter_map(|after| after.split_once(&close));
    texts
        .map(|(text, _)| {
            text.replace("&lt;", "<")
                .replace("&gt;", ">")
                .replace("&quot;", "\"")
                .replace("&#34;", "\"")
                .replace("&apos;", "'")
                .replace("&#39;", "'")
                .replace("&amp;", "&")
        })
        .collect()
}

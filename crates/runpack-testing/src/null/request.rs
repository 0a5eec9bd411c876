//! What the null server does for each request.

use std::io::{self, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::ops::Range;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use runpack_core::digest::Digest;

use super::answer::Answer;
use super::listing;
use super::memory::{Memory, Object, Part, Segment, Upload};
use crate::wire::{Framing, Request, collect};

/// The headers of a write that come back with every answer about the object.
const KEPT_HEADERS: &[&str] = &[
    "content-type",
    "content-disposition",
    "content-language",
    "cache-control",
    "expires",
];
const SHA256: &str = "x-amz-checksum-sha256";

/// A request that is being answered.
pub(super) struct Asked<'a> {
    pub(super) request: &'a Request,
    pub(super) bucket: &'a str,
    pub(super) key: &'a str,
    pub(super) stream: &'a TcpStream,
    pub(super) memory: &'a Memory,
}

/// Serves one request; whether another may follow.
pub(super) fn serve(
    reader: &mut BufReader<&TcpStream>,
    stream: &TcpStream,
    memory: &Memory,
) -> io::Result<bool> {
    let Some(request) = Request::read(reader)? else {
        return Ok(false);
    };
    if request.head.header("Expect").is_some() {
        (&*stream).write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let path = request.path.strip_prefix('/').unwrap_or(&request.path);
    let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
    let asked = Asked {
        request: &request,
        bucket,
        key,
        stream,
        memory,
    };
    let wants_close = |value: &str| value.eq_ignore_ascii_case("close");
    let is_last = request.head.header("Connection").is_some_and(wants_close);
    match request.head.method() {
        "PUT" if !key.is_empty() => asked.put(reader)?,
        "GET" | "HEAD" if !key.is_empty() && !asked.has("uploadId") => asked.read()?,
        _ => {
            let body = collect(reader, request.head.framing_of_request())?;
            asked.other(&body)?;
        }
    }
    Ok(!is_last)
}

impl Asked<'_> {
    pub(super) fn has(&self, name: &str) -> bool {
        self.query(name).is_some()
    }

    pub(super) fn query(&self, name: &str) -> Option<&str> {
        let mut query = self.request.query.iter();
        query
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.request.head.header(name)
    }

    pub(super) fn answer(&self, status: &str) -> Answer {
        Answer::new(status, self.request.head.method())
    }

    fn error(&self, status: &str, code: &str) -> io::Result<()> {
        let body = format!("<Error><Code>{code}</Code><Message>{code}</Message></Error>");
        self.answer(status).send_xml(self.stream, &body)
    }

    fn put(&self, reader: &mut BufReader<&TcpStream>) -> io::Result<()> {
        let segment = self.body(reader)?;
        if self.has("partNumber") {
            return self.put_part(segment);
        }
        if let Some(source) = self.header("x-amz-copy-source") {
            return self.copy(source);
        }
        let object = Object {
            bytes: segment.bytes,
            segments: vec![segment],
            tag: self.tag(),
            headers: self.kept_headers(),
            checksums: self.checksums(),
            modified: Timestamp::now(),
        };
        let answer = self
            .answer("200 OK")
            .header("ETag", &object.tag)
            .headers(&object.checksums);
        if self.store(self.key, object) {
            answer.send(self.stream, b"")
        } else {
            self.error("412 Precondition Failed", "PreconditionFailed")
        }
    }

    /// Keeps the object, unless it must be new and is not.
    fn store(&self, key: &str, object: Object) -> bool {
        let must_be_new = self.header("If-None-Match").is_some();
        let replaced = self.memory.with_bucket(self.bucket, |bucket| {
            if must_be_new && bucket.contains_key(key) {
                return Err(());
            }
            Ok(bucket.insert(key.to_owned(), Arc::new(object)))
        });
        // Its memory is given back here, after the lock.
        replaced.is_ok()
    }

    fn put_part(&self, segment: Arc<Segment>) -> io::Result<()> {
        let part = Part {
            segment,
            tag: self.tag(),
            sha256: self.header(SHA256).map(str::to_owned),
        };
        let answer = self
            .answer("200 OK")
            .header("ETag", &part.tag)
            .headers(&self.checksums());
        let number = self
            .query("partNumber")
            .and_then(|number| number.parse().ok());
        let mut uploads = self.memory.uploads();
        let upload = self.upload().and_then(|upload| uploads.get_mut(&upload));
        let (Some(upload), Some(number)) = (upload, number) else {
            drop(uploads);
            return self.error("404 Not Found", "NoSuchUpload");
        };
        let replaced = upload.parts.insert(number, part);
        drop(uploads);
        drop(replaced);
        answer.send(self.stream, b"")
    }

    fn copy(&self, source: &str) -> io::Result<()> {
        let source = crate::wire::decode(source);
        let source = source.trim_start_matches('/');
        let (bucket, key) = source.split_once('/').unwrap_or((source, ""));
        let Some(found) = self.memory.find(bucket, key) else {
            return self.error("404 Not Found", "NoSuchKey");
        };
        let mut copy = Object::clone(&found);
        if self.header("x-amz-metadata-directive") == Some("REPLACE") {
            copy.headers = self.kept_headers();
        }
        copy.modified = Timestamp::now();
        let (tag, modified) = (copy.tag.clone(), copy.modified);
        self.store(self.key, copy);
        let body = format!(
            "<CopyObjectResult><ETag>{}</ETag><LastModified>{modified:.0}</LastModified></CopyObjectResult>",
            listing::escape(&tag)
        );
        self.answer("200 OK").send_xml(self.stream, &body)
    }

    /// Reads the body in whatever framing it comes.
    fn body(&self, reader: &mut BufReader<&TcpStream>) -> io::Result<Arc<Segment>> {
        let is_signed_in_chunks = self
            .header("x-amz-content-sha256")
            .is_some_and(|hash| hash.starts_with("STREAMING-"));
        let framing = self.request.head.framing_of_request();
        match framing {
            Framing::Length(bytes) if is_signed_in_chunks => {
                let mut framed = reader.take(bytes);
                let body = collect(&mut framed, Framing::Chunked)?;
                io::copy(&mut framed, &mut io::sink())?;
                self.memory.take(&body)
            }
            Framing::Length(bytes) => self.memory.read(reader, bytes),
            _ => {
                let body = collect(reader, framing)?;
                if is_signed_in_chunks {
                    let body = collect(&mut body.as_slice(), Framing::Chunked)?;
                    return self.memory.take(&body);
                }
                self.memory.take(&body)
            }
        }
    }

    /// The MD5 where the client has stated it, else something that is none.
    fn tag(&self) -> String {
        let stated = self
            .header("Content-MD5")
            .and_then(|md5| BASE64_STANDARD.decode(md5).ok());
        match stated {
            Some(md5) => {
                let hex: Vec<_> = md5.iter().map(|byte| format!("{byte:02x}")).collect();
                format!("\"{}\"", hex.concat())
            }
            None => format!("\"{:x}-0\"", self.memory.number()),
        }
    }

    fn kept_headers(&self) -> Vec<(String, String)> {
        let headers = self.request.head.headers.iter();
        headers
            .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
            .filter(|(name, _)| {
                name.starts_with("x-amz-meta-") || KEPT_HEADERS.contains(&name.as_str())
            })
            .collect()
    }

    fn checksums(&self) -> Vec<(String, String)> {
        let headers = self.request.head.headers.iter();
        let checksums = headers
            .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
            .filter(|(name, _)| {
                let algorithm = name.strip_prefix("x-amz-checksum-");
                algorithm.is_some_and(|name| !matches!(name, "mode" | "type" | "algorithm"))
            });
        checksums.collect()
    }

    fn read(&self) -> io::Result<()> {
        if self
            .query("versionId")
            .is_some_and(|version| version != "null")
        {
            return self.error("404 Not Found", "NoSuchVersion");
        }
        let Some(object) = self.memory.find(self.bucket, self.key) else {
            return self.error("404 Not Found", "NoSuchKey");
        };
        let range = self
            .header("Range")
            .map(|range| range_of(range, object.bytes));
        let (status, range) = match range {
            None => ("200 OK", 0..object.bytes),
            Some(Some(range)) => ("206 Partial Content", range),
            Some(None) => return self.error("416 Range Not Satisfiable", "InvalidRange"),
        };
        let mut answer = self.answer(status).about(&object);
        // They are of all of it.
        if self.header("x-amz-checksum-mode").is_some() && status.starts_with("200") {
            answer = answer.headers(&object.checksums);
        }
        if status.starts_with("206") {
            let last = range.end.saturating_sub(1);
            let value = format!("bytes {}-{last}/{}", range.start, object.bytes);
            answer = answer.header("Content-Range", &value);
        }
        if self.request.head.method() == "HEAD" {
            answer.send_size(self.stream, range.end - range.start)
        } else {
            answer.send_part(self.stream, &object, range)
        }
    }

    fn other(&self, body: &[u8]) -> io::Result<()> {
        let text = String::from_utf8_lossy(body);
        match self.request.head.method() {
            "POST" if self.has("delete") => self.delete_many(&text),
            "POST" if self.has("uploads") => self.begin(),
            "POST" if self.has("uploadId") => self.complete(&text),
            "DELETE" if self.has("uploadId") => {
                let upload = self.upload();
                let aborted = upload.and_then(|upload| self.memory.uploads().remove(&upload));
                match aborted {
                    Some(_) => self.answer("204 No Content").send(self.stream, b""),
                    None => self.error("404 Not Found", "NoSuchUpload"),
                }
            }
            "DELETE" if !self.key.is_empty() => {
                let removed = self
                    .memory
                    .with_bucket(self.bucket, |bucket| bucket.remove(self.key));
                drop(removed);
                self.answer("204 No Content").send(self.stream, b"")
            }
            "PUT" | "HEAD" => {
                self.memory.with_bucket(self.bucket, |_| ());
                self.answer("200 OK").send(self.stream, b"")
            }
            "GET" => match listing::of(self) {
                Some(listing) => self.answer("200 OK").send_xml(self.stream, &listing),
                None => self.error("404 Not Found", "NotConfigured"),
            },
            _ => self.error("501 Not Implemented", "NotImplemented"),
        }
    }

    fn delete_many(&self, text: &str) -> io::Result<()> {
        for key in listing::texts(text, "Key") {
            let removed = self
                .memory
                .with_bucket(self.bucket, |bucket| bucket.remove(&key));
            drop(removed);
        }
        self.answer("200 OK")
            .send_xml(self.stream, "<DeleteResult></DeleteResult>")
    }

    pub(super) fn upload(&self) -> Option<u64> {
        self.query("uploadId")?.parse().ok()
    }

    fn begin(&self) -> io::Result<()> {
        let number = self.memory.number();
        let upload = Upload {
            bucket: self.bucket.to_owned(),
            key: self.key.to_owned(),
            headers: self.kept_headers(),
            begun: Timestamp::now(),
            parts: std::collections::BTreeMap::new(),
        };
        self.memory.uploads().insert(number, upload);
        let body = format!(
            "<InitiateMultipartUploadResult><Bucket>{}</Bucket><Key>{}</Key><UploadId>{number}</UploadId></InitiateMultipartUploadResult>",
            self.bucket,
            listing::escape(self.key)
        );
        self.answer("200 OK").send_xml(self.stream, &body)
    }

    fn complete(&self, text: &str) -> io::Result<()> {
        let upload = self
            .upload()
            .and_then(|upload| self.memory.uploads().remove(&upload));
        let Some(mut upload) = upload else {
            return self.error("404 Not Found", "NoSuchUpload");
        };
        let numbers = listing::texts(text, "PartNumber");
        let parts = numbers
            .iter()
            .map(|number| upload.parts.remove(&number.parse().ok()?));
        let Some(parts) = parts.collect::<Option<Vec<Part>>>() else {
            return self.error("400 Bad Request", "InvalidPart");
        };
        let checksums = composite(&parts).map(|checksum| {
            let kind = ("x-amz-checksum-type".to_owned(), "COMPOSITE".to_owned());
            vec![(SHA256.to_owned(), checksum), kind]
        });
        let object = Object {
            bytes: parts.iter().map(|part| part.segment.bytes).sum(),
            tag: format!("\"{:x}-{}\"", self.memory.number(), parts.len()),
            segments: parts.into_iter().map(|part| part.segment).collect(),
            headers: upload.headers,
            checksums: checksums.unwrap_or_default(),
            modified: Timestamp::now(),
        };
        let checksum = object.checksums.first().map(|(_, checksum)| {
            format!(
                "<ChecksumSHA256>{checksum}</ChecksumSHA256><ChecksumType>COMPOSITE</ChecksumType>"
            )
        });
        let body = format!(
            "<CompleteMultipartUploadResult><Bucket>{}</Bucket><Key>{}</Key><ETag>{}</ETag>{}</CompleteMultipartUploadResult>",
            upload.bucket,
            listing::escape(&upload.key),
            listing::escape(&object.tag),
            checksum.unwrap_or_default()
        );
        if self.store(&upload.key, object) {
            self.answer("200 OK").send_xml(self.stream, &body)
        } else {
            self.error("412 Precondition Failed", "PreconditionFailed")
        }
    }
}

/// The checksum of the checksums, as S3 makes it for an object of parts.
fn composite(parts: &[Part]) -> Option<String> {
    let mut digests = Vec::new();
    for part in parts {
        digests.extend(BASE64_STANDARD.decode(part.sha256.as_ref()?).ok()?);
    }
    let digest = Digest::of(&digests);
    let digest = BASE64_STANDARD.encode(digest.as_bytes());
    Some(format!("{digest}-{}", parts.len()))
}

/// The one range of a `Range` header; nothing where there is no byte of it.
fn range_of(header: &str, bytes: u64) -> Option<Range<u64>> {
    let (first, last) = header.strip_prefix("bytes=")?.split_once('-')?;
    let range = if first.is_empty() {
        bytes.saturating_sub(last.parse().ok()?)..bytes
    } else {
        let end = last
            .parse::<u64>()
            .map_or(bytes, |last| last.saturating_add(1).min(bytes));
        first.parse().ok()?..end
    };
    (range.start < range.end).then_some(range)
}

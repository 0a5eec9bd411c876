//! What goes over the wire when objects are written.

use super::script::{Reply, Request, Script, error, status, stored, xml};
use super::*;
use crate::digest::Digest;
use crate::store::{BytesSource, Outcome};

const UPLOAD: &str =
    "<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>";
const COMPLETED: &str =
    "<CompleteMultipartUploadResult><ETag>\"e-2\"</ETag></CompleteMultipartUploadResult>";

/// The server's side of an upload in parts to an empty bucket, with `complete` as the answer to its end.
fn uploads(mut complete: impl FnMut() -> Reply + Send + 'static) -> Script {
    Script::with(move |asked| {
        let line = &asked.last().unwrap().line;
        match line.split(' ').next().unwrap() {
            "HEAD" => status(404),
            "POST" if line.contains("uploads") => xml(UPLOAD),
            "POST" => complete(),
            "PUT" => stored(),
            _ => status(204),
        }
    })
}

fn assert_plain_and_proved(request: &Request) {
    let digest = Digest::of(&request.body);
    let header = |name| request.header(name);
    assert_eq!(header("x-amz-content-sha256"), Some(&*digest.to_string()));
    assert_eq!(
        header("x-amz-checksum-sha256"),
        Some(&*checksum::text(&digest))
    );
    assert_eq!(header("x-amz-sdk-checksum-algorithm"), Some("SHA256"));
    assert_eq!(header("content-encoding"), None);
    assert_eq!(header("x-amz-trailer"), None);
    assert_eq!(header("transfer-encoding"), None);
    let authorization = header("authorization").unwrap();
    for signed in ["x-amz-checksum-sha256", "x-amz-content-sha256"] {
        assert!(authorization.contains(signed), "{authorization}");
    }
}

#[test]
fn p04_every_body_goes_as_it_is_with_its_digest_signed() {
    let script = uploads(|| xml(COMPLETED));
    let bytes = large();
    block_on(async {
        let store = store(&script).await;
        put(&store, b"abc").await.unwrap();
        let source = || Arc::new(BytesSource(bytes.slice(..2 << 20)));
        let declared = Declared::of(&bytes[..2 << 20]);
        store.send(&key("a.bin"), declared, source()).await.unwrap();
        let declared = Declared::of(&bytes);
        let source = Arc::new(BytesSource(bytes.clone()));
        let receipt = store.send(&key("a.bin"), declared, source).await.unwrap();
        assert_eq!(receipt.outcome, Outcome::Created);
    });
    let asked = script.asked();
    let puts: Vec<_> = asked.iter().filter(|r| r.line.starts_with("PUT")).collect();
    assert_eq!(puts.len(), 4);
    for request in &puts {
        assert_plain_and_proved(request);
        let is_part = request.line.contains("uploadId=u1");
        assert_eq!(request.header("if-none-match"), (!is_part).then_some("*"));
    }
    let begun = asked.iter().find(|r| r.line.contains("uploads")).unwrap();
    assert_eq!(begun.header("x-amz-checksum-algorithm"), Some("SHA256"));
    assert_eq!(begun.header("if-none-match"), None);
    let completed = asked.last().unwrap();
    assert_eq!(completed.header("if-none-match"), Some("*"));
    assert_eq!(completed.header("x-amz-mp-object-size"), Some("9437184"));
    let body = String::from_utf8(completed.body.clone()).unwrap();
    let first = checksum::text(&Digest::of(&bytes[..8 << 20]));
    assert!(
        body.contains(&format!("<ChecksumSHA256>{first}</ChecksumSHA256>")),
        "{body}"
    );
}

#[test]
fn s23_every_request_names_the_owner() {
    let script = Script::with(move |asked| {
        let line = &asked.last().unwrap().line;
        match line.split(' ').next().unwrap() {
            "GET" if line.contains("?versions") => xml("<ListVersionsResult/>"),
            "GET" if line.contains("?uploads") => xml("<ListMultipartUploadsResult/>"),
            "GET" if line.contains("list-type=2") => {
                xml("<ListBucketResult><Name>bucket</Name></ListBucketResult>")
            }
            "GET" => Reply::Answer(200, vec![], b"abc".to_vec()),
            "POST" if line.contains("uploads") => xml(UPLOAD),
            "POST" => xml(COMPLETED),
            "PUT" => stored(),
            _ => status(404),
        }
    });
    let bytes = large();
    block_on(async {
        let mut settings = settings(&script.endpoint());
        settings.expected_owner = Some("123456789012".to_owned());
        let store = S3Store::open(settings).await.unwrap();
        store.check().await.unwrap();
        put(&store, b"abc").await.unwrap();
        let declared = Declared::of(&bytes);
        store.put(&key("a.bin"), bytes, declared).await.unwrap();
        read(&store, 0..3).await.unwrap();
        assert!(store.stat(&key("a.bin").into()).await.is_err());
        assert_eq!(store.versions(&key("a.bin")).await.unwrap(), []);
        let mut entries = store.list(&KeyPrefix::all());
        assert!(futures_util::StreamExt::next(&mut entries).await.is_none());
        let mut holdings = crate::store::Housekeeping::holdings(&store, &KeyPrefix::all());
        assert!(futures_util::StreamExt::next(&mut holdings).await.is_none());
        let holding = crate::store::Holding::object("x".into(), 0, crate::time::Timestamp::EPOCH);
        crate::store::Housekeeping::remove(&store, &holding)
            .await
            .unwrap();
    });
    let asked = script.asked();
    assert!(asked.len() > 10);
    for request in asked {
        let owner = request.header("x-amz-expected-bucket-owner");
        assert_eq!(owner, Some("123456789012"), "{}", request.line);
    }
}

#[test]
fn w10_a_lost_response_is_read_back() {
    let digest = checksum::text(&Digest::of(b"abc"));
    let script = Script::with(move |asked| match asked.len() {
        1 => Reply::Reset,
        2 => error(412, "PreconditionFailed"),
        _ => {
            let write = asked[0]
                .header("x-amz-meta-runpack-write")
                .unwrap()
                .to_owned();
            let headers = vec![
                ("x-amz-meta-runpack-write", write),
                ("x-amz-checksum-sha256", digest.clone()),
                ("x-amz-version-id", "v1".to_owned()),
                ("content-length", "3".to_owned()),
            ];
            Reply::Answer(200, headers, vec![])
        }
    });
    let receipt = block_on(async { put(&store(&script).await, b"abc").await }).unwrap();
    assert_eq!(receipt.outcome, Outcome::Created);
    assert_eq!(receipt.version, Some(crate::store::VersionId::new("v1")));
    assert_eq!(script.methods(), "PUT PUT HEAD");
}

#[test]
fn w10_s18_a_checksum_of_other_bytes_is_read_back_and_is_a_conflict() {
    let script = Script::with(move |asked| match asked.len() {
        1 => error(412, "PreconditionFailed"),
        2 => Reply::Answer(200, vec![("content-length", "3".to_owned())], vec![]),
        _ => Reply::Answer(200, vec![("etag", "\"e\"".to_owned())], b"xyz".to_vec()),
    });
    let refused = block_on(async { put(&store(&script).await, b"abc").await }).unwrap_err();
    let StoreError::AlreadyExists { ours, theirs, .. } = refused else {
        panic!("{refused:?}");
    };
    assert_eq!((ours, theirs), (Digest::of(b"abc"), Digest::of(b"xyz")));
    assert_eq!(script.methods(), "PUT HEAD GET");
}

#[test]
fn p03_not_modified_means_that_it_is_there() {
    let headers = vec![
        ("x-amz-checksum-sha256", checksum::text(&Digest::of(b"abc"))),
        ("content-length", "3".to_owned()),
    ];
    let script = Script::of(vec![status(304), Reply::Answer(200, headers, vec![])]);
    let receipt = block_on(async { put(&store(&script).await, b"abc").await }).unwrap();
    assert_eq!(receipt.outcome, Outcome::AlreadyThere);
}

#[test]
fn w11_a_conflict_is_tried_again() {
    let conflict = || error(409, "ConditionalRequestConflict");
    let script = Script::of(vec![conflict(), stored()]);
    let receipt = block_on(async { put(&store(&script).await, b"abc").await }).unwrap();
    assert_eq!(receipt.outcome, Outcome::Created);
    let script = Script::of(vec![conflict(), conflict(), stored()]);
    let given_up = block_on(async { put(&store(&script).await, b"abc").await }).unwrap_err();
    assert!(given_up.is_retryable(), "{given_up:?}");
}

#[test]
fn w11_an_upload_that_met_a_conflict_begins_anew() {
    let mut completions = vec![xml(COMPLETED), error(409, "ConditionalRequestConflict")];
    let script = uploads(move || completions.pop().unwrap());
    let bytes = large();
    let receipt = block_on(async {
        let declared = Declared::of(&bytes);
        store(&script)
            .await
            .put(&key("a.bin"), bytes, declared)
            .await
    });
    assert_eq!(receipt.unwrap().outcome, Outcome::Created);
    let asked = script.asked();
    let count = |part: &str| asked.iter().filter(|r| r.line.contains(part)).count();
    assert_eq!((count("uploads"), count("partNumber=")), (2, 4));
}

#[test]
fn w12_w13_s20_a_completion_that_says_error_is_none_and_is_given_up() {
    let script = uploads(|| xml("<Error><Code>AccessDenied</Code><Message>no</Message></Error>"));
    let bytes = large();
    let refused = block_on(async {
        let declared = Declared::of(&bytes);
        store(&script)
            .await
            .put(&key("a.bin"), bytes, declared)
            .await
    });
    assert!(refused.is_err(), "{refused:?}");
    let aborted = script.asked().pop().unwrap().line;
    assert!(
        aborted.starts_with("DELETE") && aborted.contains("uploadId=u1"),
        "{aborted}"
    );
}

#[test]
fn w12_a_writer_that_is_dropped_gives_its_upload_up() {
    let script = uploads(|| xml(COMPLETED));
    let bytes = large();
    block_on(async {
        let store = store(&script).await;
        let mut writer = store
            .create(&key("a.bin"), Declared::of(&bytes))
            .await
            .unwrap();
        writer.write(bytes).await.unwrap();
        drop(writer);
        while !script.methods().contains("DELETE") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
}

#[test]
fn n05_after_the_last_attempt_one_look_tells() {
    let headers = vec![
        ("x-amz-checksum-sha256", checksum::text(&Digest::of(b"abc"))),
        ("content-length", "3".to_owned()),
    ];
    let there = Reply::Answer(200, headers, vec![]);
    let script = Script::of(vec![Reply::Reset, Reply::Reset, there]);
    let receipt = block_on(async { put(&store(&script).await, b"abc").await }).unwrap();
    assert_eq!(receipt.outcome, Outcome::AlreadyThere);
    let script = Script::of(vec![Reply::Reset, Reply::Reset, status(404)]);
    let unknown = block_on(async { put(&store(&script).await, b"abc").await }).unwrap_err();
    assert!(
        matches!(unknown, StoreError::Unavailable { .. }),
        "{unknown:?}"
    );
}

#[test]
fn n03_a_store_that_asks_for_time_is_asked_again() {
    let slow = || {
        let body = b"<Error><Code>SlowDown</Code></Error>".to_vec();
        Reply::Answer(503, vec![("retry-after", "0".to_owned())], body)
    };
    let script = Script::of(vec![slow(), stored()]);
    block_on(async { put(&store(&script).await, b"abc").await }).unwrap();
    let script = Script::of(vec![slow(), slow(), status(404)]);
    let given_up = block_on(async { put(&store(&script).await, b"abc").await }).unwrap_err();
    assert!(given_up.is_retryable(), "{given_up:?}");
    assert_eq!(script.methods(), "PUT PUT HEAD");
}

#[test]
fn s20_a_page_of_a_gateway_is_no_acknowledgement() {
    let page = || xml("<html>Welcome to the hotel</html>");
    let script = Script::of(vec![page()]);
    let refused = block_on(async { put(&store(&script).await, b"abc").await }).unwrap_err();
    assert!(matches!(refused, StoreError::Refused { .. }), "{refused:?}");
    let other = ("x-amz-checksum-sha256", checksum::text(&Digest::of(b"xyz")));
    let headers = vec![("etag", "\"e\"".to_owned()), other];
    let script = Script::of(vec![Reply::Answer(200, headers, vec![])]);
    let refused = block_on(async { put(&store(&script).await, b"abc").await }).unwrap_err();
    assert!(refused.to_string().contains("checksum"), "{refused}");
}

/// A source whose bytes are not those declared.
#[test]
fn w16_a_source_that_changes_never_arrives_whole() {
    let bytes = large();
    let mut other = bytes.to_vec();
    other[100] ^= 1;
    for (given, declared) in [
        (Bytes::from(other), Declared::of(&bytes)),
        (bytes.slice(..(9 << 20) - 1), Declared::of(&bytes)),
        (bytes.clone(), Declared::of(&bytes[..(9 << 20) - 1])),
        (bytes.slice(..5), Declared::of(b"other")),
        (bytes.slice(..6), Declared::of(&bytes[..5])),
        (bytes.slice(..5), Declared::of(b"")),
    ] {
        let script = uploads(|| xml(COMPLETED));
        let refused = block_on(async {
            let source = Arc::new(BytesSource(given));
            store(&script)
                .await
                .send(&key("a.bin"), declared, source)
                .await
        });
        let refused = refused.unwrap_err();
        assert!(
            matches!(refused, StoreError::NotDeclared { .. }),
            "{refused:?}"
        );
        let completed = script
            .asked()
            .into_iter()
            .any(|request| request.line.starts_with("POST") && !request.line.contains("uploads"));
        assert!(!completed);
    }
}

#[test]
fn an_object_of_too_many_chunks_wants_a_source() {
    let script = Script::of(vec![]);
    let chunks = vec![Digest::of(b""); 10_001];
    let content = crate::commitment::Content::Chunks(chunks.into());
    let declared = Declared::new(10_001 * CHUNK_BYTES, content);
    let refused = block_on(async { store(&script).await.create(&key("a.bin"), declared).await });
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("from a source"), "{refused}");
}

#[test]
fn without_the_condition_it_looks_first() {
    for create_only in [CreateOnly::OldestVersion, CreateOnly::DangerouslyCheckFirst] {
        let script = Script::of(vec![status(404), stored_as("v1")]);
        block_on(async {
            let mut settings = settings(&script.endpoint());
            settings.create_only = create_only;
            let store = S3Store::open(settings).await.unwrap();
            put(&store, b"abc").await.unwrap();
        });
        assert_eq!(script.methods(), "HEAD PUT");
        assert_eq!(script.asked()[1].header("if-none-match"), None);
    }
}

fn stored_as(version: &str) -> Reply {
    let version = ("x-amz-version-id", version.to_owned());
    Reply::Answer(200, vec![("etag", "\"e\"".to_owned()), version], vec![])
}

#[test]
fn p01_the_oldest_version_is_no_rule_where_none_is_kept() {
    for stored in [stored(), stored_as("null")] {
        let script = Script::of(vec![status(404), stored]);
        let refused = block_on(async {
            let mut settings = settings(&script.endpoint());
            settings.create_only = CreateOnly::OldestVersion;
            let store = S3Store::open(settings).await.unwrap();
            put(&store, b"abc").await.unwrap_err()
        });
        assert!(
            matches!(&refused, StoreError::Unusable { reason } if reason.contains("keeps versions")),
            "{refused:?}"
        );
    }
}

#[test]
fn s03_what_is_there_is_not_read_without_end() {
    let head = Reply::Answer(200, vec![("etag", "\"e\"".to_owned())], vec![]);
    let script = Script::of(vec![error(412, "PreconditionFailed"), head, status(416)]);
    let _ = block_on(async { put(&store(&script).await, b"abc").await });
    let asked = script.asked();
    assert_eq!(asked[2].header("range"), Some("bytes=0-67108864"));
}

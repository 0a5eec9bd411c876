//! URLs that stand for credentials, used by a client that has none; and how requests name bucket and encryption.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use bytes::Bytes;
use runpack_core::digest::Digest;
use runpack_core::key::{Location, ObjectKey};
use runpack_core::store::s3::{Addressing, Encryption, Presigned};
use runpack_core::store::{ArtifactSink as _, Declared, ObjectRef};
use runpack_testing::block_on;
use runpack_testing::proxy::FaultProxy;
use runpack_testing::servers::{BucketKind, Kind, shared};

use super::bucket::{export, open};

const HOUR: Duration = Duration::from_hours(1);

fn key(name: &str) -> ObjectKey {
    let key = format!("executions/01ARZ3NDEKTSV4RRFFQ69G5FAV/artifacts/{name}");
    Location::parse(&key).unwrap().key().unwrap()
}

/// What anybody who has the URL gets: status and body.
fn fetch(presigned: &Presigned, body: &[u8]) -> (u16, Vec<u8>) {
    let rest = presigned.url.reveal().strip_prefix("http://").unwrap();
    let (host, path) = rest.split_once('/').unwrap();
    // The length is that of what is really sent, not the one that was signed.
    let headers = presigned.headers.iter().map(|(name, value)| {
        if name.eq_ignore_ascii_case("content-length") {
            format!("{name}: {}\r\n", body.len())
        } else {
            format!("{name}: {value}\r\n")
        }
    });
    let request = format!(
        "{} /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{}\r\n",
        presigned.method,
        headers.collect::<String>()
    );
    let mut stream = TcpStream::connect(host).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    // A server that refuses by the head alone may close before it has the body.
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_off(end + 4))
}

#[test]
fn a_url_fetches_one_object_and_nothing_else() {
    block_on(async {
        let bucket = shared(Kind::Ceph).bucket(BucketKind::Plain).await;
        let store = open(bucket.settings()).await;
        let bytes = Bytes::from_static(b"what is fetched");
        for name in ["one.log", "other.log"] {
            store
                .put(&key(name), bytes.clone(), Declared::of(&bytes))
                .await
                .unwrap();
        }
        let presigned = store
            .presign_get(&ObjectRef::from(key("one.log")), HOUR)
            .await
            .unwrap();
        let (status, body) = fetch(&presigned, b"");
        assert_eq!(status, 200);
        assert!(body.windows(bytes.len()).any(|window| window == bytes));
        // Nothing of a URL is in what a log may hold of it.
        assert!(!format!("{presigned:?}").contains("X-Amz-Signature"));
    });
}

#[test]
fn a_url_takes_exactly_the_file_that_it_was_made_for() {
    block_on(async {
        let bucket = shared(Kind::Ceph).bucket(BucketKind::Plain).await;
        let store = open(bucket.settings()).await;
        let presigned = store
            .presign_put(&key("put.log"), 12, &Digest::of(b"exactly this"), HOUR)
            .await
            .unwrap();
        // Other bytes of the same length, and another length.
        for other in [&b"other bytes!"[..], b"exactly this and more"] {
            let (status, _) = fetch(&presigned, other);
            assert!((400..500).contains(&status), "{status}");
            assert_eq!(bucket.list_raw().await, Vec::<String>::new());
        }
        assert_eq!(fetch(&presigned, b"exactly this").0, 200);
        assert_eq!(
            bucket.read_raw(key("put.log").as_str()).await.unwrap(),
            "exactly this"
        );
        // What is there is not replaced, by the same URL either.
        assert_eq!(fetch(&presigned, b"exactly this").0, 412);
        // A file of several chunks is one object and one digest here.
        let large = vec![7; (9 << 20) + 1];
        let presigned = store
            .presign_put(&key("large.bin"), (9 << 20) + 1, &Digest::of(&large), HOUR)
            .await
            .unwrap();
        assert_eq!(fetch(&presigned, &large).0, 200);
    });
}

#[test]
fn the_bucket_is_named_as_it_is_configured() {
    block_on(async {
        let mut settings = shared(Kind::Ceph)
            .bucket(BucketKind::Plain)
            .await
            .settings();
        let name = settings.bucket.to_string();
        settings.endpoint = Some("https://s3.example.com".parse().unwrap());
        for (addressing, begins) in [
            (
                Addressing::Automatic,
                format!("https://s3.example.com/{name}/executions/"),
            ),
            (
                Addressing::Path,
                format!("https://s3.example.com/{name}/executions/"),
            ),
            (
                Addressing::VirtualHost,
                format!("https://{name}.s3.example.com/executions/"),
            ),
        ] {
            settings.addressing = addressing;
            let store = open(settings.clone()).await;
            let presigned = store
                .presign_get(&ObjectRef::from(key("a.log")), HOUR)
                .await
                .unwrap();
            assert!(
                presigned.url.reveal().starts_with(&begins),
                "{addressing:?}: {}",
                presigned.url.reveal()
            );
        }
    });
}

#[test]
fn every_object_is_encrypted_as_it_is_configured() {
    block_on(async {
        for (encryption, algorithm, key_id) in [
            (Encryption::OfBucket, None, None),
            (Encryption::SseS3, Some("AES256"), None),
            (
                Encryption::SseKms(Some("a-key".to_owned())),
                Some("aws:kms"),
                Some("a-key"),
            ),
        ] {
            let bucket = shared(Kind::MiniStack).bucket(BucketKind::Plain).await;
            let proxy = FaultProxy::start(&bucket.server().endpoint);
            let mut settings = bucket.settings_at(&proxy.endpoint());
            settings.encryption = encryption;
            export(open(settings).await, "run", 1).await.unwrap();
            let log = proxy.log();
            let begins_an_object = log.iter().filter(|exchange| {
                (exchange.method == "PUT" && exchange.part().is_none())
                    || (exchange.method == "POST" && exchange.query("uploads").is_some())
            });
            let mut objects = 0;
            for exchange in begins_an_object {
                assert_eq!(
                    exchange.header("x-amz-server-side-encryption"),
                    algorithm,
                    "{exchange:?}"
                );
                let named = exchange.header("x-amz-server-side-encryption-aws-kms-key-id");
                assert_eq!(named, key_id, "{exchange:?}");
                objects += 1;
            }
            assert_eq!(objects, 4);
        }
    });
}

//! Every kind of answer, and what it means: wrong settings are named, denials are no absences.

use std::net::TcpListener;

use super::script::{Reply, Script, error, status, stored};
use super::*;

fn refusal(reply: Reply) -> StoreError {
    let script = Script::of(vec![reply]);
    block_on(async { put(&store(&script).await, b"abc").await }).unwrap_err()
}

#[test]
fn p10_a_wrong_setting_is_named() {
    for (status, code, word) in [
        (404, "NoSuchBucket", "bucket=`bucket`"),
        (403, "InvalidAccessKeyId", "AWS_ACCESS_KEY_ID"),
        (403, "SignatureDoesNotMatch", "the secret key"),
        (403, "RequestTimeTooSkewed", "clock"),
        (400, "ExpiredToken", "log in again"),
        (400, "AuthorizationHeaderMalformed", "region=`here`"),
        (301, "PermanentRedirect", "region=`here`"),
    ] {
        let refused = refusal(error(status, code));
        assert!(
            matches!(&refused, StoreError::Unusable { reason } if reason.contains(word)),
            "{code}: {refused:?}"
        );
    }
}

#[test]
fn s22_redirects_are_not_followed() {
    let elsewhere = Script::of(vec![stored()]);
    for status in [301, 302, 307, 308] {
        let headers = vec![
            ("location", format!("{}/bucket/x", elsewhere.endpoint())),
            ("x-amz-bucket-region", "elsewhere".to_owned()),
        ];
        let refused = refusal(Reply::Answer(status, headers, vec![]));
        assert!(
            matches!(&refused, StoreError::Unusable { reason } if reason.contains("its_region=`elsewhere`")),
            "{refused:?}"
        );
    }
    assert_eq!(elsewhere.asked().len(), 0);
}

#[test]
fn p01_a_store_without_the_condition_is_unusable_and_says_what_to_run() {
    for (status, code) in [
        (501, "NotImplemented"),
        (400, "InvalidArgument"),
        (400, "InvalidRequest"),
    ] {
        let refused = refusal(error(status, code));
        assert!(
            matches!(&refused, StoreError::Unusable { reason } if reason.contains("runpack store status")),
            "{refused:?}"
        );
    }
}

#[test]
fn a_denial_is_no_absence() {
    for status in [401, 403] {
        let denied = refusal(error(status, "AccessDenied"));
        assert!(matches!(denied, StoreError::Denied { .. }), "{denied:?}");
        let script = Script::with(move |_| script::status(status));
        block_on(async {
            let store = store(&script).await;
            let object = ObjectRef::from(key("a.bin"));
            let stat = store.stat(&object).await.unwrap_err();
            assert!(matches!(stat, StoreError::Denied { .. }), "{stat:?}");
            let found = store.find(&key("a.bin"), &Declared::of(b"abc")).await;
            assert!(matches!(found, Err(StoreError::Denied { .. })), "{found:?}");
            let opened = read(&store, 0..1).await;
            assert!(
                matches!(opened, Err(StoreError::Denied { .. })),
                "{opened:?}"
            );
            let checked = store.check().await;
            assert!(
                matches!(checked, Err(StoreError::Denied { .. })),
                "{checked:?}"
            );
        });
    }
}

#[test]
fn a_gateway_that_knows_no_such_method_says_nothing_of_the_object() {
    let script = Script::with(move |_| status(405));
    block_on(async {
        let store = store(&script).await;
        let mut object = ObjectRef::from(key("a.bin"));
        let stat = store.stat(&object).await.unwrap_err();
        assert!(!matches!(stat, StoreError::NotFound { .. }), "{stat:?}");
        // Of a version it says that it is a delete marker.
        object.version = Some(crate::store::VersionId::new("v1"));
        let stat = store.stat(&object).await.unwrap_err();
        assert!(matches!(stat, StoreError::NotFound { .. }), "{stat:?}");
    });
}

#[test]
fn s16_an_answer_that_is_no_object_is_bounded() {
    let script = Script::with(move |_| {
        let padding = " ".repeat(17 << 20);
        script::xml(&format!("<ListBucketResult>{padding}</ListBucketResult>"))
    });
    block_on(async {
        let store = store(&script).await;
        let mut listing = store.list(&KeyPrefix::all());
        let first = futures_util::StreamExt::next(&mut listing).await.unwrap();
        assert!(first.is_err());
    });
}

#[test]
fn n08_credentials_that_expire_are_an_error_and_no_partial_success() {
    let refused = refusal(error(400, "ExpiredToken"));
    assert!(
        matches!(refused, StoreError::Unusable { .. }),
        "{refused:?}"
    );
}

#[test]
fn damage_on_the_way_is_sent_again() {
    let script = Script::of(vec![error(400, "BadDigest"), stored()]);
    block_on(async { put(&store(&script).await, b"abc").await }).unwrap();
    let script = Script::of(vec![error(400, "BadDigest"), error(400, "BadDigest")]);
    let refused = block_on(async { put(&store(&script).await, b"abc").await }).unwrap_err();
    assert!(matches!(refused, StoreError::Refused { .. }), "{refused:?}");
}

#[test]
fn n01_nobody_listening_is_a_store_that_cannot_be_reached() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let refused = block_on(async {
        let store = S3Store::open(settings(&endpoint)).await.unwrap();
        put(&store, b"abc").await.unwrap_err()
    });
    assert!(
        matches!(&refused, StoreError::Unreachable { reason } if reason.contains(&endpoint)),
        "{refused:?}"
    );
    // A name that no name service has (RFC 6761).
    let unknown = block_on(async {
        let mut settings = settings("https://no-such-host.invalid");
        settings.ca_pem = None;
        match S3Store::open(settings).await {
            Ok(store) => store.check().await.unwrap_err(),
            Err(error) => error,
        }
    });
    assert!(
        matches!(unknown, StoreError::Unreachable { .. }),
        "{unknown:?}"
    );
}

#[test]
fn n01_a_store_that_went_away_may_come_back() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let once = std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        let (mut stream, _) = listener.accept().unwrap();
        drop(listener);
        let _ = stream.read(&mut [0; 4096]).unwrap();
        let answer = b"HTTP/1.1 404 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        stream.write_all(answer).unwrap();
    });
    block_on(async {
        let store = S3Store::open(settings(&endpoint)).await.unwrap();
        let object = ObjectRef::from(key("a.bin"));
        assert!(matches!(
            store.stat(&object).await,
            Err(StoreError::NotFound { .. })
        ));
        once.join().unwrap();
        let away = store.stat(&object).await.unwrap_err();
        assert!(away.is_retryable(), "{away:?}");
    });
}

#[test]
fn s25_n01_plain_http_stays_on_this_machine() {
    for endpoint in [
        "http://192.0.2.1",
        "http://store.example:9000",
        "http://localhost.example",
    ] {
        let refused = block_on(S3Store::open(settings(endpoint))).unwrap_err();
        assert!(
            matches!(refused, StoreError::Unusable { .. }),
            "{refused:?}"
        );
        let mut settings = settings(endpoint);
        settings.plain_http = PlainHttp::DangerouslyAnywhere;
        block_on(S3Store::open(settings)).unwrap();
    }
    for endpoint in [
        "http://127.0.0.1:1",
        "http://[::1]:1",
        "http://localhost:1",
        "http://s3.localhost",
    ] {
        block_on(S3Store::open(settings(endpoint))).unwrap();
    }
}

#[test]
fn settings_that_cannot_be_are_refused() {
    for pem in [
        &b""[..],
        b"nonsense",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        let mut settings = settings("https://127.0.0.1:1");
        settings.ca_pem = Some(pem.to_vec());
        let refused = block_on(S3Store::open(settings)).unwrap_err();
        assert!(refused.to_string().contains("`ca_file`"), "{refused}");
    }
    for owner in ["", "12345678901", "1234567890123", "12345678901x"] {
        let mut settings = settings("http://127.0.0.1:1");
        settings.expected_owner = Some(owner.to_owned());
        assert!(block_on(S3Store::open(settings)).is_err(), "{owner}");
    }
}

#[test]
fn a_check_takes_one_request_and_says_what_answers() {
    let script = Script::of(vec![error(404, "NoSuchBucket")]);
    let checked = block_on(async { store(&script).await.check().await }).unwrap_err();
    assert!(checked.to_string().contains("no such bucket"), "{checked}");
    assert_eq!(script.asked().len(), 1);
    for reply in [
        status(200),
        script::xml("<html/>"),
        status(404),
        status(400),
    ] {
        let script = Script::of(vec![reply]);
        let checked = block_on(async { store(&script).await.check().await }).unwrap_err();
        assert!(
            matches!(checked, StoreError::Unusable { .. }),
            "{checked:?}"
        );
    }
}

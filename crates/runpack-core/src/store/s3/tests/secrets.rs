//! Credentials: asked for once, shown never.

use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_credential_types::provider::{ProvideCredentials, error::CredentialsError, future};
use aws_sdk_s3::config::{Credentials as Identity, SharedCredentialsProvider};
use aws_smithy_http_client::tls::{TlsContext, TrustStore};

use super::script::{Reply, Script, error, status};
use super::*;
use crate::digest::Digest;

/// Everything that anybody could print of an error.
fn everything(error: &StoreError) -> String {
    let mut text = format!("{error:?} {error:#?} {error}");
    let mut cause: Option<&dyn Error> = error.source();
    while let Some(error) = cause {
        text = format!("{text} {error:?} {error}");
        cause = error.source();
    }
    text
}

#[test]
fn k01_no_error_and_no_debug_print_shows_a_secret() {
    let replies: Vec<fn() -> Reply> = vec![
        || Reply::Reset,
        || status(301),
        || status(304),
        || error(400, "AuthorizationHeaderMalformed"),
        || error(400, "ExpiredToken"),
        || error(400, "InvalidArgument"),
        || error(403, "AccessDenied"),
        || error(403, "SignatureDoesNotMatch"),
        || error(404, "NoSuchBucket"),
        || error(404, "NoSuchKey"),
        || error(409, "OperationAborted"),
        || error(412, "PreconditionFailed"),
        || error(500, "InternalError"),
        || Reply::Answer(200, vec![], b"<html>".to_vec()),
        || {
            Reply::Answer(
                200,
                vec![("content-encoding", "gzip".to_owned())],
                b"x".to_vec(),
            )
        },
    ];
    let bytes = large();
    for reply in replies {
        let script = Script::with(move |_| reply());
        let texts = block_on(async {
            let mut settings = settings(&script.endpoint());
            settings.deadlines.attempts = 1;
            let store = S3Store::open(settings).await.unwrap();
            let (key, object) = (key("a.bin"), ObjectRef::from(key("a.bin")));
            let mut texts = vec![format!("{store:?} {:?}", store.settings())];
            let mut keep = |error: Option<StoreError>| texts.extend(error.as_ref().map(everything));
            keep(put(&store, b"abc").await.err());
            keep(
                store
                    .put(&key, bytes.clone(), Declared::of(&bytes))
                    .await
                    .err(),
            );
            keep(read(&store, 0..9).await.err());
            keep(store.stat(&object).await.err());
            keep(store.versions(&key).await.err());
            keep(store.find(&key, &Declared::of(b"abc")).await.err());
            keep(store.check().await.err());
            keep(store.restore(&object, 1).await.err());
            keep(crate::store::Housekeeping::now(&store).await.err());
            let mut entries = store.list(&KeyPrefix::all());
            let entry = futures_util::StreamExt::next(&mut entries).await;
            keep(entry.and_then(Result::err));
            texts
        });
        for text in texts {
            assert!(!text.contains(SECRET), "{text}");
            assert!(!text.to_lowercase().contains("authorization:"), "{text}");
        }
    }
}

#[test]
fn k01_a_signed_url_is_not_shown() {
    block_on(async {
        let store = S3Store::open(settings("http://127.0.0.1:1")).await.unwrap();
        let object = ObjectRef::from(key("a.bin"));
        let hour = Duration::from_hours(1);
        let get = store.presign_get(&object, hour).await.unwrap();
        let signature = get.url.reveal().split_once("X-Amz-Signature=").unwrap().1;
        assert!(!format!("{get:?}").contains(signature));
        assert!(!get.url.reveal().contains("CANARY-wJalrXUtnFEMI-K7MDENG&"));
        let put = store
            .presign_put(&key("a.bin"), 3, &Digest::of(b"abc"), hour)
            .await
            .unwrap();
        let names: Vec<_> = put.headers.iter().map(|(name, _)| name.as_str()).collect();
        for bound in [
            "content-length",
            "if-none-match",
            "x-amz-checksum-sha256",
            "x-amz-sdk-checksum-algorithm",
        ] {
            let is_bound = names.contains(&bound) || put.url.reveal().contains(bound);
            assert!(is_bound, "{bound}: {names:?} {}", put.url.reveal());
        }
        for wrong in [Duration::ZERO, Duration::from_hours(7 * 24 + 1)] {
            assert!(store.presign_get(&object, wrong).await.is_err());
        }
        let too_large = (5 << 30) + 1;
        let refused = store
            .presign_put(&key("a.bin"), too_large, &Digest::of(b""), hour)
            .await;
        assert!(refused.is_err());
    });
}

#[test]
fn a_url_to_read_with_needs_no_header_that_a_browser_would_not_send() {
    block_on(async {
        let mut settings = settings("http://127.0.0.1:1");
        settings.expected_owner = Some("123456789012".to_owned());
        let store = S3Store::open(settings).await.unwrap();
        let object = ObjectRef::from(key("a.bin"));
        let hour = Duration::from_hours(1);
        let get = store.presign_get(&object, hour).await.unwrap();
        let signed = get.url.reveal();
        assert!(signed.contains("X-Amz-SignedHeaders=host&"), "{signed}");
        let names: Vec<_> = get.headers.iter().map(|(name, _)| &**name).collect();
        assert!(names.iter().all(|name| *name == "host"), "{names:?}");
        // What is written still goes to the bucket of that owner or nowhere.
        let (key, digest) = (key("a.bin"), Digest::of(b"abc"));
        let put = store.presign_put(&key, 3, &digest, hour).await.unwrap();
        let is_bound = put
            .headers
            .iter()
            .any(|(name, _)| name == "x-amz-expected-bucket-owner");
        assert!(is_bound, "{:?}", put.headers);
    });
}

/// Counts how often it is asked.
#[derive(Debug, Clone, Default)]
struct Counting(Arc<AtomicUsize>);

impl ProvideCredentials for Counting {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        self.0.fetch_add(1, Ordering::Relaxed);
        future::ProvideCredentials::ready(Ok(Identity::for_test()))
    }
}

trait ForTest {
    fn for_test() -> Identity;
}

impl ForTest for Identity {
    fn for_test() -> Identity {
        Identity::new("AKIDEXAMPLE", SECRET, None, None, "test")
    }
}

fn with_credentials(endpoint: &str, provider: impl ProvideCredentials + 'static) -> S3Store {
    let settings = settings(endpoint);
    let region = Region::from_static("here");
    let tls = TlsContext::builder()
        .with_trust_store(TrustStore::empty())
        .build()
        .unwrap();
    let credentials = SharedCredentialsProvider::new(provider);
    let shared = Shared {
        clients: client::Clients::new(&settings, region.clone(), credentials, tls),
        settings,
        region,
        writes: metadata::Writes::new(),
        parts: Semaphore::new(1),
    };
    S3Store {
        shared: Arc::new(shared),
        policy: None,
    }
}

#[test]
fn credentials_are_asked_for_once_over_all_threads() {
    let script = Script::with(|_| status(404));
    let counting = Counting::default();
    let store = with_credentials(&script.endpoint(), counting.clone());
    let ask = |store: &S3Store| {
        let store = store.clone();
        std::thread::spawn(move || {
            block_on(async { store.stat(&key("a.bin").into()).await.unwrap_err() })
        })
    };
    ask(&store).join().unwrap();
    for thread in [ask(&store), ask(&store), ask(&store)] {
        thread.join().unwrap();
    }
    assert_eq!(script.asked().len(), 4);
    assert_eq!(counting.0.load(Ordering::Relaxed), 1);
}

type Failure = fn(String) -> CredentialsError;

/// A source of credentials whose failure quotes what it should not.
#[derive(Debug)]
struct Failing(Failure);

impl ProvideCredentials for Failing {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(Err((self.0)(format!("the program printed {SECRET}"))))
    }
}

#[test]
fn k01_n08_credentials_that_fail_quote_nothing_and_are_wrong_or_away() {
    let script = Script::with(|_| status(404));
    let failures: [(Failure, bool); 4] = [
        (|text| CredentialsError::not_loaded(text), false),
        (|text| CredentialsError::invalid_configuration(text), false),
        (|text| CredentialsError::provider_error(text), true),
        (|text| CredentialsError::unhandled(text), true),
    ];
    for (failure, is_away) in failures {
        let store = with_credentials(&script.endpoint(), Failing(failure));
        let refused = block_on(put(&store, b"abc")).unwrap_err();
        assert!(
            matches!(
                (&refused, is_away),
                (StoreError::Unusable { .. }, false) | (StoreError::Unreachable { .. }, true)
            ),
            "{refused:?}"
        );
        assert!(!everything(&refused).contains(SECRET), "{refused:?}");
    }
    assert_eq!(script.asked().len(), 0);
}

//! Keys of issuers: hosts that are down, that lie and that are flooded; keys that come and go.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use runpack_server::access::{Access, Caller, Limits, Reason, Refusal};
use runpack_server::problem::Problem;
use rustls_pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use super::host::{Answer, Host, Key, encode, key_set};
use super::{NOW, SetClock, with_bearer};

/// Keys are fetched for every token, and may be.
fn impatient() -> Limits {
    let mut limits = Limits::default();
    limits.keys_refetch_after = Duration::ZERO;
    limits.keys_refresh_after = Duration::ZERO;
    limits
}

fn policy(jwks: &str, more: &str) -> String {
    format!(
        "issuers:\n  - name: house\n    kind: oidc\n    issuer: https://id.example.org\n    audience: runpack\n    \
         jwks: \"{jwks}\"\n    algorithms: [RS256, ES256]\n{more}    rules:\n      - claims: {{sub: robot}}\n        \
         grants: [{{organization: acme, project: web, may: [write]}}]\n"
    )
}

fn access(jwks: &str, limits: Limits) -> Access {
    Access::parse(&policy(jwks, ""), SetClock::new(NOW), limits).unwrap()
}

fn claims() -> Value {
    json!({"iss": "https://id.example.org", "aud": "runpack", "sub": "robot", "iat": NOW, "exp": NOW + 300})
}

async fn with(access: &Access, key: &Key) -> Result<Caller, Refusal> {
    with_bearer(access, &key.sign(&claims())).await
}

async fn reason_with(access: &Access, key: &Key) -> Reason {
    with(access, key).await.unwrap_err().reason()
}

#[tokio::test]
async fn c19_a_flood_of_made_up_keys_asks_the_issuer_once() {
    let key = Key::p256("known");
    let host = Host::start(key_set(&[&key])).await;
    let access = Arc::new(access(&host.url(), Limits::default()));
    let callers: Vec<_> = (0..200)
        .map(|at| {
            let access = Arc::clone(&access);
            let header = json!({"alg": "ES256", "kid": format!("made-up-{at}")});
            let token = key.sign_text(&header.to_string(), &claims().to_string());
            tokio::spawn(async move { with_bearer(&access, &token).await })
        })
        .collect();
    for caller in callers {
        let refusal = caller.await.unwrap().unwrap_err();
        assert_eq!(refusal.reason(), Reason::BadToken);
    }
    assert_eq!(host.asked(), 1);
    assert!(with(&access, &key).await.is_ok());
    assert_eq!(host.asked(), 1);
}

#[tokio::test]
async fn c19_a_flood_at_a_host_that_fails_asks_it_once() {
    let key = Key::p256("known");
    let host = Host::start(Answer::Other {
        status: 500,
        headers: vec![],
        body: vec![],
    })
    .await;
    let access = access(&host.url(), Limits::default());
    for _ in 0..50 {
        assert_eq!(reason_with(&access, &key).await, Reason::KeysUnavailable);
    }
    assert_eq!(host.asked(), 1);
}

#[tokio::test]
async fn c19_a_client_that_goes_away_does_not_take_the_fetch_with_it() {
    let key = Key::p256("known");
    let host = Host::start(key_set(&[&key])).await;
    let access = access(&host.url(), Limits::default());
    let mut left = Box::pin(with(&access, &key));
    // Polled once: the fetch has begun, and nobody waits for it any more.
    assert!(futures_util::poll!(&mut left).is_pending());
    drop(left);
    assert!(with(&access, &key).await.is_ok());
    assert_eq!(host.asked(), 1);
}

#[tokio::test]
async fn c20_what_is_no_good_set_of_keys_is_refused_and_the_last_good_one_kept() {
    let (good, other) = (Key::p256("good"), Key::rsa("other"));
    let host = Host::start(key_set(&[&good])).await;
    let elsewhere = Host::start(key_set(&[&good, &other])).await;
    let access = access(&host.url(), impatient());
    assert!(with(&access, &good).await.is_ok());

    let both = json!({"keys": [good.jwk(), other.jwk()]}).to_string();
    let twice = {
        let mut second = other.jwk();
        second["kid"] = json!("good");
        json!({"keys": [good.jwk(), second]}).to_string()
    };
    let typed = |kind: &str, body: &str| Answer::Other {
        status: 200,
        headers: vec![("content-type", kind.to_owned())],
        body: body.into(),
    };
    let status = |status, headers| Answer::Other {
        status,
        headers,
        body: both.clone().into(),
    };
    let json_type = ("content-type", "application/json".to_owned());
    let faults = [
        ("500", status(500, vec![json_type.clone()])),
        ("404", status(404, vec![json_type.clone()])),
        ("206", status(206, vec![json_type.clone()])),
        (
            "a redirect",
            status(302, vec![json_type.clone(), ("location", elsewhere.url())]),
        ),
        ("HTML", typed("text/html", &both)),
        ("no media type", status(200, vec![])),
        (
            "gzip",
            status(
                200,
                vec![json_type, ("content-encoding", "gzip".to_owned())],
            ),
        ),
        ("a page", Answer::json("<html>maintenance</html>")),
        ("nothing", Answer::json("")),
        ("a list", Answer::json("[]")),
        ("no keys", Answer::json("{\"keys\":[]}")),
        (
            "keys twice",
            Answer::json(both.replacen('{', "{\"keys\":[],", 1)),
        ),
        ("an id twice", Answer::json(twice)),
        ("cut off", Answer::json(&both.as_bytes()[..both.len() - 1])),
        (
            "huge",
            Answer::json(format!("{}{both}", " ".repeat(256 << 10))),
        ),
    ];
    for (what, fault) in faults {
        let before = host.asked();
        host.answers(fault);
        assert!(with(&access, &good).await.is_ok(), "{what}");
        assert_eq!(host.asked(), before + 1, "{what}");
        assert_eq!(
            reason_with(&access, &other).await,
            Reason::KeysUnavailable,
            "{what}"
        );
    }
    assert_eq!(elsewhere.asked(), 0);

    // The positive control: the same document, told as it should be.
    host.answers(Answer::json(both));
    assert!(with(&access, &other).await.is_ok());
}

#[tokio::test]
async fn c20_without_any_keys_nobody_is_let_in_and_told_to_come_back() {
    let key = Key::p256("good");
    let mut host = Host::start(key_set(&[&key])).await;
    host.go_down().await;
    let access = access(&host.url(), impatient());
    let refusal = with(&access, &key).await.unwrap_err();
    assert_eq!(refusal.reason(), Reason::KeysUnavailable);
    assert_eq!(refusal.status(), 503);
    assert_eq!(refusal.claimed(), None);
    assert_eq!(Problem::from(&refusal).status(), 503);
    host.come_back().await;
    assert!(with(&access, &key).await.is_ok());
}

#[tokio::test]
async fn c20_a_host_that_never_answers_is_not_waited_for() {
    let key = Key::p256("good");
    let host = Host::start(Answer::Silence).await;
    let mut limits = impatient();
    limits.keys_deadline = Duration::from_millis(20);
    let access = access(&host.url(), limits);
    assert_eq!(reason_with(&access, &key).await, Reason::KeysUnavailable);
    assert_eq!(host.asked(), 1);
}

#[tokio::test]
async fn c20_keys_outlive_their_host_for_a_time_and_no_longer() {
    let key = Key::p256("good");
    let mut host = Host::start(key_set(&[&key])).await;
    let kept = access(&host.url(), impatient());
    assert!(with(&kept, &key).await.is_ok());
    let mut limits = impatient();
    limits.keys_usable_for = Duration::ZERO;
    let too_old = access(&host.url(), limits);
    assert_eq!(reason_with(&too_old, &key).await, Reason::KeysUnavailable);
    host.go_down().await;
    assert!(with(&kept, &key).await.is_ok());
    assert_eq!(reason_with(&too_old, &key).await, Reason::KeysUnavailable);
}

#[tokio::test]
async fn c20_a_weak_key_is_none_though_its_neighbours_are() {
    let key = Key::p256("good");
    // 1,024 bits.
    let mut weak = Key::rsa("weak").jwk();
    weak["n"] = json!(encode([0xc1; 128]));
    let host = Host::start(Answer::Keys(json!({"keys": [weak, key.jwk()]}))).await;
    let access = access(&host.url(), Limits::default());
    let refusal = with(&access, &Key::rsa("weak")).await.unwrap_err();
    assert!(
        refusal.detail().contains("no key with this id"),
        "{refusal}"
    );
    assert!(with(&access, &key).await.is_ok());
}

#[tokio::test]
async fn c21_keys_are_replaced_without_a_gap_and_a_removed_one_is_refused() {
    let (old, new) = (Key::rsa("old"), Key::p256("new"));
    let host = Host::start(key_set(&[&old])).await;
    let access = access(&host.url(), impatient());
    assert!(with(&access, &old).await.is_ok());
    assert_eq!(reason_with(&access, &new).await, Reason::BadToken);
    host.answers(key_set(&[&old, &new]));
    assert!(with(&access, &new).await.is_ok());
    assert!(with(&access, &old).await.is_ok());
    host.answers(key_set(&[&new]));
    assert_eq!(reason_with(&access, &old).await, Reason::BadToken);
    assert!(with(&access, &new).await.is_ok());
}

#[tokio::test]
async fn c21_a_key_that_comes_is_found_as_soon_as_somebody_uses_it() {
    let (old, new) = (Key::rsa("old"), Key::p256("new"));
    let host = Host::start(key_set(&[&old])).await;
    let mut limits = Limits::default();
    limits.keys_refetch_after = Duration::ZERO;
    let access = access(&host.url(), limits);
    assert!(with(&access, &old).await.is_ok());
    host.answers(key_set(&[&old, &new]));
    // What is known and fresh is not asked for again.
    assert!(with(&access, &old).await.is_ok());
    assert_eq!(host.asked(), 1);
    assert!(with(&access, &new).await.is_ok());
    assert_eq!(host.asked(), 2);
}

#[tokio::test]
async fn keys_stay_when_the_policy_is_read_again() {
    let key = Key::p256("good");
    let mut host = Host::start(key_set(&[&key])).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.yaml");
    std::fs::write(&path, policy(&host.url(), "")).unwrap();
    let access = Access::load(&path, SetClock::new(NOW)).unwrap();
    assert!(with(&access, &key).await.is_ok());
    host.go_down().await;
    std::fs::write(&path, policy(&host.url(), "").replace("web", "infra")).unwrap();
    access.reload().unwrap();
    let caller = with(&access, &key).await.unwrap();
    assert_eq!(caller.grants()[0].project.as_deref(), Some("infra"));
    // Of another address they are other keys.
    std::fs::write(&path, policy("http://127.0.0.1:1/keys", "")).unwrap();
    access.reload().unwrap();
    assert_eq!(reason_with(&access, &key).await, Reason::KeysUnavailable);
}

#[tokio::test]
async fn c20_keys_come_over_tls_from_whom_the_policy_trusts_alone() {
    let key = Key::p256("good");
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(vec![]).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let ca = Issuer::new(ca, ca_key);
    let host_key = KeyPair::generate().unwrap();
    let host_certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()])
        .unwrap()
        .signed_by(&host_key, &ca)
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![host_certificate.der().clone()],
            PrivateKeyDer::try_from(host_key.serialize_der()).unwrap(),
        )
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/keys", listener.local_addr().unwrap());
    let body = json!({"keys": [key.jwk()]}).to_string();
    tokio::spawn(async move {
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            // A client that does not trust us breaks off.
            let Ok(mut stream) = acceptor.accept(socket).await else {
                continue;
            };
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                asked.push(stream.read_u8().await.unwrap());
            }
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.yaml");
    std::fs::write(directory.path().join("ca.pem"), ca_pem).unwrap();
    std::fs::write(&path, policy(&url, "    ca_file: ca.pem\n")).unwrap();
    let trusting = Access::load(&path, SetClock::new(NOW)).unwrap();
    assert!(with(&trusting, &key).await.is_ok());

    let stranger = CertificateParams::new(vec!["127.0.0.1".to_owned()])
        .unwrap()
        .self_signed(&KeyPair::generate().unwrap())
        .unwrap();
    std::fs::write(directory.path().join("ca.pem"), stranger.pem()).unwrap();
    let distrusting = Access::load(&path, SetClock::new(NOW)).unwrap();
    assert_eq!(
        reason_with(&distrusting, &key).await,
        Reason::KeysUnavailable
    );
}

//! An issuer for tests: keys that sign, and a host on this machine that publishes them as it is told to.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What the host answers.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    Keys(Value),
    /// A body of any kind.
    Other {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: Vec<u8>,
    },
    /// Nothing, ever.
    Silence,
}

impl Answer {
    pub(super) fn json(body: impl Into<Vec<u8>>) -> Self {
        Self::Other {
            status: 200,
            headers: vec![("content-type", "application/json".to_owned())],
            body: body.into(),
        }
    }
}

/// A host of keys. It counts who asks.
#[derive(Debug)]
pub(super) struct Host {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    answer: Arc<Mutex<Answer>>,
    serving: Option<JoinHandle<()>>,
}

impl Host {
    pub(super) async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut host = Self {
            address: listener.local_addr().unwrap(),
            asked: Arc::default(),
            answer: Arc::new(Mutex::new(answer)),
            serving: None,
        };
        host.serve(listener);
        host
    }

    fn serve(&mut self, listener: TcpListener) {
        let (asked, answer) = (Arc::clone(&self.asked), Arc::clone(&self.answer));
        let respond = move || {
            asked.fetch_add(1, Ordering::SeqCst);
            let answer = answer.lock().unwrap().clone();
            async move { respond(answer).await }
        };
        let router = Router::new().fallback(respond);
        self.serving = Some(tokio::spawn(async move {
            axum::serve(listener, router).await.unwrap();
        }));
    }

    /// Nobody listens there any more.
    pub(super) async fn go_down(&mut self) {
        let serving = self.serving.take().unwrap();
        serving.abort();
        assert!(serving.await.unwrap_err().is_cancelled());
    }

    pub(super) async fn come_back(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.serve(listener);
    }

    pub(super) fn answers(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    /// How often keys were asked for.
    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/keys", self.address)
    }
}

async fn respond(answer: Answer) -> Response {
    match answer {
        Answer::Keys(keys) => (
            [("content-type", "application/json; charset=utf-8")],
            keys.to_string(),
        )
            .into_response(),
        Answer::Other {
            status,
            headers,
            body,
        } => {
            let mut response = Response::new(Body::from(body));
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            for (name, value) in headers {
                response.headers_mut().insert(name, value.parse().unwrap());
            }
            response
        }
        Answer::Silence => std::future::pending().await,
    }
}

/// A key of the issuer.
pub(super) struct Key {
    pub(super) kid: &'static str,
    pair: Pair,
}

enum Pair {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
}

impl Key {
    /// The RSA key of the fixture: the library makes none.
    pub(super) fn rsa(kid: &'static str) -> Self {
        let pem = include_bytes!("../fixtures/access-rsa-2048.pem");
        let pkcs8 = PrivatePkcs8KeyDer::from_pem_slice(pem).unwrap();
        let pair = RsaKeyPair::from_pkcs8(pkcs8.secret_pkcs8_der()).unwrap();
        let pair = Pair::Rsa(pair);
        Self { kid, pair }
    }

    /// A new P-256 key.
    pub(super) fn p256(kid: &'static str) -> Self {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap();
        let pair = Pair::P256(pair);
        Self { kid, pair }
    }

    /// As the host publishes it.
    pub(super) fn jwk(&self) -> Value {
        let kid = self.kid;
        match &self.pair {
            Pair::Rsa(pair) => {
                let PublicKeyComponents { n, e } =
                    PublicKeyComponents::<Vec<u8>>::from(pair.public());
                json!({"kid": kid, "kty": "RSA", "use": "sig", "alg": "RS256", "n": encode(n), "e": encode(e)})
            }
            Pair::P256(pair) => {
                let point = pair.public_key().as_ref();
                json!({"kid": kid, "kty": "EC", "crv": "P-256", "x": encode(&point[1..33]), "y": encode(&point[33..])})
            }
        }
    }

    /// What it signs under: the ordinary header.
    pub(super) fn header(&self) -> Value {
        let alg = match self.pair {
            Pair::Rsa(_) => "RS256",
            Pair::P256(_) => "ES256",
        };
        json!({"alg": alg, "kid": self.kid, "typ": "JWT"})
    }

    /// A token with this header and these claims, whatever they are, and a signature that holds.
    pub(super) fn sign_text(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", encode(header), encode(claims));
        let random = SystemRandom::new();
        let signature = match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(
                    &RSA_PKCS1_SHA256,
                    &random,
                    signed.as_bytes(),
                    &mut signature,
                )
                .unwrap();
                signature
            }
            Pair::P256(pair) => {
                let signature = pair.sign(&random, signed.as_bytes()).unwrap();
                signature.as_ref().to_vec()
            }
        };
        format!("{signed}.{}", encode(signature))
    }

    pub(super) fn sign(&self, claims: &Value) -> String {
        self.sign_text(&self.header().to_string(), &claims.to_string())
    }
}

pub(super) fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

pub(super) fn key_set(keys: &[&Key]) -> Answer {
    Answer::Keys(json!({"keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>()}))
}

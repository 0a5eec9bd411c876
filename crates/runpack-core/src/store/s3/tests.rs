//! What needs no real server: what goes over the wire, and what becomes of every kind of answer.

mod answers;
mod reading;
mod script;
mod secrets;
mod sending;

use std::future::Future;
use std::time::Duration;

use self::script::Script;
use super::*;
use crate::key::Location;

const SECRET: &str = "CANARY-wJalrXUtnFEMI-K7MDENG";

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

fn settings(endpoint: &str) -> S3Settings {
    let mut settings = S3Settings::new("bucket".parse().unwrap());
    settings.endpoint = Some(endpoint.parse().unwrap());
    settings.region = Some("here".to_owned());
    settings.path_prefix = "some/prefix".parse().unwrap();
    settings.credentials = Credentials::Keys {
        access_key: "AKIDEXAMPLE".to_owned(),
        secret_key: Secret::new(SECRET),
        session_token: Some(Secret::new(SECRET)),
    };
    settings.deadlines.attempts = 2;
    settings
}

async fn store(script: &Script) -> S3Store {
    S3Store::open(settings(&script.endpoint())).await.unwrap()
}

fn key(name: &str) -> ObjectKey {
    let key = format!("executions/01ARZ3NDEKTSV4RRFFQ69G5FAV/artifacts/{name}");
    Location::parse(&key).unwrap().key().unwrap()
}

/// An object of two chunks.
fn large() -> Bytes {
    let pattern = (0..=255_u8).cycle();
    pattern.take(9 << 20).collect::<Vec<_>>().into()
}

async fn put(store: &S3Store, bytes: &'static [u8]) -> Result<Receipt, StoreError> {
    let declared = Declared::of(bytes);
    store.put(&key("a.bin"), bytes.into(), declared).await
}

/// All bytes of a range.
async fn read(store: &S3Store, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
    let mut body = store.open(&key("a.bin").into(), range).await?;
    let mut bytes = Vec::new();
    while let Some(piece) = body.next().await {
        bytes.extend_from_slice(&piece?);
    }
    Ok(bytes)
}

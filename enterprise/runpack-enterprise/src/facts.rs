//! What a bucket says of itself: everything that [`crate::policy::lint()`] judges, asked for now (threat L14).
//!
//! Invariants: a document is absent only where the store answers with the code that means just that; a refusal, a
//! function that the server does not have and an answer that makes no sense are not observed, each with why. Every
//! request names the account that must own the bucket, where one is configured.
//!
//! | file | what |
//! |---|---|
//! | `settings` | versions, lock, encryption, public access, logging |
//! | `rules` | the rules of lifecycle and replication |

mod rules;
mod settings;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use runpack_core::store::StoreError;
use runpack_core::store::s3::S3Store;

use crate::policy::{Dialect, Inputs, ObjectLockState, Observed, Replication};

/// Asks a bucket for everything that it is judged by. Who is meant to do what, and what packs are locked with, is left
/// to whoever knows it.
pub async fn inputs(store: &S3Store, dialect: Dialect) -> Inputs {
    let set = store.settings();
    let mut inputs = Inputs::new(set.bucket.clone(), set.path_prefix.clone(), dialect);
    inputs.account = store.owner();
    let bucket = Bucket {
        store,
        name: set.bucket.as_str(),
        owner: store.owner(),
    };
    inputs.policy = bucket.policy().await;
    inputs.lifecycle = bucket.lifecycle().await;
    inputs.replication = replication(&bucket).await;
    inputs.versioning = bucket.versioning().await;
    inputs.object_lock = bucket.object_lock().await;
    inputs.encryption = bucket.encryption().await;
    inputs.public_access_block = bucket.public_access_block().await;
    inputs.logging = bucket.logging().await;
    inputs
}

/// The lock of the bucket of this store.
pub(crate) async fn object_lock(store: &S3Store) -> Observed<ObjectLockState> {
    let bucket = Bucket {
        store,
        name: store.settings().bucket.as_str(),
        owner: store.owner(),
    };
    bucket.object_lock().await
}

/// The rules, with the lock of each destination.
async fn replication(bucket: &Bucket<'_>) -> Observed<Replication> {
    let mut observed = bucket.replication().await;
    if let Observed::Found(replication) = &mut observed {
        for rule in &mut replication.rules {
            let destination = &mut rule.destination;
            let arn = destination.bucket.as_str();
            let there = Bucket {
                store: bucket.store,
                name: arn.rsplit_once(":::").map_or(arn, |(_, name)| name),
                owner: destination.account.clone(),
            };
            destination.object_lock = there.object_lock().await;
        }
    }
    observed
}

/// A bucket that is asked about.
struct Bucket<'a> {
    store: &'a S3Store,
    name: &'a str,
    owner: Option<String>,
}

impl Bucket<'_> {
    fn client(&self) -> Result<Client, StoreError> {
        self.store.client()
    }

    /// What became of a question. `absent` are the codes by which a store says that there is none.
    fn answer<T, E>(
        &self,
        asked: Result<T, SdkError<E>>,
        action: &'static str,
        absent: &[&str],
    ) -> Observed<T>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        match asked {
            Ok(found) => Observed::Found(found),
            Err(error) => {
                let status = error.raw_response().map(|raw| raw.status().as_u16());
                let is_absent = error.code().is_some_and(|code| absent.contains(&code));
                if status == Some(404) && is_absent {
                    return Observed::Absent;
                }
                unasked(&self.store.error(error, action, ""))
            }
        }
    }
}

/// It was not asked, or not answered.
fn unasked<T>(error: &StoreError) -> Observed<T> {
    Observed::NotObserved {
        why: error.to_string(),
    }
}

/// It was answered, and the answer is not understood to the end.
fn senseless<T>(why: &str) -> Observed<T> {
    Observed::NotObserved {
        why: why.to_owned(),
    }
}

/// What was found, made into something else.
fn then<T, U>(observed: Observed<T>, make: impl FnOnce(T) -> Observed<U>) -> Observed<U> {
    match observed {
        Observed::Found(found) => make(found),
        Observed::Absent => Observed::Absent,
        Observed::NotObserved { why } => Observed::NotObserved { why },
    }
}

/// A number that counts something.
fn counted(number: Option<i32>) -> Option<u32> {
    number.and_then(|number| u32::try_from(number).ok())
}

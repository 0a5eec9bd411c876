//! Measuring a store: harmless objects under `_runpack/probe/`, and what the store makes of them.
//!
//! Every claim of a profile comes from something that was tried here. Where a bucket locks new objects by itself,
//! nothing is written unless the caller allows it, since it could not be removed again. Invariants: only names below
//! `_runpack/probe/` are written or removed; what cannot be removed is told.

mod bucket;
mod class;
mod writing;

pub use class::ClassKept;

use std::sync::Arc;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::types::ChecksumMode;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::{StreamExt as _, TryStreamExt as _};

use self::writing::{Condition, PROBES, Racing};
use super::S3Store;
use super::profile::{
    Enforcement, ObjectLock, Profile, Right, Rights, Told, Versioning, WritingRules,
};
use crate::digest::Digest;
use crate::key::Location;
use crate::store::{Housekeeping as _, StoreError};
use crate::time::Clock;

/// What measuring may leave behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaving {
    /// Nothing: where objects are locked by themselves, only what needs no object is measured.
    Nothing,
    /// Small objects that the bucket locks by itself.
    LockedObjects,
}

/// What became of a request.
enum Answer {
    Done,
    /// It was refused: status and the store's own word.
    Refused(u16, String),
    /// Nobody knows.
    Failed(String),
}

impl Answer {
    fn of<T, E: ProvideErrorMetadata + std::error::Error + 'static>(
        result: Result<T, SdkError<E>>,
    ) -> (Self, Option<T>) {
        match result {
            Ok(done) => (Self::Done, Some(done)),
            Err(error) => {
                let status = error.raw_response().map(|raw| raw.status().as_u16());
                let answer = match status {
                    Some(status) if (300..500).contains(&status) || status == 501 => {
                        Self::Refused(status, error.code().unwrap_or("none").to_owned())
                    }
                    Some(status) => Self::Failed(format!("status {status}")),
                    None => Self::Failed("no answer".to_owned()),
                };
                (answer, None)
            }
        }
    }

    fn right(&self) -> Right {
        match self {
            Self::Done => Right::Allowed,
            Self::Refused(401 | 403, _) => Right::Denied,
            Self::Refused(..) | Self::Failed(_) => Right::Unknown,
        }
    }

    fn unknown(&self) -> Enforcement {
        let why = match self {
            Self::Done => "it was not tried".to_owned(),
            Self::Refused(status, code) => format!("the store answered {status} {code}"),
            Self::Failed(why) => why.clone(),
        };
        Enforcement::Unknown { why }
    }
}

impl S3Store {
    /// Measures what the store does. `nonce` names the probes, so that nobody else's are in the way.
    ///
    /// # Errors
    /// The store cannot be reached or used at all ([`S3Store::check`]).
    pub async fn profile(
        &self,
        clock: &Arc<dyn Clock>,
        nonce: u64,
        leaving: Leaving,
    ) -> Result<Profile, StoreError> {
        self.check().await?;
        self.probe(nonce)?.profile(clock, leaving).await
    }

    /// Measures only what a writer has to know, in a dozen requests and without races: for whoever has no
    /// profile. A bucket that locks objects by itself is not written to; it keeps versions.
    ///
    /// # Errors
    /// The store cannot be asked.
    pub async fn writing_rules(&self, nonce: u64) -> Result<WritingRules, StoreError> {
        let probe = self.probe(nonce)?;
        let mut rules = WritingRules {
            put: not_tried(),
            multipart: not_tried(),
            versioning: probe.versioning().await,
        };
        if !probe.object_lock().await.locks_by_itself() {
            let mut quirks = Vec::new();
            rules.put = probe.create_only_put(Racing::Not, &mut quirks).await;
            rules.multipart = probe.create_only_multipart(Racing::Not, &mut quirks).await;
            // Whoever may not remove leaves a few bytes that `gc` takes away.
            let _ = probe.clean().await;
        }
        Ok(rules)
    }

    /// Whether the bucket locks versions, as far as it says.
    ///
    /// # Errors
    /// There is no tokio runtime here.
    pub async fn object_lock(&self) -> Result<ObjectLock, StoreError> {
        Ok(self.probe(0)?.object_lock().await)
    }

    fn probe(&self, nonce: u64) -> Result<Probe<'_>, StoreError> {
        Ok(Probe {
            store: self,
            client: self.client()?,
            bucket: self.settings().bucket.to_string(),
            nonce,
        })
    }
}

struct Probe<'a> {
    store: &'a S3Store,
    client: Client,
    bucket: String,
    nonce: u64,
}

impl Probe<'_> {
    async fn profile(
        &self,
        clock: &Arc<dyn Clock>,
        leaving: Leaving,
    ) -> Result<Profile, StoreError> {
        let measured_at = clock.now();
        let skew = self.store.now().await.ok().map(|theirs| {
            let seconds = |time: crate::time::Timestamp| {
                i64::try_from(time.unix_seconds()).unwrap_or(i64::MAX)
            };
            seconds(theirs).saturating_sub(seconds(clock.now()))
        });
        let mut profile = Profile {
            format: "runpack-profile/v1".to_owned(),
            store: self.store.storage_uri_of_prefix(),
            endpoint: self
                .store
                .settings()
                .endpoint
                .as_ref()
                .map(ToString::to_string),
            measured_at,
            rights: Rights {
                list: self.may_list().await,
                list_versions: self.may_list_versions().await,
                write: Right::Unknown,
                read: Right::Unknown,
                remove: Right::Unknown,
            },
            create_only_put: not_tried(),
            create_only_multipart: not_tried(),
            checksum_put: not_tried(),
            checksum_part: not_tried(),
            checksum_told: Told::Unknown,
            location: self.location().await,
            versioning: self.versioning().await,
            object_lock: self.object_lock().await,
            encryption: self.encryption().await,
            clock_skew_seconds: skew,
            quirks: Vec::new(),
            left: Vec::new(),
        };
        let locks = profile.object_lock.locks_by_itself();
        if locks && leaving == Leaving::Nothing {
            profile.quirks.push(format!(
                "the bucket locks every new object, so about {PROBES} small probes would stay: not measured without leave"
            ));
            return Ok(profile);
        }
        self.write_probes(&mut profile).await;
        let removed;
        (removed, profile.left) = self.clean().await;
        if !locks {
            profile.rights.remove = removed;
        }
        Ok(profile)
    }

    async fn write_probes(&self, profile: &mut Profile) {
        let (first, made) = Answer::of(self.put("first", b"first", Condition::None).await);
        profile.rights.write = first.right();
        if made.is_none() {
            for unmeasured in [
                &mut profile.create_only_put,
                &mut profile.create_only_multipart,
                &mut profile.checksum_put,
                &mut profile.checksum_part,
            ] {
                *unmeasured = first.unknown();
            }
            return;
        }
        let name = self.name("first");
        let head = self.client.head_object().bucket(&self.bucket).key(&name);
        let (read, head) = Answer::of(head.checksum_mode(ChecksumMode::Enabled).send().await);
        profile.rights.read = read.right();
        if let Some(head) = head {
            let told = head.checksum_sha256() == Some(&*base64_of(b"first"));
            profile.checksum_told = if told { Told::Yes } else { Told::No };
            if head.server_side_encryption().is_some() && profile.encryption.is_none() {
                let algorithm = head.server_side_encryption();
                profile.encryption = algorithm.map(|algorithm| algorithm.as_str().to_owned());
            }
        }
        profile.create_only_put = self
            .create_only_put(Racing::Also, &mut profile.quirks)
            .await;
        profile.create_only_multipart = self
            .create_only_multipart(Racing::Also, &mut profile.quirks)
            .await;
        profile.checksum_put = self.checksum_put().await;
        profile.checksum_part = self.checksum_part().await;
    }

    /// The name in the bucket of one probe.
    fn name(&self, what: &str) -> String {
        let text = format!("{:016x}-{what}", self.nonce);
        // Hexadecimal digits and a word of ours are an id, and short.
        let key = text
            .parse()
            .ok()
            .and_then(|probe| Location::Probe { probe }.key().ok());
        let key = key.map(|key| key.to_string()).unwrap_or_default();
        self.store.settings().path_prefix.join(&key)
    }

    /// Removes every probe of this measurement, each version by its id; tells whether that is allowed, and what is
    /// left.
    async fn clean(&self) -> (Right, Vec<String>) {
        let ours = format!("{}{:016x}-", Location::probes_prefix(), self.nonce);
        let holdings = self.store.holdings(&Location::probes_prefix());
        let holdings: Result<Vec<_>, StoreError> = holdings.try_collect().await;
        let holdings = match holdings {
            Ok(holdings) => holdings,
            Err(error) => {
                let left = format!("probes that could not be listed: {error}");
                return (Right::Unknown, vec![left]);
            }
        };
        let of_ours = holdings.iter().filter(|one| one.key.starts_with(&ours));
        let removals = of_ours.map(|one| self.store.remove(one));
        let mut removals = futures_util::stream::iter(removals).buffer_unordered(PROBES);
        let (mut right, mut left, mut why) = (Right::Unknown, 0_u64, String::new());
        while let Some(done) = removals.next().await {
            match done {
                Ok(()) => right = Right::Allowed,
                Err(error) => {
                    left = left.saturating_add(1);
                    if matches!(error, StoreError::Denied { .. }) && right == Right::Unknown {
                        right = Right::Denied;
                    }
                    why = error.to_string();
                }
            }
        }
        let left = (left > 0).then(|| format!("{left} probes under {ours}*: {why}"));
        (right, left.into_iter().collect())
    }
}

fn not_tried() -> Enforcement {
    Answer::Done.unknown()
}

fn base64_of(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(Digest::of(bytes).as_bytes())
}

//! Measuring a store: harmless objects under `_runpack/probe/`, and what the store makes of them.
//!
//! Every claim of a profile comes from something that was tried here. Where a bucket locks new objects by itself,
//! nothing is written unless the caller allows it, since it could not be removed again. Invariants: only names below
//! `_runpack/probe/` are written or removed; what cannot be removed is told.

use std::sync::Arc;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumMode, CompletedMultipartUpload, CompletedPart};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::future::join_all;
use futures_util::{StreamExt as _, TryStreamExt as _};

use super::S3Store;
use super::profile::{Enforcement, ObjectLock, Profile, Right, Rights, Told, Versioning};
use crate::digest::Digest;
use crate::key::Location;
use crate::store::{Housekeeping as _, StoreError};
use crate::time::Clock;

/// How many writers race for one key.
const RACERS: usize = 16;
/// How often they do: one race may go well by chance.
const RACES: usize = 4;
/// How many uploads in parts race to be completed.
const UPLOADS_RACING: usize = 6;
/// The least that a part but the last may have (Amazon S3, "Multipart upload limits"); one part is the last.
const PART: &[u8] = b"a part of a probe";

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
        let probe = Probe {
            store: self,
            client: self.client()?,
            bucket: self.settings().bucket.to_string(),
            nonce,
        };
        probe.profile(clock, leaving).await
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
            versioning: self.versioning().await,
            object_lock: self.object_lock().await,
            encryption: self.encryption().await,
            clock_skew_seconds: skew,
            quirks: Vec::new(),
            left: Vec::new(),
        };
        let locks = matches!(
            &profile.object_lock,
            ObjectLock::On {
                default_retention: Some(_)
            }
        );
        if locks && leaving == Leaving::Nothing {
            profile.quirks.push(format!(
                "the bucket locks every new object, so about {} small probes would stay: not measured without leave",
                RACERS.saturating_mul(RACES)
            ));
            return Ok(profile);
        }
        self.write_probes(&mut profile).await?;
        self.clean(&mut profile, locks).await;
        Ok(profile)
    }

    async fn write_probes(&self, profile: &mut Profile) -> Result<(), StoreError> {
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
            return Ok(());
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
        profile.create_only_put = self.create_only_put(&mut profile.quirks).await;
        profile.create_only_multipart = self.create_only_multipart(&mut profile.quirks).await;
        profile.checksum_put = self.checksum_put().await;
        profile.checksum_part = self.checksum_part().await;
        Ok(())
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

    async fn put(
        &self,
        what: &str,
        bytes: &'static [u8],
        condition: Condition,
    ) -> Result<
        aws_sdk_s3::operation::put_object::PutObjectOutput,
        SdkError<aws_sdk_s3::operation::put_object::PutObjectError>,
    > {
        let put = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(self.name(what))
            .checksum_algorithm(ChecksumAlgorithm::Sha256)
            .checksum_sha256(base64_of(bytes))
            .body(ByteStream::from_static(bytes));
        match condition {
            Condition::None => put.send().await,
            Condition::Absent => put.if_none_match("*").send().await,
        }
    }

    async fn create_only_put(&self, quirks: &mut Vec<String>) -> Enforcement {
        let (absent, _) = Answer::of(self.put("alone", b"one", Condition::Absent).await);
        match absent {
            Answer::Done => {}
            Answer::Refused(_, code) => return Enforcement::Refused { code },
            Answer::Failed(_) => return absent.unknown(),
        }
        let (present, _) = Answer::of(self.put("alone", b"two", Condition::Absent).await);
        match present {
            Answer::Done => return Enforcement::Ignored,
            Answer::Refused(412, _) => {}
            Answer::Refused(status, code) => quirks.push(format!(
                "an object that is there is told with {status} {code} instead of 412 PreconditionFailed"
            )),
            Answer::Failed(_) => return present.unknown(),
        }
        for race in 0..RACES {
            let what = format!("race-{race}");
            let racers = (0..RACERS).map(|_| self.put(&what, b"racer", Condition::Absent));
            let won = join_all(racers)
                .await
                .into_iter()
                .filter(Result::is_ok)
                .count();
            if won > 1 {
                return Enforcement::Racy;
            }
        }
        Enforcement::Enforced
    }

    async fn create_only_multipart(&self, quirks: &mut Vec<String>) -> Enforcement {
        match self.complete("parts").await {
            Ok(Answer::Done) => {}
            Ok(Answer::Refused(_, code)) => return Enforcement::Refused { code },
            Ok(failed) | Err(failed) => return failed.unknown(),
        }
        match self.complete("parts").await {
            Ok(Answer::Done) => return Enforcement::Ignored,
            Ok(Answer::Refused(412, _)) => {}
            Ok(Answer::Refused(status, code)) => quirks.push(format!(
                "an object that is there is told with {status} {code} instead of 412 at the end of an upload in parts"
            )),
            Ok(failed) | Err(failed) => return failed.unknown(),
        }
        let racers = (0..UPLOADS_RACING).map(|_| self.complete("parts-race"));
        let ended = join_all(racers).await;
        let won = ended
            .iter()
            .filter(|end| matches!(end, Ok(Answer::Done)))
            .count();
        if won > 1 {
            Enforcement::Racy
        } else {
            Enforcement::Enforced
        }
    }

    /// Uploads one part and completes under the condition; an error is one from before the completion.
    async fn complete(&self, what: &str) -> Result<Answer, Answer> {
        let upload = self.begin(what).await?;
        let part = self.part(what, &upload, base64_of(PART)).await;
        let (answer, part) = Answer::of(part);
        let Some(part) = part else {
            self.abort(what, &upload).await;
            return Err(answer);
        };
        let completed = CompletedPart::builder()
            .part_number(1)
            .set_e_tag(part.e_tag)
            .checksum_sha256(base64_of(PART))
            .build();
        let parts = CompletedMultipartUpload::builder().parts(completed).build();
        let complete = self
            .client
            .complete_multipart_upload()
            .bucket(&self.bucket)
            .key(self.name(what))
            .upload_id(&upload)
            .multipart_upload(parts)
            .if_none_match("*");
        let (answer, done) = Answer::of(complete.send().await);
        if done.is_none() {
            self.abort(what, &upload).await;
        }
        Ok(answer)
    }

    async fn begin(&self, what: &str) -> Result<String, Answer> {
        let create = self
            .client
            .create_multipart_upload()
            .bucket(&self.bucket)
            .key(self.name(what))
            .checksum_algorithm(ChecksumAlgorithm::Sha256);
        let (answer, created) = Answer::of(create.send().await);
        created.and_then(|created| created.upload_id).ok_or(answer)
    }

    async fn part(
        &self,
        what: &str,
        upload: &str,
        checksum: String,
    ) -> Result<
        aws_sdk_s3::operation::upload_part::UploadPartOutput,
        SdkError<aws_sdk_s3::operation::upload_part::UploadPartError>,
    > {
        self.client
            .upload_part()
            .bucket(&self.bucket)
            .key(self.name(what))
            .upload_id(upload)
            .part_number(1)
            .checksum_algorithm(ChecksumAlgorithm::Sha256)
            .checksum_sha256(checksum)
            .body(ByteStream::from_static(PART))
            .send()
            .await
    }

    async fn abort(&self, what: &str, upload: &str) {
        let abort = self
            .client
            .abort_multipart_upload()
            .bucket(&self.bucket)
            .key(self.name(what))
            .upload_id(upload);
        // What is left of it is swept with the probes, and by `gc` after that.
        let _ = abort.send().await;
    }

    async fn checksum_put(&self) -> Enforcement {
        let put = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(self.name("wrong"))
            .checksum_algorithm(ChecksumAlgorithm::Sha256)
            .checksum_sha256(base64_of(b"other bytes"))
            .body(ByteStream::from_static(b"these bytes"));
        refusal(&Answer::of(put.send().await).0)
    }

    async fn checksum_part(&self) -> Enforcement {
        let upload = match self.begin("wrong-part").await {
            Ok(upload) => upload,
            Err(answer) => return answer.unknown(),
        };
        let part = self
            .part("wrong-part", &upload, base64_of(b"other bytes"))
            .await;
        let measured = refusal(&Answer::of(part).0);
        self.abort("wrong-part", &upload).await;
        measured
    }

    async fn may_list(&self) -> Right {
        let list = self.client.list_objects_v2().bucket(&self.bucket);
        let list = list.prefix(self.name("")).max_keys(1);
        Answer::of(list.send().await).0.right()
    }

    async fn may_list_versions(&self) -> Right {
        let list = self.client.list_object_versions().bucket(&self.bucket);
        let list = list.prefix(self.name("")).max_keys(1);
        Answer::of(list.send().await).0.right()
    }

    async fn versioning(&self) -> Versioning {
        use aws_sdk_s3::types::BucketVersioningStatus;
        let asked = self
            .client
            .get_bucket_versioning()
            .bucket(&self.bucket)
            .send();
        match asked.await.map(|answer| answer.status) {
            Ok(Some(BucketVersioningStatus::Enabled)) => Versioning::Enabled,
            Ok(Some(BucketVersioningStatus::Suspended)) => Versioning::Suspended,
            Ok(None) => Versioning::Off,
            Ok(Some(_)) | Err(_) => Versioning::Unknown,
        }
    }

    async fn object_lock(&self) -> ObjectLock {
        let asked = self
            .client
            .get_object_lock_configuration()
            .bucket(&self.bucket)
            .send();
        let (answer, found) = Answer::of(asked.await);
        let Some(found) = found else {
            return match answer {
                // `ObjectLockConfigurationNotFoundError`
                Answer::Refused(404, _) => ObjectLock::Off,
                _ => ObjectLock::Unknown,
            };
        };
        let Some(configuration) = found.object_lock_configuration else {
            return ObjectLock::Off;
        };
        let retention = configuration.rule.and_then(|rule| rule.default_retention);
        let default_retention = retention.map(|retention| {
            let mode = retention.mode.as_ref().map_or("?", |mode| mode.as_str());
            match (retention.days, retention.years) {
                (Some(days), _) if days > 0 => format!("{mode} {days} days"),
                (_, Some(years)) if years > 0 => format!("{mode} {years} years"),
                _ => mode.to_owned(),
            }
        });
        ObjectLock::On { default_retention }
    }

    async fn encryption(&self) -> Option<String> {
        let asked = self
            .client
            .get_bucket_encryption()
            .bucket(&self.bucket)
            .send();
        let found = asked.await.ok()?.server_side_encryption_configuration?;
        let rule = found.rules.into_iter().next()?;
        let by_default = rule.apply_server_side_encryption_by_default?;
        Some(by_default.sse_algorithm.as_str().to_owned())
    }

    /// Removes every probe of this measurement, each version by its id.
    async fn clean(&self, profile: &mut Profile, locks: bool) {
        let ours = format!("{}{:016x}-", Location::probes_prefix(), self.nonce);
        let holdings = self.store.holdings(&Location::probes_prefix());
        let holdings: Result<Vec<_>, StoreError> = holdings.try_collect().await;
        let holdings = match holdings {
            Ok(holdings) => holdings,
            Err(error) => {
                profile
                    .left
                    .push(format!("probes that could not be listed: {error}"));
                return;
            }
        };
        let mut left = 0_u64;
        let mut why = String::new();
        let mut removals = futures_util::stream::iter(
            holdings
                .iter()
                .filter(|holding| holding.key.starts_with(&ours))
                .map(|holding| self.store.remove(holding)),
        )
        .buffer_unordered(RACERS);
        let mut removed = Right::Unknown;
        while let Some(done) = removals.next().await {
            match done {
                Ok(()) => removed = Right::Allowed,
                Err(error) => {
                    left = left.saturating_add(1);
                    if matches!(error, StoreError::Denied { .. }) && removed == Right::Unknown {
                        removed = Right::Denied;
                    }
                    why = error.to_string();
                }
            }
        }
        profile.rights.remove = if locks { Right::Unknown } else { removed };
        if left > 0 {
            profile
                .left
                .push(format!("{left} probes under {ours}*: {why}"));
        }
    }
}

/// Whether a put is made under the condition that nothing is there.
#[derive(Clone, Copy)]
enum Condition {
    None,
    Absent,
}

fn not_tried() -> Enforcement {
    Answer::Done.unknown()
}

/// What it says of checking that something wrong was, or was not, refused.
fn refusal(answer: &Answer) -> Enforcement {
    match answer {
        Answer::Done => Enforcement::Ignored,
        Answer::Refused(400, _) => Enforcement::Enforced,
        Answer::Refused(..) | Answer::Failed(_) => answer.unknown(),
    }
}

fn base64_of(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(Digest::of(bytes).as_bytes())
}

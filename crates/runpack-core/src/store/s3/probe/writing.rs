//! Whether the store keeps what is there from being replaced, and checks what it takes.

use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use futures_util::future::join_all;

use super::super::write::encryption;
use super::{Answer, Enforcement, Probe, base64_of};

/// How many writers race for one key.
const RACERS: usize = 16;
/// How often they do: one race may go well by chance.
const RACES: usize = 4;
/// How many uploads in parts race to be completed.
const UPLOADS_RACING: usize = 6;
/// The least that a part but the last may have (Amazon S3, "Multipart upload limits"); one part is the last.
const PART: &[u8] = b"a part of a probe";

/// About how many objects all of it writes.
pub(super) const PROBES: usize = RACERS * RACES;

/// Whether several writers are set against each other too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Racing {
    /// They are.
    Also,
    /// One after the other has to do.
    Not,
}

/// Whether a put is made under the condition that nothing is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    None,
    Absent,
}

/// Whether a store says that it does not know the condition, and not that somebody may not write.
fn is_unknown_header(status: u16, code: &str) -> bool {
    let codes = ["NotImplemented", "InvalidArgument", "InvalidRequest"];
    status == 501 || (status == 400 && codes.contains(&code))
}

impl Probe<'_> {
    pub(super) async fn put(
        &self,
        what: &str,
        bytes: &'static [u8],
        condition: Condition,
    ) -> Result<
        aws_sdk_s3::operation::put_object::PutObjectOutput,
        SdkError<aws_sdk_s3::operation::put_object::PutObjectError>,
    > {
        let (encryption, key_id) = encryption(self.store);
        let put = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(self.name(what))
            .set_server_side_encryption(encryption)
            .set_ssekms_key_id(key_id)
            .set_expected_bucket_owner(self.store.owner())
            .checksum_algorithm(ChecksumAlgorithm::Sha256)
            .checksum_sha256(base64_of(bytes))
            .body(ByteStream::from_static(bytes));
        match condition {
            Condition::None => put.send().await,
            Condition::Absent => put.if_none_match("*").send().await,
        }
    }

    pub(super) async fn create_only_put(
        &self,
        racing: Racing,
        quirks: &mut Vec<String>,
    ) -> Enforcement {
        let (absent, _) = Answer::of(self.put("alone", b"one", Condition::Absent).await);
        match absent {
            Answer::Done => {}
            Answer::Refused(status, code) if is_unknown_header(status, &code) => {
                return Enforcement::Refused { code };
            }
            Answer::Refused(..) | Answer::Failed(_) => return absent.unknown(),
        }
        let (present, _) = Answer::of(self.put("alone", b"two", Condition::Absent).await);
        match present {
            Answer::Done => return Enforcement::Ignored,
            Answer::Refused(412, _) => {}
            Answer::Refused(status @ (304 | 409), code) => quirks.push(format!(
                "an object that is there is told with {status} {code} instead of 412 PreconditionFailed"
            )),
            Answer::Refused(..) | Answer::Failed(_) => return present.unknown(),
        }
        let races = if racing == Racing::Also { RACES } else { 0 };
        for race in 0..races {
            let what = format!("race-{race}");
            let puts = (0..RACERS).map(|_| self.put(&what, b"racer", Condition::Absent));
            let won = join_all(puts).await.into_iter().flatten().count();
            if won > 1 {
                return Enforcement::Racy;
            }
        }
        Enforcement::Enforced
    }

    pub(super) async fn create_only_multipart(
        &self,
        racing: Racing,
        quirks: &mut Vec<String>,
    ) -> Enforcement {
        match self.complete("parts").await {
            Ok(Answer::Done) => {}
            Ok(Answer::Refused(status, code)) if is_unknown_header(status, &code) => {
                return Enforcement::Refused { code };
            }
            Ok(failed) | Err(failed) => return failed.unknown(),
        }
        match self.complete("parts").await {
            Ok(Answer::Done) => return Enforcement::Ignored,
            Ok(Answer::Refused(412, _)) => {}
            Ok(Answer::Refused(status @ (304 | 409), code)) => quirks.push(format!(
                "an object that is there is told with {status} {code} instead of 412 at the end of an upload in parts"
            )),
            Ok(failed) | Err(failed) => return failed.unknown(),
        }
        if racing == Racing::Not {
            return Enforcement::Enforced;
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
        let (encryption, key_id) = encryption(self.store);
        let create = self
            .client
            .create_multipart_upload()
            .bucket(&self.bucket)
            .key(self.name(what))
            .set_server_side_encryption(encryption)
            .set_ssekms_key_id(key_id)
            .set_expected_bucket_owner(self.store.owner())
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

    pub(super) async fn checksum_put(&self) -> Enforcement {
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

    pub(super) async fn checksum_part(&self) -> Enforcement {
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
}

/// What it says of checking that something wrong was, or was not, refused.
fn refusal(answer: &Answer) -> Enforcement {
    match answer {
        Answer::Done => Enforcement::Ignored,
        Answer::Refused(400, _) => Enforcement::Enforced,
        Answer::Refused(..) | Answer::Failed(_) => answer.unknown(),
    }
}

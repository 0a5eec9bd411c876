//! Reading: ranges that are what was asked for, bounded in length, in pace and in attempts.
//!
//! Invariants: no more is handed on than the range; nothing is reserved by what the store claims (threat S05); an
//! encoding is refused, never undone (threat S06); a reading that is taken up again is of the same version or
//! entity tag (threat S19); a store that sends too slowly is given up (threats S04, N06).

use std::ops::Range;
use std::time::Duration;

use aws_sdk_s3::operation::get_object::{GetObjectError, GetObjectOutput};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{IntelligentTieringAccessTier, StorageClass};
use aws_smithy_runtime_api::client::result::SdkError;
use bytes::Bytes;
use futures_util::stream;

use super::fault::{Answer, Fault, Met, spelled};
use super::{S3Store, head};
use crate::count::len_u64;
use crate::store::{ObjectBody, ObjectRef, StoreError};

const READING: &str = "reading an object";

/// How often one reading is taken up again.
const RESUMED_MAX: u32 = 3;

/// No object is so large; what lies beyond is not put into a request.
const OFFSET_MAX: u64 = 1 << 53;

/// Which bytes of which generation of an object.
#[derive(Debug, Clone)]
struct Wanted {
    object: ObjectRef,
    range: Range<u64>,
    e_tag: Option<String>,
}

/// What came of asking for a range.
enum Got {
    Range(Opened),
    /// It begins beyond the end; the size, where the store says it.
    Nothing(Option<u64>),
}

/// An answer that was looked at.
struct Opened {
    body: ByteStream,
    bytes_claimed: u64,
    version: Option<crate::store::VersionId>,
    e_tag: Option<String>,
}

impl S3Store {
    pub(super) async fn read(
        &self,
        object: &ObjectRef,
        range: Range<u64>,
    ) -> Result<ObjectBody, StoreError> {
        if range.is_empty() || range.start > OFFSET_MAX {
            return Ok(nothing(self.head(object).await?.bytes));
        }
        let mut wanted = Wanted {
            object: object.clone(),
            range,
            e_tag: None,
        };
        let opened = match self.request(&wanted).await? {
            Got::Range(opened) => opened,
            Got::Nothing(Some(bytes)) => return Ok(nothing(bytes)),
            Got::Nothing(None) => return Ok(nothing(self.head(object).await?.bytes)),
        };
        let bytes_claimed = opened.bytes_claimed;
        wanted.object.version = wanted.object.version.or(opened.version);
        wanted.e_tag = opened.e_tag;
        // What the object does not have is not waited for.
        wanted.range.end = wanted.range.end.min(bytes_claimed.max(wanted.range.start));
        let reading = Reading {
            store: self.clone(),
            wanted,
            body: opened.body,
            waited: Duration::ZERO,
            received: 0,
            resumed: 0,
        };
        Ok(ObjectBody {
            bytes_claimed,
            stream: Box::pin(stream::try_unfold(reading, Reading::step)),
        })
    }

    /// Asks for a range.
    async fn request(&self, wanted: &Wanted) -> Result<Got, StoreError> {
        let key = wanted.object.key.as_str();
        let version = wanted.object.version.as_ref();
        let answer = self
            .client()?
            .get_object()
            .bucket(self.bucket())
            .key(self.name(key))
            .set_version_id(version.map(|version| version.as_str().to_owned()))
            .set_range(header(&wanted.range))
            .set_if_match(wanted.e_tag.clone().filter(|_| version.is_none()))
            .set_expected_bucket_owner(self.owner())
            .send()
            .await;
        match answer {
            Ok(answer) => self.opened(wanted, answer).map(Got::Range),
            Err(error) => {
                if let Some(tier) = archived(&error) {
                    let key = key.to_owned();
                    return Err(StoreError::Archived { key, tier });
                }
                let fault = Fault::from(error);
                if fault.is_beyond_end() {
                    return Ok(Got::Nothing(fault.bytes()));
                }
                if fault.is_missing_version(version) {
                    let key = key.to_owned();
                    return Err(StoreError::NotFound { key });
                }
                Err(fault.into_error(self, READING, key))
            }
        }
    }

    fn opened(&self, wanted: &Wanted, answer: GetObjectOutput) -> Result<Opened, StoreError> {
        let nonsense = |message: &str| {
            let fault = Fault::Answer(Answer::nonsense(message));
            fault.into_error(self, READING, wanted.object.key.as_str())
        };
        let encoding = answer.content_encoding().unwrap_or_default().trim();
        if !["", "identity", "aws-chunked"]
            .iter()
            .any(|none| encoding.eq_ignore_ascii_case(none))
        {
            return Err(nonsense(
                "the object comes in an encoding, and objects have none",
            ));
        }
        let length = answer
            .content_length()
            .and_then(|bytes| u64::try_from(bytes).ok());
        let (start, bytes_claimed) = match answer.content_range() {
            Some(range) => {
                let (range, bytes) =
                    parse(range).ok_or_else(|| nonsense("the range in the answer is none"))?;
                if length.is_some_and(|length| length != range.end.saturating_sub(range.start)) {
                    return Err(nonsense("the answer is longer or shorter than its range"));
                }
                (range.start, bytes)
            }
            None => (0, length.unwrap_or(u64::MAX)),
        };
        if start != wanted.range.start {
            return Err(nonsense("the answer is another range than was asked for"));
        }
        Ok(Opened {
            bytes_claimed,
            version: head::version(answer.version_id()),
            e_tag: answer.e_tag().map(str::to_owned),
            body: answer.body,
        })
    }
}

fn nothing(bytes_claimed: u64) -> ObjectBody {
    ObjectBody {
        bytes_claimed,
        stream: Box::pin(stream::empty()),
    }
}

/// The header that asks for a range, unless it is everything (RFC 9110, section 14.1.2).
fn header(range: &Range<u64>) -> Option<String> {
    match (range.start, range.end) {
        (0, end) if end > OFFSET_MAX => None,
        (start, end) if end > OFFSET_MAX => Some(format!("bytes={start}-")),
        (start, end) => Some(format!("bytes={start}-{}", end.saturating_sub(1))),
    }
}

/// A range, and the size of the whole (RFC 9110, section 14.4).
fn parse(range: &str) -> Option<(Range<u64>, u64)> {
    let (range, whole) = range.strip_prefix("bytes ")?.split_once('/')?;
    let (start, end) = range.split_once('-')?;
    let (start, end, whole): (u64, u64, u64) =
        (start.parse().ok()?, end.parse().ok()?, whole.parse().ok()?);
    (start <= end && end < whole).then(|| (start..end.saturating_add(1), whole))
}

/// Where an object lies that cannot be read.
fn archived<R>(error: &SdkError<GetObjectError, R>) -> Option<String> {
    match error.as_service_error()? {
        GetObjectError::InvalidObjectState(state) => {
            let tier = state
                .access_tier()
                .map(IntelligentTieringAccessTier::as_str);
            let class = state.storage_class().map(StorageClass::as_str);
            Some(super::fault::tamed(tier.or(class).unwrap_or("archive")))
        }
        _ => None,
    }
}

/// A reading under way.
struct Reading {
    store: S3Store,
    /// What is still to come.
    wanted: Wanted,
    body: ByteStream,
    /// The time spent waiting for the store, and none that the caller took.
    waited: Duration,
    received: u64,
    resumed: u32,
}

impl Reading {
    async fn step(mut self) -> Result<Option<(Bytes, Self)>, StoreError> {
        loop {
            let left = self
                .wanted
                .range
                .end
                .saturating_sub(self.wanted.range.start);
            if left == 0 {
                return Ok(None);
            }
            match self.piece().await? {
                Ok(Some(mut piece)) => {
                    piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                    let bytes = len_u64(&piece);
                    self.received = self.received.saturating_add(bytes);
                    self.wanted.range.start = self.wanted.range.start.saturating_add(bytes);
                    if bytes > 0 {
                        return Ok(Some((piece, self)));
                    }
                }
                // A body may end early where nothing said how long it is; what is missing shows above.
                Ok(None) => return Ok(None),
                Err(met) if self.resumed >= RESUMED_MAX => return Err(self.unavailable(met)),
                Err(_) => {
                    self.resumed = self.resumed.saturating_add(1);
                    match self.store.request(&self.wanted).await? {
                        Got::Range(opened) => self.body = opened.body,
                        Got::Nothing(_) => return Ok(None),
                    }
                }
            }
        }
    }

    /// The next piece, or what was met instead; an error where the store is too slow.
    async fn piece(&mut self) -> Result<Result<Option<Bytes>, String>, StoreError> {
        let deadlines = &self.store.settings().deadlines;
        let moving = self
            .received
            .checked_div(deadlines.bytes_per_second_min)
            .unwrap_or(self.received);
        let patience = deadlines
            .attempt
            .saturating_add(Duration::from_secs(moving))
            .saturating_sub(self.waited);
        // Monotonic, and only to count waiting.
        let since = tokio::time::Instant::now();
        let next = tokio::time::timeout(patience, self.body.try_next()).await;
        self.waited = self.waited.saturating_add(since.elapsed());
        match next {
            Ok(Ok(piece)) => Ok(Ok(piece)),
            Ok(Err(error)) => Ok(Err(spelled(&error))),
            Err(_) => Err(self.unavailable(format!(
                "the store sent {} bytes and then too little for too long",
                self.received
            ))),
        }
    }

    fn unavailable(&self, met: String) -> StoreError {
        StoreError::Unavailable {
            action: READING,
            key: self.wanted.object.key.to_string(),
            source: Box::new(Met(met)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_asked_for_as_http_has_them() {
        for (range, asked) in [
            (0..u64::MAX, None),
            (0..1, Some("bytes=0-0")),
            (5..9, Some("bytes=5-8")),
            (5..u64::MAX, Some("bytes=5-")),
        ] {
            assert_eq!(header(&range).as_deref(), asked, "{range:?}");
        }
    }

    #[test]
    fn s05_a_range_that_is_none_is_not_believed() {
        assert_eq!(parse("bytes 5-8/100"), Some((5..9, 100)));
        for wrong in [
            "",
            "bytes */100",
            "bytes 5-8/*",
            "bytes 8-5/100",
            "bytes 5-100/100",
            "bytes -5-8/100",
            "items 5-8/100",
            "bytes 5-8/99999999999999999999999",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}

//! How to write to a bucket, as far as it was measured, kept on this machine for a day; and where it was when it was last
//! asked, for when it is away.

use std::io::Write as _;
use std::path::PathBuf;

use runpack_core::digest::Digest;
use runpack_core::store::s3::{
    BucketLocation, CreateOnly, S3Settings, S3Store, WritingRules, is_stale,
};
use runpack_core::time::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::failure::Failure;
use crate::storage;

/// The largest file that is read.
const KEPT_BYTES_MAX: u64 = 64 << 10;

/// What is kept.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    measured_at: Timestamp,
    rules: WritingRules,
}

/// Where a bucket was when it was asked last.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptLocation {
    told_at: Timestamp,
    location: String,
}

/// Where what is of one kind is kept.
const PROFILES: &str = "profiles";
const LOCATIONS: &str = "locations";

/// A number that names the probes of one measurement.
pub(crate) fn nonce() -> u64 {
    let random = ulid::Ulid::generate().random() & u128::from(u64::MAX);
    u64::try_from(random).unwrap_or_default()
}

fn path(context: &Context, kind: &str, settings: &S3Settings) -> Result<PathBuf, Failure> {
    let place = storage::recorded_place(settings);
    let name = format!("{}.json", Digest::of(place.as_bytes()));
    Ok(context.environment.state()?.join(kind).join(name))
}

/// Keeps what was measured, in place of what was before. What was not measured is not kept: somebody who may only
/// read does not decide for those who write.
pub(crate) fn keep(
    context: &Context,
    settings: &S3Settings,
    rules: &WritingRules,
) -> Result<(), Failure> {
    if !rules.is_measured() {
        return Ok(());
    }
    let kept = Kept {
        measured_at: context.now.time,
        rules: rules.clone(),
    };
    write(context, PROFILES, settings, &kept)
}

/// Keeps something in place of what was kept before.
fn write(
    context: &Context,
    kind: &str,
    settings: &S3Settings,
    kept: &impl Serialize,
) -> Result<(), Failure> {
    let path = path(context, kind, settings)?;
    let bytes = serde_json::to_vec_pretty(kept).unwrap_or_default();
    let written = || {
        let directory = path.parent().ok_or(std::io::ErrorKind::InvalidInput)?;
        std::fs::create_dir_all(directory)?;
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(&bytes)?;
        // A profile that is lost is measured again.
        file.persist(&path).map_err(|failed| failed.error)?;
        Ok::<(), std::io::Error>(())
    };
    written().map_err(|error| {
        Failure::new(
            format!(
                "what was measured could not be kept, path=`{}`",
                path.display()
            ),
            "check the permissions of that path, or set RUNPACK_STATE_DIR",
        )
        .because(&error)
    })
}

/// What was kept last. What cannot be read is nothing.
fn kept<T: DeserializeOwned>(context: &Context, kind: &str, settings: &S3Settings) -> Option<T> {
    let path = path(context, kind, settings).ok()?;
    let metadata = std::fs::metadata(&path).ok()?;
    (metadata.len() <= KEPT_BYTES_MAX).then_some(())?;
    serde_json::from_slice(&std::fs::read(&path).ok()?).ok()
}

/// How to write to a bucket about which nothing is configured: as it was measured in the last day, now if it was not.
///
/// # Errors
/// There is no safe way, or nobody can tell.
pub(crate) async fn writing(context: &Context, store: &S3Store) -> Result<CreateOnly, Failure> {
    let settings = store.settings();
    let last: Option<Kept> = kept(context, PROFILES, settings);
    let fresh = last.filter(|kept| !is_stale(kept.measured_at, context.now.time));
    let rules = if let Some(kept) = fresh {
        kept.rules
    } else {
        let rules = store.writing_rules(nonce()).await?;
        keep(context, settings, &rules)?;
        rules
    };
    safe(&rules)
}

/// How to write to a bucket that is away and about which nothing is configured: as it was measured last, however long ago.
///
/// # Errors
/// It was never measured, or there was no safe way.
pub(crate) fn last_known(context: &Context, store: &S3Store) -> Result<CreateOnly, Failure> {
    let Some(kept) = kept::<Kept>(context, PROFILES, store.settings()) else {
        return Err(Failure::new(
            "the store cannot be reached, and how to write to it was never measured on this machine",
            "start the server once while the store answers, or say how to write as `runpacks.s3.create_only`",
        ));
    };
    safe(&kept.rules)
}

/// Where a bucket is, asked now: one that was made anew may be somewhere else. Kept for when it is away.
///
/// # Errors
/// It cannot be asked, or what it said cannot be kept.
pub(crate) async fn location(
    context: &Context,
    store: &S3Store,
) -> Result<BucketLocation, Failure> {
    let found = store.location().await?;
    if let Some(told) = found.told() {
        let kept = KeptLocation {
            told_at: context.now.time,
            location: told.to_owned(),
        };
        write(context, LOCATIONS, store.settings(), &kept)?;
    }
    Ok(found)
}

/// Where a bucket that is away was when it was asked last. It is asked again before anything is brought to it.
pub(crate) fn last_location(context: &Context, store: &S3Store) -> BucketLocation {
    let last: Option<KeptLocation> = kept(context, LOCATIONS, store.settings());
    last.map_or(
        BucketLocation::NotTold {
            why: "it is away, and was never asked on this machine",
        },
        |kept| BucketLocation::Told(kept.location),
    )
}

fn safe(rules: &WritingRules) -> Result<CreateOnly, Failure> {
    if let Some(safe) = rules.safe() {
        return Ok(safe);
    }
    Err(if rules.is_measured() {
        Failure::new(
            "this store does not keep what is there from being replaced, and keeps no versions",
            "enable versions on the bucket and run `runpack store status`, or use another store; Docs/providers says more",
        )
    } else {
        Failure::new(
            "whether this store keeps what is there from being replaced could not be measured",
            "allow these credentials to write below `_runpack/probe/`, or say how to write as `runpacks.s3.create_only`; \
             `runpack store status` says what is not allowed",
        )
    })
}

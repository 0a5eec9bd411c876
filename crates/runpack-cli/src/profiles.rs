//! What `store status` measured, kept on this machine: whoever writes to a bucket goes by it for a day.

use std::io::Write as _;
use std::path::PathBuf;

use runpack_core::digest::Digest;
use runpack_core::store::s3::Profile;
use runpack_core::store::s3::{CreateOnly, S3Settings};

use crate::context::Context;
use crate::failure::Failure;
use crate::storage;

/// The largest profile that is read.
const PROFILE_BYTES_MAX: u64 = 1 << 20;

fn path(context: &Context, settings: &S3Settings) -> Result<PathBuf, Failure> {
    let place = storage::recorded_place(settings);
    let name = format!("{}.json", Digest::of(place.as_bytes()));
    Ok(context.environment.state()?.join("profiles").join(name))
}

/// Keeps a profile, in place of an older one.
pub(crate) fn keep(
    context: &Context,
    settings: &S3Settings,
    profile: &Profile,
) -> Result<(), Failure> {
    let path = path(context, settings)?;
    let bytes = serde_json::to_vec_pretty(profile).unwrap_or_default();
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

/// The profile of a bucket, if one was measured in the last day. One that cannot be read is none.
fn kept(context: &Context, settings: &S3Settings) -> Option<Profile> {
    let path = path(context, settings).ok()?;
    let metadata = std::fs::metadata(&path).ok()?;
    (metadata.len() <= PROFILE_BYTES_MAX).then_some(())?;
    let profile: Profile = serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?;
    (!profile.is_stale(context.now.time)).then_some(profile)
}

/// How to write to a bucket: as it is configured, unless what was measured says that this is not safe there.
///
/// # Errors
/// There is no safe way.
pub(crate) fn writing(context: &Context, settings: &S3Settings) -> Result<CreateOnly, Failure> {
    if settings.create_only != CreateOnly::Conditional {
        return Ok(settings.create_only);
    }
    let Some(profile) = kept(context, settings) else {
        return Ok(CreateOnly::Conditional);
    };
    profile.safe_writing().ok_or_else(|| {
        Failure::new(
            format!(
                "this store does not keep what is there from being replaced, and keeps no versions, measured=`{}`",
                profile.measured_at
            ),
            "enable versions on the bucket and run `runpack store status` again, or use another store; Docs/providers \
             says more",
        )
    })
}

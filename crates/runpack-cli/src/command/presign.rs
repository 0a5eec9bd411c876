//! `runpack presign`: a URL that somebody without credentials can use for a while.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use runpack_core::commitment::ChunkHasher;
use runpack_core::digest::{Digest, Hasher};
use runpack_core::key::{Location, ObjectKey};
use runpack_core::limits::Limits;
use runpack_core::manifest::Subject;
use runpack_core::name::ArtifactName;
use runpack_core::pack::PackError;
use runpack_core::store::ArtifactReader as _;
use runpack_core::store::s3::{Presigned, S3Store};
use runpack_core::verify::{Level, Pack};
use serde_json::{Value, json};

use super::Execute;
use crate::context::Context;
use crate::duration::{DurationArgument, parse_duration};
use crate::failure::{Exit, Failure};
use crate::limits::LimitOptions;
use crate::output::Format;
use crate::storage::{self, Access, Storage};
use crate::table::safe;
use crate::target::{BundleTarget, FilesAt, FilesTarget, Target, TargetOptions};
use crate::unsound;

/// Make a URL by which somebody without credentials can fetch one object of a pack, or put one
///
/// Whoever has the URL can use it until it expires: treat it like a password. What is fetched by it is as unverified as
/// anything else from a store. With --put the URL takes exactly this file: its length and SHA-256 are signed, and what is
/// there is not replaced.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Presign {
    /// This artifact of the pack [default: its manifest; of a bundle: the bundle]
    #[arg(long, value_name = "NAME")]
    artifact: Option<ArtifactName>,
    /// Let this file be put: a bundle at its place, or with --artifact an artifact of the run that is named in full
    #[arg(long, value_name = "FILE")]
    put: Option<PathBuf>,
    /// How long it can be used, at most 7d
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_duration)]
    expires: DurationArgument,
    #[command(flatten)]
    limits: LimitOptions,
    #[command(flatten)]
    target: TargetOptions,
}

const EXAMPLES: &str = "\
Examples:
  runpack presign s3://evidence/ci --pack-id sha256:9f2c... --artifact decisions.json --expires 15m
  runpack presign s3://evidence/ci --put run-42.tar.gz";

/// The longest time (Amazon S3 user guide, "Sharing objects with presigned URLs").
const EXPIRES_SECONDS_MAX: u64 = 7 * 86_400;

impl Execute for Presign {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        let limits = context.limits(&self.limits)?;
        if !(1..=EXPIRES_SECONDS_MAX).contains(&self.expires.seconds()) {
            return Err(Failure::new(
                format!(
                    "a URL is good for 1s to 7d, seconds=`{}`",
                    self.expires.seconds()
                ),
                "give another --expires",
            ));
        }
        let (key, presigned) = match &self.put {
            Some(file) => self.to_put(file, &limits, context)?,
            None => self.to_get(&limits, context)?,
        };
        print(context, &key, &presigned)?;
        Ok(Exit::Success)
    }
}

fn bucket(storage: &Storage) -> Result<&S3Store, Failure> {
    storage.s3().ok_or_else(no_bucket)
}

fn no_bucket() -> Failure {
    Failure::new(
        "only what is in a bucket has URLs",
        "give s3://BUCKET/PREFIX and which pack",
    )
}

impl Presign {
    fn to_get(
        &self,
        limits: &Limits,
        context: &Context,
    ) -> Result<(ObjectKey, Presigned), Failure> {
        let target = Target::open(&self.target, context)?;
        let no_store = || {
            Failure::new(
                "only what is in a bucket has URLs",
                "give s3://BUCKET/PREFIX and which pack",
            )
        };
        let (storage, key) = match &target {
            Target::Files(files) => match &files.at {
                FilesAt::Store {
                    storage, subject, ..
                } => {
                    bucket(storage)?;
                    (storage, self.key(files, subject, limits, context)?)
                }
                FilesAt::Directory(_) => return Err(no_store()),
            },
            Target::Bundle(BundleTarget::Stored {
                storage, object, ..
            }) => {
                if self.artifact.is_some() {
                    return Err(Failure::new(
                        "the store has this pack as a bundle, of which no part has a URL",
                        "leave --artifact out",
                    ));
                }
                (storage, object.key().clone())
            }
            Target::Bundle(_) => return Err(no_store()),
        };
        let store = bucket(storage)?;
        let presigned = context.wait(async {
            let (object, _) = store.oldest(&key).await?;
            store.presign_get(&object, self.expires.duration()).await
        })??;
        Ok((key, presigned))
    }

    /// The object of a pack whose files are in the store.
    fn key(
        &self,
        files: &FilesTarget,
        subject: &Subject,
        limits: &Limits,
        context: &Context,
    ) -> Result<ObjectKey, Failure> {
        let location = match &self.artifact {
            None => Location::manifest(subject),
            Some(name) => {
                let pack = context
                    .wait(Pack::open(Arc::clone(&files.container), limits))?
                    .map_err(|report| unsound::failure(&report))?;
                if pack.manifest().subject() != subject {
                    return Err(unsound::of_another_subject());
                }
                let artifact = pack.manifest().artifact(name.as_str()).ok_or_else(|| {
                    Failure::new(
                        format!("the pack has no such artifact, name=`{name}`"),
                        "`runpack show` shows those that it has",
                    )
                })?;
                Location::artifact(subject, name, artifact.commitment())
            }
        };
        Ok(location.key().map_err(PackError::from)?)
    }

    fn to_put(
        &self,
        file: &Path,
        limits: &Limits,
        context: &Context,
    ) -> Result<(ObjectKey, Presigned), Failure> {
        let text = self.target.target.to_string_lossy();
        let address = storage::parse_store(&text).map_err(|fault| {
            Failure::new(
                format!("this is no store, target=`{text}`: {fault}"),
                "give s3://BUCKET/PREFIX",
            )
        })?;
        if matches!(address, storage::StoreAddress::File(_)) {
            return Err(no_bucket());
        }
        let (location, measured, subject) = match &self.artifact {
            Some(name) => self.artifact_to_be(name, file, context)?,
            None => bundle_to_be(file, limits, context)?,
        };
        let key = location.key().map_err(PackError::from)?;
        let storage = Storage::open(context, &address, Access::Write)?;
        context.wait(storage.store().expect(&subject))??;
        let store = bucket(&storage)?;
        let expires = self.expires.duration();
        let presigned = store.presign_put(&key, measured.bytes, &measured.sha256, expires);
        let presigned = context.wait(presigned)??;
        Ok((key, presigned))
    }

    fn artifact_to_be(
        &self,
        name: &ArtifactName,
        file: &Path,
        context: &Context,
    ) -> Result<(Location, Measured, Subject), Failure> {
        let locate = &self.target.locate;
        let whose = locate.run.whose(context)?;
        let (Some(tenant), Some(namespace), Some(scenario), Some(run_id), Some(spec_hash)) = (
            whose.tenant,
            whose.namespace,
            whose.scenario,
            locate.run.run_id.clone(),
            locate.spec_hash,
        ) else {
            return Err(Failure::new(
                "an artifact to be put belongs to a run, which is not named in full",
                "give --tenant, --namespace, --scenario, --run-id and --spec-hash",
            ));
        };
        let subject = Subject::Run {
            tenant,
            namespace,
            scenario,
            run_id,
            spec_hash,
        };
        let measured = measure(file)?;
        let location = Location::artifact(&subject, name, measured.commitment);
        Ok((location, measured, subject))
    }
}

fn bundle_to_be(
    file: &Path,
    limits: &Limits,
    context: &Context,
) -> Result<(Location, Measured, Subject), Failure> {
    let bundle = BundleTarget::File(file.to_owned());
    let bounds = limits.clone();
    let outcome = bundle.read(context, "verifying", move |source| {
        runpack_core::bundle::verify_bundle(source, &bounds, Level::Full)
    })?;
    let is_sound = outcome.is_sound();
    let manifest = outcome.manifest.filter(|_| is_sound).ok_or_else(|| {
        Failure::new(
            format!("this is no bundle that verifies, path=`{}`", file.display()),
            "`runpack verify` says more; to let an artifact be put, name it with --artifact",
        )
        .with_exit(Exit::Invalid)
    })?;
    let location = Location::bundle(&manifest).ok_or_else(|| {
        Failure::new(
            "a bundle of such a pack has no place in a store: only those of runs have",
            "unbundle it, and push the directory",
        )
    })?;
    let subject = manifest.subject().clone();
    Ok((location, measure(file)?, subject))
}

/// What a URL to put a file is bound to.
struct Measured {
    /// To the file as an artifact.
    commitment: Digest,
    bytes: u64,
    /// Of the whole, however large it is.
    sha256: Digest,
}

fn measure(path: &Path) -> Result<Measured, Failure> {
    use std::io::Read as _;
    let unread = |error: &std::io::Error| {
        Failure::new(
            format!("the file could not be read, path=`{}`", path.display()),
            "check the path and its permissions",
        )
        .because(error)
    };
    let mut file = crate::file::open_regular(path).map_err(|e| unread(&e))?;
    let (mut chunks, mut whole) = (ChunkHasher::new(), Hasher::new());
    let mut buffer = vec![0u8; 1 << 18];
    loop {
        let read = file.read(&mut buffer).map_err(|e| unread(&e))?;
        if read == 0 {
            break;
        }
        let piece = buffer.get(..read).unwrap_or_default();
        chunks.update(piece);
        whole.update(piece);
    }
    let (content, bytes) = chunks.finish();
    Ok(Measured {
        commitment: content.commitment(bytes),
        bytes,
        sha256: whole.finish(),
    })
}

fn print(context: &Context, key: &ObjectKey, presigned: &Presigned) -> Result<(), Failure> {
    let headers: Vec<Value> = presigned
        .headers
        .iter()
        .map(|(name, value)| json!({ "name": name, "value": value }))
        .collect();
    match context.output.format() {
        Format::Json => context.output.print_json(&json!({
            "method": presigned.method,
            "url": presigned.url.reveal(),
            "headers": headers,
            "key": key.as_str(),
            "expires_seconds": presigned.expires_in.as_secs(),
        })),
        Format::Text => {
            // The URL first and alone, so that a script can take the first line.
            let mut text = format!("{}\n", presigned.url.reveal());
            for (name, value) in &presigned.headers {
                add!(text, "{}: {}\n", safe(name), safe(value));
            }
            context.output.print(&text)
        }
    }
}

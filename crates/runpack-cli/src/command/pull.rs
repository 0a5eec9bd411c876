//! `runpack pull`: a pack of a store becomes a directory, or a bundle becomes a file, if it verifies.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use runpack_core::directory::Download;
use runpack_core::id::{Namespace, PackId, Tenant};
use runpack_core::limits::Limits;
use runpack_core::routing::Owner;
use runpack_core::verify::{Container, Level, Pack, Verdict, VerifyOptions, VerifyReport};

use super::{Execute, unbundle};
use crate::bundle_file::{self, CompressionOption};
use crate::check;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::file;
use crate::limits::LimitOptions;
use crate::pins::{Known, PinOptions};
use crate::place;
use crate::progress::Meter;
use crate::receipts;
use crate::sources;
use crate::storage::{Storage, StoreAddress, parse_store};
use crate::target::{FilesAt, FilesTarget, Locate, Target};

mod fetch;

/// Fetch a pack from a store, verifying it while it comes
///
/// OUT appears only when everything has come and holds, and only if everything that is known beforehand matches. A
/// directory gets the files of the pack; an OUT that ends in .tar.gz gets a bundle. A pull that was interrupted goes on
/// with what came: run it again. Exit codes are those of `verify`: 3 says that OUT is there and that nothing vouches
/// for it. A pack that is asked for by its id is vouched for by that.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Pull {
    /// The pack by its id, sha256:...; or by the options below, and then OUT alone
    #[arg(value_name = "PACK_ID")]
    first: String,
    /// The directory or .tar.gz to make; it must not be there yet
    #[arg(value_name = "OUT")]
    second: Option<PathBuf>,
    /// The store: file:PATH or s3://BUCKET/PREFIX [default: the bucket that is configured]
    #[arg(long, value_name = "STORE", value_parser = parse_store)]
    from: Option<StoreAddress>,
    #[command(flatten)]
    limits: LimitOptions,
    #[command(flatten)]
    locate: Locate,
    #[command(flatten)]
    pins: PinOptions,
}

const EXAMPLES: &str = "\
Examples:
  runpack pull sha256:9f2c... run-42/ --from s3://evidence/ci
  runpack pull run-42.tar.gz --tenant acme --namespace prod --scenario loan --run-id run-42

Exit codes: 0 valid, 1 invalid (nothing is written), 2 undecided or misuse, 3 consistent (0 with --allow-unpinned)";

impl Execute for Pull {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        let limits = context.limits(&self.limits)?;
        let (locate, out) = self.what()?;
        file::check_free(&out)?;
        if self.pins.uses_receipts() {
            receipts::book(context)?;
        }
        let address = match self.from.clone() {
            Some(address) => address,
            None => context.settings()?.reading(self.owner(context)?.as_ref())?,
        };
        let from = Storage::open_with_replicas(context, &address)?;
        let target = Target::in_store(from, &locate, context)?;
        let known = Arc::new(Known::gather(&self.pins, &target, context)?);
        let wants_bundle = out.as_os_str().as_encoded_bytes().ends_with(b".tar.gz");
        let (report, made) =
            sources::settle(context, &target, |target| match (target, wants_bundle) {
                (Target::Files(files), false) => directory(context, files, &known, &out, &limits),
                (Target::Files(files), true) => {
                    bundled(context, target, files, &known, &out, &limits)
                }
                (Target::Bundle(bundle), false) => {
                    unbundle::unpack(context, bundle, &known, &out, &limits)
                }
                (Target::Bundle(bundle), true) => {
                    fetch::bundle(context, bundle, &known, &out, &limits)
                }
            })?;
        if let (Some(made), Some(manifest)) = (&made, &report.manifest) {
            // The name with every link resolved comes last.
            let copy = place::places(made).unwrap_or_default().pop();
            let from = target.stored().map(|stored| stored.place);
            // What nothing vouches for gets no receipt: it would vouch for itself the next time.
            if report.verdict == Verdict::Valid && self.pins.uses_receipts() {
                receipts::record_copy(context, manifest, copy, from).map_err(|failure| {
                    failure.with_details(vec![format!("the pack is in {}", made.display())])
                })?;
            }
        }
        check::print_copy(context, &report, "out", made.as_deref(), target.failover())?;
        Ok(check::exit_of(report.verdict, self.pins.allows_unpinned()))
    }
}

impl Pull {
    /// Whose pack it is, as far as flags, environment and configuration say.
    fn owner(&self, context: &Context) -> Result<Option<Owner>, Failure> {
        let whose = self.locate.run.whose(context)?;
        let tenant = whose.tenant.as_ref().map(Tenant::as_str);
        let namespace = whose.namespace.as_ref().map(Namespace::as_str);
        Ok(tenant.map(|tenant| Owner::new(Some(tenant), namespace)))
    }

    /// Which pack, and where it goes.
    fn what(&self) -> Result<(Locate, PathBuf), Failure> {
        match &self.second {
            None if self.locate.is_given() => Ok((self.locate.clone(), PathBuf::from(&self.first))),
            None => Err(Failure::new(
                "a pack and the place where it goes are needed, and only one of the two is given",
                "write `runpack pull PACK_ID OUT`, or say which pack with --tenant, --namespace, --scenario and --run-id",
            )),
            Some(_) if self.locate.is_given() => Err(Failure::new(
                "the pack is named twice: by its id and by --tenant, --run-id and their like",
                "leave one of the two out; to say whose pack it must be, write --expect-tenant, --expect-run-id and so on",
            )),
            Some(out) => {
                let pack_id: PackId = self.first.parse().map_err(|error| {
                    Failure::new(
                        format!("this is no pack id, found=`{}`", self.first),
                        "write it as sha256: and 64 hexadecimal digits; `runpack list` shows those of a store",
                    )
                    .because(&error)
                })?;
                Ok((Locate::of_pack_id(pack_id), out.clone()))
            }
        }
    }
}

fn directory(
    context: &Context,
    files: &FilesTarget,
    known: &Known,
    out: &Path,
    limits: &Limits,
) -> Result<(VerifyReport, Option<PathBuf>), Failure> {
    let not_written = |error: &io::Error| {
        Failure::new(
            format!("the directory could not be made, path=`{}`", out.display()),
            "check that its parent is there and may be written to, that nothing has this name, and that there is space; \
             what came so far is kept beside it and not fetched again",
        )
        .because(error)
    };
    let download = Download::new(Arc::clone(&files.container), out).map_err(|e| not_written(&e))?;
    let download = Arc::new(download);
    let container: Arc<dyn Container> = Arc::<Download>::clone(&download);
    let mut options = VerifyOptions::level(Level::Full);
    options.limits = limits.clone();
    let meter = Meter::of(&context.output, "pulling", &options.progress);
    let report = context.wait(async {
        let pack = match Pack::open(Arc::clone(&files.container), limits).await {
            Ok(pack) => pack,
            Err(report) => return Ok::<_, Failure>(*report),
        };
        let pins = known.pins(pack.manifest())?;
        // A pack that is not the one that is wanted is not fetched at all.
        if !pins.check(pack.manifest()).1.is_empty() {
            let options = VerifyOptions::level(Level::Presence);
            return Ok(pack.verify(&pins, &options).await);
        }
        match Pack::open(container, limits).await {
            Ok(pack) => Ok(pack.verify(&pins, &options).await),
            Err(report) => Ok(*report),
        }
    })??;
    drop(meter);
    let made = match report.verdict {
        Verdict::Valid | Verdict::Consistent if report.level == Level::Full => {
            Some(download.finish().map_err(|error| not_written(&error))?)
        }
        _ => None,
    };
    Ok((report, made))
}

/// A bundle of the files of a pack.
fn bundled(
    context: &Context,
    target: &Target,
    files: &FilesTarget,
    known: &Known,
    out: &Path,
    limits: &Limits,
) -> Result<(VerifyReport, Option<PathBuf>), Failure> {
    if let FilesAt::Store { storage, .. } = &files.at
        && let Some(bundle) = fetch::existing(context, files, storage, known, limits)?
    {
        return fetch::bundle(context, &bundle, known, out, limits);
    }
    let report = check::once(context, target, known, Level::Full, limits)?;
    if !matches!(report.verdict, Verdict::Valid | Verdict::Consistent) {
        return Ok((report, None));
    }
    let Some(manifest) = report.manifest.clone() else {
        return Ok((report, None));
    };
    let how = CompressionOption::default().into();
    bundle_file::write(context, &files.container, &manifest, out, how, limits)?;
    Ok((report, Some(out.to_owned())))
}

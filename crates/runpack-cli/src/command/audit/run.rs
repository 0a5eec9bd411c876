//! `runpack audit run`: plans an audit, or joins one, and works until nothing is left.

use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Args;
use futures_util::future::select;
use runpack_catalog::audit::{
    Audit, AuditError, AuditId, AuditOptions, AuditProgress, Auditor, BoxError, PinSource, Rates,
    Scope,
};
use runpack_core::display::chain;
use runpack_core::key::{Location, ObjectKey};
use runpack_core::manifest::Manifest;
use runpack_core::pin::Pins;
use runpack_core::receipt::ReceiptBook;
use runpack_core::sign::{Envelope, VerifyingKey};
use runpack_core::time::Timestamp;
use runpack_core::verify::Level;
use tokio::signal::unix::{SignalKind, signal};

use super::{Allowed, EXIT_CODES, exit_of, find, summary};
use crate::catalog::CatalogOption;
use crate::command::Execute;
use crate::context::Context;
use crate::duration::{DurationArgument, parse_duration};
use crate::failure::{Exit, Failure};
use crate::identity::RunOptions;
use crate::limits::{LimitOptions, parse_bytes};
use crate::output::Format;
use crate::pins::{self, SIGNATURE_BYTES_MAX, SIGNATURE_SUFFIX};
use crate::progress::Meter;
use crate::storage::{Access, Storage, StoreAddress, parse_store};
use crate::table::{count, grouped};
use crate::{file, place};

/// Verify all that a store holds
///
/// Without --audit a new audit is begun: the store is listed, and what the catalog and earlier audits know of it is added.
/// With --audit one that is there is joined, or taken up again after whatever ended it, with its own level and scope. Several
/// programs may work on one audit, on one machine or on many that share a catalog.
#[derive(Debug, Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
#[command(mut_arg("tenant", |arg| arg.help("Only packs of this tenant")))]
#[command(mut_arg("namespace", |arg| arg.help("Only packs of this namespace")))]
#[command(mut_arg("scenario", |arg| arg.help("Only packs of this scenario")))]
#[command(mut_arg("run_id", |arg| arg.help("Only packs of this run")))]
#[command(group = clap::ArgGroup::new("whats_new").multiple(true).args(["deep", "presence", "since", "sample", "tenant", "namespace", "scenario", "run_id"]).conflicts_with("audit"))]
pub(super) struct Run {
    /// The store: file:PATH or s3://BUCKET/PREFIX [default: the store that is configured]
    #[arg(value_name = "STORE", value_parser = parse_store)]
    store: Option<StoreAddress>,
    #[command(flatten)]
    catalog: CatalogOption,
    /// Join this audit, or take it up again
    #[arg(long, value_name = "ID")]
    audit: Option<AuditId>,
    /// How many packs are looked at at once
    #[arg(long, value_name = "NUMBER", default_value = "4")]
    workers: NonZeroUsize,
    /// At most so much a second, by this program: 50MiB/s, or 20packs/s; may be given for both
    #[arg(long = "rate", value_name = "RATE", value_parser = parse_rate)]
    rates: Vec<Rate>,
    /// How long a pack stays with a program that died or stands still, before another takes it
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_lease)]
    lease: DurationArgument,
    /// Also check the digests that producers claim for files over 8 MiB as a whole
    #[arg(long, conflicts_with = "presence")]
    deep: bool,
    /// Only look whether everything is there with its size: proves no content, and is never valid
    #[arg(long)]
    presence: bool,
    #[command(flatten)]
    identity: RunOptions,
    /// Only packs made at this time or later, as they say: 2026-11-20T12:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<Timestamp>,
    /// Only one of so many packs, chosen by lot
    #[arg(long, value_name = "NUMBER")]
    sample: Option<NonZeroU64>,
    /// Packs must be signed by the owner of this public key (SPKI PEM, P-256)
    #[arg(long, value_name = "PEM", requires = "signatures")]
    key: Option<PathBuf>,
    /// A directory of signatures, as {pack id in hex}.sig.json
    #[arg(long, value_name = "DIR", requires = "key")]
    signatures: Option<PathBuf>,
    /// Do not consult the receipts of this machine
    #[arg(long)]
    no_receipts: bool,
    #[command(flatten)]
    allowed: Allowed,
    #[command(flatten)]
    limits: LimitOptions,
}

const EXAMPLES: &str = "\
Examples:
  runpack audit run s3://evidence/ci --rate 50MiB/s
  runpack audit run s3://evidence/ci --catalog postgres://audit@db.example/runpack        # on the first machine
  runpack audit run s3://evidence/ci --catalog postgres://audit@db.example/runpack --audit 01JD...   # on others
  runpack audit run file:/srv/packs --sample 100 --tenant acme

Ctrl-C gives back what is not done; the same command with --audit goes on.";

/// The shortest lease.
const LEASE_MIN: Duration = Duration::from_secs(1);

/// At most so much a second.
#[derive(Debug, Clone, Copy)]
enum Rate {
    Packs(NonZeroU32),
    Bytes(NonZeroU64),
}

fn parse_rate(text: &str) -> Result<Rate, String> {
    let wrong = || "a rate is written 50MiB/s or 20packs/s, and is not 0".to_owned();
    let each = text.strip_suffix("/s").ok_or_else(wrong)?;
    if let Some(packs) = each.strip_suffix("packs") {
        return packs.parse().map(Rate::Packs).map_err(|_| wrong());
    }
    let bytes = parse_bytes(each).map_err(|_| wrong())?;
    NonZeroU64::new(bytes).map(Rate::Bytes).ok_or_else(wrong)
}

/// One that ends at once gives every pack to everybody.
fn parse_lease(text: &str) -> Result<DurationArgument, String> {
    let lease = parse_duration(text)?;
    if lease.duration() < LEASE_MIN {
        return Err("a second is the least, and a minute is usual".to_owned());
    }
    Ok(lease)
}

impl Execute for Run {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        let limits = context.limits(&self.limits)?;
        let address = match &self.store {
            Some(address) => address.clone(),
            None => context.settings()?.address()?,
        };
        let storage = Storage::open(context, &address, Access::Read)?;
        let known = Arc::new(self.known(context, storage.clone())?);
        let catalog = self.catalog.open(context)?;
        let audit = match &self.audit {
            Some(id) => find(context, &catalog, id)?,
            None => self.begin(context, &catalog, &storage)?,
        };
        check_store(&audit, &storage)?;
        context.output.remark(&format!(
            "audit {}: others join with --audit {}",
            audit.id, audit.id
        ));
        let mut options = AuditOptions::new(worker());
        options.workers = self.workers;
        options.lease = self.lease.duration();
        options.rates = self.rates();
        options.limits = limits;
        let progress = Arc::clone(&options.progress);
        let auditor = Auditor::new(&catalog, audit.clone(), storage.reader(), known, options);
        let meter = meter(context, &progress);
        let worked = context.wait(async {
            let interrupted = interrupted()?;
            let worked = auditor.run(interrupted).await;
            worked.map_err(|error| on_with(error, &audit))
        })?;
        drop(meter);
        let standing = worked?;
        match context.output.format() {
            Format::Json => context.output.print_json(&summary(&audit, &standing))?,
            Format::Text => {
                super::report::tell(context, &catalog, &audit, &standing, self.allowed)?;
            }
        }
        let late = progress.late.load(Ordering::Relaxed);
        if late > 0 {
            context.output.remark(&format!(
                "{} came too late: somebody else had taken the place",
                count(late, "conclusion")
            ));
        }
        Ok(exit_of(&standing, self.allowed))
    }
}

impl Run {
    fn begin(
        &self,
        context: &Context,
        catalog: &runpack_catalog::Catalog,
        storage: &Storage,
    ) -> Result<Audit, Failure> {
        let level = match (self.deep, self.presence) {
            (true, _) => Level::Deep,
            (false, true) => Level::Presence,
            (false, false) => Level::Full,
        };
        let scope = Scope {
            tenant: self.identity.tenant.clone(),
            namespace: self.identity.namespace.clone(),
            scenario: self.identity.scenario.clone(),
            run_id: self.identity.run_id.clone(),
            since: self.since,
            one_of: self.sample,
        };
        let random = ulid::Ulid::generate().random();
        let id = ulid::Ulid::from_parts(context.now.unix_millis, random).to_string();
        let id: AuditId = id.parse().map_err(|error| {
            Failure::new("an audit could not be named", "try again").because(&error)
        })?;
        let place = storage.place();
        context.wait(catalog.begin_audit(&id, &place, level, &scope))??;
        find(context, catalog, &id)
    }

    fn known(&self, context: &Context, storage: Storage) -> Result<Known, Failure> {
        let key = match &self.key {
            Some(path) => Some(pins::public_key(path, "--key")?),
            None => None,
        };
        let book = if self.no_receipts {
            None
        } else {
            Some(crate::receipts::book(context)?)
        };
        Ok(Known {
            storage,
            book,
            signed: key.zip(self.signatures.clone()),
        })
    }

    fn rates(&self) -> Rates {
        let mut rates = Rates::default();
        for rate in &self.rates {
            match rate {
                Rate::Packs(packs) => rates.packs_per_second = Some(*packs),
                Rate::Bytes(bytes) => rates.bytes_per_second = Some(*bytes),
            }
        }
        rates
    }
}

/// What this machine knows of packs beforehand.
struct Known {
    storage: Storage,
    book: Option<ReceiptBook>,
    signed: Option<(VerifyingKey, PathBuf)>,
}

impl PinSource for Known {
    fn pins(&self, key: &ObjectKey, manifest: &Manifest) -> Result<Pins, BoxError> {
        let mut pins = Pins::none();
        if let Some(book) = &self.book {
            // The place of a pack of files is its directory, as for `verify`.
            let at = match Location::parse(key.as_str()).and_then(|at| at.manifest_subject()) {
                Some(subject) => self.storage.pack(&subject),
                None => self.storage.object(key),
            };
            let places = match &at.path {
                Some(path) => place::places(path).unwrap_or_default(),
                None => vec![at.place],
            };
            for place in places {
                let of_place = book.of_place(&place)?;
                pins.recorded.extend(of_place.map(|pack_id| vec![pack_id]));
            }
            let of_subject = book.of_subject(manifest.subject())?;
            pins.recorded
                .extend(Some(of_subject).filter(|all| !all.is_empty()));
        }
        if let Some((key, directory)) = &self.signed {
            let name = format!("{}{SIGNATURE_SUFFIX}", manifest.pack_id().digest());
            let path = directory.join(name);
            let is_missing = std::fs::symlink_metadata(&path)
                .is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
            let envelope = if is_missing {
                Err("there is no signature of this pack".to_owned())
            } else {
                let bytes = file::read_capped(
                    &path,
                    SIGNATURE_BYTES_MAX,
                    "the signature",
                    "check its permissions",
                )?;
                Envelope::parse(&bytes).map_err(|error| chain(&error))
            };
            pins.signature = Some((key.clone(), envelope));
        }
        Ok(pins)
    }
}

/// An audit says which store it is of; another one is not verified in its place.
fn check_store(audit: &Audit, storage: &Storage) -> Result<(), Failure> {
    let place = storage.place();
    if audit.store == place {
        return Ok(());
    }
    Err(Failure::new(
        format!(
            "the audit is of another store, audit=`{}` of=`{}` given=`{place}`",
            audit.id, audit.store
        ),
        "name the store that it is of, at the same service; or begin another audit without --audit",
    ))
}

/// Who works, as the report names it.
fn worker() -> String {
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy();
    let random = ulid::Ulid::generate().random() & 0xffff_ffff;
    format!("{host}-{}-{random:08x}", std::process::id())
}

/// Waits for ctrl-C or a request to end.
fn interrupted() -> Result<impl Future<Output = ()>, Failure> {
    let listen = |kind| {
        signal(kind).map_err(|error| {
            Failure::new(
                "signals cannot be listened to",
                "check the limits on open files, then try again",
            )
            .because(&error)
        })
    };
    let (mut interrupt, mut terminate) = (
        listen(SignalKind::interrupt())?,
        listen(SignalKind::terminate())?,
    );
    Ok(async move {
        let (interrupt, terminate) = (pin!(interrupt.recv()), pin!(terminate.recv()));
        select(interrupt, terminate).await;
    })
}

fn meter(context: &Context, progress: &Arc<AuditProgress>) -> Meter {
    let progress = Arc::clone(progress);
    Meter::of_places(&context.output, "auditing", move || {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let places = count(read(&progress.places), "pack");
        let invalid = match read(&progress.invalid) {
            0 => String::new(),
            some => format!(", {} invalid", grouped(some)),
        };
        (read(&progress.bytes), format!("{places}{invalid}"))
    })
}

fn on_with(failure: AuditError, audit: &Audit) -> Failure {
    let help = format!(
        "what was concluded is kept; go on with `runpack audit run --audit {}`",
        audit.id
    );
    match failure {
        AuditError::Catalog(error) => Failure::from(error).with_details(vec![help]),
        AuditError::Store(error) => Failure::from(error).with_details(vec![help]),
        error => Failure::new(
            error.to_string(),
            "a store that lists without end cannot be audited as a whole: see what is wrong with it, or narrow the audit",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        for (text, packs, bytes) in [
            ("20packs/s", Some(20), None),
            ("50MiB/s", None, Some(50 << 20)),
            ("1024/s", None, Some(1_024)),
            ("0packs/s", None, None),
            ("0/s", None, None),
            ("20", None, None),
            ("20packs", None, None),
            ("-1packs/s", None, None),
            ("packs/s", None, None),
            ("MiB/s", None, None),
            ("99999999999packs/s", None, None),
        ] {
            let found = match parse_rate(text) {
                Ok(Rate::Packs(found)) => (Some(found.get()), None),
                Ok(Rate::Bytes(found)) => (None, Some(found.get())),
                Err(_) => (None, None),
            };
            assert_eq!(found, (packs, bytes), "{text}");
        }
    }
}

//! `lock`: what is locked until when, and locking more or for longer.

mod campaign;

use clap::{Args, Subcommand};
use runpack_cli::clock::SystemClock;
use runpack_cli::output::{Format, Tone};
use runpack_cli::table::{count, fields, safe, size};
use runpack_cli::{Context, Exit, Failure};
use runpack_core::store::s3::{Lock, LockMode};
use runpack_core::time::Timestamp;
use runpack_enterprise::bucket::Lockable;
use runpack_enterprise::evidence::Pinned;
use runpack_enterprise::guard::Hold;
use runpack_enterprise::locked::{LockedStore, Sealed};
use runpack_enterprise::receipt::LockedVersion;
use runpack_enterprise::retention::RetainFor;
use runpack_enterprise::status::Status;
use runpack_enterprise::terms::{LockTerms, RetainUntil};
use serde_json::{Value, json};

use crate::desk::Desk;
use crate::pack::{BucketPack, PackOptions};

/// See and set the locks of packs in buckets
#[derive(Debug, Args)]
pub(crate) struct LockCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Status(LockStatus),
    Set(LockSet),
    Extend(campaign::Extend),
}

/// See what is locked until when, and what stands over it
///
/// Every version of the pack is asked for its lock now, and held against the receipt that this machine has of it.
///
/// Exit codes: 0 locked as receipted, 1 something is wrong, 2 it could not be told
#[derive(Debug, Args)]
struct LockStatus {
    #[command(flatten)]
    pack: PackOptions,
}

/// Lock every version of a pack, or lock it for longer
///
/// The manifest first, so that it is never locked for less than an artifact; each is read back. No lock is made shorter
/// or weaker.
#[derive(Debug, Args)]
struct LockSet {
    #[command(flatten)]
    pack: PackOptions,
    #[command(flatten)]
    how: HowLong,
}

/// How long and how hard.
#[derive(Debug, Clone, Args)]
struct HowLong {
    /// governance or compliance [default: as `object_lock` says]
    #[arg(long, value_name = "MODE")]
    mode: Option<LockMode>,
    /// For how long from now, such as 90d or 7y
    #[arg(long = "for", value_name = "TIME", conflicts_with = "until")]
    retain_for: Option<RetainFor>,
    /// Until when, as 2033-01-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
}

impl HowLong {
    fn lock(&self, context: &Context, now: Timestamp) -> Result<Lock, Failure> {
        let (mode, until) = self.asked(context)?;
        let until = LockTerms::new(mode, until).retain_until(now);
        let until = until.map_err(|error| Failure::new(error.to_string(), "give another end"))?;
        Ok(Lock { mode, until })
    }

    /// What is asked for, by options and by configuration.
    fn asked(&self, context: &Context) -> Result<(LockMode, RetainUntil), Failure> {
        let configured = crate::storage::terms(&context.settings()?)?;
        let mode = self.mode.or(configured.as_ref().map(LockTerms::mode));
        let mode = mode.ok_or_else(|| {
            Failure::new(
                "nothing says how hard the lock is to be",
                "give --mode governance or --mode compliance",
            )
        })?;
        let until = match (self.retain_for, self.until) {
            (Some(wanted), _) => RetainUntil::For(wanted),
            (None, Some(at)) => RetainUntil::At(at),
            (None, None) => configured.map(|terms| terms.until()).ok_or_else(|| {
                Failure::new(
                    "nothing says how long the lock is to be",
                    "give --for, such as 7y, or --until",
                )
            })?,
        };
        Ok((mode, until))
    }
}

impl LockCommand {
    pub(super) fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self.what {
            What::Status(command) => command.run(context),
            What::Set(command) => command.run(context),
            What::Extend(command) => command.run(context),
        }
    }
}

impl LockStatus {
    fn run(&self, context: &Context) -> Result<Exit, Failure> {
        let desk = Desk::of(context)?;
        let pack = self.pack.open(context, &desk)?;
        let status = pack.status(context)?;
        match context.output.format() {
            Format::Json => context.output.print_json(&json_of(&pack, &status))?,
            Format::Text => context.output.print(&text_of(context, &pack, &status))?,
        }
        Ok(if status.is_sound() {
            Exit::Success
        } else {
            Exit::Invalid
        })
    }
}

fn json_of(pack: &BucketPack, status: &Status) -> Value {
    let versions: Vec<Value> = status.versions.iter().map(json_of_version).collect();
    json!({
        "pack_id": status.pack_id,
        "pack": pack.shown.clone(),
        "weakest": status.weakest,
        "held": status.held(),
        "receipted": pack.receipt.as_ref().map(|receipt| receipt.read_at),
        "versions": versions,
        "findings": status.findings,
    })
}

fn json_of_version(pinned: &Pinned) -> Value {
    let version = LockedVersion::of(pinned);
    json!({
        "key": version.key,
        "version": version.version,
        "bytes": version.bytes,
        "commitment": version.commitment,
        "lock": version.lock,
        "hold": pinned.protection.hold,
    })
}

fn text_of(context: &Context, pack: &BucketPack, status: &Status) -> String {
    let (tone, word) = match (status.is_sound(), status.weakest) {
        (true, Some(_)) => (Tone::Good, "locked"),
        (_, None) => (Tone::Bad, "not locked"),
        (false, Some(_)) => (Tone::Bad, "not as it should be"),
    };
    let bytes = status.versions.iter().map(|pinned| pinned.declared.bytes);
    let bytes = bytes.fold(0, u64::saturating_add);
    let number = u64::try_from(status.versions.len()).unwrap_or(u64::MAX);
    let lock = status.weakest.map_or_else(
        || "none on at least one version".to_owned(),
        |lock| format!("{} until {}, or more", lock.mode, lock.until),
    );
    let held = match status.held() {
        0 => "no version".to_owned(),
        held => format!("{held} of {}", status.versions.len()),
    };
    let receipt = pack.receipt.as_ref().map_or_else(
        || "none on this machine: versions were told by their bytes".to_owned(),
        |receipt| format!("of {}", receipt.read_at),
    );
    let mut text = format!("{}  {}\n", context.output.tone(tone, word), status.pack_id);
    text.push_str(&fields(&[
        ("pack", safe(&pack.shown)),
        (
            "versions",
            format!("{}, {}", count(number, "version"), size(bytes)),
        ),
        ("lock", lock),
        ("held", held),
        ("receipt", receipt),
    ]));
    for finding in status.findings.iter().take(FINDINGS_SHOWN) {
        let word = finding.code.as_str();
        let (key, what) = (safe(&finding.key), safe(&finding.text));
        text.extend([
            "  ", word, "  ", &key, ": ", &what, "
",
        ]);
    }
    if let Some(more) = status
        .findings
        .len()
        .checked_sub(FINDINGS_SHOWN)
        .filter(|n| *n > 0)
    {
        text.extend([
            "  and ",
            &more.to_string(),
            " more; --json names them all
",
        ]);
    }
    text
}

/// How many findings are shown to people.
const FINDINGS_SHOWN: usize = 20;

impl LockSet {
    fn run(&self, context: &Context) -> Result<Exit, Failure> {
        let desk = Desk::of(context)?;
        let pack = self.pack.open(context, &desk)?;
        let sealed = set(context, &desk, &pack, &self.how, "lock.set")?;
        print(context, &pack, &sealed)?;
        Ok(Exit::Success)
    }
}

/// Locks every version of a pack at least so.
fn set(
    context: &Context,
    desk: &Desk,
    pack: &BucketPack,
    how: &HowLong,
    action: &str,
) -> Result<Sealed, Failure> {
    let locking = desk.locking(context, &pack.storage)?;
    let lockable = context.wait(Lockable::check(&pack.store, &SystemClock))??;
    let asked = how.lock(context, lockable.now)?;
    let place = pack.storage.place();
    crate::storage::proven(context, desk, &pack.store, &place, &[asked.mode])?;
    let store = LockedStore::for_locking(pack.store.clone(), asked, locking);
    let sealed = context.wait(async {
        let known = store.known(&pack.evidence)?;
        let versions = pack.evidence.find(store.guard(), &known).await?;
        store
            .lock_all(&pack.evidence, versions, asked, action, &lockable)
            .await
    })??;
    Ok(sealed)
}

fn print(context: &Context, pack: &BucketPack, sealed: &Sealed) -> Result<(), Failure> {
    let held = sealed
        .versions
        .iter()
        .filter(|pinned| pinned.protection.hold == Hold::On)
        .count();
    if context.output.format() == Format::Json {
        return context.output.print_json(&json!({
            "pack_id": pack.manifest.pack_id(),
            "pack": pack.shown.clone(),
            "lock": sealed.asked,
            "changed": sealed.is_changed,
            "held": held,
            "versions": sealed.receipt.versions,
        }));
    }
    let word = if sealed.is_changed {
        "locked"
    } else {
        "was locked so already"
    };
    let number = u64::try_from(sealed.versions.len()).unwrap_or(u64::MAX);
    let text = fields(&[
        ("pack", safe(&pack.shown)),
        ("versions", count(number, "version")),
        (
            "lock",
            format!("{} until {}", sealed.asked.mode, sealed.asked.until),
        ),
    ]);
    let word = context.output.tone(Tone::Good, word);
    context
        .output
        .print(&format!("{word}  {}\n{text}", pack.manifest.pack_id()))
}

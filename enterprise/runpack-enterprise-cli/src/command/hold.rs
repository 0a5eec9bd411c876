//! `hold`: legal holds, by matter.

use clap::{Args, Subcommand};
use runpack_cli::clock::SystemClock;
use runpack_cli::output::{Format, Tone};
use runpack_cli::storage::{Access, Storage, StoreAddress, parse_store};
use runpack_cli::table::{Align, columns, fields, safe};
use runpack_cli::{Context, Exit, Failure};
use runpack_core::digest::Digest;
use runpack_core::store::s3::Lock;
use runpack_enterprise::audit::Outcome;
use runpack_enterprise::guard::Guard;
use runpack_enterprise::hold::{Actor, Bits, Changed, HoldError, Holdable};
use runpack_enterprise::ledger::{LedgerError, Ledgers};
use runpack_enterprise::matter::Matter;
use serde_json::json;

use crate::desk::Desk;
use crate::keys;
use crate::pack::PackOptions;

/// Place and release legal holds, by matter
///
/// A version has one hold, whoever wants it held. So each placing and each release is a signed entry of a ledger in the
/// bucket, and the hold of a version is cleared only when the ledger is proved whole and no matter is left.
#[derive(Debug, Args)]
pub(crate) struct HoldCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Hold every version of a pack for a matter
    Place(HoldChange),
    /// End a matter's hold; the versions are free again when no other matter holds them
    Release(HoldChange),
    List(HoldList),
}

#[derive(Debug, Args)]
struct HoldChange {
    #[command(flatten)]
    pack: PackOptions,
    /// The matter: letters, digits and `._-`
    #[arg(long, value_name = "NAME")]
    matter: Matter,
    /// Why, for whoever reads the ledger
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// The SHA-256 of the ledger's last entry, where this machine has not seen the ledger before
    #[arg(long, value_name = "SHA256")]
    expect_head: Option<Digest>,
}

/// See what is held, and for which matters
#[derive(Debug, Args)]
struct HoldList {
    /// The bucket: s3://BUCKET/PREFIX
    #[arg(value_name = "STORE", value_parser = parse_store)]
    store: StoreAddress,
}

impl HoldCommand {
    pub(super) fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self.what {
            What::Place(change) => change.run(context, Way::Place),
            What::Release(change) => change.run(context, Way::Release),
            What::List(list) => list.run(context),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Place,
    Release,
}

impl Way {
    const fn action(self) -> &'static str {
        match self {
            Self::Place => "hold.place",
            Self::Release => "hold.release",
        }
    }
}

impl HoldChange {
    fn run(&self, context: &Context, way: Way) -> Result<Exit, Failure> {
        let desk = Desk::of(context)?;
        let signer = keys::signer(context)?;
        let trusted = keys::trusted(context)?;
        let pack = self.pack.open(context, &desk)?;
        let status = pack.status(context)?;
        let (guard, place, book) = (pack.guard(), pack.storage.place(), desk.heads());
        let ledgers = Ledgers {
            guard: &guard,
            place: &place,
            trusted: &trusted,
            book: &book,
            lock: lock_of_entries(context)?,
        };
        let holdable = Holdable {
            pack_id: status.pack_id,
            versions: &status.versions,
        };
        let actor = Actor {
            by: desk.by(),
            signer: &*signer,
            clock: &SystemClock,
            reason: &self.reason,
        };
        let changed = context.wait(async {
            if let Some(head) = self.expect_head {
                ledgers.adopt(head).await?;
            }
            match way {
                Way::Place => holdable.place(&ledgers, &self.matter, &actor).await,
                Way::Release => holdable.release(&ledgers, &self.matter, &actor).await,
            }
        })?;
        let detail = |what: serde_json::Value| json!({"place": place, "pack_id": status.pack_id, "matter": self.matter, "result": what});
        let changed = match changed {
            Ok(changed) => changed,
            Err(error) => {
                let text = runpack_core::display::chain(&error);
                desk.log(way.action(), Outcome::Refused, detail(json!(text)))?;
                return Err(of_hold(&error));
            }
        };
        let matters: Vec<_> = changed.held.matters.iter().collect();
        desk.log(
            way.action(),
            Outcome::Done,
            detail(json!({"matters": matters})),
        )?;
        self.print(context, &pack.shown, &changed)?;
        Ok(Exit::Success)
    }

    fn print(&self, context: &Context, pack: &str, changed: &Changed) -> Result<(), Failure> {
        let matters: Vec<_> = changed.held.matters.iter().map(Matter::as_str).collect();
        let bits = match changed.bits {
            Bits::On => "held",
            Bits::Cleared => "free",
            Bits::LeftOn => "held, by somebody outside of the ledger",
        };
        if context.output.format() == Format::Json {
            return context.output.print_json(&json!({
                "pack": pack,
                "matter": self.matter,
                "new": changed.is_new,
                "matters": matters,
                "versions": bits,
            }));
        }
        let matters = if matters.is_empty() {
            "none".to_owned()
        } else {
            matters.join(", ")
        };
        let word = context.output.tone(Tone::Good, bits);
        let text = fields(&[("pack", safe(pack)), ("matters", matters)]);
        context.output.print(&format!("{word}\n{text}"))
    }
}

impl HoldList {
    fn run(&self, context: &Context) -> Result<Exit, Failure> {
        let desk = Desk::of(context)?;
        let trusted = keys::trusted(context)?;
        let storage = Storage::open(context, &self.store, Access::Read)?;
        let Some(store) = storage.s3() else {
            return Err(Failure::new(
                "holds are on versions in a bucket, and the store is a directory",
                "give s3://BUCKET/PREFIX",
            ));
        };
        let (guard, place, book) = (Guard::new(store.clone()), storage.place(), desk.heads());
        let ledgers = Ledgers {
            guard: &guard,
            place: &place,
            trusted: &trusted,
            book: &book,
            lock: None,
        };
        let ledger = context
            .wait(ledgers.read())?
            .map_err(|error| of_hold(&error.into()))?;
        let is_pinned = book
            .of(&place)
            .map_err(|error| of_hold(&error.into()))?
            .is_some();
        let packs_held = ledger.all_held();
        let head = ledger.head();
        if context.output.format() == Format::Json {
            let packs: Vec<_> = packs_held
                .iter()
                .map(|((commit, pack_id), held)| {
                    json!({"commit": commit, "pack_id": pack_id, "matters": held.matters})
                })
                .collect();
            let entries: Vec<_> = ledger.entries().collect();
            context.output.print_json(&json!({
                "store": storage.shown(),
                "pinned": is_pinned,
                "head": head,
                "held": packs,
                "entries": entries,
            }))?;
            return Ok(Exit::Success);
        }
        let head = head.map_or_else(
            || "the ledger is empty".to_owned(),
            |head| format!("entry {}, {}", head.sequence, head.entry.sha256),
        );
        let pinned = if is_pinned {
            "yes: a ledger that was cut would be noticed"
        } else {
            "no: whether it was cut cannot be told on this machine"
        };
        let mut text = fields(&[
            ("store", storage.shown()),
            ("head", head),
            ("pinned", pinned.to_owned()),
        ]);
        let rows: Vec<_> = packs_held
            .iter()
            .map(|((commit, pack_id), held)| {
                let matters: Vec<_> = held.matters.iter().map(Matter::as_str).collect();
                vec![matters.join(", "), pack_id.to_string(), safe(commit)]
            })
            .collect();
        text.push_str(&columns(&[Align::Left; 3], &rows));
        context.output.print(&text)?;
        Ok(Exit::Success)
    }
}

/// Entries are locked as packs are, where the configuration says how.
fn lock_of_entries(context: &Context) -> Result<Option<Lock>, Failure> {
    let terms = crate::storage::terms(&context.settings()?)?;
    let lock = terms.map(|terms| {
        let until = terms.retain_until(context.now.time);
        until.map(|until| Lock {
            mode: terms.mode(),
            until,
        })
    });
    lock.transpose()
        .map_err(|error| Failure::new(error.to_string(), "correct `object_lock`"))
}

pub(super) fn of_hold(error: &HoldError) -> Failure {
    let exit = match error {
        HoldError::Ledger(LedgerError::Unproven { .. } | LedgerError::RolledBack { .. })
        | HoldError::OtherVersions => Exit::Invalid,
        _ => Exit::Trouble,
    };
    let (what, help) = match error {
        HoldError::Store(_) | HoldError::Ledger(LedgerError::Store(_) | LedgerError::Busy) => (
            "the hold was not changed, or not on every version",
            "nothing is lost: the same command again goes on from there",
        ),
        HoldError::Ledger(LedgerError::Unproven { .. } | LedgerError::RolledBack { .. }) => (
            "the ledger of holds is not to be believed",
            "no hold was changed; compare with the machine that wrote the ledger last",
        ),
        HoldError::Ledger(LedgerError::Unpinned) => (
            "this machine cannot tell whether the ledger of holds is whole",
            "`hold list` on the machine that wrote it last shows its head",
        ),
        _ => ("the hold was not changed", "no hold was cleared"),
    };
    Failure::new(what, help).because(error).with_exit(exit)
}

//! Legal holds of several matters, and a ledger that somebody tampers with.

use std::sync::Arc;

use runpack_core::key::Location;
use runpack_core::manifest::Manifest;
use runpack_core::sign::{Signer as _, SigningKey, VerifyingKey};
use runpack_core::store::s3::LockMode;
use runpack_core::store::{ArtifactSink as _, Declared};
use runpack_enterprise::evidence::{Evidence, Pinned};
use runpack_enterprise::guard::{Guard, Hold};
use runpack_enterprise::hold::{Actor, Bits, Changed, HoldError, Holdable};
use runpack_enterprise::ledger::{HeadBook, LedgerError, Ledgers};
use runpack_enterprise::matter::Matter;
use runpack_testing::block_on;

use crate::support::{MachineClock, PLACE, Vault, export, terms};

const KEY: &str = include_str!("key.pem");
const OTHER: &str = include_str!("other.pem");

/// A pack on a short lock, and whoever holds it.
struct Case {
    vault: Vault,
    guard: Guard,
    manifest: Arc<Manifest>,
    key: SigningKey,
    trusted: Vec<VerifyingKey>,
    book: HeadBook,
}

impl Case {
    async fn new() -> Self {
        Self::locked_for(600).await
    }

    async fn locked_for(seconds: u64) -> Self {
        let vault = Vault::new().await;
        let terms = terms(LockMode::Governance, seconds, seconds);
        let store = vault.store(terms).await;
        let manifest = export(&store, "run-1").await.unwrap();
        let key = SigningKey::from_pem(KEY).unwrap();
        Self {
            guard: vault.guard().await,
            book: HeadBook::new(vault.state.path().join("holds")),
            vault,
            manifest,
            trusted: vec![key.public_key()],
            key,
        }
    }

    fn ledgers(&self) -> Ledgers<'_> {
        Ledgers {
            guard: &self.guard,
            place: PLACE,
            trusted: &self.trusted,
            book: &self.book,
            lock: None,
        }
    }

    async fn versions(&self) -> Vec<Pinned> {
        let evidence = Evidence::of_pack(&self.manifest).unwrap();
        let pins = self.vault.receipt(&self.manifest).unwrap().pins();
        evidence.find(&self.guard, &pins).await.unwrap()
    }

    async fn act(&self, place: bool, matter: &str) -> Result<Changed, HoldError> {
        let versions = self.versions().await;
        let holdable = Holdable {
            pack_id: self.manifest.pack_id(),
            versions: &versions,
        };
        let actor = Actor {
            by: "tester",
            signer: &self.key,
            clock: &MachineClock,
            reason: "as asked",
        };
        let matter: Matter = matter.parse().unwrap();
        if place {
            holdable.place(&self.ledgers(), &matter, &actor).await
        } else {
            holdable.release(&self.ledgers(), &matter, &actor).await
        }
    }

    async fn place(&self, matter: &str) -> Changed {
        self.act(true, matter).await.unwrap()
    }

    async fn is_held(&self) -> Vec<bool> {
        let versions = self.versions().await;
        versions
            .iter()
            .map(|pinned| pinned.protection.hold == Hold::On)
            .collect()
    }

    /// Removes entries from the bucket, as whoever has every right could.
    async fn remove_entries(&self, from: u32) {
        for version in self.vault.bucket.versions_raw("_runpack/holds/").await {
            let Some(Location::Hold { sequence }) = Location::parse(&version.name) else {
                panic!("{version:?}");
            };
            if sequence >= from {
                let (name, id) = (version.name.as_str(), version.version.as_str());
                self.vault.bucket.clear_hold_raw(name, id).await.unwrap();
                self.vault
                    .bucket
                    .delete_version_raw(name, id)
                    .await
                    .unwrap();
            }
        }
    }
}

#[test]
fn two_matters_release_in_both_orders() {
    for (first, second) in [("m-1", "m-2"), ("m-2", "m-1")] {
        block_on(async {
            let case = Case::locked_for(8).await;
            assert!(case.place("m-1").await.is_new);
            let placed = case.place("m-2").await;
            assert_eq!(placed.held.matters.len(), 2);
            assert!(!case.place("m-2").await.is_new);
            let released = case.act(false, first).await.unwrap();
            assert_eq!(released.bits, Bits::On);
            assert_eq!(case.is_held().await, [true; 3]);
            // When the lock has ended, the hold alone keeps it.
            let end = case.vault.status(&case.manifest).await.unwrap().weakest;
            case.vault.wait_past(end.unwrap().until).await;
            for pinned in case.versions().await {
                let version = pinned.object.version.as_ref().unwrap().as_str();
                let removed = case
                    .vault
                    .bucket
                    .delete_version_raw(pinned.part.key.as_str(), version);
                assert_eq!(removed.await, Err("AccessDenied".to_owned()));
            }
            let unknown = case.act(false, "m-3").await;
            assert!(
                matches!(unknown, Err(HoldError::NotHeld { .. })),
                "{unknown:?}"
            );
            let released = case.act(false, second).await.unwrap();
            assert_eq!(released.bits, Bits::Cleared);
            assert_eq!(case.is_held().await, [false; 3]);
            // Again is no error, and finishes what a crash left.
            assert!(!case.act(false, second).await.unwrap().is_new);
        });
    }
}

#[test]
fn a_hold_that_was_there_before_the_ledger_is_not_cleared() {
    block_on(async {
        let case = Case::new().await;
        let versions = case.versions().await;
        case.guard
            .set_hold(&versions[1].object, Hold::On)
            .await
            .unwrap();
        case.place("m-1").await;
        let released = case.act(false, "m-1").await.unwrap();
        assert_eq!(released.bits, Bits::LeftOn);
        assert!(case.is_held().await[1]);
    });
}

#[test]
fn a_ledger_that_was_cut_or_taken_back_clears_nothing() {
    block_on(async {
        let case = Case::new().await;
        case.place("m-1").await;
        case.place("m-2").await;
        // Without the second placing, m-1 would be the last matter.
        case.remove_entries(1).await;
        let released = case.act(false, "m-1").await;
        assert!(
            matches!(
                released,
                Err(HoldError::Ledger(LedgerError::RolledBack { known: 1, .. }))
            ),
            "{released:?}"
        );
        // All of it gone, and begun anew by somebody who has a key.
        case.remove_entries(0).await;
        let released = case.act(false, "m-1").await;
        assert!(matches!(
            released,
            Err(HoldError::Ledger(LedgerError::RolledBack { .. }))
        ));
        assert_eq!(case.is_held().await, [true; 3]);
    });
}

#[test]
fn a_machine_without_a_pin_clears_nothing() {
    block_on(async {
        let mut case = Case::new().await;
        case.place("m-1").await;
        let pinned = std::mem::replace(
            &mut case.book,
            HeadBook::new(case.vault.state.path().join("other")),
        );
        let released = case.act(false, "m-1").await;
        let is_unpinned = |result: &Result<Changed, HoldError>| {
            matches!(result, Err(HoldError::Ledger(LedgerError::Unpinned)))
        };
        assert!(is_unpinned(&released), "{released:?}");
        // Nor does it place any: it would take a ledger that was cut for a whole one.
        let placed = case.act(true, "m-2").await;
        assert!(is_unpinned(&placed), "{placed:?}");
        assert_eq!(case.is_held().await, [true; 3]);
        // It may take the head from somebody who knows it.
        let head = pinned.of(PLACE).unwrap().unwrap();
        let wrong = runpack_core::digest::Digest::of(b"another");
        assert!(case.ledgers().adopt(wrong).await.is_err());
        case.ledgers().adopt(head.entry.sha256).await.unwrap();
        assert_eq!(case.act(false, "m-1").await.unwrap().bits, Bits::Cleared);
    });
}

#[test]
fn a_ledger_with_a_changed_missing_or_foreign_entry_clears_nothing() {
    block_on(async {
        let mut case = Case::new().await;
        case.place("m-1").await;
        case.place("m-2").await;
        let entries = case.vault.bucket.versions_raw("_runpack/holds/").await;
        let refused = async |case: &Case, what: &str| {
            let released = case.act(false, "m-1").await;
            assert!(
                matches!(
                    released,
                    Err(HoldError::Ledger(LedgerError::Unproven { .. }))
                ),
                "{what}: {released:?}"
            );
            assert_eq!(case.is_held().await, [true; 3], "{what}");
        };
        // Signed by a key that nobody trusts.
        let ours = std::mem::replace(
            &mut case.trusted,
            vec![SigningKey::from_pem(OTHER).unwrap().public_key()],
        );
        refused(&case, "other key").await;
        case.trusted = ours;
        // Something unsigned at the end.
        let next = Location::Hold { sequence: 2 }.key().unwrap();
        let forged = bytes::Bytes::from_static(b"{\"act\":\"release\"}");
        let declared = Declared::of(&forged);
        case.guard
            .store()
            .put(&next, forged, declared)
            .await
            .unwrap();
        refused(&case, "unsigned").await;
        case.remove_entries(2).await;
        // Something written over an entry counts for nothing: the oldest version is the entry.
        let first = &entries
            .iter()
            .find(|e| e.name.ends_with("0000000000.json"))
            .unwrap();
        case.vault.bucket.put_raw(&first.name, "other").await;
        case.vault.bucket.delete_raw(&first.name).await;
        case.ledgers().read().await.unwrap();
        // The first entry gone for good.
        let (name, id) = (first.name.as_str(), first.version.as_str());
        let bytes = case.vault.bucket.read_version_raw(name, id).await.unwrap();
        case.vault.bucket.clear_hold_raw(name, id).await.unwrap();
        case.vault
            .bucket
            .delete_version_raw(name, id)
            .await
            .unwrap();
        refused(&case, "replaced").await;
        // The same bytes written again are another version than the next entry names.
        for version in case.vault.bucket.versions_raw(name).await {
            case.vault
                .bucket
                .delete_version_raw(name, &version.version)
                .await
                .unwrap();
        }
        refused(&case, "missing").await;
        case.vault.bucket.put_raw(name, bytes).await;
        refused(&case, "another version").await;
    });
}

#[test]
fn a_hold_that_somebody_set_after_the_last_release_is_not_ours_to_clear() {
    block_on(async {
        let case = Case::new().await;
        case.place("m-1").await;
        assert_eq!(case.act(false, "m-1").await.unwrap().bits, Bits::Cleared);
        // By hand, outside of the ledger.
        let versions = case.versions().await;
        case.guard
            .set_hold(&versions[0].object, Hold::On)
            .await
            .unwrap();
        case.act(false, "m-1").await.unwrap();
        assert!(case.is_held().await[0]);
        case.place("m-2").await;
        assert_eq!(case.act(false, "m-2").await.unwrap().bits, Bits::LeftOn);
        assert!(case.is_held().await[0]);
    });
}

#[test]
fn a_ledger_that_was_seen_is_not_taken_back_either() {
    block_on(async {
        let mut case = Case::new().await;
        case.place("m-1").await;
        let other = HeadBook::new(case.vault.state.path().join("other"));
        let writer = std::mem::replace(&mut case.book, other);
        let head = writer.of(PLACE).unwrap().unwrap();
        case.ledgers().adopt(head.entry.sha256).await.unwrap();
        // Another machine writes; this one only reads.
        let reader = std::mem::replace(&mut case.book, writer);
        case.place("m-2").await;
        case.book = reader;
        assert_eq!(case.ledgers().read().await.unwrap().entries().count(), 2);
        case.remove_entries(1).await;
        let released = case.act(false, "m-1").await;
        assert!(
            matches!(
                released,
                Err(HoldError::Ledger(LedgerError::RolledBack { known: 1, .. }))
            ),
            "{released:?}"
        );
    });
}

#[test]
fn two_who_write_at_once_make_one_ledger() {
    let case = block_on(Case::new());
    // A machine that has seen the ledger.
    block_on(case.place("m-first"));
    std::thread::scope(|scope| {
        for number in 0..4 {
            let case = &case;
            scope.spawn(move || {
                block_on(async {
                    let guard = case.vault.guard().await;
                    let versions = case.versions().await;
                    let holdable = Holdable {
                        pack_id: case.manifest.pack_id(),
                        versions: &versions,
                    };
                    let actor = Actor {
                        by: "tester",
                        signer: &case.key,
                        clock: &MachineClock,
                        reason: "at once",
                    };
                    let ledgers = Ledgers {
                        guard: &guard,
                        ..case.ledgers()
                    };
                    let matter = format!("m-{number}").parse().unwrap();
                    holdable.place(&ledgers, &matter, &actor).await.unwrap();
                });
            });
        }
    });
    let ledger = block_on(case.ledgers().read()).unwrap();
    assert_eq!(ledger.entries().count(), 5);
    for number in 0..4 {
        let released = block_on(case.act(false, &format!("m-{number}"))).unwrap();
        let expected = Bits::On;
        assert_eq!(released.bits, expected);
    }
    let last = block_on(case.act(false, "m-first")).unwrap();
    assert_eq!(last.bits, Bits::Cleared);
}

//! Trees of benches and services shipped to real stores: whole, torn, changing, twice, killed, and cleaned afterwards.

mod trees;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use runpack_core::store::{FileStore, MemoryStore, Store};
use runpack_server::execution::ExecutionResult;
use runpack_server::ship::{Kept, Layout, MARKER, Markers, OnFailure, Problem, Round, Ship};
use runpack_testing::{Lie, LyingStore, block_on, scratch};

use trees::{Desk, ID, OTHER_ID, Shaky, benches, payload};

/// A round that ships everything that is there.
async fn ships_all(ship: &Ship, count: usize) -> Round {
    let round = ship.round().await;
    assert!(round.failed.is_empty(), "{:?}", round.failed);
    assert_eq!(round.shipped.len(), count, "{round:?}");
    round
}

/// Puts something that is no artifact into a tree.
type Make<'a> = Box<dyn Fn(&Path) + 'a>;

#[test]
fn an_execution_and_its_logs_become_a_pack_that_verifies() {
    block_on(async {
        let file = scratch();
        let stores: [Arc<dyn Store>; 2] = [
            Arc::new(MemoryStore::new()),
            Arc::new(FileStore::open(file.path()).await.unwrap()),
        ];
        for store in stores {
            let desk = Desk::with_execution();
            // Three chunks, and a log of several parts.
            desk.write(&format!("bench-1/{ID}/raw/large.bin"), &vec![7; 20 << 20]);
            let log: Vec<u8> = (0..300_000u32)
                .flat_map(|n| format!("{n}\n").into_bytes())
                .collect();
            desk.write(&format!("bench-1/{ID}/raw/logs/runner.log"), &log);
            let ship = desk.ship(&store, Layout::Executions(benches()), |_| {});
            let round = ships_all(&ship, 1).await;
            let Kept::PackId(pack_id) = round.shipped[0].kept else {
                panic!("{round:?}");
            };
            let manifest = trees::verified(&store, ID, pack_id).await;
            let names: Vec<&str> = manifest
                .artifacts()
                .iter()
                .map(|a| a.name().as_str())
                .collect();
            assert_eq!(
                names,
                [
                    "artifacts/a.bin",
                    "artifacts/deep/%C3%9Cbersicht.txt",
                    "artifacts/large.bin",
                    "artifacts/metadata.json",
                    "logs/runner.log",
                    "logs/stdout.log",
                    "metadata.json"
                ]
            );
            let titled = manifest
                .artifact("artifacts/deep/%C3%9Cbersicht.txt")
                .unwrap();
            assert_eq!(titled.title(), Some("Übersicht.txt"));
            let metadata = trees::metadata(&store, ID).await;
            assert_eq!(metadata.result, Some(ExecutionResult::Passed));
            assert_eq!(metadata.opening.said.suite.unwrap().as_str(), "smoke");
            assert_eq!(trees::log(&store, ID, "logs/runner.log").await, log);
            let round = ship.round().await;
            assert_eq!((round.already, round.shipped.len()), (1, 0), "{round:?}");
        }
    });
}

#[test]
fn a_bench_that_does_not_say_how_it_ended_is_not_taken_to_have_passed() {
    block_on(async {
        let desk = Desk::new();
        desk.write(&format!("bench-1/{ID}/raw/a.bin"), b"a");
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let ship = desk.ship(&store, Layout::Executions(benches()), |_| {});
        ships_all(&ship, 1).await;
        let metadata = trees::metadata(&store, ID).await;
        assert_eq!(metadata.result, Some(ExecutionResult::Error));
    });
}

#[test]
fn records_are_kept_as_they_would_have_been_sent() {
    block_on(async {
        let file = scratch();
        let stores: [Arc<dyn Store>; 2] = [
            Arc::new(MemoryStore::new()),
            Arc::new(FileStore::open(file.path()).await.unwrap()),
        ];
        for store in stores {
            let desk = Desk::new();
            for run in 0..20 {
                let id = format!("run-{run}");
                desk.write(
                    &format!("acme/prod/api/{id}/payload.json"),
                    &payload("api", &id),
                );
            }
            let ship = desk.ship(&store, Layout::Records, |_| {});
            ships_all(&ship, 20).await;
            for run in 0..20 {
                let id = format!("run-{run}");
                assert_eq!(trees::body(&store, "api", &id).await, payload("api", &id));
            }
        }
    });
}

#[test]
fn c26_a_payload_that_names_another_than_its_path_is_told_and_left() {
    block_on(async {
        let desk = Desk::new();
        for (path, body) in [
            ("acme/prod/api/run-1/payload.json", payload("web", "run-1")),
            ("acme/prod/api/run-2/payload.json", payload("api", "run-3")),
            (
                "acme/prod/api/run-4/payload.json",
                b"{\"organization\":".to_vec(),
            ),
            ("acme/prod/api/Run 5/payload.json", payload("api", "run-5")),
            (
                "acme/prod/\u{430}pi/run-6/payload.json",
                payload("api", "run-6"),
            ),
            ("acme/prod/api/-7/payload.json", payload("api", "-7")),
            ("acme/stray", b"x".to_vec()),
        ] {
            desk.write(path, &body);
        }
        let store = Arc::new(MemoryStore::new());
        let as_store = Arc::clone(&store) as Arc<dyn Store>;
        let ship = desk.ship(&as_store, Layout::Records, |_| {});
        let before = desk.tree_now();
        let mut told: Vec<String> = ship
            .round()
            .await
            .failed
            .iter()
            .map(|(path, problem)| format!("{}: {problem}", path.display()))
            .collect();
        told.sort();
        let root = desk.tree().display().to_string();
        insta::assert_snapshot!(told.join("\n").replace(&root, "TREE"));
        assert!(store.snapshot().is_empty());
        assert_eq!(desk.tree_now(), before);
    });
}

#[test]
fn another_payload_under_a_taken_run_id_is_a_conflict_and_not_shipped() {
    block_on(async {
        let desk = Desk::new();
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        desk.write("acme/prod/api/run-1/payload.json", &payload("api", "run-1"));
        ships_all(&desk.ship(&store, Layout::Records, |_| {}), 1).await;
        let other = Desk::new();
        let mut body = payload("api", "run-1");
        body.push(b' ');
        other.write("acme/prod/api/run-1/payload.json", &body);
        let round = other.ship(&store, Layout::Records, |_| {}).round().await;
        assert!(
            matches!(round.failed[0].1, Problem::Conflict(_)),
            "{round:?}"
        );
        assert!(
            !other
                .tree()
                .join("acme/prod/api/run-1")
                .join(MARKER)
                .exists()
        );
        assert_eq!(
            trees::body(&store, "api", "run-1").await,
            payload("api", "run-1")
        );
    });
}

#[test]
fn links_and_special_files_are_never_followed_and_make_an_item_unshippable() {
    block_on(async {
        let outside = scratch();
        fs::write(outside.path().join("secret"), b"secret").unwrap();
        fs::create_dir_all(outside.path().join(OTHER_ID).join("raw")).unwrap();
        fs::write(outside.path().join(OTHER_ID).join("raw/secret"), b"secret").unwrap();
        let link = std::os::unix::fs::symlink::<PathBuf, PathBuf>;
        let secret = outside.path().join("secret");
        let cases: [(&str, Make<'_>); 5] = [
            (
                "a symbolic link",
                Box::new(|raw| link(secret.clone(), raw.join("link")).unwrap()),
            ),
            (
                "a symbolic link",
                Box::new(|raw| link(outside.path().into(), raw.join("link")).unwrap()),
            ),
            (
                "a symbolic link",
                Box::new(|raw| {
                    trees::moved(raw, &raw.with_file_name("was"));
                    link(raw.with_file_name("was"), raw.into()).unwrap();
                }),
            ),
            (
                "a named pipe",
                Box::new(|raw| trees::fifo(&raw.join("pipe"))),
            ),
            (
                "a socket",
                Box::new(|raw| {
                    drop(std::os::unix::net::UnixListener::bind(raw.join("s")).unwrap());
                }),
            ),
        ];
        for (what, make) in cases {
            let desk = Desk::with_execution();
            make(&desk.tree().join("bench-1").join(ID).join("raw"));
            // A link in the place of a bench, or of an execution, is none of its items.
            link(outside.path().into(), desk.tree().join("bench-2")).unwrap();
            link(
                outside.path().join(OTHER_ID),
                desk.tree().join("bench-1").join(OTHER_ID),
            )
            .unwrap();
            let store = Arc::new(MemoryStore::new());
            let as_store = Arc::clone(&store) as Arc<dyn Store>;
            let ship = desk.ship(&as_store, Layout::Executions(benches()), |_| {});
            let round = ship.round().await;
            assert!(round.shipped.is_empty(), "{round:?}");
            assert_eq!(round.failed.len(), 3, "{round:?}");
            let told = format!("{:?}", round.failed);
            assert!(told.contains(what), "{told}");
            assert!(store.snapshot().is_empty());
        }
    });
}

#[test]
fn what_can_never_be_shipped_ends_as_artifact_error_where_that_was_asked_for() {
    block_on(async {
        let desk = Desk::with_execution();
        trees::fifo(&desk.tree().join("bench-1").join(ID).join("raw/pipe"));
        let memory: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let store = Arc::new(Shaky::new(memory));
        let as_store = Arc::clone(&store) as Arc<dyn Store>;
        let mut benches = benches();
        let told = desk.ship(&as_store, Layout::Executions(benches.clone()), |_| {});
        for _ in 0..5 {
            let round = told.round().await;
            assert!(
                matches!(round.failed[0].1, Problem::Special { .. }),
                "{round:?}"
            );
        }
        assert!(trees::ended(&as_store, ID).await.is_none());
        benches.on_failure = OnFailure::Mark;
        let ship = desk.ship(&as_store, Layout::Executions(benches), |settings| {
            settings.rounds_until_marked = 2;
        });
        store.away.store(true, Ordering::SeqCst);
        for _ in 0..3 {
            let round = ship.round().await;
            assert!(
                matches!(round.failed[0].1, Problem::Special { .. }),
                "{round:?}"
            );
        }
        store.away.store(false, Ordering::SeqCst);
        let round = ship.round().await;
        assert!(matches!(round.failed[0].1, Problem::Marked(_)), "{round:?}");
        let metadata = trees::ended(&as_store, ID).await.unwrap();
        assert_eq!(metadata.result, None);
        assert!(metadata.message.unwrap().as_str().contains("named pipe"));
        // It is for good: the tree mended, it is told all the same.
        fs::remove_file(desk.tree().join("bench-1").join(ID).join("raw/pipe")).unwrap();
        let round = ship.round().await;
        assert!(matches!(round.failed[0].1, Problem::Marked(_)), "{round:?}");
    });
}

#[test]
fn n01_while_the_store_is_away_nothing_is_marked_and_then_everything_is_shipped() {
    block_on(async {
        let memory: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let (desk, records) = (Desk::with_execution(), Desk::new());
        for run in 0..5 {
            let id = format!("run-{run}");
            records.write(
                &format!("acme/prod/api/{id}/payload.json"),
                &payload("api", &id),
            );
        }
        let store = Arc::new(Shaky::new(memory));
        let as_store = Arc::clone(&store) as Arc<dyn Store>;
        let mut marking = benches();
        marking.on_failure = OnFailure::Mark;
        let ship = desk.ship(&as_store, Layout::Executions(marking), |settings| {
            settings.rounds_until_marked = 1;
        });
        let ship_records = records.ship(&as_store, Layout::Records, |_| {});
        let before = (desk.tree_now(), records.tree_now());
        store.away.store(true, Ordering::SeqCst);
        for _ in 0..3 {
            let (round, of_records) = (ship.round().await, ship_records.round().await);
            assert_eq!((round.failed.len(), of_records.failed.len()), (1, 5));
            for (_, problem) in round.failed.iter().chain(&of_records.failed) {
                assert!(matches!(problem, Problem::Store(_)), "{problem}");
            }
            assert_eq!((desk.tree_now(), records.tree_now()), before);
        }
        store.away.store(false, Ordering::SeqCst);
        ships_all(&ship, 1).await;
        ships_all(&ship_records, 5).await;
    });
}

#[test]
fn n02_a_store_that_fails_at_any_one_call_costs_an_attempt_and_nothing_else() {
    block_on(async {
        for at in 1.. {
            let desk = Desk::with_execution();
            let store = Arc::new(Shaky::new(Arc::new(MemoryStore::new())));
            store.fail_at.store(at, Ordering::SeqCst);
            let as_store = Arc::clone(&store) as Arc<dyn Store>;
            let ship = desk.ship(&as_store, Layout::Executions(benches()), |_| {});
            let round = ships_all(&ship, 1).await;
            let calls = store.calls.load(Ordering::SeqCst);
            store.fail_at.store(0, Ordering::SeqCst);
            let Kept::PackId(pack_id) = round.shipped[0].kept else {
                panic!("{round:?}");
            };
            trees::verified(&as_store, ID, pack_id).await;
            if calls < at {
                assert!(at > 20, "{at}");
                break;
            }
        }
    });
}

#[test]
fn w16_a_file_that_changes_before_it_is_sent_waits_for_the_next_round() {
    block_on(async {
        let changes: [fn(&Path); 4] = [
            |path| fs::write(path, b"other bytes").unwrap(),
            |path| fs::write(path, b"B").unwrap(),
            |path| fs::remove_file(path).unwrap(),
            |path| fs::write(path.with_file_name("new"), b"n").unwrap(),
        ];
        for change in changes {
            let desk = Desk::with_execution();
            let raw = desk.tree().join("bench-1").join(ID).join("raw");
            desk.write(&format!("bench-1/{ID}/raw/z.bin"), b"z");
            let store = Arc::new(Shaky::new(Arc::new(MemoryStore::new())));
            let path = raw.join("z.bin");
            store.once_at("artifacts/a.bin", move || change(&path));
            let as_store = Arc::clone(&store) as Arc<dyn Store>;
            let ship = desk.ship(&as_store, Layout::Executions(benches()), |_| {});
            let round = ship.round().await;
            assert!(
                matches!(round.failed[0].1, Problem::SourceChanged(_)),
                "{round:?}"
            );
            assert!(!raw.with_file_name(MARKER).exists());
            assert!(trees::ended(&as_store, ID).await.is_none());
            let round = ships_all(&ship, 1).await;
            let Kept::PackId(pack_id) = round.shipped[0].kept else {
                panic!("{round:?}");
            };
            trees::verified(&as_store, ID, pack_id).await;
        }
    });
}

#[test]
fn w16_a_file_that_changes_after_it_was_sent_is_a_conflict_that_is_told() {
    block_on(async {
        let desk = Desk::with_execution();
        let item = desk.tree().join("bench-1").join(ID);
        let store = Arc::new(Shaky::new(Arc::new(MemoryStore::new())));
        let path = item.join("raw/a.bin");
        store.once_at("artifacts/deep/", move || {
            fs::write(&path, b"changed").unwrap();
        });
        let as_store = Arc::clone(&store) as Arc<dyn Store>;
        let ship = desk.ship(&as_store, Layout::Executions(benches()), |_| {});
        let round = ship.round().await;
        assert!(
            matches!(round.failed[0].1, Problem::SourceChanged(_)),
            "{round:?}"
        );
        let round = ship.round().await;
        assert!(
            matches!(round.failed[0].1, Problem::Conflict(_)),
            "{round:?}"
        );
        assert!(!item.join(MARKER).exists());
        // Nothing is lost: what was there first is brought back, and the rest follows.
        fs::write(item.join("raw/a.bin"), trees::A).unwrap();
        ships_all(&ship, 1).await;
    });
}

#[test]
fn s01_s02_what_the_store_gives_back_otherwise_is_not_shipped() {
    block_on(async {
        for lie in [Lie::FlipBit(3), Lie::Truncate(2), Lie::Hide] {
            let desk = Desk::with_execution();
            let memory: Arc<dyn Store> = Arc::new(MemoryStore::new());
            let told = format!("{lie:?}");
            let lying: Arc<dyn Store> =
                Arc::new(LyingStore::new(Arc::clone(&memory), lie).about_suffix("artifacts/a.bin"));
            let ship = desk.ship(&lying, Layout::Executions(benches()), |settings| {
                settings.clean_after = Some(Duration::ZERO);
            });
            let before = desk.tree_now();
            let round = ship.round().await;
            assert_eq!(
                (round.shipped.len(), round.failed.len()),
                (0, 1),
                "{told}: {round:?}"
            );
            assert_eq!(desk.tree_now(), before, "{told}");
            // The same tree over the same store, which now says what it has.
            ships_all(
                &desk.ship(&memory, Layout::Executions(benches()), |_| {}),
                1,
            )
            .await;
        }
        let records = Desk::new();
        records.write("acme/prod/api/run-1/payload.json", &payload("api", "run-1"));
        let memory: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let lying = LyingStore::new(memory, Lie::FlipBit(2_000)).about_suffix("payload.json");
        let lying: Arc<dyn Store> = Arc::new(lying);
        let round = records.ship(&lying, Layout::Records, |_| {}).round().await;
        assert!(
            matches!(round.failed[0].1, Problem::Unproven { .. }),
            "{round:?}"
        );
    });
}

#[test]
fn an_item_waits_until_it_is_at_rest() {
    block_on(async {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        // By a clock that is behind the file system's, only two looks that see the same settle it.
        let desk = Desk::with_execution();
        let looks = desk.ship(&store, Layout::Executions(benches()), |settings| {
            settings.settle = Duration::from_nanos(1);
        });
        assert_eq!(looks.round().await.waiting.len(), 1);
        desk.write(&format!("bench-1/{ID}/raw/more"), b"m");
        assert_eq!(looks.round().await.waiting.len(), 1);
        let patient = desk.ship(&store, Layout::Executions(benches()), |settings| {
            settings.settle = Duration::from_hours(1);
        });
        for _ in 0..3 {
            assert_eq!(patient.round().await.waiting.len(), 1);
        }
        ships_all(&looks, 1).await;
        // A bench at work has a pipe open, which is gone when it ends.
        let desk = Desk::with_execution();
        let pipe = desk.tree().join("bench-1").join(ID).join("raw/pipe");
        trees::fifo(&pipe);
        let mut marking = benches();
        marking.on_failure = OnFailure::Mark;
        let looks = desk.ship(&store, Layout::Executions(marking), |settings| {
            settings.settle = Duration::from_hours(1);
            settings.rounds_until_marked = 1;
        });
        assert_eq!(looks.round().await.waiting.len(), 1);
        // Whoever writes it says that it is whole.
        let desk = Desk::with_execution();
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let patient = desk.ship(&store, Layout::Executions(benches()), |settings| {
            settings.settle = Duration::from_hours(1);
        });
        assert_eq!(patient.round().await.waiting.len(), 1);
        desk.write(&format!("bench-1/{ID}/.complete"), b"");
        ships_all(&patient, 1).await;
        // By a clock that is far ahead of every change, it is at rest already.
        let desk = Desk::with_execution();
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let late = desk.ship_at(
            "2090-01-01T00:00:00Z",
            &store,
            Layout::Executions(benches()),
            |settings| {
                settings.settle = Duration::from_hours(1);
            },
        );
        ships_all(&late, 1).await;
        // A folder without anything in it yet is waited for.
        let desk = Desk::new();
        fs::create_dir_all(desk.tree().join("bench-1").join(ID)).unwrap();
        let ship = desk.ship(&store, Layout::Executions(benches()), |_| {});
        assert_eq!(ship.round().await.waiting.len(), 1);
    });
}

#[test]
fn what_was_shipped_is_cleaned_when_all_of_it_holds() {
    block_on(async {
        let store = Arc::new(MemoryStore::new());
        let as_store = Arc::clone(&store) as Arc<dyn Store>;
        let (desk, records) = (Desk::with_execution(), Desk::new());
        fs::create_dir_all(desk.tree().join("bench-1").join(ID).join("raw/empty/deep")).unwrap();
        desk.write(&format!("bench-1/{ID}/.complete"), b"");
        records.write("acme/prod/api/run-1/payload.json", &payload("api", "run-1"));
        let young = |settings: &mut runpack_server::ship::Settings| {
            settings.clean_after = Some(Duration::from_hours(1));
        };
        ships_all(
            &desk.ship(&as_store, Layout::Executions(benches()), young),
            1,
        )
        .await;
        ships_all(&records.ship(&as_store, Layout::Records, young), 1).await;
        let round = desk
            .ship(&as_store, Layout::Executions(benches()), young)
            .round()
            .await;
        assert_eq!((round.already, round.cleaned.len()), (1, 0));
        let before = store.snapshot();
        let later = "2026-11-20T13:00:00Z";
        for (desk, layout) in [
            (&desk, Layout::Executions(benches())),
            (&records, Layout::Records),
        ] {
            let round = desk.ship_at(later, &as_store, layout, young).round().await;
            assert_eq!(round.cleaned.len(), 1, "{round:?}");
        }
        // What they were in stays: it is the bench's.
        assert_eq!(desk.tree_now(), BTreeMap::from([("bench-1".into(), None)]));
        assert!(records.tree().join("acme/prod/api").exists());
        assert!(!records.tree().join("acme/prod/api/run-1").exists());
        // Deleting goes nowhere.
        assert_eq!(store.snapshot(), before);
    });
}

#[test]
fn nothing_is_cleaned_when_anything_differs() {
    type Change = fn(&Path, &MemoryStore);
    let cases: [(&str, Change); 9] = [
        ("was not shipped", |item, _| {
            fs::write(item.join("raw/new"), b"n").unwrap();
        }),
        ("was not shipped", |item, _| {
            fs::write(item.join("notes.txt"), b"n").unwrap();
        }),
        ("changed since", |item, _| {
            fs::write(item.join("raw/a.bin"), b"longer than it was").unwrap();
        }),
        ("changed since", |item, _| {
            fs::write(item.join("raw/a.bin"), vec![b'Q'; trees::A.len()]).unwrap();
        }),
        ("symbolic link", |item, _| {
            std::os::unix::fs::symlink("/etc/passwd", item.join("raw/link")).unwrap();
        }),
        ("not proved", |_, store| {
            store.tamper(&format!("executions/{ID}/artifacts/a.bin"), None);
        }),
        ("not proved", |_, store| {
            let other = vec![b'Q'; trees::A.len()].into();
            store.tamper(&format!("executions/{ID}/artifacts/a.bin"), Some(other));
        }),
        ("not proved", |_, store| {
            store.tamper(&format!("executions/{ID}/manifest.json"), None);
        }),
        ("not proved", |item, _| {
            let path = item.join(MARKER);
            let text = fs::read_to_string(&path).unwrap();
            let at = text.find("sha256:").unwrap() + 7;
            let forged = format!("{}{}{}", &text[..at], "0".repeat(64), &text[at + 64..]);
            fs::write(path, forged).unwrap();
        }),
    ];
    block_on(async {
        for (number, (why, change)) in cases.into_iter().enumerate() {
            let store = Arc::new(MemoryStore::new());
            let as_store = Arc::clone(&store) as Arc<dyn Store>;
            let desk = Desk::with_execution();
            let clean = |settings: &mut runpack_server::ship::Settings| {
                settings.clean_after = Some(Duration::ZERO);
            };
            ships_all(
                &desk.ship(&as_store, Layout::Executions(benches()), |_| {}),
                1,
            )
            .await;
            change(&desk.tree().join("bench-1").join(ID), &store);
            let before = desk.tree_now();
            let round = desk
                .ship(&as_store, Layout::Executions(benches()), clean)
                .round()
                .await;
            assert_eq!(
                (round.cleaned.len(), round.kept.len()),
                (0, 1),
                "{number}: {round:?}"
            );
            assert!(
                round.kept[0].1.to_string().contains(why),
                "{number}: {round:?}"
            );
            assert_eq!(desk.tree_now(), before, "{number}");
        }
    });
}

#[test]
fn what_comes_after_an_item_was_shipped_is_told_in_every_round() {
    type Change = fn(&Path);
    let cases: [(&str, Change); 2] = [
        ("was not shipped", |item| {
            fs::write(item.join("raw/late.bin"), b"late").unwrap();
        }),
        ("changed since", |item| {
            fs::write(item.join("raw/a.bin"), b"it was written on").unwrap();
        }),
    ];
    block_on(async {
        for (why, change) in cases {
            let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
            let desk = Desk::with_execution();
            let ship = desk.ship(&store, Layout::Executions(benches()), |_| {});
            ships_all(&ship, 1).await;
            let round = ship.round().await;
            assert_eq!((round.already, round.kept.len()), (1, 0), "{round:?}");
            change(&desk.tree().join("bench-1").join(ID));
            for _ in 0..2 {
                let round = ship.round().await;
                assert_eq!((round.already, round.kept.len()), (1, 1), "{round:?}");
                assert!(round.kept[0].1.to_string().contains(why), "{round:?}");
            }
        }
    });
}

#[test]
fn a_cleaning_that_was_cut_off_goes_on() {
    block_on(async {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let desk = Desk::with_execution();
        ships_all(&desk.ship(&store, Layout::Executions(benches()), |_| {}), 1).await;
        fs::remove_file(desk.tree().join("bench-1").join(ID).join("raw/a.bin")).unwrap();
        let clean = desk.ship(&store, Layout::Executions(benches()), |settings| {
            settings.clean_after = Some(Duration::ZERO);
        });
        assert_eq!(clean.round().await.cleaned.len(), 1);
    });
}

#[test]
fn a_read_only_tree_keeps_its_markers_elsewhere() {
    block_on(async {
        let desk = Desk::with_execution();
        let state = scratch();
        let markers = state.path().join("markers");
        let read_only = fs::Permissions::from_mode(0o555);
        for path in [
            "bench-1".into(),
            format!("bench-1/{ID}"),
            format!("bench-1/{ID}/raw"),
        ] {
            fs::set_permissions(desk.tree().join(path), read_only.clone()).unwrap();
        }
        let before = desk.tree_now();
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        for expected in [(1, 0), (0, 1)] {
            let ship = desk.ship(&store, Layout::Executions(benches()), |settings| {
                settings.markers = Markers::In(markers.clone());
            });
            let round = ship.round().await;
            assert_eq!((round.shipped.len(), round.already), expected, "{round:?}");
        }
        assert_eq!(desk.tree_now(), before);
        // Whoever loses the markers ships again, and finds everything there.
        fs::remove_dir_all(&markers).unwrap();
        let ship = desk.ship(&store, Layout::Executions(benches()), |settings| {
            settings.markers = Markers::In(markers.clone());
        });
        ships_all(&ship, 1).await;
    });
}

/// Each removes what was live when it has made the pack, under the hands of the other.
#[test]
fn two_shippers_of_one_tree_come_to_one_pack() {
    for round in 0..30 {
        let memory = Arc::new(MemoryStore::new());
        let store: Arc<dyn Store> = memory.clone();
        let desk = Desk::with_execution();
        let rounds = std::thread::scope(|scope| {
            let ship = |staging: &'static str| {
                let (desk, memory, store) = (&desk, &memory, &store);
                scope.spawn(move || {
                    let keeper: trees::Keeper = memory.clone();
                    let to = (store, Some(keeper));
                    let layout = Layout::Executions(benches());
                    let ship = trees::ship(desk.path(), staging, trees::NOW, to, layout, |_| {});
                    block_on(ship.round())
                })
            };
            let (one, two) = (ship("staging-1"), ship("staging-2"));
            [one.join().unwrap(), two.join().unwrap()]
        });
        for told in &rounds {
            assert!(told.failed.is_empty(), "{round}: {told:?}");
        }
        let packs: Vec<_> = rounds.iter().flat_map(|told| &told.shipped).collect();
        assert!(packs.iter().all(|pack| *pack == packs[0]), "{packs:?}");
        let Kept::PackId(pack_id) = packs[0].kept else {
            panic!("{packs:?}");
        };
        block_on(trees::verified(&store, ID, pack_id));
    }
}

#[test]
fn a_daemon_goes_on_until_it_is_told_to_stop() {
    block_on(async {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let desk = Desk::with_execution();
        let ship = desk.ship(&store, Layout::Executions(benches()), |_| {});
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let running = ship.run(
            Duration::from_millis(1),
            async { drop(stopped.await) },
            |round| drop(tell.send(round)),
        );
        let watching = async {
            assert_eq!(told.recv().await.unwrap().shipped.len(), 1);
            assert_eq!(told.recv().await.unwrap().already, 1);
            stop.send(()).unwrap();
        };
        tokio::join!(running, watching);
    });
}

/// What a child of the test below is told: the desk, then the layout, then the call to die at.
const CHILD: &str = "RUNPACK_TEST_SHIP_CHILD";

/// A child that ships, and is killed at its first call, at its second, and so on until none is left; and some more that are
/// killed at any time. The next shipper finds its way from each.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "it runs itself again, to be killed"
)]
fn w15_w21_a_shipper_is_killed_at_every_call_and_the_next_one_goes_on() {
    if let Some(told) = std::env::var_os(CHILD) {
        let told = told.into_string().unwrap();
        let [desk, layout, at] = told.split('|').collect::<Vec<_>>()[..] else {
            panic!("{told}");
        };
        return child(Path::new(desk), layout, at.parse().unwrap());
    }
    let test = "shipping::w15_w21_a_shipper_is_killed_at_every_call_and_the_next_one_goes_on";
    let start = |desk: &Desk, layout: &str, at: u64| {
        let told = format!("{}|{layout}|{at}", desk.path().display());
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(CHILD, told)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap()
    };
    for layout in ["executions", "records"] {
        for at in 1.. {
            let desk = killable(layout);
            let status = start(&desk, layout, at).wait().unwrap();
            block_on(settled(&desk, layout));
            if status.success() {
                assert!(at > 5, "{layout}: {at}");
                break;
            }
            assert_eq!(status.code(), None, "{layout}: {at}: {status}");
        }
        for _ in 0..8 {
            let micros = u64::try_from(ulid::Ulid::generate().random() % 80_000).unwrap();
            println!("{layout}: killed after {micros} microseconds");
            let desk = killable(layout);
            let mut child = start(&desk, layout, u64::MAX);
            std::thread::sleep(Duration::from_micros(micros));
            child.kill().unwrap();
            child.wait().unwrap();
            block_on(settled(&desk, layout));
        }
    }
}

fn killable(layout: &str) -> Desk {
    if layout == "executions" {
        return Desk::with_execution();
    }
    let desk = Desk::new();
    desk.write("acme/prod/api/run-1/payload.json", &payload("api", "run-1"));
    desk
}

fn named(layout: &str) -> Layout {
    match layout {
        "executions" => Layout::Executions(benches()),
        _ => Layout::Records,
    }
}

fn child(desk: &Path, layout: &str, at: u64) {
    block_on(async {
        let store = Arc::new(FileStore::open(&desk.join("store")).await.unwrap());
        let keeper: trees::Keeper = store.clone();
        let store = Arc::new(Shaky::new(store));
        store.die_at.store(at, Ordering::SeqCst);
        let as_store = store as Arc<dyn Store>;
        let (to, layout) = ((&as_store, Some(keeper)), named(layout));
        let ship = trees::ship(desk, "staging-child", trees::NOW, to, layout, |_| {});
        ships_all(&ship, 1).await;
    });
}

/// The next shipper ships what is there, or finds it shipped; and all of it is there once.
async fn settled(desk: &Desk, layout: &str) {
    let memory = FileStore::open(&desk.path().join("store")).await.unwrap();
    let store: Arc<dyn Store> = Arc::new(memory);
    let ship = desk.ship(&store, named(layout), |_| {});
    let round = ship.round().await;
    assert!(round.failed.is_empty(), "{round:?}");
    assert_eq!(round.shipped.len() as u64 + round.already, 1, "{round:?}");
    let round = ship.round().await;
    assert_eq!(round.already, 1, "{round:?}");
    let keys = trees::keys(&store).await;
    if layout == "executions" {
        let pack_id = trees::marked(&desk.tree().join("bench-1").join(ID));
        let manifest = trees::verified(&store, ID, pack_id).await;
        let expected = manifest.artifacts().len() + 1;
        let own = keys.iter().filter(|key| key.starts_with("executions/"));
        assert_eq!(own.count(), expected, "{keys:?}");
    } else {
        assert_eq!(
            trees::body(&store, "api", "run-1").await,
            payload("api", "run-1")
        );
        let payloads = keys.iter().filter(|key| key.ends_with("/payload.json"));
        assert_eq!(payloads.count(), 1, "{keys:?}");
    }
}

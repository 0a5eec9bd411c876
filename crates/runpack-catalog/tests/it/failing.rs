//! A database that is killed, full, corrupt, newer or lost.

use std::fs;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use runpack_catalog::{Catalog, CatalogError, Form, Found};
use runpack_core::key::Location;
use runpack_core::limits::Limits;
use runpack_core::store::{ArtifactReader, ListEntry, MemoryStore};
use runpack_testing::{Lie, LyingStore, block_on};

use crate::support::{Both, artifact, commit, exported, manifest, reader, run, store_name};

fn found(number: u32) -> Found {
    let pack = manifest(
        run("acme", &format!("r{number:05}")),
        "2026-11-20T12:00:00Z",
        &[],
        vec![artifact("a.csv", number.to_string().as_bytes())],
    );
    Found {
        key: Location::manifest(pack.subject()).key().unwrap(),
        form: Form::Files,
        manifest: pack,
    }
}

#[test]
fn w19_a_database_that_was_killed_is_away_and_then_catches_up() {
    let mut both = Both::start();
    let [_, address] = both.addresses("killed");
    block_on(async {
        let (store, name, limits) = (MemoryStore::new(), store_name(), Limits::default());
        let catalog = Catalog::open(&address).await.unwrap();
        for number in 0..3 {
            commit(&store, &found(number).manifest).await;
            catalog.admit(&name, &[found(number)]).await.unwrap();
        }
        both.postgres.kill();
        commit(&store, &found(3).manifest).await;
        let refused = catalog.admit(&name, &[found(3)]).await.unwrap_err();
        assert!(refused.is_retryable(), "{refused:?}");
        let refused = Catalog::open(&address).await.unwrap_err();
        assert!(
            matches!(refused, CatalogError::Unreachable { .. }),
            "{refused:?}"
        );
        both.postgres.start_again();
        let filled = catalog
            .catch_up(&name, &reader(&store), &limits)
            .await
            .unwrap();
        assert_eq!((filled.added, filled.known), (1, 3));
        let checked = catalog
            .check(&name, &reader(&store), &limits)
            .await
            .unwrap();
        assert_eq!((checked.packs, checked.differences.len()), (4, 0));
    });
}

/// Dropped at its every step, as whoever lets another time run out, or is told to stop, drops it.
#[test]
fn what_is_dropped_midway_leaves_no_transaction_open() {
    let both = Both::start();
    let [_, address] = both.addresses("dropped");
    block_on(async {
        let (catalog, name) = (Catalog::open(&address).await.unwrap(), store_name());
        let open = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'";
        let mut finished = 0;
        for polls in 0..40 {
            let one = found(polls);
            let mut admission = Box::pin(catalog.admit(&name, std::slice::from_ref(&one)));
            let mut left = polls;
            finished += poll_fn(|context| match left.checked_sub(1) {
                None => Poll::Ready(0),
                Some(fewer) => {
                    left = fewer;
                    admission.as_mut().poll(context).map(|done| {
                        done.unwrap();
                        1
                    })
                }
            })
            .await;
            drop(admission);
            // What goes back into the pool is rolled back on the way, a moment later.
            let mut looks = 0..500;
            loop {
                tokio::time::sleep(Duration::from_millis(20)).await;
                if both.postgres.ask("dropped", open).trim() == "0" {
                    break;
                }
                assert!(looks.next().is_some(), "a transaction stays open");
            }
        }
        assert!((1..40).contains(&finished), "{finished}");
    });
}

/// Its last statement cannot be done.
#[test]
fn w20_a_migration_that_fails_midway_leaves_nothing_behind() {
    let both = Both::start();
    let addresses = both.addresses("midway");
    block_on(async {
        let in_the_way = ["CREATE TABLE seen (x TEXT)", "DROP TABLE seen"];
        for (at, address) in addresses.iter().enumerate() {
            let file = address.to_string().replace("sqlite:", "");
            let (mut refused, mut opened) = (None, None);
            for statement in in_the_way {
                if at == 0 {
                    in_sqlite(&file, statement.to_owned()).await.unwrap();
                } else {
                    both.postgres.ask("midway", statement);
                }
                match Catalog::open(address).await {
                    Ok(catalog) => opened = Some(catalog),
                    Err(error) => refused = Some(error),
                }
            }
            assert!(refused.is_some());
            let catalog = opened.unwrap();
            assert_eq!(catalog.audits(10).await.unwrap().len(), 0);
            catalog.admit(&store_name(), &[found(1)]).await.unwrap();
        }
    });
}

#[test]
fn w20_what_a_newer_program_made_is_left_alone() {
    let both = Both::start();
    block_on(async {
        for (at, catalog) in both.open("newer").await.into_iter().enumerate() {
            let address = catalog.address().clone();
            catalog.close().await;
            let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                         VALUES (99, 'tomorrow', true, ";
            if at == 0 {
                let file = address.to_string();
                let file = file.strip_prefix("sqlite:").unwrap();
                in_sqlite(file, format!("{newer}x'00', 0)")).await.unwrap();
            } else {
                both.postgres
                    .ask("newer", &format!("{newer}decode('00', 'hex'), 0)"));
            }
            let refused = Catalog::open(&address).await.unwrap_err();
            assert!(
                matches!(refused, CatalogError::Newer { found: 99 }),
                "{refused:?}"
            );
            assert!(refused.to_string().contains("newer version"), "{refused}");
        }
    });
}

/// Has SQLite do something behind the catalog's back.
async fn in_sqlite(file: &str, statement: String) -> Result<(), sqlx::Error> {
    use sqlx::{ConnectOptions as _, Connection as _, Executor as _};
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true);
    let mut connection = options.connect().await?;
    connection.execute(sqlx::AssertSqlSafe(statement)).await?;
    connection.close().await
}

#[test]
fn w19_a_file_that_is_damaged_or_none_is_told_and_made_again() {
    let both = Both::start();
    let [address, _] = both.addresses("damaged");
    let file = both.directory.path().join("damaged.db");
    let (name, limits) = (store_name(), Limits::default());
    fs::write(&file, "this is no database, and has been here for long").unwrap();
    block_on(async {
        let refused = Catalog::open(&address).await.unwrap_err();
        assert!(
            matches!(refused, CatalogError::Damaged { .. }),
            "{refused:?}"
        );
        fs::remove_file(&file).unwrap();
        let store = MemoryStore::new();
        for number in 0..500 {
            commit(&store, &found(number).manifest).await;
        }
        let catalog = Catalog::open(&address).await.unwrap();
        catalog
            .rebuild(&name, &reader(&store), &limits)
            .await
            .unwrap();
        let before = exported(&catalog).await;
        catalog.close().await;
        // The middle of the file is lost.
        let mut bytes = fs::read(&file).unwrap();
        let (from, to) = (bytes.len() / 4, bytes.len() * 3 / 4);
        bytes[from..to].fill(0xa5);
        fs::write(&file, bytes).unwrap();
        let told = match Catalog::open(&address).await {
            Err(error) => error,
            Ok(catalog) => {
                let checked = catalog.check(&name, &reader(&store), &limits).await;
                match checked {
                    Err(runpack_catalog::SurveyError::Catalog(error)) => error,
                    other => panic!("{other:?}"),
                }
            }
        };
        assert!(matches!(told, CatalogError::Damaged { .. }), "{told:?}");
        // Lost, and made again.
        for ending in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{ending}", file.display()));
        }
        let catalog = Catalog::open(&address).await.unwrap();
        catalog
            .rebuild(&name, &reader(&store), &limits)
            .await
            .unwrap();
        assert_eq!(exported(&catalog).await, before);
    });
}

#[test]
fn w18_a_rebuild_that_fails_leaves_the_catalog_as_it_was() {
    let both = Both::start();
    block_on(async {
        let (name, limits) = (store_name(), Limits::default());
        let store = MemoryStore::new();
        for number in 0..50 {
            commit(&store, &found(number).manifest).await;
        }
        for catalog in both.open("failed").await {
            catalog
                .rebuild(&name, &reader(&store), &limits)
                .await
                .unwrap();
            let before = exported(&catalog).await;
            let lie = Lie::Fail(std::io::ErrorKind::ConnectionReset);
            let breaking = LyingStore::new(Arc::new(store.clone()), lie);
            let breaking = breaking.about(|key| key.as_str().contains("r00040"));
            let breaking: Arc<dyn ArtifactReader> = Arc::new(breaking);
            let failed = catalog.rebuild(&name, &breaking, &limits).await;
            assert!(failed.is_err(), "{failed:?}");
            assert_eq!(exported(&catalog).await, before);
        }
    });
}

#[test]
fn a_manifest_that_cannot_be_read_keeps_no_other_from_the_catalog() {
    let both = Both::start();
    block_on(async {
        let (name, limits) = (store_name(), Limits::default());
        let store = MemoryStore::new();
        for number in 0..50 {
            commit(&store, &found(number).manifest).await;
        }
        for catalog in both.open("unread").await {
            let lie = Lie::Fail(std::io::ErrorKind::PermissionDenied);
            let locked = LyingStore::new(Arc::new(store.clone()), lie);
            let locked = locked.about(|key| key.as_str().contains("r00040"));
            let locked: Arc<dyn ArtifactReader> = Arc::new(locked);
            let filled = catalog.catch_up(&name, &locked, &limits).await.unwrap();
            assert_eq!((filled.added, filled.odd.unread.len()), (49, 1));
            let checked = catalog.check(&name, &locked, &limits).await.unwrap();
            assert_eq!(
                (checked.differences.len(), checked.odd.unread.len()),
                (0, 1)
            );
            let filled = catalog
                .catch_up(&name, &reader(&store), &limits)
                .await
                .unwrap();
            assert_eq!(
                (filled.added, filled.known, filled.odd.unread.len()),
                (1, 49, 0)
            );
        }
    });
}

#[test]
fn a_listing_that_shows_a_key_twice_gives_it_once() {
    let both = Both::start();
    block_on(async {
        let (name, limits) = (store_name(), Limits::default());
        let store = MemoryStore::new();
        let mut shown = Vec::new();
        for number in 0..3 {
            let found = found(number);
            commit(&store, &found.manifest).await;
            shown.push(ListEntry::new(found.key.to_string(), 1));
        }
        let twice = LyingStore::new(Arc::new(store.clone()), Lie::List(shown));
        let twice: Arc<dyn ArtifactReader> = Arc::new(twice);
        let mut exported_by = Vec::new();
        for catalog in both.open("twice").await {
            catalog.catch_up(&name, &twice, &limits).await.unwrap();
            exported_by.push(exported(&catalog).await);
            catalog.rebuild(&name, &twice, &limits).await.unwrap();
            exported_by.push(exported(&catalog).await);
        }
        assert!(exported_by.iter().all(|one| *one == exported_by[0]));
        assert_eq!(exported_by[0].matches("{\"pack\":{").count(), 3);
    });
}

/// Another pack stands where one stood.
#[test]
fn what_another_pack_took_the_place_of_is_forgotten() {
    let both = Both::start();
    block_on(async {
        let (name, limits) = (store_name(), Limits::default());
        for catalog in both.open("replaced").await {
            let mut first = found(1);
            catalog.admit(&name, &[first.clone()]).await.unwrap();
            let later = manifest(
                run("acme", "r00001"),
                "2026-11-21T12:00:00Z",
                &[],
                vec![artifact("b.csv", b"other")],
            );
            first.manifest = Arc::clone(&later);
            catalog.admit(&name, &[first]).await.unwrap();
            let store = MemoryStore::new();
            commit(&store, &later).await;
            catalog
                .catch_up(&name, &reader(&store), &limits)
                .await
                .unwrap();
            let checked = catalog
                .check(&name, &reader(&store), &limits)
                .await
                .unwrap();
            assert_eq!((checked.packs, checked.differences), (1, vec![]));
        }
    });
}

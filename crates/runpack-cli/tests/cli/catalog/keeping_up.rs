//! A catalog that is told of packs as they are committed, and what becomes of those that it could not be told of.

use runpack_testing::servers::PrivatePostgres;

use crate::support::{Desk, text};

fn packs_in(desk: &Desk, more: &str) -> usize {
    let said = desk.line(&format!("catalog export {more}")).expect(0);
    said.out
        .lines()
        .filter(|line| line.starts_with("{\"pack\":{"))
        .count()
}

#[test]
fn a_catalog_that_is_there_is_kept_up_with_commits() {
    let desk = Desk::with_run();
    desk.export("--run-id r1");
    assert!(
        !desk.path("state/catalog.db").exists(),
        "nobody asked for one"
    );
    desk.line("catalog update file:store").expect(0);
    let exported = desk.export("--run-id r2 --bundle r2.tar.gz");
    assert_eq!(packs_in(&desk, ""), 2);
    desk.line("push r2.tar.gz --to file:copies").expect(0);
    desk.line(&format!(
        "push {} --to file:copies",
        text(&exported, "pack")
    ))
    .expect(0);
    desk.line("mirror file:store file:copies").expect(0);
    assert_eq!(packs_in(&desk, ""), 2);
    for store in ["file:store", "file:copies"] {
        desk.line(&format!("catalog check {store}")).expect(0);
    }
}

#[test]
fn w19_while_the_database_is_away_commits_go_on_and_the_catalog_catches_up() {
    let desk = Desk::with_run();
    let mut postgres = PrivatePostgres::start();
    let url = postgres.database("packs");
    let export = |run_id: &str| {
        let mut command = desk.command();
        let line = crate::support::EXPORT.replace("run-42", run_id);
        command
            .env("RUNPACK_CATALOG", &url)
            .args(line.split_whitespace());
        crate::support::said(&mut command).expect(0)
    };
    assert_eq!(export("r1").err, "");
    postgres.kill();
    for run_id in ["r2", "r3"] {
        let said = export(run_id);
        assert!(
            said.err.contains("the catalog does not have it yet"),
            "{}",
            said.err
        );
    }
    postgres.start_again();
    // One that stands still is waited for, and not for long.
    postgres.pause();
    let said = export("r3b");
    assert!(
        said.err.contains("the catalog does not have it yet"),
        "{}",
        said.err
    );
    postgres.resume();
    let catalog = format!("--catalog {url}");
    assert_eq!(packs_in(&desk, &catalog), 1);
    // Another catalog does not take what this one missed.
    desk.line("catalog update file:store --catalog sqlite:other.db")
        .expect(0);
    assert_eq!(export("r4").err, "");
    assert_eq!(packs_in(&desk, &catalog), 5);
    desk.line(&format!("catalog check file:store {catalog}"))
        .expect(0);
    // Lost, and made again from what is there.
    postgres.ask("postgres", "DROP DATABASE packs");
    let before = export("r5").err;
    assert!(
        before.contains("the catalog does not have it yet"),
        "{before}"
    );
    postgres.database("packs");
    desk.line(&format!("catalog rebuild file:store {catalog}"))
        .expect(0);
    assert_eq!(packs_in(&desk, &catalog), 6);
}

/// Only this machine knows of it: the catalog was away when it came, and now the store is without it.
#[test]
fn s11_what_the_catalog_missed_and_the_store_hides_is_named() {
    let desk = Desk::with_run();
    for command in ["update", "rebuild"] {
        // In place of the catalog is something else.
        std::fs::create_dir(desk.path("c.db")).unwrap();
        let run_id = format!("missed-by-{command}");
        let mut export = desk.command();
        let line = crate::support::EXPORT.replace("run-42", &run_id);
        export.env("RUNPACK_CATALOG", "sqlite:c.db");
        let said = crate::support::said(export.args(line.split_whitespace())).expect(0);
        assert!(said.err.contains("does not have it yet"), "{}", said.err);
        std::fs::remove_dir(desk.path("c.db")).unwrap();
        std::fs::remove_dir_all(desk.path("store")).unwrap();
        desk.export("--run-id kept");
        let fill = format!("catalog {command} file:store --catalog sqlite:c.db --json");
        let said = desk.line(&fill).expect(0);
        assert_eq!(said.json()["added"], 1, "{}", said.out);
        assert!(
            said.err.contains("no pack any more") && said.err.contains(&run_id),
            "{}",
            said.err
        );
        // It was told, and is not told again.
        assert_eq!(desk.line(&fill).expect(0).err, "");
        std::fs::remove_file(desk.path("c.db")).unwrap();
    }
}

#[test]
fn w19_a_catalog_without_space_keeps_no_pack_from_its_store() {
    let desk = Desk::with_run();
    let program = env!("CARGO_BIN_EXE_runpack");
    let export = |run_id: &str| crate::support::EXPORT.replace("run-42", run_id);
    // A file system of a MiB, which only this shell sees.
    let script = format!(
        "set -e; mkdir -p small; mount -t tmpfs -o size=1m none small; export RUNPACK_CATALOG=sqlite:small/c.db\n\
         {program} {}\n\
         dd if=/dev/zero of=small/rest bs=4k 2>/dev/null || true\n\
         {program} {} 2>full.txt\n\
         {program} {} 2>>full.txt\n\
         rm small/rest\n\
         {program} {}\n\
         {program} catalog check file:store\n\
         {program} catalog export >exported.txt\n",
        export("r1"),
        export("r2"),
        export("r3"),
        export("r4"),
    );
    let mut shell = std::process::Command::new("unshare");
    shell
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
        .current_dir(desk.path(""))
        .env("RUNPACK_STATE_DIR", desk.path("state"));
    crate::support::said(&mut shell).expect(0);
    let full = std::fs::read_to_string(desk.path("full.txt")).unwrap();
    assert_eq!(
        full.matches("the catalog does not have it yet").count(),
        2,
        "{full}"
    );
    assert!(full.contains("no space left"), "{full}");
    let exported = std::fs::read_to_string(desk.path("exported.txt")).unwrap();
    let packs = exported
        .lines()
        .filter(|line| line.starts_with("{\"pack\":{"))
        .count();
    assert_eq!(packs, 4);
}

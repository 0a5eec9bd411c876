//! Packs between directories and stores: push, pull, list, mirror, gc. The same against real buckets: `s3.rs`.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{Desk, EXPORT, NO_PACK, text};

const RUN: &str = "--tenant acme --namespace prod --scenario loan-approval --run-id run-42";

/// Every regular file below a directory, relative to it.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut to_do = vec![directory.to_owned()];
    while let Some(next) = to_do.pop() {
        for entry in fs::read_dir(next).into_iter().flatten().flatten() {
            if entry.file_type().unwrap().is_dir() {
                to_do.push(entry.path());
            } else {
                found.push(entry.path().strip_prefix(directory).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

fn json(desk: &Desk, line: &str, code: i32) -> Value {
    desk.line(&format!("{line} --json")).expect(code).json()
}

#[test]
fn a_pack_goes_to_a_store_and_comes_back() {
    let desk = Desk::with_run();
    desk.write("run/large.bin", vec![5; (9 << 20) + 1]);
    let exported = desk.export("--bundle b.tar.gz");
    let id = text(&exported, "pack_id");
    let pushed = json(
        &desk,
        &format!("push {} --to file:remote", text(&exported, "pack")),
        0,
    );
    assert_eq!(
        (text(&pushed, "commit"), text(&pushed, "reference")),
        ("new", "written")
    );
    assert_eq!(text(&pushed, "pack_id"), id);
    // By its place, by its identity and by its id it is the pack that was made.
    for target in [
        format!("verify file:remote {RUN}"),
        format!("verify file:remote --pack-id {id} --no-receipts"),
        format!("verify {}", text(&pushed, "pack")),
        format!(
            "verify file:{} --no-receipts --expect-pack-id {id}",
            text(&pushed, "pack")
        ),
    ] {
        desk.line(&target).expect(0);
    }
    for (line, code) in [
        (
            format!("pull {id} by-id --from file:remote --no-receipts"),
            0,
        ),
        (format!("pull by-run --from file:remote {RUN}"), 0),
        (
            format!("pull unpinned --from file:remote {RUN} --no-receipts"),
            3,
        ),
        (format!("pull {id} by-id.tar.gz --from file:remote"), 0),
    ] {
        desk.line(&line).expect(code);
    }
    for directory in ["by-id", "by-run", "unpinned"] {
        assert_eq!(
            fs::read(desk.path(directory).join("large.bin")).unwrap(),
            fs::read(desk.path("run/large.bin")).unwrap()
        );
        desk.line(&format!(
            "verify {directory} --no-receipts --expect-pack-id {id}"
        ))
        .expect(0);
        desk.line(&format!("diff {directory} b.tar.gz")).expect(0);
    }
    desk.line(&format!(
        "verify by-id.tar.gz --no-receipts --expect-pack-id {id}"
    ))
    .expect(0);
    // Nothing else is left where it was pulled to.
    let left: Vec<PathBuf> = fs::read_dir(desk.root())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with('.'))
        .collect();
    assert_eq!(left, Vec::<PathBuf>::new());
}

#[test]
fn a_second_push_is_success_and_another_pack_is_a_conflict() {
    let desk = Desk::with_run();
    let exported = desk.export("--bundle b.tar.gz");
    let pack = text(&exported, "pack").to_owned();
    assert_eq!(
        json(&desk, &format!("push {pack} --to file:remote"), 0)["commit"],
        "new"
    );
    let before = files(&desk.path("remote"));
    assert_eq!(
        json(&desk, &format!("push {pack} --to file:remote"), 0)["commit"],
        "again"
    );
    assert_eq!(files(&desk.path("remote")), before);
    // Made at another time of the same evidence: the first stays.
    let line = EXPORT
        .replace("T12", "T13")
        .replace("file:store", "file:later");
    let later = json(&desk, &line, 0);
    let same = json(
        &desk,
        &format!(
            "push {} --to file:remote --no-receipts",
            text(&later, "pack")
        ),
        0,
    );
    assert_eq!(same["commit"], "same_evidence");
    assert_eq!(same["pack_id"], exported["pack_id"]);
    // Another pack of the run.
    desk.write("run/decisions.json", "{}");
    let other = json(&desk, &EXPORT.replace("file:store", "file:other"), 0);
    let said = desk
        .line(&format!("push {} --to file:remote", text(&other, "pack")))
        .expect(2);
    assert!(
        said.err.contains(text(&exported, "pack_id")),
        "{}",
        said.err
    );
    assert!(said.err.contains(text(&other, "pack_id")), "{}", said.err);
    assert_eq!(said.err.lines().count(), 2, "{}", said.err);
}

#[test]
fn a_bundle_goes_to_a_store_once_however_it_is_compressed() {
    let desk = Desk::with_run();
    let exported = desk.export("--bundle b.tar.gz");
    let (id, pack) = (text(&exported, "pack_id"), text(&exported, "pack"));
    let first = json(&desk, "push b.tar.gz --to file:remote", 0);
    assert_eq!(first["commit"], "new");
    let key = format!("2026/11/run-42/{}.tar.gz", &id["sha256:".len()..]);
    assert_eq!(
        text(&first, "pack"),
        desk.root().join("remote").join(&key).to_str().unwrap()
    );
    desk.line(&format!("bundle {pack} stored.tar.gz --compression stored"))
        .expect(0);
    for same in ["b.tar.gz", "stored.tar.gz"] {
        assert_eq!(
            json(&desk, &format!("push {same} --to file:remote"), 0)["commit"],
            "again"
        );
    }
    // In the store it is a target by its id and by its place, and comes back as file and as directory.
    let place = format!("file:{}", text(&first, "pack"));
    for line in [
        format!("verify file:remote --pack-id {id} --no-receipts"),
        format!("verify {place} --no-receipts --expect-pack-id {id}"),
        format!("pull {id} out --from file:remote --no-receipts"),
        format!("pull {id} out.tar.gz --from file:remote --no-receipts"),
    ] {
        desk.line(&line).expect(0);
    }
    assert_eq!(
        fs::read(desk.path("out.tar.gz")).unwrap(),
        fs::read(desk.path("b.tar.gz")).unwrap()
    );
    desk.line("diff out b.tar.gz").expect(0);
    desk.line(&format!("show {place}")).expect(0);
    // What is damaged there is neither taken for ours nor replaced.
    let mut damaged = fs::read(desk.path("b.tar.gz")).unwrap();
    let last = damaged.len() - 9;
    damaged[last] ^= 1;
    fs::write(desk.path("remote").join(&key), &damaged).unwrap();
    let said = desk.line("push b.tar.gz --to file:remote").expect(1);
    assert!(said.err.contains("does not verify"), "{}", said.err);
    assert_eq!(fs::read(desk.path("remote").join(&key)).unwrap(), damaged);
    desk.line(&format!("verify {place} --no-receipts"))
        .expect(1);
    desk.line(&format!("pull {id} no --from file:remote"))
        .expect(1);
    desk.line(&format!("pull {id} no.tar.gz --from file:remote"))
        .expect(1);
    assert!(!desk.path("no").exists() && !desk.path("no.tar.gz").exists());
}

#[test]
fn s01_what_does_not_verify_is_neither_pushed_nor_pulled() {
    let desk = Desk::with_run();
    let exported = desk.export("");
    let (id, pack) = (text(&exported, "pack_id"), text(&exported, "pack"));
    desk.line(&format!("push {pack} --to file:remote"))
        .expect(0);
    desk.line(&format!("pull {id} good --from file:remote"))
        .expect(0);

    desk.write("good/model.bin", [8; 3_000]);
    let said = desk.line("push good --to file:elsewhere").expect(1);
    assert!(said.err.contains("artifact.digest"), "{}", said.err);
    // Also where nothing is verified first: the bytes are held against the manifest on the way.
    desk.line("push good --to file:elsewhere --no-verify")
        .expect(1);
    assert!(
        !files(&desk.path("elsewhere"))
            .iter()
            .any(|path| path.ends_with("manifest.json"))
    );
    desk.line(&format!(
        "push {pack} --to file:elsewhere --expect-pack-id {NO_PACK}"
    ))
    .expect(1);

    let stored: Vec<PathBuf> = files(&desk.path("remote"))
        .into_iter()
        .filter(|path| path.ends_with("model.bin"))
        .collect();
    fs::write(desk.path("remote").join(&stored[0]), [8; 3_000]).unwrap();
    let said = desk
        .line(&format!("pull {id} bad --from file:remote"))
        .expect(1);
    assert!(said.out.contains("nothing was written"), "{}", said.out);
    assert!(!desk.path("bad").exists());
    desk.line(&format!("pull {id} bad.tar.gz --from file:remote"))
        .expect(1);
    assert!(!desk.path("bad.tar.gz").exists());
}

#[test]
fn s09_a_pull_gets_what_was_asked_for_or_nothing() {
    let desk = Desk::with_run();
    let exported = desk.export("");
    let other = desk.export("--run-id run-43");
    let (pack, id) = (text(&exported, "pack"), text(&exported, "pack_id"));
    // The pack of another run in this one's place, with a reference that leads to it.
    desk.line(&format!("push {pack} --to file:remote"))
        .expect(0);
    let place = desk.path("remote").join(
        Path::new(pack)
            .strip_prefix(desk.root().join("store"))
            .unwrap(),
    );
    fs::remove_dir_all(&place).unwrap();
    crate::manipulate::copy(text(&other, "pack").as_ref(), &place);
    for line in [
        format!("pull {id} out --from file:remote --no-receipts"),
        format!("pull out --from file:remote {RUN} --no-receipts --allow-unpinned"),
    ] {
        let said = desk.line(&line);
        assert!(matches!(said.code, Some(1 | 2)), "{line}: {said:?}");
        assert!(!desk.path("out").exists());
    }
    desk.line(&format!(
        "pull out --from file:store {RUN} --expect-tenant other"
    ))
    .expect(1);
    assert!(!desk.path("out").exists());
}

#[test]
fn a_rewritten_store_gets_no_receipt_by_pushing_or_pulling() {
    let desk = Desk::with_run();
    let exported = desk.export("");
    desk.line(&format!(
        "push {} --to file:remote",
        text(&exported, "pack")
    ))
    .expect(0);
    // Whoever can write to the store puts another pack of this run there.
    desk.write("run/decisions.json", "{\"approve\":false}");
    let mut command = desk.command();
    command
        .env("RUNPACK_STATE_DIR", desk.path("attacker"))
        .args(
            EXPORT
                .replace("file:store", "file:forged")
                .split_whitespace(),
        );
    crate::support::said(&mut command).expect(0);
    fs::remove_dir_all(desk.path("remote")).unwrap();
    crate::manipulate::copy(&desk.path("forged"), &desk.path("remote"));
    desk.line(&format!("verify file:remote {RUN}")).expect(1);
    let said = desk
        .line(&format!("pull out --from file:remote {RUN}"))
        .expect(1);
    assert!(said.out.contains("pin.receipt"), "{}", said.out);
    let unpinned = format!("pull out --from file:remote {RUN} --no-receipts");
    desk.line(&unpinned).expect(3);
    desk.line("verify out").expect(1);
    desk.line(&format!("verify file:remote {RUN}")).expect(1);
}

#[test]
fn an_export_goes_on_to_the_configured_store() {
    let desk = Desk::with_run();
    desk.write(
        "runpack.yaml",
        "runpacks: {auto_push: true, file: {root: remote}}\n",
    );
    let not_pushed = json(&desk, &format!("{EXPORT} --no-push"), 0);
    assert!(not_pushed.get("pushed").is_none(), "{not_pushed}");
    assert!(!desk.path("remote").exists());
    let exported = json(&desk, EXPORT, 0);
    let pushed = &exported["pushed"];
    assert_eq!(pushed["commit"], "new");
    assert_eq!(pushed["pack_id"], exported["pack_id"]);
    assert_eq!(
        text(pushed, "to"),
        format!("file:{}", desk.root().join("remote").display())
    );
    crate::schema::check("export", &exported);
    desk.line(&format!("verify file:remote {RUN}")).expect(0);
    let again = desk.line(EXPORT).expect(0);
    assert!(again.out.contains("pushed to  file:"), "{}", again.out);
    assert!(again.out.contains("(was there)"), "{}", again.out);
    // Exported there already: there is nowhere to go on to.
    let there = json(&desk, &EXPORT.replace("--to file:store ", ""), 0);
    assert!(there.get("pushed").is_none(), "{there}");
}

#[test]
fn a_list_goes_on_where_it_ended() {
    let desk = Desk::with_run();
    for at in 1..=7 {
        let line =
            format!("--run-id run-{at} --created-at 2026-11-2{at}T12:00:00Z --bundle {at}.tar.gz");
        desk.export(&line);
        desk.line(&format!("push {at}.tar.gz --to file:store"))
            .expect(0);
    }
    let all = desk.line("list file:store --json").expect(0).out;
    assert_eq!(all.lines().count(), 14);
    let mut lines: Vec<String> = Vec::new();
    let mut start = String::new();
    loop {
        let page = desk
            .line(&format!("list file:store --json --limit 3 {start}"))
            .expect(0)
            .out;
        let mut next = None;
        for line in page.lines() {
            let value: Value = serde_json::from_str(line).unwrap();
            match value.get("start_after") {
                Some(key) => next = Some(key.as_str().unwrap().to_owned()),
                None => lines.push(line.to_owned()),
            }
        }
        match next {
            Some(key) => start = format!("--start-after {key}"),
            None => break,
        }
    }
    assert_eq!(lines, all.lines().collect::<Vec<&str>>());
    let count = |options: &str| {
        let said = desk
            .line(&format!("list file:store --json {options}"))
            .expect(0);
        said.out
            .lines()
            .filter(|line| line.contains("pack_id"))
            .count()
    };
    for (options, expected) in [
        ("--after 2026-11-24T12:00:00Z", 8),
        ("--before 2026-11-24T12:00:00Z", 6),
        (
            "--after 2026-11-23T00:00:00Z --before 2026-11-24T00:00:00Z",
            2,
        ),
        ("--run-id run-5", 2),
        ("--tenant acme", 14),
        ("--tenant acme --namespace prod", 7),
        ("--tenant other", 0),
        ("--after 2026-11-24T12:00:00Z --limit 3", 3),
    ] {
        assert_eq!(count(options), expected, "{options}");
    }
}

#[test]
fn a_mirror_copies_what_is_missing_and_goes_on_after_what_is_broken() {
    let desk = Desk::with_run();
    for at in 1..=4 {
        desk.write("run/model.bin", [at; 3_000]);
        desk.export(&format!("--run-id run-{at} --bundle {at}.tar.gz"));
    }
    desk.line("push 1.tar.gz --to file:store").expect(0);
    desk.line("push 2.tar.gz --to file:store").expect(0);
    let copied = json(&desk, "mirror file:store file:copy", 0);
    assert_eq!(
        (&copied["copied"], &copied["there"]),
        (&6.into(), &0.into())
    );
    let again = json(&desk, "mirror file:store file:copy", 0);
    assert_eq!((&again["copied"], &again["there"]), (&0.into(), &6.into()));
    for at in 1..=4 {
        let run = RUN.replace("run-42", &format!("run-{at}"));
        desk.line(&format!("verify file:copy {run}")).expect(0);
    }
    // What is not the bundle in TO is not taken for it.
    let in_copy = files(&desk.path("copy"))
        .into_iter()
        .find(|path| path.starts_with("2026/11/run-2"))
        .unwrap();
    let in_copy = desk.path("copy").join(in_copy);
    let bundle = fs::read(&in_copy).unwrap();
    fs::write(&in_copy, b"something else").unwrap();
    let told = json(&desk, "mirror file:store file:copy", 2);
    assert_eq!((&told["failed"], &told["there"]), (&1.into(), &5.into()));
    // The same pack, compressed in another way, is there.
    desk.line("unbundle 2.tar.gz whole").expect(0);
    desk.line("bundle whole stored.tar.gz --compression stored")
        .expect(0);
    assert_ne!(fs::read(desk.path("stored.tar.gz")).unwrap(), bundle);
    fs::copy(desk.path("stored.tar.gz"), &in_copy).unwrap();
    let told = json(&desk, "mirror file:store file:copy", 0);
    assert_eq!((&told["copied"], &told["there"]), (&0.into(), &6.into()));

    // One pack is damaged, one lost an artifact, one bundle is cut off: the rest is copied.
    let model = |at: u8| {
        files(&desk.path("store"))
            .into_iter()
            .find(|path| {
                let name = path.to_str().unwrap();
                name.contains(&format!("run-{at}/")) && name.ends_with("model.bin")
            })
            .map(|path| desk.path("store").join(path))
            .unwrap()
    };
    fs::write(model(1), [9; 3_000]).unwrap();
    fs::remove_file(model(2)).unwrap();
    let bundle = files(&desk.path("store"))
        .into_iter()
        .find(|path| path.starts_with("2026/11/run-1"))
        .unwrap();
    let whole = fs::read(desk.path("store").join(&bundle)).unwrap();
    fs::write(desk.path("store").join(&bundle), &whole[..whole.len() / 2]).unwrap();
    let summary = json(&desk, "mirror file:store file:second", 1);
    assert_eq!(
        (&summary["copied"], &summary["invalid"]),
        (&3.into(), &3.into()),
        "{summary}"
    );
    assert_eq!(summary["faults"].as_array().unwrap().len(), 3);
    crate::schema::check("mirror", &summary);
    for (at, code) in [(1, 1), (2, 1), (3, 0), (4, 0)] {
        let run = RUN.replace("run-42", &format!("run-{at} --spec-hash {}", spec(&desk)));
        desk.line(&format!("verify file:second {run}")).expect(code);
    }
    let some = json(
        &desk,
        "mirror file:store file:third --tenant acme --run-id run-3",
        0,
    );
    assert_eq!(some["copied"], 1, "{some}");
    // Another pack in TO's place stays, and is told.
    desk.write("run/model.bin", [77; 3_000]);
    let mut command = desk.command();
    command
        .env("RUNPACK_STATE_DIR", desk.path("elsewhere"))
        .args(
            EXPORT
                .replace("run-42", "run-4")
                .replace("file:store", "file:fourth")
                .split_whitespace(),
        );
    crate::support::said(&mut command).expect(0);
    let conflict = json(
        &desk,
        "mirror file:copy file:fourth --tenant acme --run-id run-4",
        2,
    );
    assert_eq!(conflict["failed"], 1, "{conflict}");
}

#[test]
fn w15_w17_a_mirror_keeps_no_queue_and_goes_by_what_is_there() {
    let desk = Desk::with_run();
    for at in 1..=2 {
        desk.write("run/model.bin", [at; 3_000]);
        desk.export(&format!("--run-id run-{at}"));
    }
    json(&desk, "mirror file:store file:copy", 0);
    // Killed before a commit, and before anything of another pack but one artifact.
    let copied = files(&desk.path("copy"));
    let is_left = |path: &Path| {
        let name = path.to_str().unwrap();
        (name.contains("run-1/") && !name.ends_with("manifest.json"))
            || (name.contains("run-2/") && name.ends_with("model.bin"))
    };
    for path in copied.iter().filter(|path| !is_left(path)) {
        fs::remove_file(desk.path("copy").join(path)).unwrap();
    }
    let again = json(&desk, "mirror file:store file:copy", 0);
    assert_eq!(again["copied"], 2, "{again}");
    assert_eq!(files(&desk.path("copy")), copied);
    for at in 1..=2 {
        let run = RUN.replace("run-42", &format!("run-{at}"));
        desk.line(&format!("verify file:copy {run}")).expect(0);
    }
}

fn spec(desk: &Desk) -> String {
    let listed = desk
        .line("list file:store --json --limit 1 --tenant acme --namespace prod")
        .expect(0)
        .out;
    let row: Value = serde_json::from_str(listed.lines().next().unwrap()).unwrap();
    text(&row["subject"], "spec_hash").to_owned()
}

#[test]
fn w22_gc_shows_first_and_removes_only_old_residue() {
    let desk = Desk::with_run();
    let exported = desk.export("");
    let pack = Path::new(text(&exported, "pack"));
    // An export that never committed, two weeks ago, and one of today.
    for (run, days) in [("run-old", 14), ("run-new", 0)] {
        let at = pack.to_str().unwrap().replace("run-42", run);
        let place = Path::new(&at).join("ab".repeat(32));
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join("left.bin"), "left").unwrap();
        let file = fs::File::options()
            .write(true)
            .open(place.join("left.bin"))
            .unwrap();
        let modified = file.metadata().unwrap().modified().unwrap();
        file.set_modified(modified - std::time::Duration::from_secs(days * 86_400))
            .unwrap();
    }
    let before = files(&desk.path("store"));
    let dry = desk.line("gc file:store --json").expect(0);
    assert_eq!(files(&desk.path("store")), before);
    for line in dry.out.lines() {
        crate::schema::check("gc", &serde_json::from_str(line).unwrap());
    }
    let summary: Value = serde_json::from_str(dry.out.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&summary["residue"], &summary["removed"]),
        (&1.into(), &0.into()),
        "{summary}"
    );
    let shown = desk.line("gc file:store").expect(0);
    assert!(
        shown.out.contains("not_committed") && shown.out.contains("add --yes"),
        "{}",
        shown.out
    );
    desk.line("gc file:store --yes").expect(0);
    let after = files(&desk.path("store"));
    assert_eq!(before.len(), after.len() + 1);
    assert!(
        !after
            .iter()
            .any(|path| path.to_str().unwrap().contains("run-old"))
    );
    desk.line(&format!("verify file:store {RUN}")).expect(0);
}

#[test]
fn s09_a_place_that_a_store_made_up_vouches_for_nothing() {
    let desk = Desk::with_run();
    let exported = desk.export("--bundle b.tar.gz");
    let id = text(&exported, "pack_id")
        .strip_prefix("sha256:")
        .unwrap()
        .to_owned();
    let place = desk.path("made-up/2026/11/run-42");
    fs::create_dir_all(&place).unwrap();
    fs::copy(desk.path("b.tar.gz"), place.join(format!("{id}.tar.gz"))).unwrap();
    let target = format!("file:made-up/2026/11/run-42/{id}.tar.gz");
    let verify = |options: &str| {
        json(
            &desk,
            &format!("verify {target} --no-receipts {options}"),
            if options.is_empty() { 3 } else { 0 },
        )
    };
    assert_eq!(verify("")["pinned_by"], Value::Array(vec![]));
    assert_eq!(
        verify(&format!("--expect-pack-id sha256:{id}"))["verdict"],
        "valid"
    );
    // Another pack in that place is none.
    desk.write("run/model.bin", [7; 3_000]);
    desk.export("--run-id run-43 --bundle other.tar.gz");
    fs::copy(
        desk.path("other.tar.gz"),
        place.join(format!("{id}.tar.gz")),
    )
    .unwrap();
    desk.line(&format!("verify {target} --no-receipts"))
        .expect(1);
}

#[test]
fn a_place_may_be_pulled_into_again() {
    let desk = Desk::with_run();
    for run_id in ["run-1", "run-2"] {
        desk.write("run/model.bin", run_id.repeat(500));
        let exported = desk.export(&format!("--run-id {run_id}"));
        let id = text(&exported, "pack_id");
        desk.line(&format!("pull {id} out --from file:store"))
            .expect(0);
        desk.line("verify out").expect(0);
        fs::remove_dir_all(desk.path("out")).unwrap();
    }
}

#[test]
fn what_goes_into_a_pack_directory_is_refused() {
    let desk = Desk::with_run();
    let exported = desk.export("");
    let pack = text(&exported, "pack");
    for line in [
        format!("verify {pack} --report {pack}/report.html"),
        format!("bundle {pack} {pack}/out.tar.gz"),
        format!("verify {pack} --report no-such-directory/report.html"),
    ] {
        let said = desk.line(&line).expect(2);
        assert_eq!(said.out, "", "{line}");
    }
    desk.line(&format!("verify {pack}")).expect(0);
}

#[test]
fn a_damaged_pack_is_invalid_also_where_nothing_is_verified_first() {
    let desk = Desk::with_run();
    let exported = desk.export("");
    let pack = text(&exported, "pack").to_owned();
    let model = files(Path::new(&pack))
        .into_iter()
        .find(|path| path.ends_with("model.bin"))
        .unwrap();
    fs::write(Path::new(&pack).join(&model), [9; 3_000]).unwrap();
    let said = desk
        .line(&format!(
            "push {pack} --to file:other --no-verify --no-receipts"
        ))
        .expect(1);
    assert!(said.err.contains("does not verify"), "{}", said.err);
}

#[test]
fn k01_credentials_in_an_endpoint_are_not_shown() {
    let desk = Desk::with_run();
    let endpoint = "https://AKIA123:CANARY@host.example";
    desk.write(
        "with.yaml",
        format!("runpacks:\n  s3:\n    endpoint: {endpoint}\n"),
    );
    let mut by_variable = desk.command();
    by_variable
        .env("RUNPACK_STORE_ENDPOINT", endpoint)
        .args(["list", "s3://bucket"]);
    for said in [
        desk.line(&format!("list s3://bucket --endpoint {endpoint}")),
        desk.line("list s3://bucket --config with.yaml"),
        crate::support::said(&mut by_variable),
    ] {
        let said = said.expect(2);
        assert!(
            said.err.contains("endpoint") && !said.err.contains("CANARY"),
            "{}",
            said.err
        );
    }
}

#[test]
fn a_directory_of_the_environment_comes_before_the_bucket_of_the_file() {
    let desk = Desk::with_run();
    let exported = desk.export("");
    desk.write(
        "runpack.yaml",
        "runpacks: {s3: {bucket: production, endpoint: \"http://127.0.0.1:9\"}}\n",
    );
    let mut push = desk.command();
    push.env("RUNPACK_STORE_ROOT", "elsewhere")
        .args(["push", text(&exported, "pack")]);
    crate::support::said(&mut push).expect(0);
    desk.line(&format!("verify file:elsewhere {RUN}")).expect(0);
}

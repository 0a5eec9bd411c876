//! An export that is killed leaves nothing that verifies and nothing that is in the way (W21).

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{Desk, EXPORT, text};

/// What is in the store, so far.
fn files_below(directory: &Path) -> usize {
    let Ok(entries) = fs::read_dir(directory) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => 1 + files_below(&entry.path()),
            _ => 1,
        })
        .sum()
}

fn manifest_below(directory: &Path) -> bool {
    fs::read_dir(directory).is_ok_and(|entries| {
        entries.flatten().any(|entry| {
            entry.file_name() == "manifest.json"
                || entry.path().is_dir() && manifest_below(&entry.path())
        })
    })
}

#[test]
fn w21_an_export_that_is_killed_leaves_nothing_that_verifies() {
    // Each time it is killed a little later, as told by what is in the store and not by a clock.
    for (files, signal) in [
        (0, "KILL"),
        (1, "KILL"),
        (2, "TERM"),
        (10, "KILL"),
        (120, "KILL"),
        (300, "TERM"),
        (306, "KILL"),
    ] {
        let desk = Desk::with_run();
        for at in 0u32..300 {
            desk.write(
                format!("run/many/{at}.bin"),
                vec![at.to_be_bytes()[3]; 20_000],
            );
        }
        desk.write("run/large.bin", vec![1; 12 << 20]);
        let mut command = desk.command();
        command
            .args(EXPORT.split_whitespace())
            .args(["--bundle", "b.tar.gz"])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        while files_below(&desk.path("store")) < files && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        // The shell's own, so that no other program is needed.
        let kill = format!("kill -{signal} {}", child.id());
        let _ = Command::new("sh")
            .args(["-c", &kill])
            .stderr(Stdio::null())
            .status();
        let ended = child.wait().unwrap();
        assert!(ended.signal().is_some() || ended.success(), "{ended}");

        let was_committed = manifest_below(&desk.path("store/tenant"));
        let line = "verify file:store --tenant acme --namespace prod --scenario loan-approval --run-id run-42 --no-receipts";
        let said = desk.line(line);
        let expected: &[i32] = if was_committed { &[3] } else { &[1, 2] };
        assert!(
            expected.contains(&said.code.unwrap()),
            "{files}: {} {}",
            said.out,
            said.err
        );
        let bundle = desk.line("verify b.tar.gz --no-receipts");
        assert!(
            matches!(bundle.code, Some(2 | 3)),
            "{files}: a bundle is there whole or not at all"
        );

        let exported = desk.export("--bundle b.tar.gz");
        desk.line(&format!("verify {}", text(&exported, "pack")))
            .expect(0);
        desk.line("verify b.tar.gz").expect(0);
    }
}

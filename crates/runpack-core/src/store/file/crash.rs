//! The proof of what the store promises about power cuts and killed writers.
//!
//! A scenario runs against a store whose every change to the file system is recorded (`sys.rs`). After
//! each call of the record, every combination of what may have survived a power cut (`crash/model.rs`)
//! is made in a directory, and looked at. What must hold in each:
//!
//! - whatever is visible is whole;
//! - whatever was acknowledged is there;
//! - where the last object, the manifest, is visible, all that it stands for is there: an incomplete
//!   pack is never taken for a whole one (threats W02, W04, W05, W08);
//! - the scenario, run again, completes, and leaves nothing of the first run behind (W03, W21).
//!
//! The proof is itself proved: without any one of the recorded syncs it fails, and strace sees the same
//! calls as the record has. `RUNPACK_SOAK=1` looks at many more states.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "numbers of a test's own making"
)]

mod explore;
mod export;
mod model;
mod strace;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use rustix::io::Errno;

use self::explore::{Effort, look_at_all};
use super::sys::record::{Call, Event, Recorder};
use super::{FileStore, Shared, Sys, group};
use crate::commitment::CHUNK_LEN;
use crate::digest::Digest;
use crate::key::{KeyPrefix, Location, ObjectKey};
use crate::store::{ArtifactReader as _, ArtifactSink as _, Declared, StoreError};

/// What the scenario writes: artifacts of these sizes, so many at once; the first through a writer.
#[derive(Debug)]
struct Plan {
    sizes: &'static [usize],
    at_once: usize,
}

/// A lone commit of many writes, and a small batch: each file and directory is synced.
const EACH: Plan = Plan {
    sizes: &[7_000, 0, 1, 2_600, 600],
    at_once: 4,
};
/// A large batch: everything is synced.
const EVERYTHING: Plan = Plan {
    sizes: &[1_500, 0, 1, 70_000, 600, 601, 2_600, 2, 3, 4],
    at_once: 9,
};
/// An artifact of two chunks.
const CHUNKS: Plan = Plan {
    sizes: &[CHUNK_LEN + 1_000, 0, 1, 1_500, 600],
    at_once: 4,
};

impl Plan {
    /// Keys and bytes, the manifest last.
    fn objects(&self) -> Vec<(ObjectKey, Bytes)> {
        let spec = Digest::of(b"spec");
        let run = format!("tenant/acme/namespace/prod/scenario/crash/run/r1/{spec}");
        let key = |path: String| Location::parse(&path).unwrap().key().unwrap();
        let mut objects: Vec<_> = (self.sizes.iter().zip(0_u8..))
            .map(|(&size, number)| {
                // Mostly zeros, which cost nothing; what is lost shows in each sector of the small ones
                // and in each piece of the large ones.
                let mut bytes = vec![0; size];
                let step = if size > CHUNK_LEN { 100_000 } else { 500 };
                bytes
                    .iter_mut()
                    .step_by(step)
                    .for_each(|byte| *byte = number + 1);
                if let Some(last) = bytes.last_mut() {
                    *last = 0xff;
                }
                let commitment = Declared::of(&bytes).commitment();
                let key = key(format!("{run}/{commitment}/artifact {number}.bin"));
                (key, Bytes::from(bytes))
            })
            .collect();
        let names: Vec<_> = objects.iter().map(|(key, _)| key.as_str()).collect();
        let manifest = Bytes::from(names.join("\n"));
        objects.push((key(format!("{run}/manifest.json")), manifest));
        objects
    }
}

// ---- What is written, and what must hold of what is found. The writer and verifier of packs: `crash/export.rs`. ----

type Objects = [(ObjectKey, Bytes)];

/// Writes all objects, the manifest after all others were acknowledged. Tells of each acknowledgement.
async fn scenario(
    store: &FileStore,
    plan: &Plan,
    objects: &Objects,
    acknowledged: &dyn Fn(&ObjectKey),
) -> Result<(), StoreError> {
    let [first, artifacts @ .., manifest] = objects else {
        panic!("a plan has artifacts");
    };
    let mut writer = store.create(&first.0, Declared::of(&first.1)).await?;
    for piece in first.1.chunks((first.1.len() / 7).clamp(1, 1 << 20)) {
        writer.write(Bytes::copy_from_slice(piece)).await?;
    }
    acknowledged(&writer.commit().await?.key);
    for batch in artifacts
        .chunks(plan.at_once)
        .chain([std::slice::from_ref(manifest)])
    {
        group::gather::hold(&store.shared);
        let mut puts =
            Box::pin(join_all(batch.iter().map(|(key, bytes)| {
                store.put(key, bytes.clone(), Declared::of(bytes))
            })));
        let begun = futures_util::poll!(puts.as_mut());
        group::gather::release(&store.shared);
        let outcomes = match begun {
            std::task::Poll::Ready(outcomes) => outcomes,
            std::task::Poll::Pending => puts.await,
        };
        for outcome in outcomes {
            acknowledged(&outcome?.key);
        }
    }
    Ok(())
}

/// Looks at what is in a directory.
async fn check(
    root: &Path,
    objects: &Objects,
    acknowledged: &BTreeSet<&str>,
) -> Result<(), String> {
    let store = FileStore::open(root)
        .await
        .map_err(|error| error.to_string())?;
    let mut visible = BTreeSet::new();
    for (key, bytes) in objects {
        let mut body = match store.open(&key.clone().into(), 0..u64::MAX).await {
            Ok(body) => body,
            Err(StoreError::NotFound { .. }) => continue,
            Err(error) => return Err(format!("{key}: {error}")),
        };
        let mut found = Vec::new();
        while let Some(piece) = body.next().await {
            found.extend_from_slice(&piece.map_err(|error| error.to_string())?);
        }
        if found != *bytes {
            return Err(format!("{key} is torn"));
        }
        visible.insert(key.as_str());
    }
    if let Some(lost) = acknowledged.difference(&visible).next() {
        return Err(format!("{lost} was acknowledged, and is lost"));
    }
    let (manifest, artifacts) = objects.split_last().unwrap();
    if visible.contains(manifest.0.as_str()) && visible.len() <= artifacts.len() {
        return Err("there is a manifest, and not all of its artifacts".to_owned());
    }
    let mut entries = store.list(&KeyPrefix::all());
    let mut listed = BTreeSet::new();
    while let Some(entry) = entries.next().await {
        listed.insert(entry.map_err(|error| error.to_string())?.key);
    }
    if !listed
        .iter()
        .map(String::as_str)
        .eq(visible.iter().copied())
    {
        return Err(format!("listed are {listed:?}"));
    }
    Ok(())
}

// ---- What is done with it. ----

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

fn block_on<F: Future>(future: F) -> F::Output {
    crate::blocking::this_thread_may_block();
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

fn open_recording(root: &Path, recorder: &Arc<Recorder>) -> FileStore {
    let sys = Sys {
        recorder: Some(Arc::clone(recorder)),
    };
    let shared = Arc::new(Shared::new(root, sys).unwrap());
    FileStore { shared }
}

/// Runs the scenario in `root`, and gives what happened, to the store's end.
fn record(root: &Path, plan: &Plan, recorder: Recorder) -> (Result<(), StoreError>, Vec<Event>) {
    let recorder = Arc::new(recorder);
    let store = open_recording(root, &recorder);
    let acknowledged = |key: &ObjectKey| recorder.mark(key.to_string());
    let ended = block_on(scenario(&store, plan, &plan.objects(), &acknowledged));
    drop(store);
    (ended, recorder.events())
}

fn record_whole(plan: &Plan) -> Vec<Event> {
    let root = scratch();
    let (ended, events) = record(root.path(), plan, Recorder::default());
    ended.unwrap();
    events
}

#[expect(
    clippy::disallowed_methods,
    reason = "asked for from outside of the test"
)]
fn is_soak() -> bool {
    std::env::var_os("RUNPACK_SOAK").is_some()
}

fn effort() -> Effort {
    if is_soak() {
        Effort::SOAK
    } else {
        Effort::USUAL
    }
}

/// Checks a state, then runs the scenario on it, and checks again.
async fn check_and_run_again(
    root: &Path,
    state: &explore::State<'_>,
    plan: &Plan,
    objects: &Objects,
) -> Result<(), String> {
    let text = |error: StoreError| error.to_string();
    let acknowledged = state.acknowledged.iter().copied().collect();
    check(root, objects, &acknowledged).await?;
    let store = FileStore::open(root).await.map_err(text)?;
    let again = scenario(&store, plan, objects, &|_| {}).await;
    again.map_err(|error| format!("not completed by another run: {error}"))?;
    drop(store);
    let all = objects.iter().map(|(key, _)| key.as_str()).collect();
    check(root, objects, &all).await?;
    // If nothing had to be written, the first who writes something sweeps.
    let store = FileStore::open(root).await.map_err(text)?;
    let key = Location::parse("acme/runs/another/plan.json")
        .unwrap()
        .key()
        .unwrap();
    let written = store.put(&key, Bytes::new(), Declared::of(&[])).await;
    written.map_err(text)?;
    drop(store);
    let staged = std::fs::read_dir(root.join("_runpack/tmp")).unwrap();
    let staged: Vec<_> = staged.map(|entry| entry.unwrap().file_name()).collect();
    if staged.is_empty() {
        Ok(())
    } else {
        Err(format!("staging directories are left: {staged:?}"))
    }
}

/// Looks at all states, and gives their number.
fn look(events: &[Event], from: usize, effort: Effort, plan: &Plan) -> Result<usize, String> {
    let objects = plan.objects();
    look_at_all(events, from, effort, |root, state| {
        block_on(check_and_run_again(root, state, plan, &objects))
    })
}

fn explore(plan: &Plan, effort: Effort, at_least: usize) {
    let events = record_whole(plan);
    let states = look(&events, 0, effort, plan).unwrap();
    println!("{} events, {states} different states", events.len());
    assert!(states >= at_least);
}

#[test]
fn w08_power_cut_while_each_is_synced() {
    explore(&EACH, effort(), 700);
}

#[test]
fn w08_power_cut_while_everything_is_synced() {
    explore(&EVERYTHING, effort(), 10_000);
}

#[test]
fn w08_power_cut_among_chunks() {
    explore(
        &CHUNKS,
        if is_soak() {
            Effort::USUAL
        } else {
            Effort::FEW
        },
        200,
    );
}

/// A writer is killed at some call; another comes, finds what the first left in the memory of the
/// system but not on the disk, and completes; then the power goes.
#[test]
fn w02_killed_writer_then_power_cut() {
    let mut looked_at = 0;
    for plan in [&EACH, &EVERYTHING] {
        let calls = {
            let (root, recorder) = (scratch(), Arc::new(Recorder::default()));
            let store = open_recording(root.path(), &recorder);
            block_on(scenario(&store, plan, &plan.objects(), &|_| {})).unwrap();
            drop(store);
            recorder.attempts()
        };
        for kill in (0..calls).step_by(if is_soak() { 1 } else { 7 }) {
            let root = scratch();
            let dies = Recorder::failing(move |_, call| (call >= kill).then_some(Errno::IO));
            let (ended, mut events) = record(root.path(), plan, dies);
            // At the last calls all is written, and only tidied up.
            let from = events.len();
            let (again, rest) = record(root.path(), plan, Recorder::default());
            again.unwrap();
            events.extend(rest);
            looked_at += look(&events, from, Effort::FEW, plan)
                .unwrap_or_else(|wrong| panic!("killed at call {kill} ({ended:?}): {wrong}"));
        }
    }
    println!("{looked_at} states looked at");
    assert!(looked_at >= 10_000);
}

/// Without any one of its syncs the store would not keep its promise, and this proof says so.
#[test]
fn w07_every_sync_is_needed_and_missed() {
    for plan in [&EACH, &EVERYTHING] {
        let events = record_whole(plan);
        let objects = plan.objects();
        let mut syncs = 0;
        for left_out in 0..events.len() {
            let Event::Call(sync) = &events[left_out] else {
                continue;
            };
            let is_sync = matches!(
                sync,
                Call::SyncFile(_) | Call::SyncDirectory(_) | Call::SyncEverything
            );
            // A file without bytes has none to be lost.
            let is_empty = |path: &str| {
                !events.iter().any(
                    |event| matches!(event, Event::Call(Call::Write { file, .. }) if file == path),
                )
            };
            if !is_sync || matches!(sync, Call::SyncFile(path) if is_empty(path)) {
                continue;
            }
            let mut events = events.clone();
            events.remove(left_out);
            let noticed = look_at_all(&events, left_out, Effort::FEW, |root, state| {
                let acknowledged = state.acknowledged.iter().copied().collect();
                block_on(check(root, &objects, &acknowledged))
            });
            assert!(noticed.is_err(), "{sync:?} is not missed");
            syncs += 1;
        }
        assert!(syncs >= 4, "{syncs}");
    }
}

/// The bytes before the name, the names before the acknowledgement: in the record itself.
#[test]
fn w04_bytes_are_synced_before_the_name() {
    for plan in [&EACH, &EVERYTHING, &CHUNKS] {
        let mut unsynced = BTreeSet::new();
        for event in record_whole(plan) {
            match event {
                Event::Call(Call::Write { file, .. }) => {
                    unsynced.insert(file);
                }
                Event::Call(Call::SyncFile(file)) => {
                    unsynced.remove(&file);
                }
                Event::Call(Call::SyncEverything) => unsynced.clear(),
                Event::Call(Call::Rename { from, .. }) => assert!(!unsynced.contains(&from)),
                Event::Call(_) | Event::Mark(_) => {}
            }
        }
    }
}

#[test]
fn w05_names_are_synced_before_the_acknowledgement() {
    for plan in [&EACH, &EVERYTHING, &CHUNKS] {
        let mut unsynced = BTreeSet::new();
        let parent = |path: &str| {
            let above = path.rsplit_once('/');
            above.map_or_else(String::new, |(above, _)| above.to_owned())
        };
        for event in record_whole(plan) {
            match event {
                Event::Call(Call::Rename { to: path, .. } | Call::MakeDirectory(path))
                    if !path.starts_with("_runpack") =>
                {
                    unsynced.insert(parent(&path));
                }
                Event::Call(Call::SyncDirectory(directory)) => {
                    unsynced.remove(&directory);
                }
                Event::Call(Call::SyncEverything) => unsynced.clear(),
                Event::Mark(_) => assert!(unsynced.is_empty(), "{unsynced:?}"),
                Event::Call(_) => {}
            }
        }
    }
}

/// What a child of this test is told to work on.
const CHILD: &str = "RUNPACK_TEST_TRACED_ROOT";

/// The record has every change that was made, in the order in which it was made: strace saw no other.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "it runs itself again, under strace"
)]
fn the_record_is_what_strace_sees() {
    if let Some(root) = std::env::var_os(CHILD) {
        let root = Path::new(&root);
        for (plan, name) in [(&EACH, "each"), (&EVERYTHING, "everything")] {
            let (ended, events) = record(&root.join(name), plan, Recorder::default());
            ended.unwrap();
            let lines = strace::recorded(&events).join("\n");
            std::fs::write(root.join(format!("record-{name}")), lines).unwrap();
        }
        return;
    }
    let scratch = scratch();
    let root = scratch.path().canonicalize().unwrap();
    for name in ["each", "everything"] {
        std::fs::create_dir(root.join(name)).unwrap();
    }
    let (_, module) = module_path!().split_once("::").unwrap();
    let test = format!("{module}::the_record_is_what_strace_sees");
    let out = root.join("trace");
    let output = strace::command(&out, &std::env::current_exe().unwrap())
        .args(["--exact", &test, "--nocapture"])
        .env(CHILD, &root)
        .output()
        .unwrap_or_else(|error| {
            panic!("this test needs strace; install it (apt-get install strace): {error}")
        });
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let trace = std::fs::read_to_string(out).unwrap();
    for name in ["each", "everything"] {
        let recorded = std::fs::read_to_string(root.join(format!("record-{name}"))).unwrap();
        let recorded: Vec<_> = recorded.lines().map(str::to_owned).collect();
        assert!(recorded.len() > 40, "{told}");
        let seen = strace::seen(&trace, root.join(name).to_str().unwrap());
        for (seen, recorded) in seen.iter().zip(&recorded) {
            assert_eq!(seen, recorded);
        }
        assert_eq!(seen.len(), recorded.len());
    }
}

//! The same proof for the whole of an export: the real writer, and the real verifier over every state.
//!
//! In each state the pack is valid, or has no manifest; never is part of a pack taken for a whole one.
//! The export run again completes it, with the same pack id, whatever the first left behind.

use std::path::Path;
use std::sync::Arc;

use super::explore::{Effort, State, look_at_all};
use super::{Event, FileStore, Recorder, block_on, effort, group, open_recording, scratch};
use crate::commitment::CHUNK_LEN;
use crate::id::PackId;
use crate::limits::Limits;
use crate::pack::{PackDraft, PackError};
use crate::pin::Pins;
use crate::verify::tests::{draft, subject};
use crate::verify::{Code, Pack, StorePack, Verdict, VerifyOptions};

/// What marks in the record that the commit was acknowledged.
const COMMITTED: &str = "committed";

/// An export of artifacts of these sizes.
fn export_of(sizes: &[usize]) -> PackDraft {
    let names: Vec<String> = (0..sizes.len())
        .map(|at| format!("artifact {at}.bin"))
        .collect();
    let artifacts: Vec<(&str, Vec<u8>)> = (names.iter().zip(sizes).zip(1_u8..))
        .map(|((name, size), byte)| {
            // Mostly zeros, which cost nothing; a sector that is lost shows.
            let mut bytes = vec![0; *size];
            let step = if *size > CHUNK_LEN { 100_000 } else { 500 };
            bytes.iter_mut().step_by(step).for_each(|at| *at = byte);
            (name.as_str(), bytes)
        })
        .collect();
    draft("r1", "2026-11-20T12:00:00Z", &artifacts)
}

async fn export(store: FileStore, sizes: &[usize]) -> Result<PackId, PackError> {
    let committed = export_of(sizes)
        .stage(Arc::new(store))
        .await?
        .commit()
        .await?;
    Ok(committed.manifest.pack_id())
}

/// Exports in `root`, and gives the pack id and what happened.
fn record(root: &Path, sizes: &[usize]) -> (PackId, Vec<Event>) {
    let recorder = Arc::new(Recorder::default());
    let store = open_recording(root, &recorder);
    // All artifacts in one batch, so that the record is the same in every run.
    group::gather::hold(&store.shared);
    let (shared, wanted) = (Arc::clone(&store.shared), sizes.len());
    let release = std::thread::spawn(move || {
        while group::gather::waiting(&shared) < wanted {
            std::thread::yield_now();
        }
        group::gather::release(&shared);
    });
    let pack_id = block_on(export(store, sizes)).unwrap();
    release.join().unwrap();
    recorder.mark(COMMITTED.to_owned());
    (pack_id, recorder.events())
}

/// The verdict on what is in a directory, by the pack id that the export gave.
async fn verdict(root: &Path, pack_id: PackId) -> Result<Verdict, String> {
    let store = FileStore::open(root)
        .await
        .map_err(|error| error.to_string())?;
    let place = Arc::new(StorePack::new(Arc::new(store), subject("r1")));
    let report = match Pack::open(place, &Limits::default()).await {
        Ok(pack) => {
            pack.verify(&Pins::pack_id(pack_id), &VerifyOptions::default())
                .await
        }
        Err(report) => *report,
    };
    let codes: Vec<Code> = report.findings.iter().map(|finding| finding.code).collect();
    match (report.verdict, codes.as_slice()) {
        (Verdict::Valid, []) | (Verdict::Invalid, [Code::ManifestMissing]) => Ok(report.verdict),
        other => Err(format!("neither whole nor absent: {other:?}")),
    }
}

async fn look(
    root: &Path,
    state: &State<'_>,
    pack_id: PackId,
    sizes: &[usize],
) -> Result<(), String> {
    let found = verdict(root, pack_id).await?;
    if state.acknowledged.contains(&COMMITTED) && found != Verdict::Valid {
        return Err("the commit was acknowledged, and is lost".to_owned());
    }
    let store = FileStore::open(root)
        .await
        .map_err(|error| error.to_string())?;
    let again = export(store, sizes)
        .await
        .map_err(|error| error.to_string())?;
    if again != pack_id || verdict(root, pack_id).await? != Verdict::Valid {
        return Err("not completed by another run".to_owned());
    }
    Ok(())
}

fn explore(sizes: &[usize], effort: Effort, at_least: usize) {
    let root = scratch();
    let (pack_id, events) = record(root.path(), sizes);
    let states = look_at_all(&events, 0, effort, |root, state| {
        block_on(look(root, state, pack_id, sizes))
    });
    let states = states.unwrap();
    println!("{} events, {states} different states", events.len());
    assert!(states >= at_least, "{states}");
}

#[test]
fn w01_w02_w08_power_cut_during_an_export() {
    let sizes = [1_500, 0, 1, 70_000, 600, 601, 2_600, 2, 3, 4, 5_000, 7];
    explore(&sizes, effort(), 10_000);
}

#[test]
fn w01_w02_w08_power_cut_during_an_export_of_chunks() {
    explore(&[CHUNK_LEN + 1_000, 0, 1, 1_500, 600], effort(), 600);
}

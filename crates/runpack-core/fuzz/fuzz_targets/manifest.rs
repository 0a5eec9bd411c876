//! A manifest that parses is the canonical form of itself, and what it says holds together.
#![no_main]

use libfuzzer_sys::fuzz_target;
use runpack_core::commitment::chunk_count;
use runpack_core::id::PackId;
use runpack_core::limits::Limits;
use runpack_core::manifest::Manifest;

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits::default();
    let Ok(manifest) = Manifest::parse(bytes, &limits) else {
        return;
    };
    assert_eq!(manifest.to_bytes(), bytes);
    assert_eq!(manifest.pack_id(), PackId::of(bytes));

    let artifacts = manifest.artifacts();
    assert!(!artifacts.is_empty());
    assert!(
        artifacts
            .windows(2)
            .all(|pair| pair[0].name() < pair[1].name())
    );
    let mut folded: Vec<String> = artifacts
        .iter()
        .map(|artifact| artifact.name().as_str().to_ascii_lowercase())
        .collect();
    folded.sort();
    folded.dedup();
    assert_eq!(folded.len(), artifacts.len());
    for artifact in artifacts {
        let chunks = artifact.content().chunks().len() as u64;
        assert_eq!(chunks, chunk_count(artifact.bytes()));
        assert_eq!(manifest.artifact(artifact.name().as_str()), Some(artifact));
    }
    // What a reader takes, a writer makes: the same parts give the same bytes.
    let again = Manifest::new(
        manifest.subject().clone(),
        manifest.created_at(),
        manifest.producer().clone(),
        artifacts.to_vec(),
        manifest.labels().clone(),
        &limits,
    );
    assert_eq!(again.ok().as_ref(), Some(&manifest));
});

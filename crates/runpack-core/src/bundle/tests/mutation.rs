//! Every byte of a small bundle changed in every way: each bit flipped, the byte dropped, the byte
//! doubled; once in the archive, once in the compressed bytes, once in the manifest.

use super::*;

/// Calls `judge` with every mutation; gives how many there were.
fn each_mutation(bytes: &[u8], judge: impl FnMut(&[u8])) -> u64 {
    each_mutation_within(bytes, |_| true, judge)
}

/// The same for some of the bytes.
fn each_mutation_within(
    bytes: &[u8],
    within: impl Fn(usize) -> bool,
    mut judge: impl FnMut(&[u8]),
) -> u64 {
    let mut count: u64 = 0;
    let mut mutated = bytes.to_vec();
    for at in (0..bytes.len()).filter(|at| within(*at)) {
        for bit in 0..8 {
            mutated[at] ^= 1 << bit;
            judge(&mutated);
            mutated[at] ^= 1 << bit;
            count += 1;
        }
        let mut dropped = bytes.to_vec();
        dropped.remove(at);
        let mut doubled = bytes.to_vec();
        doubled.insert(at, bytes[at]);
        for mutated in [dropped, doubled] {
            judge(&mutated);
            count += 1;
        }
    }
    count
}

#[test]
fn b28_every_mutation_of_the_archive_is_refused_or_another_pack() {
    let pack = Pack::small();
    let archive = unpacked(&pack.bundle(Compression::Fast));
    let mut by_code = std::collections::BTreeMap::new();
    let mut another = 0u64;
    let count = each_mutation(&archive, |mutated| {
        let outcome = verified(&packed(mutated));
        for code in codes(&outcome) {
            *by_code.entry(code).or_insert(0u64) += 1;
        }
        let same = outcome
            .manifest
            .as_ref()
            .is_some_and(|manifest| manifest.pack_id() == pack.manifest.pack_id());
        if outcome.is_sound() {
            // A manifest that says something else, without a contradiction: another pack.
            assert!(!same);
            another += 1;
        }
    });
    println!(
        "archive of {} bytes: {count} mutations, {} refused, {another} other packs",
        archive.len(),
        count - another
    );
    for (code, count) in by_code {
        println!("  {code:20} {count}");
    }
    assert_eq!(count, len_u64(&archive) * 10);
    let manifest = 512..512 + pack.manifest.to_bytes().len();
    let outside = each_mutation_within(
        &archive,
        |at| !manifest.contains(&at),
        |mutated| {
            assert!(!verified(&packed(mutated)).is_sound());
        },
    );
    println!("  outside the manifest {outside} mutations, all refused");
}

#[test]
fn b28_every_mutation_of_the_compressed_bytes_is_refused_or_the_same_archive() {
    let pack = Pack::small();
    for compression in [
        Compression::Stored,
        Compression::Fast,
        Compression::Balanced,
        Compression::Best,
    ] {
        let bundle = pack.bundle(compression);
        let archive = unpacked(&bundle);
        let (mut refused, mut respelled) = (0u64, 0u64);
        let count = each_mutation(&bundle, |mutated| {
            let outcome = verified(mutated);
            if outcome.is_sound() {
                assert_eq!(outcome.manifest.unwrap().pack_id(), pack.manifest.pack_id());
                assert!(unpacked(mutated) == archive);
                respelled += 1;
            } else {
                refused += 1;
            }
        });
        println!(
            "{compression:?} bundle of {} bytes: {count} mutations, {refused} refused, {respelled} other spellings of the same archive",
            bundle.len()
        );
        assert_eq!(count, len_u64(&bundle) * 10);
        assert_eq!(count, refused + respelled);
    }
}

#[test]
fn b06_every_mutation_of_the_manifest_is_refused_or_another_pack() {
    let pack = Pack::small();
    let bytes = pack.manifest.to_bytes();
    let (mut refused, mut another) = (0u64, 0u64);
    let count = each_mutation(&bytes, |mutated| {
        match Manifest::parse(mutated, &Limits::default()) {
            Err(_) => refused += 1,
            Ok(manifest) => {
                assert_ne!(manifest.pack_id(), pack.manifest.pack_id());
                assert_ne!(manifest, pack.manifest);
                assert_eq!(manifest.to_bytes(), mutated);
                another += 1;
            }
        }
    });
    println!(
        "manifest of {} bytes: {count} mutations, {refused} refused, {another} other packs",
        bytes.len()
    );
    assert_eq!(count, len_u64(&bytes) * 10);
}

//! What somebody who owns the store can do to a pack: each is refused under any pin, and never valid
//! without one (S01, S02, S07, S09, S13, S14, S15, B23).

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use runpack_core::digest::Digest;
use serde_json::{Value, json};

use crate::support::{Desk, text};

/// An exported pack, to be tampered with where it is.
struct Pack<'a> {
    desk: &'a Desk,
    directory: PathBuf,
}

/// Copies the files of a directory, not their modes: a store may keep its files read-only.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::write(target, fs::read(entry.path()).unwrap()).unwrap();
        }
    }
}

fn replace(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

impl Pack<'_> {
    fn manifest(&self) -> Value {
        serde_json::from_slice(&fs::read(self.directory.join("manifest.json")).unwrap()).unwrap()
    }

    /// Writes the manifest in canonical form: members in order, no white space.
    fn set_manifest(&self, manifest: &Value) {
        let bytes = serde_json::to_vec(manifest).unwrap();
        replace(&self.directory.join("manifest.json"), &bytes);
    }

    fn change(&self, pointer: &str, value: Value) {
        let mut manifest = self.manifest();
        *manifest.pointer_mut(pointer).unwrap() = value;
        self.set_manifest(&manifest);
    }

    fn artifact(&self, name: &str) -> PathBuf {
        let manifest = self.manifest();
        let artifacts = manifest["artifacts"].as_array().unwrap();
        let found = artifacts.iter().find(|a| a["name"] == name).unwrap();
        self.directory.join(text(found, "sha256")).join(name)
    }

    fn position(&self, name: &str) -> usize {
        let manifest = self.manifest();
        let artifacts = manifest["artifacts"].as_array().unwrap();
        artifacts.iter().position(|a| a["name"] == name).unwrap()
    }

    /// Puts other bytes in an artifact's place and all hashes right again.
    fn rewrite(&self, name: &str, bytes: &[u8]) {
        let old = self.artifact(name);
        fs::remove_dir_all(old.parent().unwrap()).unwrap();
        let hex = Digest::of(bytes).to_string();
        let new = self.directory.join(&hex).join(name);
        fs::create_dir_all(new.parent().unwrap()).unwrap();
        fs::write(new, bytes).unwrap();
        let at = self.position(name);
        self.change(&format!("/artifacts/{at}/sha256"), json!(hex));
        self.change(&format!("/artifacts/{at}/bytes"), json!(bytes.len()));
    }
}

type Manipulation = (&'static str, fn(&Pack<'_>));

const MANIPULATIONS: &[Manipulation] = &[
    ("tenant changed", |pack| {
        pack.change("/subject/tenant", json!("evil"));
    }),
    ("namespace changed", |pack| {
        pack.change("/subject/namespace", json!("evil"));
    }),
    ("scenario changed", |pack| {
        pack.change("/subject/scenario", json!("evil"));
    }),
    ("run id changed", |pack| {
        pack.change("/subject/run_id", json!("evil"));
    }),
    ("creation time changed", |pack| {
        pack.change("/created_at", json!("2020-01-01T00:00:00Z"));
    }),
    ("spec hash zeroed", |pack| {
        pack.change(
            "/subject/spec_hash",
            json!(format!("sha256:{}", "0".repeat(64))),
        );
    }),
    ("artifact list emptied", |pack| {
        pack.change("/artifacts", json!([]));
    }),
    ("artifact list naming a missing file", |pack| {
        let mut manifest = pack.manifest();
        let ghost = json!({"name": "zz.bin", "kind": "file", "media_type": "application/octet-stream",
                           "bytes": 3, "sha256": "a".repeat(64)});
        manifest["artifacts"].as_array_mut().unwrap().push(ghost);
        pack.set_manifest(&manifest);
    }),
    ("artifact file removed", |pack| {
        fs::remove_file(pack.artifact("model.bin")).unwrap();
    }),
    ("extra file present", |pack| {
        fs::write(pack.directory.join("extra.txt"), "x").unwrap();
    }),
    ("unknown field", |pack| {
        let mut manifest = pack.manifest();
        manifest["zz"] = json!("x");
        pack.set_manifest(&manifest);
    }),
    ("manifest not canonical", |pack| {
        let pretty = serde_json::to_vec_pretty(&pack.manifest()).unwrap();
        replace(&pack.directory.join("manifest.json"), &pretty);
    }),
    (
        "artifact replaced by a link to the same bytes outside",
        |pack| {
            let path = pack.artifact("model.bin");
            let outside = pack.desk.path("outside.bin");
            fs::copy(&path, &outside).unwrap();
            fs::remove_file(&path).unwrap();
            symlink(&outside, &path).unwrap();
        },
    ),
    (
        "manifest replaced by a link to the same bytes outside",
        |pack| {
            let path = pack.directory.join("manifest.json");
            let outside = pack.desk.path("outside.json");
            fs::copy(&path, &outside).unwrap();
            fs::remove_file(&path).unwrap();
            symlink(&outside, &path).unwrap();
        },
    ),
    ("duplicate names", |pack| {
        let mut manifest = pack.manifest();
        let artifacts = manifest["artifacts"].as_array_mut().unwrap();
        let first = artifacts[0].clone();
        artifacts.insert(0, first);
        pack.set_manifest(&manifest);
    }),
    ("duplicate member", |pack| {
        let path = pack.directory.join("manifest.json");
        let bytes = String::from_utf8(fs::read(&path).unwrap()).unwrap();
        let doubled = bytes.replacen("\"format\":", "\"format\":\"runpack/v1\",\"format\":", 1);
        replace(&path, doubled.as_bytes());
    }),
    ("whole artifact dropped and all hashes recomputed", |pack| {
        fs::remove_dir_all(pack.artifact("decisions.json").parent().unwrap()).unwrap();
        let at = pack.position("decisions.json");
        let mut manifest = pack.manifest();
        manifest["artifacts"].as_array_mut().unwrap().remove(at);
        pack.set_manifest(&manifest);
    }),
    ("artifact rewritten and all hashes recomputed", |pack| {
        pack.rewrite("decisions.json", b"{\"approve\":false}");
    }),
    ("label changed", |pack| pack.change("/labels/a", json!("c"))),
    ("kind changed", |pack| {
        let at = pack.position("model.bin");
        pack.change(&format!("/artifacts/{at}/kind"), json!("other"));
    }),
    ("artifact byte flipped", |pack| {
        let path = pack.artifact("model.bin");
        let mut bytes = fs::read(&path).unwrap();
        bytes[1_500] ^= 1;
        replace(&path, &bytes);
    }),
    ("artifact truncated", |pack| {
        let path = pack.artifact("model.bin");
        let bytes = fs::read(&path).unwrap();
        replace(&path, &bytes[..2_999]);
    }),
    ("artifact lengthened", |pack| {
        let path = pack.artifact("model.bin");
        let mut bytes = fs::read(&path).unwrap();
        bytes.push(0);
        replace(&path, &bytes);
    }),
    ("artifacts swapped", |pack| {
        let (one, other) = (pack.artifact("decisions.json"), pack.artifact("spec.json"));
        let (one_bytes, other_bytes) = (fs::read(&one).unwrap(), fs::read(&other).unwrap());
        replace(&one, &other_bytes);
        replace(&other, &one_bytes);
    }),
    ("artifacts swapped and all hashes recomputed", |pack| {
        let log = fs::read(pack.artifact("logs/run.log")).unwrap();
        let model = fs::read(pack.artifact("model.bin")).unwrap();
        pack.rewrite("logs/run.log", &model);
        pack.rewrite("model.bin", &log);
    }),
    ("manifest of another pack", |pack| {
        let other = pack.desk.export("--run-id other --label b=c");
        let other = Path::new(text(&other, "pack")).join("manifest.json");
        replace(
            &pack.directory.join("manifest.json"),
            &fs::read(other).unwrap(),
        );
    }),
    ("whole other pack", |pack| {
        pack.desk.write("run/decisions.json", "{\"approve\":null}");
        let other = pack.desk.export("--run-id other --to file:elsewhere");
        fs::remove_dir_all(&pack.directory).unwrap();
        copy(text(&other, "pack").as_ref(), &pack.directory);
    }),
];

#[test]
fn every_manipulation_is_refused_under_every_pin() {
    for (what, manipulate) in MANIPULATIONS {
        let desk = Desk::with_run();
        let exported = desk.export("");
        let (pack, id) = (text(&exported, "pack"), text(&exported, "pack_id"));
        desk.line(&format!("sign {pack} --key key.pem")).expect(0);
        let verify = |pins: &str| desk.line(&format!("verify {pack} {pins} --json"));
        let by_id = format!("--no-receipts --expect-pack-id {id}");
        let pins = [by_id.as_str(), "--no-receipts --key key.pub.pem", ""];
        for pin in pins {
            assert_eq!(verify(pin).code, Some(0), "before: {what}, {pin}");
        }
        manipulate(&Pack {
            desk: &desk,
            directory: pack.into(),
        });
        for pin in pins {
            let said = verify(pin);
            assert_eq!(said.code, Some(1), "{what}, {pin}: {}", said.out);
            assert_eq!(said.json()["verdict"], "invalid", "{what}, {pin}");
        }
        let unpinned = verify("--no-receipts");
        assert!(
            matches!(unpinned.code, Some(1 | 3)),
            "{what}: {}",
            unpinned.out
        );
        let verdict = unpinned.json()["verdict"].clone();
        assert!(
            verdict == "invalid" || verdict == "consistent",
            "{what}: {verdict}"
        );
        // What is no longer the pack that this machine exported is neither signed nor does it become a bundle unseen.
        let signed = desk.line(&format!("sign {pack} --key key.pem --out new.sig.json"));
        assert_eq!(signed.code, Some(1), "{what}: {}", signed.err);
    }
}

#[test]
fn the_same_in_a_live_store() {
    for (what, manipulate) in MANIPULATIONS {
        let desk = Desk::with_run();
        let exported = desk.export("");
        let id = text(&exported, "pack_id");
        manipulate(&Pack {
            desk: &desk,
            directory: text(&exported, "pack").into(),
        });
        let spec = text(&exported["subject"], "spec_hash");
        let store = format!(
            "verify file:store --tenant acme --namespace prod --scenario loan-approval --run-id run-42 --spec-hash {spec}"
        );
        let said = desk.line(&format!("{store} --expect-pack-id {id}"));
        // In a live store what is not listed is residue, and bears on nothing.
        let expected = i32::from(*what != "extra file present");
        assert_eq!(said.code, Some(expected), "{what}: {}", said.out);
        assert_ne!(
            desk.line(&format!("{store} --no-receipts")).code,
            Some(0),
            "{what}"
        );
    }
}

#[test]
fn a_link_in_the_way_does_not_lose_the_receipt() {
    let desk = Desk::with_run();
    let exported = desk.export("");
    let pack = PathBuf::from(text(&exported, "pack"));
    let elsewhere = desk.path("elsewhere");
    copy(&pack, &elsewhere);
    let forged = Pack {
        desk: &desk,
        directory: elsewhere.clone(),
    };
    forged.change("/subject/tenant", json!("evil"));
    fs::remove_dir_all(&pack).unwrap();
    symlink(&elsewhere, &pack).unwrap();
    let said = desk.run(["verify".as_ref(), pack.as_os_str()]).expect(1);
    assert!(said.out.contains("pin.receipt"), "{}", said.out);
}

#[test]
fn bundles_that_were_tampered_with() {
    let desk = Desk::with_run();
    let exported = desk.export("--bundle run.tar.gz --compression stored");
    let id = text(&exported, "pack_id");
    let sound = fs::read(desk.path("run.tar.gz")).unwrap();
    let mut trailing = sound.clone();
    trailing.push(0);
    let mut flipped = sound.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    for (what, bytes) in [
        ("trailing byte", trailing),
        ("flipped bit", flipped),
        ("cut", sound[..sound.len() - 1].to_vec()),
        ("empty", Vec::new()),
        ("no gzip", b"plain text".to_vec()),
    ] {
        desk.write("run.tar.gz", &bytes);
        for pin in [
            format!("--expect-pack-id {id}"),
            String::new(),
            "--no-receipts".to_owned(),
        ] {
            let said = desk.line(&format!("verify run.tar.gz {pin}"));
            assert_eq!(said.code, Some(1), "{what}, {pin}: {}", said.out);
        }
        assert_eq!(desk.line("unbundle run.tar.gz out").code, Some(1), "{what}");
        assert!(!desk.path("out").exists(), "{what}");
    }
    // A whole other bundle in this place, which is sound by itself.
    desk.write("run/decisions.json", "{}");
    desk.export("--run-id other --to file:elsewhere --bundle other.tar.gz");
    desk.write("run.tar.gz", fs::read(desk.path("other.tar.gz")).unwrap());
    desk.line("verify run.tar.gz").expect(1);
    desk.line("verify other.tar.gz").expect(0);
}

#[test]
fn s10_an_export_again_never_vouches_for_what_somebody_put_in_the_store() {
    let desk = Desk::with_run();
    let exported = desk.export("");
    let pack = Pack {
        desk: &desk,
        directory: PathBuf::from(text(&exported, "pack")),
    };
    let target = pack.directory.to_string_lossy().into_owned();
    // Time and program are what two honest exports may differ in.
    pack.change("/created_at", json!("1999-01-01T00:00:00Z"));
    pack.change("/producer/version", json!("9.9"));
    desk.run(["verify", &target]).expect(1);
    let again = desk.line(crate::support::EXPORT).expect(1);
    assert!(
        again
            .err
            .contains("another pack than the one that was exported"),
        "{}",
        again.err
    );
    desk.run(["verify", &target]).expect(1);
}

#[test]
fn s09_a_link_in_the_way_does_not_lose_the_receipt() {
    let desk = Desk::with_run();
    fs::create_dir(desk.path("real")).unwrap();
    symlink("real", desk.path("lnk")).unwrap();
    desk.export("--bundle lnk/a.tar.gz");
    desk.write("run/model.bin", [8; 3_000]);
    let other = crate::support::EXPORT.replace("run-42", "run-43");
    desk.line(&format!("{other} --bundle real/b.tar.gz"))
        .expect(0);
    fs::remove_file(desk.path("real/a.tar.gz")).unwrap();
    symlink("b.tar.gz", desk.path("real/a.tar.gz")).unwrap();
    for target in ["real/a.tar.gz", "lnk/a.tar.gz"] {
        let said = desk.run(["verify", target]).expect(1);
        assert!(said.out.contains("pin.receipt"), "{}", said.out);
    }
    desk.line("verify lnk/b.tar.gz").expect(0);
}

#[test]
fn a_pipe_in_the_place_of_a_file_is_not_waited_for() {
    let desk = Desk::with_run();
    let exported = desk.export("");
    let pack = PathBuf::from(text(&exported, "pack"));
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    let pipe = |path: &Path| {
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, 0).unwrap();
    };
    pipe(&desk.path("out.tar.gz"));
    let pack = pack.to_string_lossy().into_owned();
    desk.run(["bundle", &pack, "out.tar.gz"]).expect(2);
    pipe(Path::new(&format!("{pack}.sig.json")));
    desk.run(["verify", &pack, "--key", "key.pub.pem"])
        .expect(2);
}

//! Packs end to end: bundles taken in, verified where they lie, given out again.

use std::io::Read as _;

use super::*;

fn bundle() -> Bundle {
    let decisions = "{\"decision\":\"approve\"}\n".repeat(400);
    Bundle::of_run(
        "acme",
        "web",
        "r-1",
        &[
            ("logs/decisions.jsonl", decisions.as_bytes()),
            ("b.bin", b"abc"),
        ],
    )
}

#[test]
fn a_pack_comes_and_goes_as_a_bundle() {
    block_on(async {
        let (server, _files) = Server::over_files().await;
        let bundle = bundle();
        let at = format!("/v1/packs/{}", bundle.pack_id());
        assert_eq!(
            server.tell(get(&at)).await.expect(404).problem(),
            "not-found"
        );
        let expected = format!("/v1/packs?expect={}", bundle.pack_id());
        let ask = || {
            post(&expected)
                .bytes("application/gzip", bundle.bytes.clone())
                .digest(&bundle.bytes)
        };
        let kept = server.tell(ask()).await.expect(201).value();
        assert_eq!(
            (&kept["outcome"], &kept["pack"]["pack_id"]),
            (&json!("new"), &json!(bundle.pack_id()))
        );
        assert_eq!(kept["pack"]["subject"]["tenant"], "acme");
        let again = server.tell(ask()).await.expect(200).value();
        assert_eq!(
            (&again["outcome"], &again["pack"]),
            (&json!("again"), &kept["pack"])
        );
        let other = Bundle::of_run("acme", "web", "r-1", &[("b.bin", b"abd")]);
        assert_eq!(
            server.tell(other.send()).await.expect(409).problem(),
            "run-conflict"
        );

        let manifest = server.tell(get(&at)).await.expect(200);
        assert_eq!(manifest.body, bundle.manifest.to_bytes());
        let read = server
            .tell(get(format!("{at}/artifacts/logs/decisions.jsonl")))
            .await
            .expect(200);
        assert!(
            read.body.starts_with(b"{\"decision\"") && read.body.len() == 9_200,
            "{}",
            read.body.len()
        );
        assert_eq!(
            server
                .tell(get(format!("{at}/artifacts/none")))
                .await
                .expect(404)
                .problem(),
            "not-found"
        );
        let out = server.tell(get(format!("{at}/bundle"))).await.expect(200);
        assert_eq!(out.header("content-type"), Some("application/gzip"));
        assert!(out.body == bundle.bytes);

        for n in 2..5 {
            let run_id = format!("r-{n}");
            server
                .tell(Bundle::of_run("acme", "web", &run_id, &[]).send())
                .await
                .expect(201);
        }
        let list = "/v1/packs?tenant=acme&namespace=web&limit=3";
        let first = server.tell(get(list)).await.expect(200);
        assert_eq!(first.value()["packs"].as_array().unwrap().len(), 3);
        let next = first.text("next");
        let rest = server
            .tell(get(format!("{list}&after={next}")))
            .await
            .expect(200)
            .value();
        assert_eq!(rest["packs"].as_array().unwrap().len(), 1);
        assert_eq!(rest.get("next"), None);
        server.end().await;
    });
}

#[test]
fn a_damaged_bundle_is_never_taken_for_a_pack() {
    block_on(async {
        let (server, files) = Server::over_files().await;
        let bundle = bundle();
        // Every position of the container's own bytes, and many others.
        let mut seed = 7_u64;
        let mut places: Vec<usize> = (0..64)
            .chain(bundle.bytes.len() - 64..bundle.bytes.len())
            .collect();
        for _ in 0..300 {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            places.push(usize::try_from(seed >> 33).unwrap() % bundle.bytes.len());
        }
        let mut harmless = 0;
        for (number, place) in places.into_iter().enumerate() {
            let mut bytes = bundle.bytes.to_vec();
            bytes[place] ^= 1 << (number % 8);
            let answer = server
                .tell(post("/v1/packs").bytes("application/gzip", bytes))
                .await;
            if answer.status >= 300 {
                assert_eq!(answer.expect(422).problem(), "unsound-pack", "{place}");
                continue;
            }
            // Deflate may be spelled in several ways: then it is the very same evidence.
            assert_eq!(
                answer.value()["pack"]["pack_id"],
                bundle.pack_id(),
                "{place}"
            );
            harmless += 1;
        }
        if harmless == 0 {
            assert_eq!(files.keys(), [""; 0]);
        }
        for cut in [0, 1, 10, 100, bundle.bytes.len() - 1] {
            let answer = server
                .tell(post("/v1/packs").bytes("application/gzip", bundle.bytes.slice(..cut)))
                .await;
            assert_eq!(answer.expect(422).problem(), "unsound-pack", "{cut}");
        }
        let mut more = bundle.bytes.to_vec();
        more.push(0);
        let answer = server
            .tell(post("/v1/packs").bytes("application/gzip", more))
            .await;
        assert_eq!(answer.expect(422).problem(), "unsound-pack");
        assert!(walk(&server.staging()).is_empty());
        server.end().await;
    });
}

#[test]
fn nothing_is_in_the_store_before_it_is_known_whose_pack_it_is() {
    block_on(async {
        let (server, files) = Server::over_files().await;
        let bundle = bundle();
        let announced = format!("/v1/packs?expect=sha256:{}", "0".repeat(64));
        let ask = post(announced).bytes("application/gzip", bundle.bytes.clone());
        assert_eq!(
            server.tell(ask).await.expect(422).problem(),
            "digest-mismatch"
        );
        let wrong = bundle.send().digest(b"other");
        assert_eq!(
            server.tell(wrong).await.expect(422).problem(),
            "digest-mismatch"
        );
        let of_another = Bundle::of_run("other", "web", "r-1", &[]);
        assert_eq!(
            server.tell(of_another.send()).await.expect(403).problem(),
            "forbidden"
        );
        assert_eq!(
            server
                .tell(of_another.send().by("reader"))
                .await
                .expect(403)
                .problem(),
            "forbidden"
        );
        let coded = bundle.send().header("content-encoding", "gzip");
        assert_eq!(
            server.tell(coded).await.expect(415).problem(),
            "unsupported-media-type"
        );
        // A body that inflates to far more than it says.
        let bomb = flate(&vec![0_u8; 64 << 20]);
        let answer = server
            .tell(post("/v1/packs").bytes("application/gzip", bomb))
            .await;
        assert_eq!(answer.expect(422).problem(), "unsound-pack");
        assert_eq!(files.keys(), [""; 0]);
        assert!(walk(&server.staging()).is_empty());
        server.end().await;
    });
}

/// What `gzip` makes of it.
fn flate(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let mut gzip = Command::new("gzip");
    let mut gzip = gzip
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut input, mut output) = (gzip.stdin.take().unwrap(), gzip.stdout.take().unwrap());
    let mut packed = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(move || input.write_all(bytes).unwrap());
        output.read_to_end(&mut packed).unwrap();
    });
    assert!(gzip.wait().unwrap().success());
    packed
}

/// What an enemy does to the files of a store.
type Enemy = fn(&Files);

#[test]
fn s01_s02_s07_s13_what_the_store_lost_or_changed_is_told_and_never_given_out() {
    let find = |files: &Files, end: &str| {
        walk(&files.path())
            .into_iter()
            .find(|path| path.to_str().unwrap().ends_with(end))
            .unwrap()
    };
    let cases: [(&str, Enemy); 4] = [
        ("S01", |files| files.damage("b.bin", 0)),
        ("S02", |files| files.replace("b.bin", b"ab")),
        ("S07", |files| files.replace("b.bin", b"xyz")),
        ("gone", |files| files.remove("b.bin")),
    ];
    block_on(async {
        for (case, enemy) in cases {
            let (server, files) = Server::over_files().await;
            let bundle = bundle();
            server.tell(bundle.send()).await.expect(201);
            let at = format!("/v1/packs/{}", bundle.pack_id());
            let verify = || post(format!("{at}/verify"));
            let before = server.tell(verify()).await.expect(200);
            assert_eq!(before.text("verdict"), "valid", "{case}");
            enemy(&files);
            let after = server.tell(verify()).await.expect(200).value();
            assert_eq!(after["verdict"], "invalid", "{case}");
            assert!(!after["findings"].as_array().unwrap().is_empty(), "{case}");
            let read = server.tell(get(format!("{at}/artifacts/b.bin"))).await;
            assert!(read.is_cut || read.status >= 400, "{case}: {read:?}");
            assert!(
                read.status >= 400 || read.body.is_empty(),
                "{case}: {read:?}"
            );
            let out = server.tell(get(format!("{at}/bundle"))).await;
            assert!(out.is_cut || out.status >= 400, "{case}");
            // What is not damaged is still given out.
            server
                .tell(get(format!("{at}/artifacts/spec.json")))
                .await
                .expect(200);
            // And without the manifest there is no pack, whatever else is there.
            std::fs::remove_file(find(&files, "/manifest.json")).unwrap();
            let gone = server.tell(verify()).await.expect(404);
            assert_eq!(gone.problem(), "not-found", "{case}");
            server.end().await;
        }
    });
}

#[test]
fn what_was_not_found_is_not_looked_for_again_at_once_and_what_was_found_gets_a_reference() {
    block_on(async {
        let (server, files) = Server::over_files().await;
        let (early, late) = (bundle(), Bundle::of_run("acme", "web", "r-2", &[]));
        for bundle in [&early, &late] {
            server.tell(bundle.send()).await.expect(201);
        }
        let at = |bundle: &Bundle| format!("/v1/packs/{}", bundle.pack_id());
        let reference = |bundle: &Bundle| {
            let digest = bundle.pack_id().replace("sha256:", "");
            format!("_runpack/refs/{digest}")
        };
        // As a program brings them that writes no references.
        for bundle in [&early, &late] {
            files.remove(&reference(bundle));
        }
        server.tell(get(at(&early))).await.expect(200);
        assert!(files.keys().contains(&reference(&early)));
        assert!(!files.keys().contains(&reference(&late)));

        let mut all = walk(&files.path()).into_iter();
        let manifest = all
            .find(|path| {
                let path = path.to_str().unwrap();
                path.contains("/r-2/") && path.ends_with("/manifest.json")
            })
            .unwrap();
        let bytes = std::fs::read(&manifest).unwrap();
        std::fs::remove_file(&manifest).unwrap();
        server.tell(get(at(&late))).await.expect(404);
        std::fs::write(&manifest, bytes).unwrap();
        server.tell(get(at(&late))).await.expect(404);
        // Whoever brings it is not told to wait.
        server.tell(late.send()).await.expect(200);
        server.tell(get(at(&late))).await.expect(200);
        server.end().await;
    });
}

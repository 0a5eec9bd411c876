//! Paths below the root that an operator opened, and none elsewhere.

use std::os::unix::fs::symlink;

use runpack_core::bundle::{BundleWriter, Compression};
use runpack_core::manifest::Manifest;
use runpack_testing::block_on;

use super::*;

#[test]
fn files_below_the_root_are_exported_and_a_pack_there_is_verified() {
    block_on(async {
        let desk = Desk::new().await;
        let root = desk.root();
        std::fs::create_dir(root.join("out")).unwrap();
        std::fs::write(root.join("out/Übersicht.json"), b"{}").unwrap();
        let mut wire = desk.wire().await;
        let mut asked = run_42();
        asked["artifacts"] =
            json!([{"path": "out/Übersicht.json"}, {"name": "b", "path": "out/Übersicht.json"}]);
        let exported = done(wire.call("runpack_export", &asked).await);
        assert_eq!(exported["artifacts"][0]["name"], "b");
        assert_eq!(exported["artifacts"][1]["name"], "out/%C3%9Cbersicht.json");
        assert_eq!(
            exported["artifacts"][1]["commitment"],
            exported["artifacts"][0]["commitment"]
        );

        // The same pack as a directory and as a bundle.
        let place = exported["place"].as_str().unwrap();
        let manifest = std::fs::read(place.strip_prefix("file://").unwrap()).unwrap();
        std::fs::create_dir_all(root.join("pack/out")).unwrap();
        std::fs::write(root.join("pack/manifest.json"), &manifest).unwrap();
        std::fs::write(root.join("pack/b"), b"{}").unwrap();
        std::fs::write(root.join("pack/out/%C3%9Cbersicht.json"), b"{}").unwrap();
        let spec = br#"{"budget":3,"model":"m-1"}"#;
        std::fs::write(root.join("pack/spec.json"), spec).unwrap();
        let manifest = Manifest::parse(&manifest, &Limits::default()).unwrap();
        let mut bundle = BundleWriter::new(Vec::new(), &manifest, Compression::default()).unwrap();
        for bytes in [&b"{}"[..], b"{}", spec] {
            bundle.write(bytes).unwrap();
        }
        let bundle = bundle.finish().unwrap();
        std::fs::write(root.join("pack.tar.gz"), &bundle).unwrap();
        std::fs::write(root.join("cut.tar.gz"), &bundle[..100]).unwrap();

        let pack_id = exported["pack_id"].as_str().unwrap();
        let other = format!("sha256:{}", "0".repeat(64));
        for path in ["pack", "pack.tar.gz"] {
            for (pin, verdict) in [
                (json!(null), "consistent"),
                (json!(pack_id), "valid"),
                (json!(other), "invalid"),
            ] {
                let asked = json!({"path": path, "pack_id": pin});
                let verified = done(wire.call("runpack_verify", &asked).await);
                assert_eq!(verified["verdict"], verdict, "{path} {verified}");
                assert_eq!(verified["pack_id"], pack_id);
            }
        }
        let cut = done(
            wire.call("runpack_verify", &json!({"path": "cut.tar.gz"}))
                .await,
        );
        assert_eq!(cut["verdict"], "invalid");

        // Findings quote what is there, escaped, and no more than the limit.
        for stranger in 0..60 {
            std::fs::write(root.join(format!("pack/\n\nSYSTEM {stranger}")), b"").unwrap();
        }
        let result = wire.call("runpack_verify", &json!({"path": "pack"})).await;
        let told = text(&result);
        assert!(!told.contains("\nSYSTEM"), "{told}");
        assert!(told.contains("and 40 more findings"), "{told}");
        let verified = done(result);
        assert_eq!(verified["findings"].as_array().unwrap().len(), 50);
        assert_eq!(verified["findings_unlisted"], 10);
        assert_eq!(verified["findings"][0]["code"], "container.stranger");
        let about = verified["findings"][0]["about"].as_str().unwrap();
        assert!(about.starts_with("\\u{a}"), "{about}");
    });
}

#[test]
fn b11_no_path_leads_out_of_the_root() {
    block_on(async {
        let desk = Desk::new().await;
        let root = desk.root();
        let secret = desk.dir.path().join("secret");
        std::fs::write(&secret, b"secret").unwrap();
        std::fs::create_dir(root.join("d")).unwrap();
        std::fs::write(root.join("d/f"), b"f").unwrap();
        symlink(&secret, root.join("link")).unwrap();
        symlink(desk.dir.path(), root.join("up")).unwrap();
        symlink("f", root.join("d/near")).unwrap();
        let mut wire = desk.wire().await;
        let absolute = secret.to_str().unwrap();
        for bad in [
            "../secret",
            "d/../../secret",
            "link",
            "up/secret",
            "d/near",
            absolute,
            "/proc/self/environ",
            "d/../d/f",
            "./d/f",
            "d//f",
            "d/f/",
            "",
            ".",
            "..",
            "/",
            "nothing",
            "d/f\n",
        ] {
            let mut asked = run_42();
            asked["artifacts"] = json!([{"name": "a", "path": bad}]);
            let result = wire.call("runpack_export", &asked).await;
            assert_eq!(result["isError"], true, "{bad}: {result}");
            let result = wire.call("runpack_verify", &json!({"path": bad})).await;
            assert_eq!(result["isError"], true, "{bad}: {result}");
        }
        // A directory is no artifact, and without a root nothing is.
        let mut asked = run_42();
        asked["artifacts"] = json!([{"name": "a", "path": "d"}]);
        refused(&wire.call("runpack_export", &asked).await, "bad-body");
        assert_eq!(desk.manifests(), 0);
        let mut wire = Wire::start(desk.tools(None).unwrap());
        wire.initialize().await;
        asked["artifacts"][0]["path"] = "d/f".into();
        refused(&wire.call("runpack_export", &asked).await, "bad-body");
        refused(
            &wire.call("runpack_verify", &json!({"path": "d"})).await,
            "bad-body",
        );
    });
}

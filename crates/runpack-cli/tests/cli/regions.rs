//! Regions: where packs go and may lie.

mod away;

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::{Desk, Said, said, text};

/// `acme` lies in Europe, `other` in America and, as far as it is concerned, in `eu` too.
const CONFIG: &str = "\
runpacks:
  regions:
    stores:
      eu: {root: eu, location: trusted, replicas: [eu-2]}
      eu-2: {root: eu-2, location: trusted}
      us: {root: us, location: trusted}
    routes:
      - {tenant: \"acme*\", region: eu}
      - {tenant: other, region: us}
    residency:
      - {tenant: \"acme*\", regions: [eu, eu-2]}
      - {tenant: other, regions: [us, eu]}
";

const RUN: &str = "--tenant acme --namespace prod --scenario loan-approval --run-id run-42";

/// Every file below a directory.
fn files(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut to_do = vec![directory.to_owned()];
    while let Some(next) = to_do.pop() {
        for entry in fs::read_dir(next).into_iter().flatten().flatten() {
            if entry.file_type().unwrap().is_dir() {
                to_do.push(entry.path());
            } else {
                found.push(entry.path().display().to_string());
            }
        }
    }
    found
}

fn export(tenant: &str, to: &str) -> String {
    format!(
        "export run --tenant {tenant} --namespace prod --scenario loan-approval --run-id run-42 \
         --spec run/spec.json --created-at 2026-11-20T12:00:00Z --label a=b {to}"
    )
}

/// A desk with regions, and what was made before there were any: `pack/` and `b.tar.gz`.
fn desk(config: &str) -> (Desk, Value) {
    let desk = Desk::with_run();
    let exported = desk.export("--to file:plain --bundle b.tar.gz");
    desk.line(&format!(
        "unbundle b.tar.gz pack --expect-pack-id {}",
        text(&exported, "pack_id")
    ))
    .expect(0);
    desk.write("runpack.yaml", config);
    for region in ["eu", "eu-2", "us", "vault"] {
        fs::create_dir(desk.path(region)).unwrap();
    }
    (desk, exported)
}

#[test]
fn packs_go_where_their_route_leads() {
    let (desk, exported) = desk(CONFIG);
    let id = text(&exported, "pack_id");
    for (tenant, region) in [("acme", "eu"), ("acme-labs", "eu"), ("other", "us")] {
        let made = desk
            .line(&format!("{} --json", export(tenant, "")))
            .expect(0)
            .json();
        let root = desk.root().join(region);
        assert!(
            text(&made, "pack").starts_with(root.to_str().unwrap()),
            "{made}"
        );
    }
    assert_eq!(
        desk.line("push b.tar.gz --json").expect(0).json()["commit"],
        "new"
    );
    assert_eq!(
        desk.line("push pack --json").expect(0).json()["commit"],
        "again"
    );
    // What is read without naming a store is looked for where its route leads.
    desk.line(&format!("pull out {RUN}")).expect(0);
    desk.line(&format!("pull {id} by-id --from region:eu"))
        .expect(0);
    desk.line(&format!("verify region:eu {RUN}")).expect(0);
    desk.line("list region:us").expect(0);
    let said = desk.line("list").expect(2);
    assert!(
        said.err
            .contains("there are several regions, and none is named"),
        "{}",
        said.err
    );
    let shown = desk.line("config show").expect(0).out;
    assert!(shown.contains("eu (replicas: eu-2); eu-2; us"), "{shown}");
}

#[test]
fn residency_is_kept_whichever_way_the_destination_came() {
    let (desk, _) = desk(CONFIG);
    let refused = |said: Said, why: &str| {
        let said = said.expect(2);
        assert!(said.err.contains(why), "{}", said.err);
    };
    let elsewhere = "must not lie in that region";
    for line in [
        export("acme", "--to region:us"),
        export("acme", "--to file:us"),
        "push pack --to region:us".to_owned(),
        "push pack --to file:us --no-verify".to_owned(),
        "push b.tar.gz --to region:us".to_owned(),
    ] {
        refused(desk.line(&line), elsewhere);
    }
    let mut by_environment = desk.command();
    let line = export("acme", "");
    by_environment
        .args(line.split_whitespace())
        .env("RUNPACK_STORE_ROOT", "us");
    refused(said(&mut by_environment), elsewhere);
    let mirrored = desk
        .line("mirror file:plain region:us --json")
        .expect(2)
        .json();
    assert_eq!(mirrored["copied"], 0);
    assert_eq!(mirrored["failed"], 1, "{mirrored}");
    assert!(mirrored.to_string().contains(elsewhere), "{mirrored}");
    // What goes to a region goes on to its replicas.
    refused(
        desk.line(&export("other", "--to region:eu")),
        "has a replica in which this must not lie",
    );
    for line in [export("nobody", ""), export("nobody", "--to region:eu")] {
        refused(desk.line(&line), "so it is written nowhere");
    }
    for line in [
        export("acme", "--to file:new"),
        "push pack --to file:new".to_owned(),
        "mirror file:plain file:new".to_owned(),
    ] {
        refused(desk.line(&line), "none of the regions");
    }
    refused(desk.line("list region:mars"), "there is no such region");
    for untouched in ["us", "new", "eu"] {
        assert_eq!(
            files(&desk.path(untouched)),
            Vec::<String>::new(),
            "{untouched}"
        );
    }
    #[cfg(feature = "server")]
    {
        fs::create_dir(desk.path("strange")).unwrap();
        let line = "server rebuild file:strange";
        refused(desk.line(line), "none of the regions");
    }
    // The control: where it may lie it comes, to a replica too.
    desk.line("push b.tar.gz --to region:eu-2").expect(0);
    desk.line("mirror file:plain region:eu-2").expect(0);
    assert!(files(&desk.path("eu-2")).len() > 4);
}

#[test]
fn without_residency_a_pack_may_lie_where_its_route_leads_and_in_its_replicas() {
    let config = CONFIG.split("    residency").next().unwrap();
    let (desk, _) = desk(config);
    desk.line("push pack --to region:us").expect(2);
    desk.line("push pack --to region:eu").expect(0);
    desk.line("push pack --to region:eu-2").expect(0);
}

#[test]
fn what_goes_to_a_region_goes_to_the_replicas_of_its_replicas() {
    let chained = CONFIG.replace(
        "eu-2: {root: eu-2, location: trusted}",
        "eu-2: {root: eu-2, location: trusted, replicas: [us]}",
    );
    let (desk, _) = desk(&chained);
    for to in ["region:eu", "region:eu-2"] {
        let said = desk.line(&export("acme", &format!("--to {to}"))).expect(2);
        assert!(
            said.err
                .contains("has a replica in which this must not lie")
                && said.err.contains("replica=`us`"),
            "{}",
            said.err
        );
    }
    // Also where they are replicas of each other.
    let both = CONFIG.replace(
        "eu-2: {root: eu-2, location: trusted}",
        "eu-2: {root: eu-2, location: trusted, replicas: [eu]}",
    );
    desk.write("runpack.yaml", both);
    desk.line(&export("acme", "")).expect(0);
    // Without residency they may lie wherever they go on to.
    let config = chained.split("    residency").next().unwrap();
    desk.write("runpack.yaml", config);
    desk.line(&export("acme", "--to region:us")).expect(0);
}

/// A disk that is not mounted leaves a path without a directory, which would fill another disk.
#[test]
fn the_directory_of_a_region_is_never_made() {
    let (desk, _) = desk(CONFIG);
    fs::remove_dir(desk.path("eu")).unwrap();
    for line in [
        export("acme", ""),
        "push pack --to region:eu".to_owned(),
        "mirror file:plain region:eu".to_owned(),
    ] {
        let said = desk.line(&line).expect(2);
        assert!(
            said.err.contains("mount what belongs there"),
            "{}",
            said.err
        );
        assert!(!desk.path("eu").exists(), "{line}");
    }
    fs::create_dir(desk.path("eu")).unwrap();
    desk.line(&export("acme", "")).expect(0);
}

#[cfg(feature = "server")]
#[test]
fn a_server_takes_only_what_may_lie_in_its_region() {
    let config = format!("{CONFIG}      - {{tenant: \"*\", regions: [eu-2]}}\n");
    for (region, spool, is_taken) in [
        ("us", "", false),
        ("us", "--spool spool", false),
        ("eu-2", "--spool spool", true),
        ("eu-2", "", true),
    ] {
        let (desk, _) = desk(&config);
        let server = crate::serving::Server::start_at(&desk, &format!("region:{region} {spool}"));
        let (status, body) = server.ask("POST", "/v1/records", &crate::serving::record("r1"));
        let body = String::from_utf8_lossy(&body);
        assert_eq!(status == 201, is_taken, "{region} {spool}: {status} {body}");
        let kept = [desk.path(region), desk.path("spool")].map(|path| files(&path));
        let has_payload = kept
            .concat()
            .iter()
            .any(|path| path.ends_with("payload.json"));
        assert_eq!(has_payload, is_taken, "{kept:?}");
    }
}

#[test]
fn a_configuration_that_contradicts_itself_is_refused() {
    for (from, to, why) in [
        (
            "    routes:\n",
            "    wrong: 1\n    routes:\n",
            "unknown key, key=`wrong`",
        ),
        ("region: us}", "region: mars}", "there is no such region"),
        (
            "[eu, eu-2]}\n      - {tenant: other",
            "[]}\n      - {tenant: other",
            "in which such packs may lie",
        ),
        (
            "replicas: [eu-2]",
            "replicas: [eu]",
            "not the region itself",
        ),
        (
            "replicas: [eu-2]",
            "replicas: [eu-2, eu-2]",
            "each other region once",
        ),
        ("{root: us,", "{root: eu,", "the same place as region `eu`"),
        (
            "{root: us, location: trusted}",
            "{root: us}",
            "nobody tells where a directory is",
        ),
        ("{root: us,", "{root: us, bucket: evidence,", "keys of both"),
        ("{root: us,", "{", "name the bucket"),
        (
            "{root: us,",
            "{bucket: evidence,",
            "where the bucket must be",
        ),
        (
            "location: trusted}\n    routes",
            "location: maybe}\n    routes",
            "write `told`",
        ),
        (
            "{tenant: other, region",
            "{tenant: \"*er\", region",
            "correct tenant or namespace",
        ),
        ("      us:", "      US:", "the name of a region"),
        ("      us:", "      eu:", "a key stands twice"),
        (
            "{root: us,",
            "{root: us, secret_key: x,",
            "credentials never stand in a file",
        ),
        (
            "runpacks:\n",
            "runpacks:\n  auto_push: true\n",
            "key=`runpacks.auto_push`",
        ),
        (
            "runpacks:\n",
            "runpacks:\n  file: {root: x}\n",
            "key=`runpacks.file`",
        ),
        (
            "runpacks:\n",
            "runpacks:\n  s3: {bucket: evidence}\n",
            "key=`runpacks.s3`",
        ),
        (
            "runpacks:\n",
            "runpacks:\n  policy: {}\n",
            "`runpacks.polic",
        ),
    ] {
        assert!(CONFIG.contains(from), "{from}");
        let desk = Desk::with_run();
        desk.write("runpack.yaml", CONFIG.replacen(from, to, 1));
        let said = desk.line(&export("acme", "")).expect(2);
        let told = format!("{}{}", said.out, said.err);
        assert!(told.contains(why), "{why}: {told}");
        assert!(!desk.path("eu").exists(), "{why}");
    }
}

#[test]
fn a_region_without_a_configuration_is_refused() {
    let desk = Desk::with_run();
    let said = desk.line(&export("acme", "--to region:eu")).expect(2);
    assert!(
        said.err.contains("the configuration has none"),
        "{}",
        said.err
    );
}

/// A bundle's key does not say whose it is: what was announced does, whatever made it.
#[test]
fn a_bundle_of_a_pipelines_run_goes_where_its_tenant_may_lie() {
    let desk = crate::pipeline::laid_out();
    let run = crate::pipeline::RUN;
    desk.line(&format!("pipeline export work {run} --to file:plain"))
        .expect(0);
    desk.line(&format!("bundle file:plain b.tar.gz {run} --pipeline"))
        .expect(0);
    desk.write("runpack.yaml", CONFIG);
    for region in ["eu", "us"] {
        fs::create_dir_all(desk.path(region)).unwrap();
    }
    desk.line("push b.tar.gz --to region:us").expect(2);
    assert!(files(&desk.path("us")).is_empty());
    desk.line("push b.tar.gz --to region:eu").expect(0);
    let lies = files(&desk.path("eu"));
    assert!(
        lies.iter().any(|file| file.ends_with(".tar.gz")),
        "{lies:?}"
    );
}

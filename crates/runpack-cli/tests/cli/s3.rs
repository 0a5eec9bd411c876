//! The same against buckets of real servers.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use runpack_testing::proxy::{Exchange, FaultProxy};
use runpack_testing::servers::{BucketKind, Kind, TestBucket, shared};
use runpack_testing::{block_on, servers::Server};
use serde_json::Value;

use crate::support::{Desk, EXPORT, Said, said, text};

const RUN: &str = "--tenant acme --namespace prod --scenario loan-approval --run-id run-42";

/// A desk whose program finds a bucket of a server by its environment.
pub(crate) struct Remote {
    pub(crate) desk: Desk,
    pub(crate) bucket: TestBucket,
}

impl Remote {
    pub(crate) fn new(kind: Kind, how: BucketKind) -> Self {
        Self::with_desk(Desk::with_run(), kind, how)
    }

    pub(crate) fn with_desk(desk: Desk, kind: Kind, how: BucketKind) -> Self {
        Self {
            desk,
            bucket: block_on(shared(kind).bucket(how)),
        }
    }

    pub(crate) fn server(&self) -> &Server {
        self.bucket.server()
    }

    pub(crate) fn command(&self) -> Command {
        let server = self.server();
        let mut command = self.desk.command();
        command
            .env("RUNPACK_STORE_ENDPOINT", &server.endpoint)
            .env("RUNPACK_STORE_REGION", &server.region)
            .env("RUNPACK_STORE_ACCESS_KEY", &server.access_key)
            .env("RUNPACK_STORE_SECRET_KEY", &server.secret_key);
        command
    }

    /// Runs a line in which `@` stands for the store.
    pub(crate) fn line(&self, line: &str) -> Said {
        let store = format!("s3://{}/ci", self.bucket.name);
        let mut command = self.command();
        command.args(
            line.split_whitespace()
                .map(|word| word.replace('@', &store)),
        );
        said(&mut command)
    }

    pub(crate) fn json(&self, line: &str, code: i32) -> Value {
        self.line(&format!("{line} --json")).expect(code).json()
    }

    pub(crate) fn objects(&self) -> Vec<String> {
        let mut objects = block_on(self.bucket.list_raw());
        objects.sort();
        objects
    }
}

fn there_and_back(kind: Kind, how: BucketKind) {
    let remote = Remote::new(kind, how);
    let desk = &remote.desk;
    desk.write("run/large.bin", vec![5; (17 << 20) + 1]);
    let exported = desk.export("--bundle b.tar.gz");
    let (pack, id) = (text(&exported, "pack"), text(&exported, "pack_id"));
    let pushed = remote.json(&format!("push {pack} --to @"), 0);
    crate::schema::check("push", &pushed);
    assert_eq!(
        (text(&pushed, "commit"), text(&pushed, "reference")),
        ("new", "written")
    );
    let objects = remote.objects();
    let again = remote.json(&format!("push {pack} --to @"), 0);
    assert_eq!(
        (text(&again, "commit"), text(&again, "reference")),
        ("again", "there")
    );
    assert_eq!(remote.objects(), objects);

    let place = text(&pushed, "pack");
    assert!(
        place.starts_with(&format!("s3://{}/ci/tenant/acme/", remote.bucket.name)),
        "{place}"
    );
    for line in [
        format!("verify @ {RUN}"),
        format!("verify @ {RUN} --deep --no-receipts --expect-pack-id {id}"),
        format!("verify @ --pack-id {id} --no-receipts"),
        format!("verify {place}"),
        format!("verify {place}/manifest.json"),
        format!("show {place}"),
        format!("diff {place} b.tar.gz"),
        format!("bundle {place} from-bucket.tar.gz"),
        format!("pull {id} out --from @ --no-receipts"),
        format!("pull by-run --from @ {RUN}"),
    ] {
        remote.line(&line).expect(0);
    }
    remote
        .line(&format!("verify @ {RUN} --no-receipts"))
        .expect(3);
    desk.line("diff out b.tar.gz").expect(0);
    desk.line("verify out").expect(0);
    assert_eq!(
        fs::read(desk.path("by-run/large.bin")).unwrap(),
        fs::read(desk.path("run/large.bin")).unwrap()
    );

    assert_eq!(remote.json("push b.tar.gz --to @", 0)["commit"], "new");
    assert_eq!(remote.json("push b.tar.gz --to @", 0)["commit"], "again");
    desk.line(&format!("bundle {pack} stored.tar.gz --compression stored"))
        .expect(0);
    assert_eq!(
        remote.json("push stored.tar.gz --to @", 0)["commit"],
        "again"
    );
    let bundle = format!("@/2026/11/run-42/{}.tar.gz", &id["sha256:".len()..]);
    for line in [
        format!("verify {bundle} --no-receipts --expect-pack-id {id}"),
        format!("show {bundle}"),
        format!("pull {id} out.tar.gz --from @"),
    ] {
        remote.line(&line).expect(0);
    }
    assert_eq!(
        fs::read(desk.path("out.tar.gz")).unwrap(),
        fs::read(desk.path("b.tar.gz")).unwrap()
    );

    let listed = remote.line("list @ --json").expect(0);
    let rows: Vec<Value> = listed
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(rows.len(), 2, "{}", listed.out);
    for row in &rows {
        crate::schema::check("list", row);
    }

    // To a directory and back to another prefix, everything with it.
    assert_eq!(remote.json("mirror @ file:copy", 0)["copied"], 2);
    desk.line(&format!("verify file:copy {RUN}")).expect(0);
    assert_eq!(remote.json("mirror file:copy @/second", 0)["copied"], 2);
    assert_eq!(remote.json("mirror @ @/second", 0)["there"], 2);
    remote
        .line(&format!("verify @/second {RUN} --expect-pack-id {id}"))
        .expect(0);
}

#[test]
fn a_mirror_goes_from_one_service_to_another() {
    let remote = Remote::new(Kind::Ceph, BucketKind::Plain);
    remote
        .line("export run --tenant acme --namespace prod --scenario loan-approval --run-id run-42 --spec run/spec.json --to @")
        .expect(0);
    let other = block_on(shared(Kind::MiniStack).bucket(BucketKind::Plain));
    let first_site = format!(
        "runpacks:\n  s3:\n    endpoint: {}\n    region: {}\n",
        remote.server().endpoint,
        remote.server().region
    );
    remote.desk.write("first-site.yaml", first_site);
    let mirror = |access_key: &str| {
        let (here, there) = (remote.server(), other.server());
        let mut command = remote.desk.command();
        command
            .env("RUNPACK_FROM_ACCESS_KEY", access_key)
            .env("RUNPACK_FROM_SECRET_KEY", &here.secret_key)
            .env("RUNPACK_STORE_ENDPOINT", &there.endpoint)
            .env("RUNPACK_STORE_REGION", &there.region)
            .env("RUNPACK_STORE_ACCESS_KEY", &there.access_key)
            .env("RUNPACK_STORE_SECRET_KEY", &there.secret_key)
            .args(["mirror", &format!("s3://{}/ci", remote.bucket.name)])
            .args([format!("s3://{}/ci", other.name).as_str(), "--json"])
            .args(["--from-config", "first-site.yaml"]);
        said(&mut command)
    };
    let access_key = &remote.server().access_key;
    assert_eq!(mirror(access_key).expect(0).json()["copied"], 1);
    assert_eq!(mirror(access_key).expect(0).json()["there"], 1);
    assert_eq!(block_on(other.list_raw()).len(), remote.objects().len());
    // Wrong keys of FROM are told by the names that they have.
    let refused = mirror("nobody").expect(2);
    assert!(refused.err.contains("RUNPACK_FROM_"), "{}", refused.err);
}

#[test]
fn a_pack_goes_to_ceph_and_comes_back() {
    there_and_back(Kind::Ceph, BucketKind::Plain);
}

#[test]
fn a_pack_goes_to_a_versioned_bucket_and_comes_back() {
    there_and_back(Kind::Ceph, BucketKind::Versioned);
}

#[test]
fn a_pack_goes_to_ministack_and_comes_back() {
    there_and_back(Kind::MiniStack, BucketKind::Plain);
}

#[test]
fn an_export_goes_straight_to_a_bucket() {
    let remote = Remote::new(Kind::Ceph, BucketKind::Plain);
    remote.desk.write("run/large.bin", vec![5; (9 << 20) + 1]);
    let line = EXPORT.replace("file:store", "@");
    let exported = remote.json(&format!("{line} --bundle b.tar.gz"), 0);
    crate::schema::check("export", &exported);
    assert_eq!(exported["commit"], "new");
    assert_eq!(remote.json(&line, 0)["commit"], "again");
    assert!(!remote.desk.path("runpacks").exists() && !remote.desk.path("store").exists());
    remote
        .line(&format!("verify {}", text(&exported, "pack")))
        .expect(0);
    remote.line("verify b.tar.gz").expect(0);
    // Another pack of the run: nothing is replaced, and both ids are named.
    let objects = remote.objects();
    remote.desk.write("run/decisions.json", "{}");
    let conflict = remote.line(&line).expect(2);
    assert!(
        conflict.err.contains(text(&exported, "pack_id")),
        "{}",
        conflict.err
    );
    remote.line(&format!("verify @ {RUN}")).expect(0);
    // What the loser brought is residue under names of its own.
    assert!(
        objects
            .iter()
            .all(|object| remote.objects().contains(object))
    );
}

#[test]
fn the_bucket_may_stand_in_the_configuration() {
    let remote = Remote::new(Kind::Ceph, BucketKind::Plain);
    remote.desk.write(
        "runpack.yaml",
        format!(
            "runpacks:\n  store: file\n  auto_push: true\n  file: {{root: store}}\n  s3:\n    bucket: {}\n    path_prefix: ci\n",
            remote.bucket.name
        ),
    );
    let exported = remote.json(EXPORT, 0);
    assert_eq!(exported["pushed"]["commit"], "new", "{exported}");
    let id = text(&exported, "pack_id");
    remote.line(&format!("pull {id} out")).expect(0);
    remote.line(&format!("verify @ {RUN}")).expect(0);
}

#[test]
fn s01_a_damaged_object_is_found_and_not_pulled() {
    let remote = Remote::new(Kind::Ceph, BucketKind::Plain);
    let exported = remote.desk.export("");
    let id = text(&exported, "pack_id");
    remote
        .line(&format!("push {} --to @", text(&exported, "pack")))
        .expect(0);
    let objects = remote.objects();
    let model = objects
        .iter()
        .find(|name| name.ends_with("model.bin"))
        .unwrap();
    block_on(remote.bucket.put_raw(model, vec![8; 3_000]));
    let said = remote.line(&format!("verify @ {RUN}")).expect(1);
    assert!(said.out.contains("artifact.digest"), "{}", said.out);
    remote.line(&format!("pull {id} out --from @")).expect(1);
    remote.line("mirror @ file:copy").expect(1);
    assert!(!remote.desk.path("out").exists());
    block_on(remote.bucket.delete_raw(model));
    let said = remote.line(&format!("verify @ {RUN}")).expect(1);
    assert!(said.out.contains("artifact.missing"), "{}", said.out);
    // Whoever still has the pack brings back what is missing.
    remote
        .line(&format!("push {} --to @", text(&exported, "pack")))
        .expect(0);
    remote.line(&format!("verify @ {RUN}")).expect(0);
}

#[test]
fn a_host_that_drops_every_packet_is_named_too() {
    let remote = Remote::new(Kind::MiniStack, BucketKind::Plain);
    // A listener that accepts nobody: once its queue is full, the system drops whoever knocks.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut queue = Vec::new();
    while let Ok(one) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        queue.push(one);
    }
    let endpoint = format!("http://{address}");
    for line in [
        "list @",
        "export run --to @ --run-id run-42 --spec run/spec.json",
    ] {
        let mut command = remote.command();
        let store = format!("s3://{}", remote.bucket.name);
        command
            .env("RUNPACK_STORE_ENDPOINT", &endpoint)
            .args(
                line.split_whitespace()
                    .map(|word| word.replace('@', &store)),
            )
            .args("--tenant acme --namespace prod --scenario loan-approval".split(' '));
        let said = said(&mut command).expect(2);
        let error = said.err.lines().next().unwrap();
        assert!(
            error.contains("nothing answers") && error.contains(&endpoint),
            "{error}"
        );
    }
}

/// The store, what the environment says beside, what the error says.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [&'a str]);

#[test]
fn what_is_wrong_with_a_store_is_one_line_that_says_which() {
    let remote = Remote::new(Kind::Ceph, BucketKind::Plain);
    let exported = remote.desk.export("--bundle b.tar.gz");
    let pack = text(&exported, "pack");
    let nobody = "http://127.0.0.1:9";
    let cases: [Case; 4] = [
        (
            "@",
            &[("RUNPACK_STORE_ENDPOINT", nobody)],
            &["endpoint", nobody],
        ),
        (
            "s3://no-such-bucket-anywhere",
            &[],
            &["bucket", "no-such-bucket-anywhere"],
        ),
        (
            "@",
            &[("RUNPACK_STORE_SECRET_KEY", "wrong")],
            &["signature"],
        ),
        (
            "@",
            &[("RUNPACK_STORE_ACCESS_KEY", "wrong")],
            &["access key"],
        ),
    ];
    for (store, variables, says) in cases {
        for line in [
            format!("push {pack} --to {store}"),
            format!("push b.tar.gz --to {store}"),
            format!("pull out --from {store} {RUN}"),
            format!("verify {store} {RUN}"),
            format!("list {store}"),
            format!("mirror {store} file:copy"),
            format!("mirror file:store {store}"),
            format!("gc {store}"),
            format!("store status {store}"),
            EXPORT.replace("file:store", store),
        ] {
            let mut command = remote.command();
            let at = format!("s3://{}/ci", remote.bucket.name);
            command
                .envs(variables.iter().copied())
                .args(line.split_whitespace().map(|word| word.replace('@', &at)));
            let said = said(&mut command).expect(2);
            assert_eq!(said.err.lines().count(), 2, "{line}: {}", said.err);
            let error = said.err.lines().next().unwrap();
            for part in says {
                assert!(error.contains(part), "{line} {variables:?}: {}", said.err);
            }
        }
    }
}

#[test]
fn w21_a_push_that_was_killed_goes_on_and_sends_nothing_twice() {
    let remote = Remote::new(Kind::Ceph, BucketKind::Plain);
    for at in 0u8..60 {
        remote.desk.write(
            format!("run/many/{at}.bin"),
            vec![at; 20_000 + usize::from(at)],
        );
    }
    let exported = remote.desk.export("");
    let pack = text(&exported, "pack");
    let proxy = FaultProxy::start(&remote.server().endpoint);
    let sent = |log: &[Exchange]| -> Vec<String> {
        let puts = log.iter().filter(|exchange| exchange.method == "PUT");
        let kept = puts.filter(|exchange| exchange.status == Some(200));
        kept.map(|exchange| exchange.path.clone()).collect()
    };
    let push = |store: &str| {
        let mut command = remote.command();
        command
            .env("RUNPACK_STORE_ENDPOINT", proxy.endpoint())
            .args(["push", pack, "--to", store]);
        command
    };
    let store = format!("s3://{}/ci", remote.bucket.name);
    let mut killed = push(&store)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let before = sent(&proxy.wait_for(|log| sent(log).len() >= 20));
    killed.kill().unwrap();
    killed.wait().unwrap();
    let there = remote.objects();
    assert!(
        !there.iter().any(|name| name.ends_with("manifest.json")),
        "killed too late: {there:?}"
    );
    remote
        .line(&format!(
            "verify @ {RUN} --spec-hash {}",
            text(&exported["subject"], "spec_hash")
        ))
        .expect(1);

    proxy.clear_log();
    said(&mut push(&store)).expect(0);
    let again = sent(&proxy.log());
    for path in &before {
        assert!(!again.contains(path), "sent twice: {path}");
    }
    remote.line(&format!("verify @ {RUN}")).expect(0);
    // What is there is not sent at all.
    proxy.clear_log();
    said(&mut push(&store)).expect(0);
    assert_eq!(sent(&proxy.log()), Vec::<String>::new());
}

#[test]
fn a_url_is_good_for_one_object() {
    let remote = Remote::new(Kind::Ceph, BucketKind::Plain);
    let exported = remote.desk.export("--bundle b.tar.gz");
    let id = text(&exported, "pack_id");
    remote
        .line(&format!("push {} --to @", text(&exported, "pack")))
        .expect(0);
    for line in [
        format!("presign @ --pack-id {id} --artifact model.bin --expires 15m"),
        format!("presign @ {RUN}"),
        "presign @ --put b.tar.gz".to_owned(),
    ] {
        let presigned = remote.json(&line, 0);
        crate::schema::check("presign", &presigned);
        let url = text(&presigned, "url");
        assert!(url.starts_with(&remote.server().endpoint), "{url}");
        assert!(!url.contains(&remote.server().secret_key), "{url}");
        assert_eq!(
            remote
                .line(&line)
                .expect(0)
                .out
                .lines()
                .next()
                .unwrap()
                .len(),
            url.len()
        );
    }
    let put = remote.json("presign @ --put b.tar.gz", 0);
    assert_eq!(put["method"], "PUT");
    assert!(
        put["headers"].to_string().contains("x-amz-checksum-sha256"),
        "{put}"
    );
    remote
        .line(&format!("presign @ {RUN} --artifact nothing.bin"))
        .expect(2);
    // Nothing lies in an archive tier here.
    let restored = remote.json(&format!("restore @ {RUN}"), 0);
    crate::schema::check("restore", &restored);
    assert_eq!(restored["readable"], 5, "{restored}");
}

#[test]
fn a_store_is_measured_and_left_as_it_was() {
    for (kind, how) in [
        (Kind::Ceph, BucketKind::Plain),
        (Kind::Ceph, BucketKind::Versioned),
        (Kind::MiniStack, BucketKind::Plain),
    ] {
        let remote = Remote::new(kind, how);
        let status = remote.json("store status @", 0);
        crate::schema::check("store", &status);
        assert_eq!(status["safe_writing"], "conditional", "{status}");
        assert_eq!(status["profile"]["rights"]["write"], "allowed", "{status}");
        assert!(status["warnings"].to_string().contains("WORM"), "{status}");
        assert_eq!(remote.objects(), Vec::<String>::new());
        let text = remote.line("store status @").expect(0).out;
        assert!(text.contains("create_only_put"), "{text}");
        // What was measured is there for whoever writes.
        assert_eq!(
            fs::read_dir(remote.desk.path("state/profiles"))
                .unwrap()
                .count(),
            1
        );
        remote.line(&EXPORT.replace("file:store", "@")).expect(0);
    }
}

#[test]
fn w22_residue_of_a_bucket_is_kept_while_it_is_young() {
    let remote = Remote::new(Kind::Ceph, BucketKind::Plain);
    let exported = remote.json(&EXPORT.replace("file:store", "@"), 0);
    let left = format!(
        "ci/tenant/acme/namespace/prod/scenario/loan-approval/run/left/{0}/{0}/x",
        "ab".repeat(32)
    );
    block_on(remote.bucket.put_raw(&left, "x"));
    let upload = block_on(remote.bucket.begin_upload_raw(&left));
    let objects = remote.objects();
    let said = remote.line("gc @ --older-than 1d --yes --json").expect(0);
    let summary: Value = serde_json::from_str(said.out.lines().last().unwrap()).unwrap();
    crate::schema::check("gc", &summary);
    assert_eq!(summary["removed"], 0, "{summary}");
    assert_eq!(remote.objects(), objects);
    assert!(
        block_on(remote.bucket.uploads_raw())
            .iter()
            .any(|(_, id)| *id == upload)
    );
    remote
        .line(&format!("verify {}", text(&exported, "pack")))
        .expect(0);
}

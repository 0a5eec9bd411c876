//! The servers themselves: they end with their user, buckets are what they are said to be, and a proxy before
//! a server that checks signatures breaks none.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use runpack_core::store::s3::LockMode;
use runpack_core::store::s3::S3Store;
use runpack_testing::block_on;
use runpack_testing::proxy::{Fault, FaultProxy, Rule};
use runpack_testing::servers::{BucketKind, Kind, PrivateCeph, shared};

/// `runpack-servers` around a command of the shell, which gets `note` as its first argument.
fn around(only: &str, line: &str, note: &Path) -> Command {
    // Whoever runs the tests may be deaf to an interrupt, and pass that on.
    let mut servers = Command::new("env");
    servers
        .args([
            "--default-signal=INT",
            env!("CARGO_BIN_EXE_runpack-servers"),
        ])
        .args(["--only", only, "--", "sh", "-c", line, "sh"])
        .arg(note);
    servers
}

/// What `is_so` gives, as soon as it gives something.
fn wait_for<T>(mut is_so: impl FnMut() -> Option<T>) -> T {
    for _ in 0..600 {
        if let Some(it) = is_so() {
            return it;
        }
        thread::sleep(Duration::from_millis(100));
    }
    panic!("a minute was not enough");
}

/// The directory of the servers that the command has noted.
fn noted(note: &Path) -> PathBuf {
    let file = wait_for(|| {
        fs::read_to_string(note)
            .ok()
            .filter(|text| text.ends_with('\n'))
    });
    Path::new(file.trim_end()).parent().unwrap().to_owned()
}

/// Whether a process has this in its arguments.
fn is_running(argument: &OsStr) -> bool {
    let processes = fs::read_dir("/proc").unwrap();
    let mut arguments =
        processes.filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok());
    let wanted = argument.as_encoded_bytes();
    arguments.any(|line| line.windows(wanted.len()).any(|window| window == wanted))
}

/// The process that holds the servers of this one.
fn keeper_of(servers: &Child) -> u32 {
    let id = servers.id();
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
    let children = children
        .split_whitespace()
        .map(|id| id.parse::<u32>().unwrap());
    let is_keeper = |id: &u32| {
        let line = fs::read(format!("/proc/{id}/cmdline")).unwrap();
        line.split(|byte| *byte == 0).nth(1) == Some(b"keep")
    };
    children.into_iter().find(is_keeper).unwrap()
}

fn send(signal: &str, process: u32) {
    let kill = Command::new("kill")
        .args([signal, &process.to_string()])
        .status();
    assert!(kill.unwrap().success());
}

const NOTE_AND_WAIT: &str = r#"echo "$RUNPACK_TEST_SERVERS" > "$1"; exec sleep 600"#;

#[test]
fn the_exit_code_is_the_commands_and_nothing_stays() {
    let scratch = tempfile::tempdir().unwrap();
    let note = scratch.path().join("note");
    let line = r#"test -s "$RUNPACK_TEST_SERVERS" && echo "$RUNPACK_TEST_SERVERS" > "$1"; exit 7"#;
    let status = around("ministack,moto", line, &note).status().unwrap();
    assert_eq!(status.code(), Some(7));
    assert!(!noted(&note).exists());
}

#[test]
fn whatever_ends_it_ends_its_servers() {
    let scratch = tempfile::tempdir().unwrap();
    for (number, signal) in ["-INT", "-TERM", "-KILL"].into_iter().enumerate() {
        let note = scratch.path().join(number.to_string());
        let mut servers = around("ceph,moto", NOTE_AND_WAIT, &note).spawn().unwrap();
        let directory = noted(&note);
        let inside = Path::new("/srv").join(directory.file_name().unwrap());
        assert!(is_running(inside.as_os_str()));
        send(signal, servers.id());
        assert_eq!(servers.wait().unwrap().code(), None);
        wait_for(|| (!directory.exists()).then_some(()));
        wait_for(|| (!is_running(inside.as_os_str())).then_some(()));
    }
}

#[test]
fn servers_end_with_a_keeper_that_is_killed_and_the_next_start_sweeps() {
    let scratch = tempfile::tempdir().unwrap();
    let note = scratch.path().join("note");
    let mut servers = around("moto", NOTE_AND_WAIT, &note).spawn().unwrap();
    let directory = noted(&note);
    let keeper = keeper_of(&servers);
    send("-KILL", servers.id());
    send("-KILL", keeper);
    servers.wait().unwrap();
    let status = around("moto", "true", &note).status().unwrap();
    assert!(status.success());
    assert!(!directory.exists());
}

#[test]
fn what_cannot_start_says_so() {
    let scratch = tempfile::tempdir().unwrap();
    let mut servers = Command::new(env!("CARGO_BIN_EXE_runpack-servers"));
    servers
        .args(["--only", "moto", "--installed"])
        .arg(scratch.path().join("none"))
        .args(["--", "true"]);
    let output = servers.stdout(Stdio::null()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("run `cargo xtask servers install`"), "{said}");
}

#[test]
fn buckets_are_what_they_are_said_to_be() {
    block_on(async {
        let ceph = shared(Kind::Ceph);
        let plain = ceph.bucket(BucketKind::Plain).await;
        plain.put_raw("a", "1").await;
        plain.put_raw("a", "2").await;
        assert_eq!(plain.read_raw("a").await, Some(Bytes::from("2")));
        assert_eq!(plain.versions_raw("").await.len(), 1);
        plain.delete_raw("a").await;
        assert_eq!(plain.read_raw("a").await, None);
        plain.delete_bucket_raw().await;

        let versioned = ceph.bucket(BucketKind::Versioned).await;
        let first = versioned.put_raw("a", "1").await.unwrap();
        versioned.put_raw("a", "2").await.unwrap();
        versioned.delete_raw("a").await;
        let versions = versioned.versions_raw("").await;
        assert_eq!(
            versions.iter().filter(|version| version.is_marker).count(),
            1
        );
        assert_eq!(versions.len(), 3);
        assert_eq!(versioned.read_raw("a").await, None);
        assert_eq!(
            versioned.read_version_raw("a", &first).await,
            Some(Bytes::from("1"))
        );
        versioned.delete_version_raw("a", &first).await.unwrap();
        assert_eq!(versioned.read_version_raw("a", &first).await, None);

        let days = BucketKind::LockedByDefault(LockMode::Compliance, 1);
        let locked = ceph.bucket(days).await;
        let version = locked.put_raw("a", "1").await.unwrap();
        let deleted = locked.delete_version_raw("a", &version).await;
        assert_eq!(deleted, Err("AccessDenied".to_owned()));
        let lockable = ceph.bucket(BucketKind::Locked).await;
        let version = lockable.put_raw("a", "1").await.unwrap();
        lockable.delete_version_raw("a", &version).await.unwrap();
    });
}

#[test]
fn uploads_in_progress_are_seen_and_ended() {
    block_on(async {
        let bucket = shared(Kind::Ceph).bucket(BucketKind::Plain).await;
        let upload = bucket.begin_upload_raw("a").await;
        let tag = bucket.upload_part_raw("a", &upload, 1, "part").await;
        let under_way = [("a".to_owned(), upload.clone())];
        assert_eq!(bucket.uploads_raw().await, under_way);
        assert_eq!(bucket.list_raw().await, [""; 0]);
        bucket
            .complete_upload_raw("a", &upload, &[tag])
            .await
            .unwrap();
        assert_eq!(bucket.list_raw().await, ["a"]);
        let other = bucket.begin_upload_raw("b").await;
        bucket.abort_upload_raw("b", &other).await.unwrap();
        let again = bucket.abort_upload_raw("b", &other).await;
        assert_eq!(again, Err("NoSuchUpload".to_owned()));
        assert_eq!(bucket.uploads_raw().await, []);
    });
}

#[test]
fn a_proxy_leaves_signatures_whole() {
    block_on(async {
        let bucket = shared(Kind::Ceph).bucket(BucketKind::Plain).await;
        let proxy = FaultProxy::start(&bucket.server().endpoint);
        let store = S3Store::open(bucket.settings_at(&proxy.endpoint()))
            .await
            .unwrap();
        store.check().await.unwrap();
        let log = proxy.log();
        assert_eq!(log.last().unwrap().status, Some(200), "{log:#?}");
        // A changed request is refused: this server does check.
        let path = log.last().unwrap().path.clone();
        let other = format!("{path}other");
        proxy.plan(Rule::new(Fault::Swap(path, other)).always());
        assert!(store.check().await.is_err());
        assert_eq!(proxy.log().last().unwrap().status, Some(403));
    });
}

#[test]
fn a_killed_ceph_comes_back_with_what_it_acknowledged() {
    let mut ceph = PrivateCeph::start();
    let bucket = block_on(ceph.server().bucket(BucketKind::Versioned));
    block_on(bucket.put_raw("a", "1"));
    ceph.kill_gateway();
    let gone =
        std::net::TcpStream::connect(ceph.server().endpoint.strip_prefix("http://").unwrap());
    assert!(gone.is_err());
    ceph.start_gateway();
    block_on(bucket.put_raw("b", "2"));
    ceph.kill_gateway();
    ceph.kill_osd();
    ceph.start_osd();
    ceph.start_gateway();
    assert_eq!(block_on(bucket.read_raw("a")), Some(Bytes::from("1")));
    assert_eq!(block_on(bucket.read_raw("b")), Some(Bytes::from("2")));
}

//! Tests of the configuration file: what may stand in it, and what may not.

use super::*;

fn load(text: &str) -> Result<Config, Failure> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("c.yaml");
    std::fs::write(&path, text).unwrap();
    let mut config = Config::load(Some(&path))?;
    let below = |path: PathBuf| {
        path.strip_prefix(directory.path())
            .map(Path::to_owned)
            .unwrap_or(path)
    };
    config.store_root = config.store_root.map(below);
    config.s3.ca_file = config.s3.ca_file.map(below);
    config.path = None;
    Ok(config)
}

#[test]
fn what_may_stand_in_it() {
    let config = load(
        "tenant: no\nnamespace: '1'\nscenario: on\nrunpacks:\n  store: file\n  file: {root: packs}\n",
    );
    assert_eq!(
        config.unwrap(),
        Config {
            tenant: Some("no".to_owned()),
            namespace: Some("1".to_owned()),
            scenario: Some("on".to_owned()),
            store: Some(StoreKind::File),
            store_root: Some(PathBuf::from("packs")),
            ..Config::default()
        }
    );
    let absolute = load("runpacks: {file: {root: /srv/packs}}").unwrap();
    assert_eq!(absolute.store_root, Some(PathBuf::from("/srv/packs")));
}

#[test]
fn a_bucket_in_full() {
    let config = load(
        "runpacks:\n  store: s3\n  auto_push: true\n  verify_on_push: false\n  s3:\n    endpoint: https://s3.example.com:9000/\n    \
         bucket: packs\n    region: eu-1\n    path_prefix: a/b\n    path_style: true\n    sse: aws:kms\n    sse_kms_key: k\n    \
         expected_owner: 012345678901\n    ca_file: ca.pem\n    allow_plain_http: false\n    create_only: oldest-version\n    \
         object_lock: {mode: governance, days: 7}\n",
    )
    .unwrap();
    assert_eq!(
        (config.store, config.auto_push, config.verify_on_push),
        (Some(StoreKind::S3), Some(true), Some(false))
    );
    assert_eq!(
        config.s3,
        S3Config {
            endpoint: Some("https://s3.example.com:9000".parse().unwrap()),
            bucket: Some("packs".parse().unwrap()),
            region: Some("eu-1".to_owned()),
            path_prefix: Some("a/b/".parse().unwrap()),
            path_style: Some(Addressing::Path),
            sse: Some(Encryption::SseKms(Some("k".to_owned()))),
            expected_owner: Some("012345678901".to_owned()),
            ca_file: Some(PathBuf::from("ca.pem")),
            allow_plain_http: Some(PlainHttp::OnlyLoopback),
            create_only: Some(CreateOnly::OldestVersion),
            object_lock: Some(serde_json::json!({"mode": "governance", "days": 7})),
        }
    );
    // Nothing is something to say, too.
    let null = load("runpacks: {s3: {object_lock: }}").unwrap();
    assert_eq!(null.s3.object_lock, Some(serde_json::Value::Null));
    assert_eq!(null.store, Some(StoreKind::S3));
}

#[test]
fn an_empty_file_says_nothing() {
    assert_eq!(load("").unwrap(), Config::default());
    assert_eq!(load("# nothing\n").unwrap(), Config::default());
}

#[test]
fn what_may_not() {
    for (text, says) in [
        ("tenent: a", "unknown key, key=`tenent`"),
        ("runpacks: {stor: file}", "unknown key, key=`stor`"),
        ("runpacks: {file: {rot: x}}", "unknown key, key=`rot`"),
        ("runpacks: {s3: {buckett: b}}", "unknown key, key=`buckett`"),
        ("runpacks: {store: s4}", "key=`runpacks.store` value=`s4`"),
        (
            "runpacks: {file: {root: x}, s3: {bucket: abc}}",
            "nothing says which is the store",
        ),
        ("runpacks: {auto_push: yes}", "key=`runpacks.auto_push`"),
        (
            "runpacks: {verify_on_push: 1}",
            "key=`runpacks.verify_on_push`",
        ),
        (
            "runpacks: {s3: {path_style: maybe}}",
            "key=`runpacks.s3.path_style`",
        ),
        ("runpacks: {s3: {bucket: A/b}}", "key=`runpacks.s3.bucket`"),
        (
            "runpacks: {s3: {endpoint: host}}",
            "an endpoint is written https://HOST",
        ),
        (
            "runpacks: {s3: {region: 'a b'}}",
            "key=`runpacks.s3.region`",
        ),
        (
            "runpacks: {s3: {path_prefix: ../x}}",
            "key=`runpacks.s3.path_prefix`",
        ),
        ("runpacks: {s3: {sse: rot13}}", "key=`runpacks.s3.sse`"),
        (
            "runpacks: {s3: {sse: AES256, sse_kms_key: k}}",
            "key=`runpacks.s3.sse_kms_key`",
        ),
        (
            "runpacks: {s3: {expected_owner: me}}",
            "key=`runpacks.s3.expected_owner`",
        ),
        (
            "runpacks: {s3: {create_only: never}}",
            "key=`runpacks.s3.create_only`",
        ),
        (
            "runpacks: {s3: {allow_plain_http: 'on'}}",
            "key=`runpacks.s3.allow_plain_http`",
        ),
        ("tenant:", "not what is expected"),
        ("runpacks:", "not what is expected"),
        ("runpacks: {file: ~}", "not what is expected"),
        ("runpacks: {s3: ~}", "not what is expected"),
        ("runpacks: x", "not what is expected"),
        ("runpacks: {store: [file]}", "not what is expected"),
        ("tenant: a\ntenant: b", "a key stands twice"),
    ] {
        let failure = load(text).unwrap_err();
        assert!(failure.line().contains(says), "{text}: {failure}");
    }
    let failure = load("runpacks: {file: {rot: x}}").unwrap_err();
    assert_eq!(failure.help(), "the only key here is `root`");
    let failure = load("runpacks: {s3: {buckett: b}}").unwrap_err();
    assert!(
        failure.help().starts_with("did you mean `bucket`?"),
        "{}",
        failure.help()
    );
}

#[test]
fn k01_credentials_in_the_file_are_refused_and_not_shown() {
    for text in [
        "runpacks: {s3: {secret_key: hunter2hunter2}}",
        "runpacks: {s3: {access_key: hunter2hunter2}}",
        "runpacks: {s3: {aws_secret_access_key: hunter2hunter2}}",
        "runpacks: {s3: {session_token: hunter2hunter2}}",
        "runpacks: {credentials: {secret: hunter2hunter2}}",
        "password: hunter2hunter2",
    ] {
        let failure = load(text).unwrap_err();
        assert!(
            failure
                .line()
                .starts_with("credentials never stand in a file"),
            "{failure}"
        );
        assert!(
            failure.help().contains("RUNPACK_STORE_SECRET_KEY"),
            "{}",
            failure.help()
        );
        assert!(!format!("{failure:?}").contains("hunter2"), "{failure:?}");
    }
}

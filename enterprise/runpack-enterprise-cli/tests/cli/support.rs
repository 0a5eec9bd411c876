//! A directory to work in, a bucket, and the program to run there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use runpack_testing::block_on;
use runpack_testing::servers::{BucketKind, Kind, TestBucket, shared};
use serde_json::Value;

/// What a run of the program gave.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }
}

/// How the run of the tests is named in a store.
pub(crate) const RUN: &str = "--tenant acme --namespace prod --scenario loan --run-id run-1";

pub(crate) struct Desk {
    directory: tempfile::TempDir,
    pub(crate) bucket: TestBucket,
    endpoint: String,
}

impl Desk {
    pub(crate) fn new(kind: Kind, how: BucketKind) -> Self {
        let bucket = block_on(shared(kind).bucket(how));
        let endpoint = bucket.server().endpoint.clone();
        let desk = Self {
            directory: tempfile::tempdir().unwrap(),
            bucket,
            endpoint,
        };
        desk.write("run/spec.json", "{\"test\":\"all\"}");
        desk.write("run/decisions.json", "{\"approve\":true}");
        desk.write("key.pem", include_str!("key.pem"));
        desk.write("key.pub.pem", include_str!("key.pub.pem"));
        desk.write("other.pub.pem", include_str!("other.pub.pem"));
        desk
    }

    /// The same by another way to the bucket.
    pub(crate) fn by_way_of(mut self, endpoint: String) -> Self {
        self.endpoint = endpoint;
        self
    }

    pub(crate) fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.directory.path().join(relative)
    }

    pub(crate) fn write(&self, relative: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
        let path = self.path(relative);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Configures `object_lock`, and whatever else is given below `runpacks`.
    pub(crate) fn configure(&self, object_lock: &str, more: &str) {
        let bucket = &self.bucket.name;
        let lock = if object_lock.is_empty() {
            String::new()
        } else {
            format!("    object_lock: {object_lock}\n")
        };
        let yaml = format!("runpacks:\n  s3:\n    bucket: {bucket}\n{lock}{more}");
        self.write("runpack.yaml", yaml);
    }

    /// A line in which `@` stands for the store, to be run.
    pub(crate) fn command(&self, line: &str) -> Command {
        let server = self.bucket.server();
        let store = format!("s3://{}", self.bucket.name);
        let mut command = Command::new(env!("CARGO_BIN_EXE_runpack-enterprise"));
        command
            .current_dir(self.directory.path())
            .env_clear()
            .env("RUNPACK_STATE_DIR", self.path("state"))
            .env("USER", "tester")
            .env("RUNPACK_STORE_ENDPOINT", &self.endpoint)
            .env("RUNPACK_STORE_REGION", &server.region)
            .env("RUNPACK_STORE_ACCESS_KEY", &server.access_key)
            .env("RUNPACK_STORE_SECRET_KEY", &server.secret_key)
            .env("RUNPACK_FROM_ACCESS_KEY", &server.access_key)
            .env("RUNPACK_FROM_SECRET_KEY", &server.secret_key)
            .stdin(Stdio::null())
            .args(
                line.split_whitespace()
                    .map(|word| word.replace('@', &store)),
            );
        command
    }

    /// Runs a line in which `@` stands for the store.
    pub(crate) fn line(&self, line: &str) -> Said {
        self.line_with(line, &[])
    }

    /// The same with more variables.
    pub(crate) fn line_with(&self, line: &str, variables: &[(&str, &str)]) -> Said {
        let output = self
            .command(line)
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        Said {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    pub(crate) fn json(&self, line: &str, code: i32) -> Value {
        self.line(&format!("{line} --json")).expect(code).json()
    }

    /// Exports `run/` to the bucket.
    pub(crate) fn export(&self, more: &str) -> Said {
        self.line(&format!(
            "export run {RUN} --spec run/spec.json --to @ {more}"
        ))
    }

    /// What was written into the audit log, by action.
    pub(crate) fn audited(&self, action: &str) -> Vec<Value> {
        let said = self.line("audit-log export").expect(0);
        let lines = said
            .out
            .lines()
            .map(|line| serde_json::from_str(line).unwrap());
        lines
            .filter(|entry: &Value| entry["action"] == action)
            .collect()
    }
}

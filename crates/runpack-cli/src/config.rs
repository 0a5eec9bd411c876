//! `runpack.yaml`: what is always the same, so that it need not be typed. Flags and the environment
//! come before it (`settings.rs`). Credentials never stand in it.

mod document;
mod regions;

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use runpack_core::store::s3::{
    Addressing, BucketName, CreateOnly, Encryption, Endpoint, PathPrefix, PlainHttp,
};

use crate::failure::Failure;
use crate::regions::Regions;
use crate::yaml;
use document::{Document, S3Section};

/// The name under which it is looked for in the current directory.
pub const CONFIG_FILE: &str = "runpack.yaml";

/// Which kind of store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreKind {
    /// A directory.
    File,
    /// A bucket.
    S3,
}

impl StoreKind {
    /// The name in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::S3 => "s3",
        }
    }
}

/// What the file says.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// The file; `None` where there is none.
    pub path: Option<PathBuf>,
    /// `tenant`
    pub tenant: Option<String>,
    /// `namespace`
    pub namespace: Option<String>,
    /// `scenario`
    pub scenario: Option<String>,
    /// `runpacks.store`
    pub store: Option<StoreKind>,
    /// `runpacks.auto_push`
    pub auto_push: Option<bool>,
    /// `runpacks.verify_on_push`
    pub verify_on_push: Option<bool>,
    /// `runpacks.file.root`; a relative one is relative to the file.
    pub store_root: Option<PathBuf>,
    /// `runpacks.s3`
    pub s3: S3Config,
    /// `runpacks.regions`
    pub regions: Option<Arc<Regions>>,
    /// `runpacks.policy`, as it is written: for the program's [`StoragePolicy`](crate::storage::StoragePolicy).
    pub policy: Option<serde_json::Value>,
}

/// What `runpacks.s3` says.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct S3Config {
    /// `endpoint`
    pub endpoint: Option<Endpoint>,
    /// `bucket`
    pub bucket: Option<BucketName>,
    /// `region`
    pub region: Option<String>,
    /// `path_prefix`
    pub path_prefix: Option<PathPrefix>,
    /// `path_style`
    pub path_style: Option<Addressing>,
    /// `sse` and `sse_kms_key`
    pub sse: Option<Encryption>,
    /// `expected_owner`
    pub expected_owner: Option<String>,
    /// `ca_file`; a relative one is relative to the file.
    pub ca_file: Option<PathBuf>,
    /// `allow_plain_http`
    pub allow_plain_http: Option<PlainHttp>,
    /// `create_only`
    pub create_only: Option<CreateOnly>,
    /// `object_lock`, as it is written: for the program's [`StoragePolicy`](crate::storage::StoragePolicy).
    pub object_lock: Option<serde_json::Value>,
}

impl Config {
    /// Reads the file at `path`, or `runpack.yaml` in the current directory if it is there.
    ///
    /// # Errors
    /// There is none at `path`, or it is not one.
    pub fn load(path: Option<&Path>) -> Result<Self, Failure> {
        let from = path.unwrap_or(Path::new(CONFIG_FILE));
        match (yaml::read::<Document>(from)?, path) {
            (Some(document), _) => Self::of(document, from),
            (None, None) => Ok(Self::default()),
            (None, Some(path)) => Err(Failure::new(
                format!("there is no configuration file, path=`{}`", path.display()),
                "check the path of --config",
            )),
        }
    }

    fn of(document: Document, from: &Path) -> Result<Self, Failure> {
        let beside = from.parent().unwrap_or(Path::new(""));
        let read = Read { from, beside };
        let runpacks = document.runpacks.unwrap_or_default();
        let (has_file, has_s3) = (runpacks.file.is_some(), runpacks.s3.is_some());
        let store = match runpacks.store.as_deref() {
            None if has_file && has_s3 => return Err(read.which_store()),
            None if has_s3 => Some(StoreKind::S3),
            None if has_file => Some(StoreKind::File),
            None => None,
            Some("file") => Some(StoreKind::File),
            Some("s3") => Some(StoreKind::S3),
            Some(other) => {
                return Err(read.wrong("runpacks.store", other, "a store is `file` or `s3`"));
            }
        };
        let flag = |key, text: Option<&str>| text.map(|text| read.flag(key, text)).transpose();
        let s3 = runpacks
            .s3
            .map(|section| read.s3("runpacks.s3", section))
            .transpose()?
            .unwrap_or_default();
        let auto_push = flag("runpacks.auto_push", runpacks.auto_push.as_deref())?;
        let regions = runpacks
            .regions
            .map(|section| read.regions(section))
            .transpose()?;
        if regions.is_some() {
            let only_locks = S3Config {
                object_lock: s3.object_lock.clone(),
                ..S3Config::default()
            };
            let other = [
                ("runpacks.policy", runpacks.policy.is_some()),
                ("runpacks.store", runpacks.store.is_some()),
                ("runpacks.file", has_file),
                ("runpacks.s3", s3 != only_locks),
                ("runpacks.auto_push", auto_push == Some(true)),
            ];
            if let Some((key, _)) = other.iter().find(|(_, is_given)| *is_given) {
                return Err(read.where_twice(key));
            }
        }
        Ok(Self {
            path: Some(from.to_owned()),
            tenant: document.tenant,
            namespace: document.namespace,
            scenario: document.scenario,
            store,
            auto_push,
            regions: regions.map(Arc::new),
            verify_on_push: flag(
                "runpacks.verify_on_push",
                runpacks.verify_on_push.as_deref(),
            )?,
            store_root: runpacks.file.map(|file| beside.join(file.root)),
            policy: runpacks.policy,
            s3,
        })
    }
}

/// Reads the values of one file.
struct Read<'a> {
    from: &'a Path,
    beside: &'a Path,
}

impl Read<'_> {
    fn wrong(&self, key: &str, value: &str, rule: &str) -> Failure {
        Failure::new(
            format!(
                "a value is not what is expected, key=`{key}` value=`{value}` path=`{}`",
                self.from.display()
            ),
            rule,
        )
    }

    fn which_store(&self) -> Failure {
        Failure::new(
            format!(
                "a directory and a bucket are given, and nothing says which is the store, path=`{}`",
                self.from.display()
            ),
            "write `store: file` or `store: s3` below `runpacks`",
        )
    }

    fn where_twice(&self, key: &str) -> Failure {
        Failure::new(
            format!(
                "`runpacks.regions` says where packs go, and so does another key, key=`{key}` path=`{}`",
                self.from.display()
            ),
            "remove that key: each region says how it is reached, and an export goes where its route leads; of \
             `runpacks.s3` only `object_lock` stays",
        )
    }

    fn flag(&self, key: &str, text: &str) -> Result<bool, Failure> {
        match text {
            "true" => Ok(true),
            "false" => Ok(false),
            other => Err(self.wrong(key, other, "write `true` or `false`")),
        }
    }

    fn parsed<T>(&self, key: &str, text: Option<String>) -> Result<Option<T>, Failure>
    where
        T: FromStr<Err: std::error::Error>,
    {
        let Some(text) = text else { return Ok(None) };
        let wrong = |error: T::Err| self.wrong(key, &text, "correct it").because(&error);
        text.parse().map(Some).map_err(wrong)
    }

    fn s3(&self, below: &str, section: S3Section) -> Result<S3Config, Failure> {
        let key = |name: &str| format!("{below}.{name}");
        let is =
            |name, text: Option<&str>| text.map(|text| self.flag(&key(name), text)).transpose();
        let path_style = is("path_style", section.path_style.as_deref())?;
        let plain = is("allow_plain_http", section.allow_plain_http.as_deref())?;
        let region = section.region.map(|region| {
            check_region(&region)
                .map_err(|rule| self.wrong(&key("region"), &region, rule))
                .map(|()| region)
        });
        let owner = section.expected_owner.map(|owner| {
            let is_account = owner.len() == 12 && owner.bytes().all(|b| b.is_ascii_digit());
            let rule = "an account is 12 digits; leave the key out where the store has no accounts";
            let wrong = || self.wrong(&key("expected_owner"), &owner, rule);
            is_account.then(|| owner.clone()).ok_or_else(wrong)
        });
        let create_only = section.create_only.map(|text| match text.as_str() {
            "conditional" => Ok(CreateOnly::Conditional),
            "oldest-version" => Ok(CreateOnly::OldestVersion),
            "dangerously-check-first" => Ok(CreateOnly::DangerouslyCheckFirst),
            other => Err(self.wrong(
                &key("create_only"),
                other,
                "write `conditional`, `oldest-version` (for a versioned bucket without conditional writes) or \
                 `dangerously-check-first`",
            )),
        });
        Ok(S3Config {
            endpoint: self.parsed(&key("endpoint"), section.endpoint)?,
            bucket: self.parsed(&key("bucket"), section.bucket)?,
            region: region.transpose()?,
            path_prefix: self.parsed(&key("path_prefix"), section.path_prefix)?,
            path_style: path_style.map(|is_path| {
                if is_path {
                    Addressing::Path
                } else {
                    Addressing::VirtualHost
                }
            }),
            sse: self.encryption(below, section.sse.as_deref(), section.sse_kms_key)?,
            expected_owner: owner.transpose()?,
            ca_file: section.ca_file.map(|path| self.beside.join(path)),
            allow_plain_http: plain.map(|is_allowed| {
                if is_allowed {
                    PlainHttp::DangerouslyAnywhere
                } else {
                    PlainHttp::OnlyLoopback
                }
            }),
            create_only: create_only.transpose()?,
            object_lock: section.object_lock,
        })
    }

    fn encryption(
        &self,
        below: &str,
        sse: Option<&str>,
        kms_key: Option<String>,
    ) -> Result<Option<Encryption>, Failure> {
        match (sse, kms_key) {
            (Some("aws:kms"), key) => Ok(Some(Encryption::SseKms(key))),
            (_, Some(key)) => Err(self.wrong(
                &format!("{below}.sse_kms_key"),
                &key,
                "a key of the key service goes with `sse: aws:kms`",
            )),
            (None, None) => Ok(None),
            (Some("bucket"), None) => Ok(Some(Encryption::OfBucket)),
            (Some("AES256"), None) => Ok(Some(Encryption::SseS3)),
            (Some(other), None) => Err(self.wrong(
                &format!("{below}.sse"),
                other,
                "write `bucket` (as the bucket is set up), `AES256` (keys of the store) or `aws:kms` (keys of the key \
                 service)",
            )),
        }
    }
}

/// Whether a text can be a region; they have no grammar that all services share.
pub(crate) fn check_region(text: &str) -> Result<(), &'static str> {
    let is_region = (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    is_region
        .then_some(())
        .ok_or("a region is written as the service names it, such as `eu-central-1`")
}

#[cfg(test)]
mod tests;

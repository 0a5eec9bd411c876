//! `runpack.yaml`: what is always the same, so that it need not be typed. Flags and the environment
//! come before it.

use std::fmt;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use serde::de::value::MapAccessDeserializer;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::context::Context;
use crate::failure::Failure;
use crate::place;
use crate::yaml;

/// The name under which it is looked for in the current directory.
pub const CONFIG_FILE: &str = "runpack.yaml";
/// The store where nothing names another.
pub const STORE_DEFAULT: &str = "runpacks";

/// What the file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// `tenant`
    pub tenant: Option<String>,
    /// `namespace`
    pub namespace: Option<String>,
    /// `scenario`
    pub scenario: Option<String>,
    /// `runpacks.file.root`; a relative one is relative to the file.
    pub store_root: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default, deserialize_with = "text")]
    tenant: Option<String>,
    #[serde(default, deserialize_with = "text")]
    namespace: Option<String>,
    #[serde(default, deserialize_with = "text")]
    scenario: Option<String>,
    #[serde(default, deserialize_with = "section")]
    runpacks: Option<Runpacks>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Runpacks {
    #[serde(default, deserialize_with = "text")]
    store: Option<String>,
    #[serde(default, deserialize_with = "section")]
    file: Option<FileSection>,
    #[serde(default, deserialize_with = "section")]
    s3: Option<S3Section>,
}

/// Refused whatever it says; only how depends on it.
#[derive(Deserialize)]
struct S3Section {
    object_lock: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileSection {
    root: String,
}

/// A key that is there has a value: `tenant:` alone is no way to say nothing.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    String::deserialize(deserializer).map(Some)
}

/// As [`text`], for a section: the library takes nothing for an empty one.
fn section<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    struct Section<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Section<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("keys below this one")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map))
        }
    }

    deserializer.deserialize_any(Section(PhantomData)).map(Some)
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
        let runpacks = document.runpacks;
        let store = runpacks
            .as_ref()
            .and_then(|runpacks| runpacks.store.as_deref());
        let s3 = runpacks.as_ref().and_then(|runpacks| runpacks.s3.as_ref());
        if s3.is_some_and(|s3| s3.object_lock.is_some()) {
            return Err(Failure::new(
                format!(
                    "`runpacks.s3.object_lock` asks for locked storage, which this program does not have, path=`{}`",
                    from.display()
                ),
                "use the enterprise build of runpack, which has it, or remove the key",
            ));
        }
        if s3.is_some() || store.is_some_and(|store| store != "file") {
            return Err(Failure::new(
                format!(
                    "this program keeps packs in directories only, `runpacks.store` is `{}` in path=`{}`",
                    store.unwrap_or("s3"),
                    from.display()
                ),
                "write `store: file`, and the directory as `file: {root: PATH}`",
            ));
        }
        let beside = from.parent().unwrap_or(Path::new(""));
        Ok(Self {
            tenant: document.tenant,
            namespace: document.namespace,
            scenario: document.scenario,
            store_root: runpacks
                .and_then(|runpacks| runpacks.file)
                .map(|file| beside.join(file.root)),
        })
    }
}

/// A store as `--to` and `--store` name it: `file:PATH`.
///
/// # Errors
/// It is no directory.
pub fn parse_store(text: &str) -> Result<PathBuf, String> {
    match place::path_of_file_uri(text) {
        Some(path) => Ok(path),
        None if text.contains("://") => {
            Err("this program keeps packs in directories only: write file:PATH".to_owned())
        }
        None => Err(format!("a store is written file:PATH, here file:{text}")),
    }
}

/// The store's directory: flag over environment over file over default.
///
/// # Errors
/// The configuration file is not one.
pub fn store_root(flag: Option<&Path>, context: &Context) -> Result<PathBuf, Failure> {
    if let Some(root) = flag {
        return Ok(root.to_owned());
    }
    if let Some(root) = &context.environment.store_root {
        return Ok(PathBuf::from(root));
    }
    Ok(context
        .config()?
        .store_root
        .unwrap_or_else(|| PathBuf::from(STORE_DEFAULT)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, Failure> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("c.yaml");
        std::fs::write(&path, text).unwrap();
        let mut config = Config::load(Some(&path))?;
        config.store_root = config.store_root.map(|root| {
            root.strip_prefix(directory.path())
                .map(Path::to_owned)
                .unwrap_or(root)
        });
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
                store_root: Some(PathBuf::from("packs")),
            }
        );
        let absolute = load("runpacks: {file: {root: /srv/packs}}").unwrap();
        assert_eq!(absolute.store_root, Some(PathBuf::from("/srv/packs")));
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
            (
                "runpacks: {store: s3}",
                "this program keeps packs in directories only",
            ),
            (
                "runpacks: {s3: {bucket: b}}",
                "this program keeps packs in directories only",
            ),
            (
                "runpacks: {s3: {object_lock: {mode: governance}}}",
                "locked storage",
            ),
            ("tenant:", "not what is expected"),
            ("runpacks:", "not what is expected"),
            ("runpacks: {file: ~}", "not what is expected"),
            ("runpacks: x", "not what is expected"),
            ("runpacks: {store: [file]}", "not what is expected"),
            ("tenant: a\ntenant: b", "a key stands twice"),
        ] {
            let failure = load(text).unwrap_err();
            assert!(failure.line().contains(says), "{text}: {failure}");
        }
        let failure = load("runpacks: {file: {rot: x}}").unwrap_err();
        assert_eq!(failure.help(), "the only key here is `root`");
    }
}

//! The file of `--map`: what files are, where their names do not tell.

use std::path::Path;

use runpack_core::id::StepId;
use runpack_core::manifest::{Kind, MediaType};
use runpack_core::name::ArtifactName;
use serde::Deserialize;

use crate::failure::Failure;
use crate::{glob, yaml};

/// The file's entries; the first whose path fits a file is the one for it.
#[derive(Debug, Default)]
pub struct Mapping {
    rules: Vec<Rule>,
}

/// One entry.
#[derive(Debug)]
#[non_exhaustive]
pub struct Rule {
    /// A path below the directory, or a pattern of such.
    pub path: String,
    /// The kind.
    pub kind: Option<Kind>,
    /// The media type.
    pub media_type: Option<MediaType>,
    /// The artifact name.
    pub name: Option<ArtifactName>,
    /// The step that made it.
    pub step: Option<StepId>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    artifacts: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    path: String,
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    step: Option<String>,
}

fn parse<T>(entry: &str, member: &str, text: Option<&str>) -> Result<Option<T>, Failure>
where
    T: std::str::FromStr<Err: std::error::Error>,
{
    text.map(str::parse).transpose().map_err(|error| {
        Failure::new(
            format!(
                "the mapping file gives a wrong `{member}`, path=`{entry}` {member}=`{}`",
                text.unwrap_or_default()
            ),
            "correct it; Docs/cli/README.md shows an example",
        )
        .because(&error)
    })
}

impl Mapping {
    /// Reads a mapping file.
    ///
    /// # Errors
    /// There is none, or it is not one.
    pub fn load(path: &Path) -> Result<Self, Failure> {
        let document: Document = yaml::read(path)?.ok_or_else(|| {
            Failure::new(
                format!("there is no mapping file, path=`{}`", path.display()),
                "check the path of --map",
            )
        })?;
        let rules = document.artifacts.into_iter().map(Rule::of);
        Ok(Self {
            rules: rules.collect::<Result<_, _>>()?,
        })
    }

    /// The entry for the file at this path, and its position.
    pub fn rule(&self, path: &[u8]) -> Option<(usize, &Rule)> {
        self.rules
            .iter()
            .enumerate()
            .find(|(_, rule)| glob::matches(rule.path.as_bytes(), path))
    }

    /// Objects to entries that were for no file: most likely they are misspelled.
    ///
    /// # Errors
    /// There are such entries.
    pub fn check_used(&self, used: &[usize]) -> Result<(), Failure> {
        let unused: Vec<String> = self
            .rules
            .iter()
            .enumerate()
            .filter(|(at, _)| !used.contains(at))
            .map(|(_, rule)| rule.path.clone())
            .collect();
        if unused.is_empty() {
            return Ok(());
        }
        Err(Failure::new(
            "the mapping file has entries that are for no file (the first entry that fits a file counts)",
            "correct their `path`, move them up, or remove them",
        )
        .with_details(unused))
    }
}

impl Rule {
    fn of(entry: Entry) -> Result<Self, Failure> {
        let path = entry.path;
        let kind: Option<Kind> = parse(&path, "kind", entry.kind.as_deref())?;
        if kind.as_ref().is_some_and(Kind::is_spec) {
            return Err(Failure::new(
                format!("the mapping file makes a file the spec, path=`{path}`"),
                "name the spec with --spec, and give it no kind here",
            ));
        }
        if entry.name.is_some() && !glob::is_plain(path.as_bytes()) {
            return Err(Failure::new(
                format!("the mapping file gives one name to a pattern, path=`{path}`"),
                "give names to single files only",
            ));
        }
        Ok(Self {
            kind,
            media_type: parse(&path, "media_type", entry.media_type.as_deref())?,
            name: parse(&path, "name", entry.name.as_deref())?,
            step: parse(&path, "step", entry.step.as_deref())?,
            path,
        })
    }
}

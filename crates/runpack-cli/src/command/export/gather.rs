//! What a directory holds, as artifacts to be: names, kinds, the spec.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use runpack_core::commitment::CHUNK_BYTES;
use runpack_core::digest::Digest;
use runpack_core::directory::{FileSource, FoundFile, scan};
use runpack_core::id::SpecHash;
use runpack_core::manifest::Text;
use runpack_core::name::ArtifactName;
use runpack_core::pack::{BytesSource, NewArtifact, Source};
use runpack_core::store::StoreError;

use crate::context::Context;
use crate::failure::Failure;
use crate::file;
use crate::mapping::Mapping;
use crate::{kinds, place};

/// The artifacts to be, and the digest of the spec among them.
pub(super) struct Gathered {
    pub(super) artifacts: Vec<NewArtifact>,
    pub(super) spec_hash: SpecHash,
}

/// Objects to a store or bundle inside the directory that is exported: the next export would find it.
pub(super) fn check_outside(directory: &Path, outputs: &[(&str, &Path)]) -> Result<(), Failure> {
    for (what, path) in outputs {
        if file::is_within(path, directory) {
            return Err(Failure::new(
                format!(
                    "the {what} would lie inside the directory that is exported, path=`{}`",
                    path.display()
                ),
                format!("put the {what} somewhere else; the store is named by --to file:PATH"),
            ));
        }
    }
    Ok(())
}

pub(super) fn gather(
    directory: &Path,
    spec: &Path,
    map: Option<&Path>,
    context: &Context,
) -> Result<Gathered, Failure> {
    let mapping = map.map(Mapping::load).transpose()?.unwrap_or_default();
    if !directory.is_dir() {
        return Err(Failure::new(
            format!(
                "there is no directory to export, path=`{}`",
                directory.display()
            ),
            "give the directory that holds the outputs of the run",
        ));
    }
    let found = scan(directory)?;
    if found.is_empty() {
        return Err(Failure::new(
            format!(
                "there are no files to export, path=`{}`",
                directory.display()
            ),
            "give the directory that holds the outputs of the run",
        ));
    }
    let spec_bytes = read_spec(spec, context)?;
    let spec_hash = SpecHash::new(Digest::of(&spec_bytes));
    let spec_path = path_within(directory, spec);

    let mut artifacts = Vec::with_capacity(found.len().saturating_add(1));
    let mut used = Vec::new();
    let mut refused = Vec::new();
    for file in found {
        let is_spec = spec_path.as_deref() == Some(file.path.as_slice());
        let rule = mapping.rule(&file.path);
        used.extend(rule.map(|(at, _)| at));
        let given = rule.and_then(|(_, rule)| rule.name.clone());
        match given.map_or_else(|| file.name.clone(), Ok) {
            Ok(name) => artifacts.push(artifact(
                &file,
                name,
                &mapping,
                is_spec.then_some(&spec_bytes),
            )?),
            Err(error) => refused.push(format!("{}: {error}", String::from_utf8_lossy(&file.path))),
        }
    }
    if !refused.is_empty() {
        return Err(Failure::new(
            "some files have names that no artifact can have",
            "rename them, or give them other names in the file of --map",
        )
        .with_details(refused));
    }
    mapping.check_used(&used)?;
    if spec_path.is_none() {
        artifacts.push(spec_from_outside(spec, &spec_bytes)?);
    }
    check_names(&artifacts)?;
    Ok(Gathered {
        artifacts,
        spec_hash,
    })
}

fn wrong_name(error: &dyn std::error::Error) -> Failure {
    Failure::new(
        "a file cannot be described",
        "report it with the name of the file",
    )
    .because(error)
}

fn artifact(
    file: &FoundFile,
    name: ArtifactName,
    mapping: &Mapping,
    spec: Option<&Bytes>,
) -> Result<NewArtifact, Failure> {
    let rule = mapping.rule(&file.path).map(|(_, rule)| rule);
    let last = file
        .path
        .rsplit(|&byte| byte == b'/')
        .next()
        .unwrap_or_default();
    let (media_type, kind) = kinds::of_file_name(last);
    let mut kind = kind.parse().map_err(|error| wrong_name(&error))?;
    let mut media_type = media_type.parse().map_err(|error| wrong_name(&error))?;
    if let Some(rule) = rule {
        kind = rule.kind.clone().unwrap_or(kind);
        media_type = rule.media_type.clone().unwrap_or(media_type);
    }
    let mut source: Arc<dyn Source> = file.source.clone();
    if let Some(bytes) = spec {
        // The very bytes whose digest stands in the identity, whatever becomes of the file meanwhile.
        source = Arc::new(BytesSource(bytes.clone()));
        kind = "spec".parse().map_err(|error| wrong_name(&error))?;
    }
    let mut artifact = NewArtifact::new(name, kind, media_type, source);
    artifact.step = rule.and_then(|rule| rule.step.clone());
    artifact.title = title(&artifact.name, last);
    Ok(artifact)
}

/// The original file name, where the artifact's name spells it differently.
fn title(name: &ArtifactName, original: &[u8]) -> Option<Text<1024>> {
    let last = name.components().last().unwrap_or_default();
    if last.as_bytes() == original {
        None
    } else {
        Text::lossy(original)
    }
}

fn spec_from_outside(path: &Path, bytes: &Bytes) -> Result<NewArtifact, Failure> {
    use std::os::unix::ffi::OsStrExt as _;
    let original = path.file_name().unwrap_or_default().as_bytes();
    let name = ArtifactName::from_original([original]).map_err(|error| {
        Failure::new(
            format!(
                "the spec's file name can be no artifact's, path=`{}`",
                path.display()
            ),
            "rename the file",
        )
        .because(&error)
    })?;
    let kind = "spec".parse().map_err(|error| wrong_name(&error))?;
    let media_type = kinds::of_file_name(original)
        .0
        .parse()
        .map_err(|error| wrong_name(&error))?;
    let mut artifact =
        NewArtifact::new(name, kind, media_type, Arc::new(BytesSource(bytes.clone())));
    artifact.title = title(&artifact.name, original);
    Ok(artifact)
}

fn read_spec(path: &Path, context: &Context) -> Result<Bytes, Failure> {
    let help = "give the file that says what was to be run as --spec FILE";
    let unread = |error: &StoreError| {
        Failure::new(
            format!("the spec could not be read, path=`{}`", path.display()),
            help,
        )
        .because(error)
    };
    let source = FileSource::open(path).map_err(|error| unread(&error))?;
    let read = context.wait(async {
        let mut bytes = Vec::new();
        let mut body = source.open(0..CHUNK_BYTES.saturating_add(1)).await?;
        while let Some(piece) = body.next().await {
            bytes.extend_from_slice(&piece?);
        }
        Ok(bytes)
    })?;
    let bytes = read.map_err(|error: StoreError| unread(&error))?;
    if u64::try_from(bytes.len()).is_ok_and(|bytes| bytes > CHUNK_BYTES) {
        return Err(Failure::new(
            format!("a spec has at most 8 MiB, path=`{}`", path.display()),
            "give a smaller file as --spec, one that names the large one by its SHA-256",
        ));
    }
    Ok(bytes.into())
}

/// The path of `file` below `directory`, as raw bytes, if it lies there.
fn path_within(directory: &Path, file: &Path) -> Option<Vec<u8>> {
    use std::os::unix::ffi::OsStrExt as _;
    let directory = std::fs::canonicalize(directory).ok()?;
    let file = place::absolute_new(file).ok()?;
    let below = file.strip_prefix(directory).ok()?;
    Some(below.as_os_str().as_bytes().to_vec())
}

/// Objects to artifacts of one name, before anything is read.
fn check_names(artifacts: &[NewArtifact]) -> Result<(), Failure> {
    let mut seen: BTreeMap<String, &ArtifactName> = BTreeMap::new();
    for artifact in artifacts {
        let folded = artifact.name.as_str().to_ascii_lowercase();
        if let Some(first) = seen.insert(folded, &artifact.name) {
            return Err(Failure::new(
                format!(
                    "two artifacts would have one name (letter case does not tell them apart), first=`{first}` \
                     second=`{}`",
                    artifact.name
                ),
                "rename one of the two files (the spec counts under its own file name), or give one another name in \
                 the file of --map",
            ));
        }
    }
    Ok(())
}

//! Writes the manifests of many packs, and with `--contents` their artifacts, into a directory that is laid out as a store: to
//! measure what reads them. The same numbers give the same bytes.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use runpack_core::commitment::Content;
use runpack_core::digest::Digest;
use runpack_core::id::PackId;
use runpack_core::key::Location;
use runpack_core::limits::Limits;
use runpack_core::manifest::{Artifact, Input, Labels, Manifest, Producer, Subject};
use runpack_core::time::Timestamp;

/// Write the manifests of many packs.
#[derive(Debug, Parser)]
struct Cli {
    /// The directory
    directory: PathBuf,
    /// How many packs
    #[arg(long, default_value_t = 10_000)]
    packs: u32,
    /// How many artifacts each has
    #[arg(long, default_value_t = 100)]
    artifacts: u32,
    /// Write the artifacts too; without, the manifests are of packs that hold nothing
    #[arg(long)]
    contents: bool,
}

type Failed = Box<dyn std::error::Error>;

/// Packs are made from each other in chains of so many.
const CHAIN: u32 = 20;
/// So many artifacts of each pack are the same in all.
const SHARED: u32 = 10;
const KINDS: [&str; 4] = ["dataset", "model", "log", "metrics"];
const MEDIA_TYPES: [&str; 3] = [
    "application/vnd.apache.parquet",
    "application/json",
    "text/plain",
];

fn main() -> ExitCode {
    match write(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody may be there to read it.
            let _ = writeln!(io::stderr(), "runpack-manifests: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write(cli: &Cli) -> Result<(), Failed> {
    let mut last: Option<Manifest> = None;
    for number in 0..cli.packs {
        let before = last.filter(|_| !number.is_multiple_of(CHAIN));
        let manifest = manifest(number, cli.artifacts, before.as_ref())?;
        put(&cli.directory, &manifest)?;
        if cli.contents {
            put_artifacts(&cli.directory, number, &manifest)?;
        }
        last = Some(manifest);
    }
    Ok(())
}

fn put(directory: &Path, manifest: &Manifest) -> Result<(), Failed> {
    let key = Location::manifest(manifest.subject()).key()?;
    let path = directory.join(key.as_str());
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    Ok(fs::write(path, manifest.to_bytes())?)
}

fn put_artifacts(directory: &Path, number: u32, manifest: &Manifest) -> Result<(), Failed> {
    for (position, artifact) in (0..).zip(manifest.artifacts()) {
        let location =
            Location::artifact(manifest.subject(), artifact.name(), artifact.commitment());
        let path = directory.join(location.key()?.as_str());
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, content(number, position))?;
    }
    Ok(())
}

fn manifest(number: u32, artifacts: u32, before: Option<&Manifest>) -> Result<Manifest, Failed> {
    let subject = Subject::Run {
        tenant: format!("tenant-{}", number.rem_euclid(20)).parse()?,
        namespace: "prod".parse()?,
        scenario: format!("scenario-{}", number.rem_euclid(50)).parse()?,
        run_id: format!("run-{number:07}").parse()?,
        spec_hash: format!("sha256:{}", Digest::of(b"spec")).parse()?,
    };
    let mut made = Vec::new();
    for position in 0..artifacts {
        let mut one = artifact(number, position)?;
        // The first of its own is made from the first of the pack before.
        if let Some(before) = before.filter(|_| position == SHARED) {
            one = one.with_inputs(vec![source(before)?]);
        }
        made.push(one);
    }
    let labels: Labels = [(
        "team".parse()?,
        format!("team-{}", number.rem_euclid(7)).parse()?,
    )]
    .into();
    // Ten minutes apart.
    let created_at = Timestamp::from_unix_seconds(
        u64::from(number)
            .saturating_mul(600)
            .saturating_add(1_700_000_000),
    )?;
    let producer = Producer {
        name: "runpack".parse()?,
        version: "0.1.0".parse()?,
    };
    let limits = Limits::default();
    Ok(Manifest::new(
        subject, created_at, producer, made, labels, &limits,
    )?)
}

fn artifact(number: u32, position: u32) -> Result<Artifact, Failed> {
    let content = content(number, position);
    let one_of = |all: &'static [&'static str]| {
        let mut around = all.iter().cycle();
        around
            .nth(usize::try_from(position).unwrap_or(0))
            .copied()
            .unwrap_or_default()
    };
    Ok(Artifact::new(
        name(position).parse()?,
        one_of(&KINDS).parse()?,
        one_of(&MEDIA_TYPES).parse()?,
        u64::try_from(content.len())?,
        Content::Whole(Digest::of(content.as_bytes())),
    )?)
}

/// About a kilobyte of text, and a little more for each artifact of a pack.
fn content(number: u32, position: u32) -> String {
    let text = if position < SHARED {
        format!("shared {position}")
    } else {
        format!("{number} {position}")
    };
    let bytes = usize::try_from(position).unwrap_or(0);
    let bytes = bytes.saturating_mul(37).saturating_add(1_000);
    format!("{text:<bytes$}")
}

fn name(position: u32) -> String {
    format!("outputs/part-{position:04}.parquet")
}

fn source(before: &Manifest) -> Result<Input, Failed> {
    let name = name(SHARED);
    let artifact = before
        .artifact(&name)
        .ok_or("a pack has too few artifacts")?;
    let pack: PackId = before.pack_id();
    Ok(Input {
        commitment: artifact.commitment(),
        name: name.parse()?,
        pack,
    })
}

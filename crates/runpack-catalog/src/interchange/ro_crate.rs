//! RO-Crate 1.3 with the profile Process Run Crate 0.5: a pack as archives of research data take it.
//!
//! The root dataset is the pack. Its files lie in `pack/` of the crate, as they are in a pack directory, manifest and all, so
//! that the pack in there stays closed and verifies: `ro-crate-metadata.json` lies beside it, and not in it. A file has a
//! `sha256` where that is the digest of the whole; a commitment to chunks is none, and stands under its own name.

use std::collections::BTreeSet;

use runpack_core::commitment::CHUNK_BYTES;
use runpack_core::digest::Digest;
use runpack_core::time::Timestamp;
use serde_json::{Value, json};

use super::{Account, Interchange, Outcome, Source, Told, label, name, set};
use crate::entry::ArtifactEntry;

const SPECIFICATION: &str = "https://w3id.org/ro/crate/1.3";
const PROFILE: &str = "https://w3id.org/ro/wfrun/process/0.5";
/// Where in the crate the pack is.
const FOLDER: &str = "pack";

impl Interchange {
    /// `ro-crate-metadata.json` of a pack; nothing where there are several, because a crate is about one.
    pub fn to_ro_crate(&self) -> Option<Value> {
        match self.packs.as_slice() {
            [account] => Some(crate_of(account)),
            _ => None,
        }
    }
}

fn crate_of(account: &Account) -> Value {
    let mut graph = vec![
        json!({
            "@id": "ro-crate-metadata.json",
            "@type": "CreativeWork",
            "name": "What is in this crate",
            "conformsTo": id(SPECIFICATION),
            "about": id("./"),
        }),
        root(account),
        json!({
            "@id": PROFILE,
            "@type": ["CreativeWork", "Profile"],
            "name": "Process Run Crate",
            "version": "0.5",
        }),
        json!({
            "@id": "#pack-id",
            "@type": "PropertyValue",
            "name": "pack id",
            "propertyID": "urn:runpack:pack:v1",
            "value": account.pack.pack_id,
        }),
        action(account),
        program(account),
        owner(account),
    ];
    graph.extend(license(account).1);
    graph.extend(agent(account));
    graph.push(manifest(account));
    graph.extend(account.artifacts().map(file));
    let chunked = account
        .artifacts()
        .map(|told| &told.artifact)
        .filter(|one| is_chunked(one));
    let chunked: BTreeSet<Digest> = chunked.map(|artifact| artifact.commitment).collect();
    graph.extend(chunked.iter().map(commitment));
    let mut sources: Vec<&Source> = account.sources().collect();
    let key = |source: &&Source| (source.input.pack, source.input.name.clone());
    sources.sort_by_key(key);
    sources.dedup_by_key(|source| key(source));
    graph.extend(sources.into_iter().map(source));
    json!({ "@context": format!("{SPECIFICATION}/context"), "@graph": graph })
}

fn root(account: &Account) -> Value {
    let pack = &account.pack;
    let files = account.artifacts().map(|told| path(&told.artifact.name));
    let files = files.chain([path("manifest.json")]);
    let mut root = json!({
        "@id": "./",
        "@type": "Dataset",
        "name": name::title(&pack.subject),
        "description": format!(
            "The evidence pack {} of {}. Whether its files are those that it was made of was not checked for this \
             description.",
            pack.pack_id,
            name::title(&pack.subject)
        ),
        "datePublished": pack.created_at,
        "license": id(&license(account).0),
        "identifier": id("#pack-id"),
        "publisher": id("#owner"),
        "conformsTo": id(PROFILE),
        "mentions": id(&run(account)),
        "hasPart": each(files.map(|file| id(&file)).collect()),
    });
    if !account.labels.is_empty() {
        let labels = account.labels.iter();
        set(
            &mut root,
            "keywords",
            each(
                labels
                    .map(|(key, value)| json!(format!("{key}={value}")))
                    .collect(),
            ),
        );
    }
    root
}

fn action(account: &Account) -> Value {
    let left_out = match account.left_out {
        0 => String::new(),
        left_out => format!(
            " Sources that are left out, because they are not as they are named: {left_out}."
        ),
    };
    let title = name::title(&account.pack.subject);
    let mut action = json!({
        "@id": run(account),
        "@type": "CreateAction",
        "name": title,
        "description": format!("What was run, as its pack says.{left_out}"),
        "endTime": offset(account.pack.created_at),
        "instrument": id(&program_id(account)),
        "agent": id(if agent(account).is_some() { "#agent" } else { "#owner" }),
        "actionStatus": match account.outcome() {
            Outcome::Passed => "http://schema.org/CompletedActionStatus",
            Outcome::Failed | Outcome::Cancelled => "http://schema.org/FailedActionStatus",
        },
    });
    if let Some(started_at) = account.started_at {
        set(&mut action, "startTime", json!(offset(started_at)));
    }
    if account.outcome() != Outcome::Passed {
        set(
            &mut action,
            "error",
            json!(
                account
                    .label(label::ERROR)
                    .or(account.label(label::OUTCOME))
            ),
        );
    }
    let given = account.given.iter().map(|told| path(&told.artifact.name));
    let mut sources: Vec<String> = account.sources().map(source_id).collect();
    sources.sort_unstable();
    sources.dedup();
    let objects: Vec<Value> = given.chain(sources).map(|object| id(&object)).collect();
    if !objects.is_empty() {
        set(&mut action, "object", each(objects));
    }
    let made: Vec<Value> = account
        .made
        .iter()
        .map(|told| id(&path(&told.artifact.name)))
        .collect();
    if !made.is_empty() {
        set(&mut action, "result", each(made));
    }
    action
}

fn program(account: &Account) -> Value {
    let producer = &account.pack.producer;
    json!({
        "@id": program_id(account),
        "@type": "SoftwareApplication",
        "name": producer.name,
        "description": "The program that made the pack.",
        "version": producer.version,
        // No pack says where its program is to be had; this names it.
        "url": program_id(account),
    })
}

fn owner(account: &Account) -> Value {
    let owner = name::owner(&account.pack.subject);
    let tenant = owner.split('/').next().unwrap_or(&owner);
    json!({
        "@id": "#owner",
        "@type": "Organization",
        "name": tenant,
        "description": "Whose run it is, as its pack says.",
    })
}

/// Who ran it, where a label says so.
fn agent(account: &Account) -> Option<Value> {
    Some(json!({
        "@id": "#agent",
        "@type": "Person",
        "name": account.agent()?,
        "description": "Who ran it, as its pack says: a person or a program.",
    }))
}

/// A licence by its URL, where a label has one; else what is known of it in words.
fn license(account: &Account) -> (String, Option<Value>) {
    let said = account.label(label::LICENSE);
    if let Some(url) = said.filter(|said| is_url(said)) {
        let entity = json!({
            "@id": url,
            "@type": "CreativeWork",
            "name": url,
            "description": "The licence that the pack names.",
        });
        return (url.to_owned(), Some(entity));
    }
    let entity = json!({
        "@id": "#license",
        "@type": "CreativeWork",
        "name": said.unwrap_or("no licence is stated"),
        "description": "What the pack says of a licence. This description grants none.",
    });
    ("#license".to_owned(), Some(entity))
}

/// Only what stands for itself in a reference, and for nothing that is in a crate by itself.
fn is_url(text: &str) -> bool {
    if text.starts_with("https://w3id.org/ro/") {
        return false;
    }
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| {
        let mut bytes = rest.bytes();
        bytes
            .next()
            .is_some_and(|first| first.is_ascii_alphanumeric())
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte))
    })
}

fn manifest(account: &Account) -> Value {
    json!({
        "@id": path("manifest.json"),
        "@type": "File",
        "name": "manifest.json",
        "description": "The manifest, which commits to every byte of the pack. Its SHA-256 is the pack id.",
        "encodingFormat": "application/json",
        "sha256": account.pack.pack_id.digest(),
    })
}

fn file(told: &Told) -> Value {
    let artifact = &told.artifact;
    let path = path(&artifact.name);
    let mut file = json!({
        "@id": path,
        "@type": "File",
        "name": artifact.title.as_ref().unwrap_or(&artifact.name),
        "description": format!("an artifact of kind {}", artifact.kind),
        "encodingFormat": artifact.media_type,
        "contentSize": artifact.bytes.to_string(),
    });
    if is_chunked(artifact) {
        set(
            &mut file,
            "identifier",
            id(&commitment_id(&artifact.commitment)),
        );
    } else {
        set(&mut file, "sha256", json!(artifact.commitment));
    }
    if !told.sources.is_empty() {
        let mut sources: Vec<String> = told.sources.iter().map(source_id).collect();
        sources.sort_unstable();
        sources.dedup();
        set(
            &mut file,
            "isBasedOn",
            each(sources.iter().map(|source| id(source)).collect()),
        );
    }
    file
}

/// Whether its commitment is one to chunks, and no digest of the whole.
fn is_chunked(artifact: &ArtifactEntry) -> bool {
    artifact.bytes > CHUNK_BYTES
}

fn commitment(commitment: &Digest) -> Value {
    json!({
        "@id": commitment_id(commitment),
        "@type": "PropertyValue",
        "name": "commitment to chunks",
        "propertyID": "urn:runpack:chunks:v1",
        "value": commitment,
    })
}

fn commitment_id(commitment: &Digest) -> String {
    format!("#commitment-{commitment}")
}

/// An artifact of another pack, which is not in the crate.
fn source(source: &Source) -> Value {
    let input = &source.input;
    let how = if source.known.is_some() {
        "as it is named there"
    } else {
        "as this pack claims, which nobody has compared"
    };
    json!({
        "@id": source_id(source),
        "@type": "CreativeWork",
        "name": input.name,
        "description": format!("An artifact of the pack {}, {how}; commitment {}.", input.pack, input.commitment),
    })
}

fn source_id(source: &Source) -> String {
    let name = name::artifact(source.input.pack, &source.input.name);
    format!("urn:runpack:artifact:sha256:{name}")
}

fn program_id(account: &Account) -> String {
    let producer = &account.pack.producer;
    let program = format!("{}/{}", producer.name, producer.version);
    format!("urn:runpack:producer:{}", name::encoded(&program))
}

fn run(account: &Account) -> String {
    format!("urn:uuid:{}", name::run_uuid(&account.pack.subject))
}

fn path(artifact: &str) -> String {
    format!("{FOLDER}/{}", name::encoded(artifact))
}

fn id(id: &str) -> Value {
    json!({ "@id": id })
}

/// One value stands by itself, several in a list (RO-Crate 1.3, appendix on JSON-LD).
fn each(mut values: Vec<Value>) -> Value {
    if values.len() == 1 {
        values.pop().unwrap_or_default()
    } else {
        Value::Array(values)
    }
}

/// A time as the profile's validator takes it: with an offset in numbers.
fn offset(time: Timestamp) -> String {
    time.to_string().replace('Z', "+00:00")
}

//! `runpack_export`: outputs of a run become a pack.
//!
//! Until the artifacts are staged a cancelled request ends here, and leaves nothing that anybody takes for a pack; from
//! then on the manifest is committed and told, whoever waits for it.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use rmcp::model::JsonObject;
use runpack_core::commitment::CHUNK_BYTES;
use runpack_core::digest::Digest;
use runpack_core::display::chain;
use runpack_core::id::{Namespace, RunId, Scenario, SpecHash, Tenant};
use runpack_core::key::Location;
use runpack_core::manifest::{Labels, Manifest, Subject, Text};
use runpack_core::name::ArtifactName;
use runpack_core::pack::{
    BytesSource, Commit, CommittedPack, NewArtifact, PackDraft, PackError, Source,
};
use runpack_core::store::StoreError;
use serde_json::Value;
use tokio::time::Instant;

use super::Work;
use super::answer::{Answer, ArtifactKept, Exported, LINES_MAX, LinkMade, add};
use super::ask::{ArtifactAsked, ExportAsked, read};
use super::call::{Session, Told, cancelled};
use crate::access::{Scope, Verb};
use crate::api::query::{parse, parse_some};
use crate::links::{VALID_FOR, link_to};
use crate::metrics::Kind;
use crate::packs::PacksError;
use crate::problem::Problem;

impl Work {
    pub(super) async fn export(
        &self,
        session: &Session,
        arguments: JsonObject,
        told: &mut Told,
        nobody_waits: impl Future<Output = ()> + Send,
    ) -> Result<Answer, Problem> {
        let clock = Instant::now();
        let exported = self.keep(session, arguments, told, nobody_waits).await;
        if let Some(metrics) = &self.metrics {
            match &exported {
                Ok((exported, Commit::New)) => {
                    metrics.kept(Kind::Pack, exported.bytes, clock.elapsed());
                }
                Ok(_) => {}
                Err(problem) => metrics.not_kept(Kind::Pack, problem.code()),
            }
        }
        exported.map(|(exported, _)| Answer::new(exported.text(), &exported))
    }

    async fn keep(
        &self,
        session: &Session,
        arguments: JsonObject,
        told: &mut Told,
        nobody_waits: impl Future<Output = ()> + Send,
    ) -> Result<(Exported, Commit), Problem> {
        let asked: ExportAsked = read(arguments)?;
        let tenant: Tenant = parse("tenant", &asked.tenant)?;
        let namespace: Namespace = parse("namespace", &asked.namespace)?;
        let scenario: Scenario = parse("scenario", &asked.scenario)?;
        let run_id = match parse_some("run_id", asked.run_id.as_deref())? {
            Some(run_id) => run_id,
            None => self.fresh_run_id()?,
        };
        told.object = format!("{tenant}/{namespace}/{scenario}/{run_id}");
        let scope = Scope {
            organization: tenant.as_str().into(),
            project: Some(namespace.as_str().into()),
        };
        session.may_write(&scope)?;

        let (spec, spec_hash) = spec(asked.spec)?;
        let subject = Subject::Run {
            tenant,
            namespace,
            scenario,
            run_id,
            spec_hash,
        };
        self.check_size(&asked.artifacts)?;
        let begun = self.clock.now();
        let mut draft = PackDraft::new(subject, begun, self.producer.clone())
            .with_labels(labels(asked.labels)?)
            .with_limits(self.packs.limits().clone());
        draft.add(spec);
        for artifact in asked.artifacts {
            draft.add(self.artifact(artifact).await?);
        }

        let staged = tokio::select! {
            staged = draft.stage(Arc::clone(self.packs.writing())) => staged.map_err(not_exported)?,
            () = nobody_waits => return Err(cancelled()),
        };
        let staged = staged.with_deadline(Arc::clone(&self.clock), begun);
        let committed = staged.commit().await.map_err(not_exported)?;
        told.note("pack_id", &committed.manifest.pack_id());
        told.note("outcome", outcome(committed.commit));
        self.packs.settle(&committed.manifest).await;
        let exported = self.exported(session, &scope, &committed).await;
        Ok((exported, committed.commit))
    }

    fn fresh_run_id(&self) -> Result<RunId, Problem> {
        let milliseconds = self.clock.now().unix_seconds().saturating_mul(1_000);
        let random = ulid::Ulid::generate().random();
        let made = ulid::Ulid::from_parts(milliseconds, random).to_string();
        made.parse()
            .map_err(|_| Problem::bug("no run id could be made"))
    }

    /// That what stands in the request is not too much, before any of it is copied.
    fn check_size(&self, artifacts: &[ArtifactAsked]) -> Result<(), Problem> {
        if artifacts.len() > self.limits.artifacts_max {
            return Err(Problem::too_large(format!(
                "at most {} artifacts are taken at once",
                self.limits.artifacts_max
            )));
        }
        let inline = artifacts.iter().fold(0usize, |sum, artifact| {
            let text = artifact.text.as_ref().map_or(0, String::len);
            // Four characters say three bytes; padding makes it at most two less.
            let coded = artifact.base64.as_ref().map_or(0, String::len);
            let decoded = coded.div_euclid(4).saturating_mul(3).saturating_sub(2);
            sum.saturating_add(text).saturating_add(decoded)
        });
        if inline > self.limits.inline_bytes_max {
            return Err(Problem::too_large(format!(
                "at most {} bytes are taken in one request: larger outputs are exported by `runpack export` where they \
                 are, or by their paths where the operator opened a root",
                self.limits.inline_bytes_max
            )));
        }
        Ok(())
    }

    async fn artifact(&self, asked: ArtifactAsked) -> Result<NewArtifact, Problem> {
        let ArtifactAsked {
            name,
            kind,
            media_type,
            text,
            base64,
            path,
        } = asked;
        let original = name.or_else(|| path.clone()).unwrap_or_default();
        let (name, title) = name_of(&original)?;
        let (source, otherwise): (Arc<dyn Source>, _) = match (text, base64, path) {
            (Some(text), None, None) => (Arc::new(BytesSource(text.into())), "text/plain"),
            (None, Some(coded), None) => {
                let bytes = STANDARD.decode(coded).map_err(|_| {
                    Problem::bad_body("not base 64 (RFC 4648, section 4, with padding)")
                        .at(format!("base64 of `{name}`"))
                })?;
                (
                    Arc::new(BytesSource(bytes.into())),
                    "application/octet-stream",
                )
            }
            (None, None, Some(path)) => {
                let root = self.root.as_ref().ok_or_else(no_paths)?;
                let file = root.file(&path).await;
                let file = file.map_err(|error| not_below(&path, &error))?;
                (Arc::new(file), "application/octet-stream")
            }
            _ => {
                return Err(Problem::bad_body(
                    "exactly one of `text`, `base64` and, where they are taken, `path` gives the bytes",
                )
                .at(name.to_string()));
            }
        };
        let kind = kind.as_deref().unwrap_or("file");
        if kind == "spec" {
            return Err(Problem::bad_body(
                "the specification is given as `spec`, and no artifact has that kind",
            )
            .at(name.to_string()));
        }
        let media_type = media_type.as_deref().unwrap_or(otherwise);
        let kind = parse("kind", kind)?;
        let media_type = parse("media_type", media_type)?;
        let mut artifact = NewArtifact::new(name, kind, media_type, source);
        artifact.title = title;
        Ok(artifact)
    }

    async fn exported(
        &self,
        session: &Session,
        scope: &Scope,
        committed: &CommittedPack,
    ) -> Exported {
        let manifest = &*committed.manifest;
        let id = |name: &str| {
            let mut fields = manifest.subject().fields().into_iter();
            fields
                .find(|(field, _)| *field == name)
                .unwrap_or_default()
                .1
        };
        let pack_id = manifest.pack_id().to_string();
        let artifacts = manifest.artifacts().iter().map(|artifact| ArtifactKept {
            name: artifact.name().to_string(),
            kind: artifact.kind().as_str().to_owned(),
            bytes: artifact.bytes(),
            commitment: artifact.commitment().to_string(),
        });
        let markdown = format!(
            "Evidence pack `{pack_id}` of run `{}/{}/{}/{}`: {} artifacts, {} bytes, made {}",
            id("tenant"),
            id("namespace"),
            id("scenario"),
            id("run_id"),
            manifest.artifacts().len(),
            manifest.artifact_bytes(),
            manifest.created_at()
        );
        // Over HTTP nobody needs to know which bucket it is.
        let place = match &self.operator {
            Some(_) => committed.storage_uri.clone(),
            None => format!("/v1/packs/{pack_id}"),
        };
        let links = if session.caller.may(Verb::Read, scope) {
            self.links_to(manifest).await
        } else {
            Vec::new()
        };
        Exported {
            outcome: outcome(committed.commit),
            run_id: id("run_id"),
            spec_hash: id("spec_hash"),
            created_at: manifest.created_at().to_string(),
            place,
            bytes: manifest.artifact_bytes(),
            artifacts: artifacts.collect(),
            markdown,
            links,
            pack_id,
        }
    }

    /// Links, as far as the store signs them: the pack is kept with them or without.
    async fn links_to(&self, manifest: &Manifest) -> Vec<LinkMade> {
        let mut made = Vec::new();
        let Some(signer) = &self.links else {
            return made;
        };
        let now = self.clock.now();
        for artifact in manifest.artifacts().iter().take(self.limits.links_max) {
            let at = Location::artifact(manifest.subject(), artifact.name(), artifact.commitment());
            let Ok(key) = at.key() else {
                continue;
            };
            let linked = link_to(&**signer, self.packs.store(), &key, VALID_FOR, now).await;
            let link = match linked {
                Ok(link) => link,
                Err(error) => {
                    tracing::warn!(error = chain(&error), "a link could not be signed");
                    break;
                }
            };
            made.push(LinkMade {
                name: artifact.name().to_string(),
                markdown: link.to_markdown(artifact.name().as_str()),
                url: link.reveal().to_owned(),
                expires_at: link.expires_at.to_string(),
            });
        }
        made
    }
}

/// The problem of a path where none may be named.
pub(super) fn no_paths() -> Problem {
    Problem::bad_body(
        "paths are not taken here: give the bytes in the request, or a pack by its id",
    )
    .at("path".to_owned())
}

/// The problem of a path that leads nowhere.
pub(super) fn not_below(path: &str, error: &StoreError) -> Problem {
    let path = path.escape_default();
    match error {
        StoreError::NotFound { .. } => {
            Problem::not_found(format!("there is no such file below the root, path=`{path}`"))
        }
        StoreError::Unsafe { .. } => Problem::bad_body(format!(
            "a path is that of a regular file below the root, relative to it, without links and `..`, path=`{path}`"
        ))
        .at("path".to_owned()),
        error => {
            tracing::warn!(error = chain(error), "a file below the root was not opened");
            Problem::bad_body(format!("the file cannot be opened, path=`{path}`"))
                .at("path".to_owned())
        }
    }
}

const fn outcome(commit: Commit) -> &'static str {
    match commit {
        Commit::New => "new",
        Commit::Again => "again",
        Commit::SameEvidence => "same-evidence",
    }
}

/// The specification as an artifact, and its hash.
fn spec(asked: Value) -> Result<(NewArtifact, SpecHash), Problem> {
    let (name, media_type, bytes) = match asked {
        Value::String(text) => ("spec.txt", "text/plain", Bytes::from(text)),
        mut json @ (Value::Object(_) | Value::Array(_)) => {
            json.sort_all_objects();
            ("spec.json", "application/json", json.to_string().into())
        }
        _ => {
            return Err(
                Problem::bad_body("a specification is a text, an object or an array")
                    .at("spec".to_owned()),
            );
        }
    };
    if bytes.is_empty() {
        let problem = Problem::bad_body("a specification is not empty");
        return Err(problem.at("spec".to_owned()));
    }
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > CHUNK_BYTES {
        let problem =
            Problem::too_large(format!("a specification has at most {CHUNK_BYTES} bytes"));
        return Err(problem.at("spec".to_owned()));
    }
    let hash = SpecHash::new(Digest::of(&bytes));
    let artifact = NewArtifact::new(
        parse("spec", name)?,
        parse("spec", "spec")?,
        parse("spec", media_type)?,
        Arc::new(BytesSource(bytes)),
    );
    Ok((artifact, hash))
}

/// The name within the pack that an original name gives, and the original where it is spelled otherwise.
fn name_of(original: &str) -> Result<(ArtifactName, Option<Text<1024>>), Problem> {
    let name = ArtifactName::from_original(original.split('/').map(str::as_bytes));
    let name = name.map_err(|error| {
        let shown: String = original.chars().take(80).collect();
        Problem::bad_body(error.to_string()).at(format!("name `{}`", shown.escape_default()))
    })?;
    let title = if name.as_str() == original {
        None
    } else {
        original
            .rsplit('/')
            .next()
            .and_then(|last| Text::lossy(last.as_bytes()))
    };
    Ok((name, title))
}

fn labels(asked: std::collections::BTreeMap<String, String>) -> Result<Labels, Problem> {
    let parsed = asked.into_iter().map(|(key, value)| {
        let key = parse("labels", &key)?;
        Ok((key, parse("labels", &value)?))
    });
    parsed.collect()
}

/// What an agent is told of a pack that was not made.
fn not_exported(error: PackError) -> Problem {
    match error {
        PackError::Manifest(_) | PackError::Key(_) => Problem::bad_body(error.to_string()),
        PackError::ArtifactSize { .. } => Problem::too_large(error.to_string()),
        PackError::Source { ref name, .. } => {
            tracing::warn!(error = chain(&error), "an artifact was not read");
            Problem::state(format!(
                "an artifact could not be read, or changed while it was, name=`{name}`"
            ))
        }
        error => PacksError::from(error).into(),
    }
}

impl Exported {
    fn text(&self) -> String {
        let mut text = format!(
            "kept, outcome {}: pack {}\nrun {}, spec {}, made {}, at {}\n{} artifacts, {} bytes\n",
            self.outcome,
            self.pack_id,
            self.run_id,
            self.spec_hash,
            self.created_at,
            runpack_core::display::Printable(&self.place),
            self.artifacts.len(),
            self.bytes
        );
        for artifact in self.artifacts.iter().take(LINES_MAX) {
            add(
                &mut text,
                format_args!(
                    "- `{}`: {}, {} bytes, commitment {}\n",
                    artifact.name, artifact.kind, artifact.bytes, artifact.commitment
                ),
            );
        }
        if self.artifacts.len() > LINES_MAX {
            text.push_str("- the others are in the structured answer\n");
        }
        add(&mut text, format_args!("{}\n", self.markdown));
        for link in self.links.iter().take(LINES_MAX) {
            add(&mut text, format_args!("- {}\n", link.markdown));
        }
        text.push_str(
            "Keep the pack id elsewhere: it proves later that this is the pack that was made.\n",
        );
        text
    }
}

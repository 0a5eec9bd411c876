//! One item of the tree in one round: whose it is, whether it is at rest, and what is done with it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use runpack_core::id::{ExecutionId, RunId};
use runpack_core::manifest::Text;
use runpack_core::verify::Level;
use rustix::fs::FileType;
use tokio::time::Instant;

use super::execution::{self, Proved, covers};
use super::marker::{COMPLETE, Kept, Marker, Place, is_ours};
use super::problem::Problem;
use super::record::{self, PAYLOAD};
use super::tree::{Folder, Look, blocking};
use super::{OnFailure, Ship, Shipped, Target, clean};
use crate::record::Stream;

/// What became of an item in a round.
pub(super) enum Fate {
    Shipped(Shipped),
    Already,
    Waiting,
    Cleaned,
    Stays(Problem),
    Failed(Problem),
}

/// Whose an item is, as its path says.
enum Identity {
    Execution(Text<128>, ExecutionId),
    Record(Stream, RunId),
}

/// The folders `depth` levels below the root, and what stands on the way that is none.
pub(super) fn items(root: &Folder, depth: usize) -> (Vec<PathBuf>, Vec<(PathBuf, Problem)>) {
    let mut strangers = Vec::new();
    let mut level = vec![PathBuf::new()];
    for _ in 0..depth {
        let mut next = Vec::new();
        for above in level {
            let entries = root.below(&above).and_then(|folder| folder.entries());
            let entries = match entries {
                Ok(entries) => entries,
                Err(problem) => {
                    strangers.push((above, problem));
                    continue;
                }
            };
            for (name, kind) in entries {
                // Theirs who keep the file system: `.snapshot`, `.nfs...`, `lost+found`.
                if name.starts_with(b".") || name == b"lost+found" {
                    continue;
                }
                match String::from_utf8(name) {
                    Ok(name) if kind == FileType::Directory => next.push(above.join(name)),
                    Ok(name) => {
                        let text = "a directory is expected there".to_owned();
                        strangers.push((above.join(name), Problem::Stranger(text)));
                    }
                    Err(error) => {
                        let name = String::from_utf8_lossy(error.as_bytes()).into_owned();
                        let text = "its name is no UTF-8".to_owned();
                        strangers.push((above.join(name), Problem::Stranger(text)));
                    }
                }
            }
        }
        level = next;
    }
    (level, strangers)
}

impl Ship {
    pub(super) async fn visit(&self, item: &Path) -> Fate {
        match self.try_visit(item).await {
            Ok(fate) => fate,
            Err(problem) => Fate::Failed(problem),
        }
    }

    async fn try_visit(&self, item: &Path) -> Result<Fate, Problem> {
        let identity = self.identity(item)?;
        let (folder, place) = self.folder(item).await?;
        let looking = place.clone();
        if let Some(marker) = blocking(move || looking.read()).await? {
            return Ok(self.old(item, &identity, &folder, place, &marker).await);
        }
        let looking = Arc::clone(&folder);
        let entries_max = self.settings.entries_max;
        let looked = blocking(move || looking.look(is_ours, entries_max)).await;
        let look = match looked {
            Ok(look) => look,
            // Something is at work there.
            Err(Problem::SourceChanged(_)) => return Ok(Fate::Waiting),
            Err(problem) => {
                // What there is of it cannot be told, and is not needed to say that it cannot be shipped.
                let none = Look::default();
                return Err(self.failed(item, &identity, &folder, &none, problem).await);
            }
        };
        if !self.is_ready(item, &folder, &look).await? {
            return Ok(Fate::Waiting);
        }
        let checking = place.clone();
        blocking(move || checking.check()).await?;
        let proved = match self.ship(&identity, &folder, &look).await {
            Ok(proved) => proved,
            Err(problem) => {
                return Err(self.failed(item, &identity, &folder, &look, problem).await);
            }
        };
        self.mark_shipped(item, place, proved).await
    }

    fn identity(&self, item: &Path) -> Result<Identity, Problem> {
        let parts: Vec<&str> = item
            .components()
            .filter_map(|component| component.as_os_str().to_str())
            .collect();
        let stranger = |what: &str, error: &dyn std::fmt::Display| {
            Problem::Stranger(format!("{what}: {error}"))
        };
        match (&self.target, &parts[..]) {
            (Target::Executions(_), [bench, id]) => Ok(Identity::Execution(
                bench.parse().map_err(|e| stranger("no bench id", &e))?,
                id.parse().map_err(|e| stranger("no execution id", &e))?,
            )),
            (Target::Records(_), [organization, project, service, run_id]) => {
                let stream = Stream {
                    organization: organization
                        .parse()
                        .map_err(|e| stranger("no organization", &e))?,
                    project: project.parse().map_err(|e| stranger("no project", &e))?,
                    service: service.parse().map_err(|e| stranger("no service", &e))?,
                };
                let run_id = run_id.parse().map_err(|e| stranger("no run id", &e))?;
                Ok(Identity::Record(stream, run_id))
            }
            _ => Err(Problem::Stranger("it is no item's folder".to_owned())),
        }
    }

    async fn folder(&self, item: &Path) -> Result<(Arc<Folder>, Place), Problem> {
        let (root, path) = (Arc::clone(&self.root), item.to_owned());
        let folder = Arc::new(blocking(move || root.below(&path)).await?);
        let named = item.to_string_lossy();
        let place = match &self.state {
            Some(state) => Place::in_state(Arc::clone(state), &named),
            None => Place::in_tree(Arc::clone(&folder), &named),
        };
        Ok((folder, place))
    }

    /// Whether nothing has changed for long enough. The clock of the file system may be another than ours, so a change that
    /// seems to be in the future, or just now, settles nothing: then two looks that see the same do, by our clock alone.
    async fn is_ready(
        &self,
        item: &Path,
        folder: &Arc<Folder>,
        look: &Look,
    ) -> Result<bool, Problem> {
        let (folder, now) = (Arc::clone(folder), self.clock.now().unix_seconds());
        let says_complete = blocking(move || {
            let entries = folder.entries()?;
            Ok(entries
                .iter()
                .any(|(name, kind)| name == COMPLETE.as_bytes() && *kind == FileType::RegularFile))
        });
        let says_complete = says_complete.await?;
        let is_there = match &self.target {
            Target::Executions(_) => {
                says_complete
                    || !look.specials.is_empty()
                    || look.files.keys().any(|path| path.starts_with(b"raw/"))
            }
            Target::Records(_) => {
                !look.specials.is_empty() || look.files.contains_key(PAYLOAD.as_bytes())
            }
        };
        if !is_there || says_complete {
            return Ok(is_there);
        }
        let settle = self.settings.settle;
        let age = now.checked_sub(u64::try_from(look.newest).unwrap_or(0));
        if age.is_some_and(|age| age > settle.as_secs()) || settle.is_zero() {
            return Ok(true);
        }
        let (now, print) = (Instant::now(), look.fingerprint());
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (was, since) = *seen
            .entry(item.to_owned())
            .and_modify(|entry| {
                if entry.0 != print {
                    *entry = (print, now);
                }
            })
            .or_insert((print, now));
        Ok(was == print && now.saturating_duration_since(since) >= settle)
    }

    async fn ship(
        &self,
        identity: &Identity,
        folder: &Arc<Folder>,
        look: &Look,
    ) -> Result<Proved, Problem> {
        look.check()?;
        match (&self.target, identity) {
            (Target::Executions(to), Identity::Execution(bench, id)) => {
                let found = execution::Found {
                    id,
                    bench,
                    folder,
                    look,
                };
                to.ship(found, &self.backoff, self.settings.entries_max)
                    .await
            }
            (Target::Records(to), Identity::Record(stream, run_id)) => {
                let found = record::Found {
                    stream,
                    run_id,
                    folder,
                    look,
                };
                to.ship(found, &self.backoff).await
            }
            _ => Err(Problem::Stranger("it is of another layout".to_owned())),
        }
    }

    async fn mark_shipped(
        &self,
        item: &Path,
        place: Place,
        proved: Proved,
    ) -> Result<Fate, Problem> {
        let Proved { kept, key, files } = proved;
        let named = item.to_string_lossy();
        let marker = Marker::new(&named, kept, key.clone(), self.clock.now(), files);
        blocking(move || place.write(&marker)).await?;
        let path = item.to_owned();
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.remove(&path);
        Ok(Fate::Shipped(Shipped { path, kept, key }))
    }

    /// What is told of an item that failed; it is marked first where that was asked for and it failed often enough.
    async fn failed(
        &self,
        item: &Path,
        identity: &Identity,
        folder: &Arc<Folder>,
        look: &Look,
        problem: Problem,
    ) -> Problem {
        let (Target::Executions(to), Identity::Execution(bench, id)) = (&self.target, identity)
        else {
            return problem;
        };
        if to.benches.on_failure != OnFailure::Mark || !problem.is_of_the_tree() {
            return problem;
        }
        let rounds = {
            let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
            let rounds = failures.entry(item.to_owned()).or_insert(0);
            *rounds = rounds.saturating_add(1);
            *rounds
        };
        if rounds < self.settings.rounds_until_marked {
            return problem;
        }
        let found = execution::Found {
            id,
            bench,
            folder,
            look,
        };
        match to.mark(found, &problem, &self.backoff).await {
            Ok(()) => Problem::Marked(problem.to_string()),
            // It stays as it is, and so does what is wrong with it.
            Err(_) => problem,
        }
    }

    /// An item that was shipped before. What came since is told in every round, and where it is old enough and all of it
    /// still holds, it is removed.
    async fn old(
        &self,
        item: &Path,
        identity: &Identity,
        folder: &Arc<Folder>,
        place: Place,
        marker: &Marker,
    ) -> Fate {
        let look = match clean::looked(folder, marker, self.settings.entries_max).await {
            Ok(look) => look,
            Err(problem) => return Fate::Stays(problem),
        };
        let Some(clean_after) = self.settings.clean_after else {
            return Fate::Already;
        };
        let since = marker.shipped_at.unix_seconds();
        let age = self.clock.now().unix_seconds().checked_sub(since);
        if age.is_none_or(|age| age < clean_after.as_secs()) {
            return Fate::Already;
        }
        let shipped = (marker, look);
        match self.clean(item, identity, folder, place, shipped).await {
            Ok(()) => Fate::Cleaned,
            Err(problem) => Fate::Stays(problem),
        }
    }

    async fn clean(
        &self,
        item: &Path,
        identity: &Identity,
        folder: &Arc<Folder>,
        place: Place,
        (marker, look): (&Marker, Look),
    ) -> Result<(), Problem> {
        clean::unchanged(folder, marker, &look).await?;
        match (&self.target, identity, marker.kept) {
            (Target::Executions(to), Identity::Execution(_, id), Kept::PackId(pack_id)) => {
                // That it is there and of its size is not enough to remove the other copy.
                let verify = || to.verify(id, pack_id, Level::Full);
                covers(&*self.backoff.tries(verify).await?, &marker.files)?;
            }
            (Target::Records(to), Identity::Record(stream, run_id), Kept::BodySha256(sha256)) => {
                if marker.files.iter().any(|file| file.sha256 != sha256) {
                    let text = "its marker names other bytes than the record has".to_owned();
                    return Err(Problem::Stays(text));
                }
                to.read_back(stream, run_id, sha256, &self.backoff).await?;
            }
            _ => {
                let text = "its marker is of another layout".to_owned();
                return Err(Problem::Stays(text));
            }
        }
        let root = Arc::clone(&self.root);
        let named = item.to_string_lossy().into_owned();
        clean::remove(root, named, Arc::clone(folder), look, place).await
    }
}

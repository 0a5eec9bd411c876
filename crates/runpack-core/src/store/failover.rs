//! One store read through several: the primary, and where it is away its replicas.
//!
//! What is read is as untrusted as ever, and whoever verifies holds every byte against the manifest; this only says
//! where to ask next. Invariants:
//!
//! - the primary is asked first, and a replica only where the primary did not answer: an answer, "not there" and "not
//!   allowed" among them, is the primary's word and stands, unless a caller says otherwise ([`FailoverSettings`]);
//! - **absence in a replica is not absence**: what no replica has while the primary is away is *unavailable*, never "not
//!   there";
//! - one range comes from one source from its first byte to its last, and a bundle as a whole does, so that what turns out
//!   to be wrong has one author ([`FailoverReader::blame`]);
//! - a version is of one source and is asked of no other; a replica's object is its oldest version, as everywhere;
//! - each answer and each piece has a deadline, and a source that missed it is left alone for a while, so that a primary that
//!   is away costs one deadline and not one for each object;
//! - nothing is ever written: this is no sink.

mod account;
mod listing;
mod source;

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use futures_util::stream;

pub use account::SourceAccount;
pub use source::{Role, Source};

use self::source::Standing;
use super::{ArtifactReader, ListStream, ObjectBody, ObjectRef, ObjectStat, StoreError, VersionId};
use crate::key::{KeyPrefix, Location, ObjectKey};

/// How many ranges that replicas gave are remembered one by one. Beyond it a replica answers for whatever it gave.
const RANGES_MAX: usize = 100_000;

/// When replicas are asked, and how long each source has.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FailoverSettings {
    /// How long a source has to begin an answer, and then for each piece of it.
    pub answer_within: Duration,
    /// How long a source that did not answer is left alone.
    pub leave_alone_for: Duration,
    /// Ask replicas also where the primary does not allow the reading. Whoever may no longer read the primary goes on
    /// reading its replicas then.
    pub where_denied: bool,
    /// Ask replicas also for what the primary says is not there. What was removed from the primary comes back then, as long
    /// as one replica has it.
    pub where_missing: bool,
}

impl Default for FailoverSettings {
    fn default() -> Self {
        Self {
            answer_within: Duration::from_secs(10),
            leave_alone_for: Duration::from_secs(15),
            where_denied: false,
            where_missing: false,
        }
    }
}

/// A store read through several. Clones are the same one.
#[derive(Clone)]
pub struct FailoverReader {
    shared: Arc<Shared>,
}

struct Shared {
    sources: Vec<Source>,
    settings: FailoverSettings,
    given: Mutex<Given>,
}

/// What replicas gave.
#[derive(Default)]
struct Given {
    /// By key and first byte: from which source the range came last, where that was a replica.
    ranges: HashMap<(ObjectKey, u64), usize>,
    /// Whether there were more than are remembered.
    has_more: bool,
    /// From which source a bundle was begun.
    bundles: HashMap<ObjectKey, usize>,
}

/// Which sources may be asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Among {
    All,
    Only(usize),
}

/// What is asked of one source.
type Asked<T> = BoxFuture<'static, Result<T, StoreError>>;

impl FailoverReader {
    /// Reads through these, in this order; the first is the primary, or there is none ([`Role`]).
    pub fn new(sources: Vec<Source>, settings: FailoverSettings) -> Self {
        Self {
            shared: Arc::new(Shared {
                sources,
                settings,
                given: Mutex::default(),
            }),
        }
    }

    /// What was read from where so far.
    pub fn account(&self) -> Vec<SourceAccount> {
        self.shared.sources.iter().map(Source::account).collect()
    }

    /// How often any source did not answer so far.
    pub fn failures(&self) -> u64 {
        self.account().iter().map(|source| source.failures).sum()
    }

    /// Which replicas gave what was read of `key`: of the ranges that begin at `starts`, or of any where none is named.
    pub fn blame(&self, key: &ObjectKey, starts: &[u64]) -> Vec<Arc<str>> {
        let given = self.shared.given();
        let mut blamed: Vec<usize> = given
            .ranges
            .iter()
            .filter(|((known, start), _)| {
                known == key && (starts.is_empty() || starts.contains(start))
            })
            .map(|(_, source)| *source)
            .collect();
        let has_more = given.has_more;
        drop(given);
        if blamed.is_empty() && has_more {
            let gave =
                |source: &Source| source.role == Role::Replica && source.account().objects > 0;
            let sources = self.shared.sources.iter().enumerate();
            blamed.extend(sources.filter(|(_, source)| gave(source)).map(|(at, _)| at));
        }
        blamed.sort_unstable();
        blamed.dedup();
        let name = |at: usize| Some(Arc::clone(&self.shared.sources.get(at)?.name));
        blamed.into_iter().filter_map(name).collect()
    }

    /// Reads no more from this replica, for the reason that is given: what it has is not what it should be.
    pub fn set_aside(&self, replica: &str, why: &str) {
        for (at, source) in self.shared.sources.iter().enumerate() {
            if *source.name == *replica && source.role == Role::Replica {
                source.set_aside(why);
                let mut given = self.shared.given();
                given.ranges.retain(|_, from| *from != at);
                given.bundles.retain(|_, from| *from != at);
            }
        }
    }
}

impl fmt::Debug for FailoverReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FailoverReader")
            .field("sources", &self.shared.sources)
            .field("settings", &self.shared.settings)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn given(&self) -> MutexGuard<'_, Given> {
        // What is there was put there whole.
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks one source after the other until one answers, and says which.
    async fn first<T>(
        &self,
        key: &str,
        among: Among,
        ask: impl Fn(Arc<dyn ArtifactReader>, Role) -> Asked<T> + Send + Sync,
    ) -> Result<(usize, T), StoreError> {
        let mut turned_away: Vec<String> = Vec::new();
        let mut last = None;
        for (at, source) in self.sources.iter().enumerate() {
            if among != Among::All && among != Among::Only(at) {
                continue;
            }
            let reader = match source.standing(self.settings.leave_alone_for) {
                Standing::Asked(reader) => reader,
                Standing::LeftAlone(why) => {
                    turned_away.push(format!("{}: {why}", source.shown()));
                    continue;
                }
            };
            let error = match self.within(source, key, ask(reader, source.role)).await {
                Ok(answer) => return Ok((at, answer)),
                Err(error) => error,
            };
            let goes_on = match (source.role, &error) {
                (Role::Replica, _) => true,
                (Role::Primary, StoreError::Denied { .. }) => self.settings.where_denied,
                (Role::Primary, StoreError::NotFound { .. }) => self.settings.where_missing,
                (Role::Primary, error) => error.is_retryable(),
            };
            if !goes_on || among != Among::All {
                return Err(Self::told(source, error, key));
            }
            turned_away.push(format!(
                "{}: {}",
                source.shown(),
                crate::display::chain(&error)
            ));
            if source.role == Role::Primary && !error.is_retryable() {
                last = Some(error);
            }
        }
        // A primary that says "not there" or "not allowed", and that no replica contradicts, is right.
        Err(last.unwrap_or_else(|| unavailable(key, turned_away.join("; "))))
    }

    /// A single source's error: a replica's "not there" is none.
    fn told(source: &Source, error: StoreError, key: &str) -> StoreError {
        match (source.role, error) {
            (Role::Replica, error @ StoreError::NotFound { .. }) => {
                unavailable(key, format!("{}: {error}", source.shown()))
            }
            (_, error) => error,
        }
    }

    /// What a source answers, or that it did not in time; kept in its standing.
    async fn within<T>(
        &self,
        source: &Source,
        key: &str,
        asked: Asked<T>,
    ) -> Result<T, StoreError> {
        let answered = tokio::time::timeout(self.settings.answer_within, asked).await;
        let error = match answered {
            Ok(Ok(answer)) => {
                source.answered();
                return Ok(answer);
            }
            Ok(Err(error)) => error,
            Err(_) => late(key, self.settings.answer_within),
        };
        if error.is_retryable() {
            source.failed(&error, self.settings.leave_alone_for);
        } else {
            // It is there: what it says is another matter.
            source.answered();
        }
        Err(error)
    }

    /// Remembers that a range came from this source.
    fn remember(&self, at: usize, key: &ObjectKey, start: u64) {
        let is_replica = self
            .sources
            .get(at)
            .is_some_and(|source| source.role == Role::Replica);
        let mut given = self.given();
        if start == 0 && is_bundle(key) {
            given.bundles.insert(key.clone(), at);
        }
        let place = (key.clone(), start);
        if !is_replica {
            given.ranges.remove(&place);
        } else if given.ranges.len() < RANGES_MAX || given.ranges.contains_key(&place) {
            given.ranges.insert(place, at);
        } else {
            given.has_more = true;
        }
    }

    /// Who may be asked for this range, and for which version.
    fn among(&self, object: &ObjectRef, start: u64) -> Result<(Among, ObjectRef), StoreError> {
        let Some(version) = &object.version else {
            let begun = (start > 0 && is_bundle(&object.key))
                .then(|| self.given().bundles.get(&object.key).copied())
                .flatten();
            return Ok((begun.map_or(Among::All, Among::Only), object.clone()));
        };
        if let Some((at, version)) = self.source_of(version) {
            let key = object.key.clone();
            return Ok((Among::Only(at), ObjectRef { key, version }));
        }
        let primary = self
            .sources
            .iter()
            .position(|source| source.role == Role::Primary);
        match primary {
            Some(at) => Ok((Among::Only(at), object.clone())),
            None => Err(unavailable(
                object.key.as_str(),
                "this version is the primary's, which is not read here".to_owned(),
            )),
        }
    }

    /// The source whose version this is, and its own name for it; `None` for the primary's, whose names are their own.
    fn source_of(&self, version: &VersionId) -> Option<(usize, Option<VersionId>)> {
        self.sources.iter().enumerate().find_map(|(at, source)| {
            let own = version.as_str().strip_prefix(&mark(source)?)?;
            Some((at, (!own.is_empty()).then(|| VersionId::new(own))))
        })
    }

    /// What a source says of an object, its versions marked as its own.
    fn marked(&self, at: usize, mut stat: ObjectStat) -> ObjectStat {
        if let Some(mark) = self.sources.get(at).and_then(mark) {
            let own = stat.version.as_ref().map_or("", VersionId::as_str);
            stat.version = Some(VersionId::new(&format!("{mark}{own}")));
        }
        stat
    }

    /// A body whose pieces come in time, counted.
    fn watched(self: &Arc<Self>, at: usize, key: &ObjectKey, body: ObjectBody) -> ObjectBody {
        let bytes_claimed = body.bytes_claimed;
        let state = Some((Arc::clone(self), key.clone(), body));
        let pieces = stream::unfold(state, move |state| async move {
            let (shared, key, mut body) = state?;
            let source = shared.sources.get(at)?;
            let next = tokio::time::timeout(shared.settings.answer_within, body.next()).await;
            let error = match next {
                Ok(None) => return None,
                Ok(Some(Ok(piece))) => {
                    source.gave(crate::count::len_u64(&piece));
                    return Some((Ok(piece), Some((shared, key, body))));
                }
                Ok(Some(Err(error))) => error,
                Err(_) => late(key.as_str(), shared.settings.answer_within),
            };
            if error.is_retryable() {
                source.failed(&error, shared.settings.leave_alone_for);
            }
            Some((Err(error), None))
        });
        ObjectBody {
            bytes_claimed,
            stream: Box::pin(pieces),
        }
    }
}

/// What marks the versions of a replica. No store names a version so: they are of letters, digits and punctuation.
fn mark(source: &Source) -> Option<String> {
    (source.role == Role::Replica).then(|| format!("\u{1f}{}\u{1f}", source.name))
}

fn is_bundle(key: &ObjectKey) -> bool {
    matches!(Location::parse(key.as_str()), Some(Location::Bundle { .. }))
}

/// Whether what has this key makes a pack: of it a replica's oldest version counts. All else is addressed by what it is.
fn makes_a_pack(key: &ObjectKey) -> bool {
    Location::parse(key.as_str()).is_some_and(|location| {
        matches!(location, Location::Bundle { .. }) || location.manifest_subject().is_some()
    })
}

/// The object as this source has it.
async fn as_it_has_it(
    reader: &dyn ArtifactReader,
    role: Role,
    object: ObjectRef,
) -> Result<ObjectRef, StoreError> {
    if role == Role::Replica && object.version.is_none() && makes_a_pack(&object.key) {
        return Ok(reader.oldest(&object.key).await?.0);
    }
    Ok(object)
}

/// What was met in place of an answer.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Met(String);

fn unavailable(key: &str, met: String) -> StoreError {
    StoreError::Unavailable {
        action: "a reading, through primary or replica,",
        key: key.to_owned(),
        source: Box::new(Met(met)),
    }
}

fn late(key: &str, within: Duration) -> StoreError {
    unavailable(key, format!("no answer within {} s", within.as_secs()))
}

#[async_trait]
impl ArtifactReader for FailoverReader {
    async fn open(&self, object: &ObjectRef, range: Range<u64>) -> Result<ObjectBody, StoreError> {
        let (among, object) = self.shared.among(object, range.start)?;
        let ask = |reader: Arc<dyn ArtifactReader>, role: Role| -> Asked<ObjectBody> {
            let (object, range) = (object.clone(), range.clone());
            Box::pin(async move {
                let object = as_it_has_it(&*reader, role, object).await?;
                reader.open(&object, range).await
            })
        };
        let (at, body) = self.shared.first(object.key.as_str(), among, ask).await?;
        self.shared.remember(at, &object.key, range.start);
        if let Some(source) = self.shared.sources.get(at) {
            source.opened();
        }
        Ok(self.shared.watched(at, &object.key, body))
    }

    async fn stat(&self, object: &ObjectRef) -> Result<ObjectStat, StoreError> {
        let (among, object) = self.shared.among(object, 0)?;
        let ask = |reader: Arc<dyn ArtifactReader>, role: Role| -> Asked<ObjectStat> {
            let object = object.clone();
            Box::pin(async move {
                let object = as_it_has_it(&*reader, role, object).await?;
                reader.stat(&object).await
            })
        };
        let (at, stat) = self.shared.first(object.key.as_str(), among, ask).await?;
        Ok(self.shared.marked(at, stat))
    }

    /// Until the first entry any source may be the one; from then on it is that one's listing. A replica's may lack what is
    /// new: [`SourceAccount::listings`] says whose it was.
    fn list(&self, prefix: &KeyPrefix) -> ListStream {
        listing::list(&self.shared, prefix)
    }

    async fn versions(&self, key: &ObjectKey) -> Result<Vec<ObjectStat>, StoreError> {
        let absent = || StoreError::NotFound {
            key: key.to_string(),
        };
        let ask = |reader: Arc<dyn ArtifactReader>, _: Role| -> Asked<Vec<ObjectStat>> {
            let (key, absent) = (key.clone(), absent());
            Box::pin(async move {
                let versions = reader.versions(&key).await?;
                if versions.is_empty() {
                    Err(absent)
                } else {
                    Ok(versions)
                }
            })
        };
        match self.shared.first(key.as_str(), Among::All, ask).await {
            Ok((at, versions)) => {
                let marked = versions
                    .into_iter()
                    .map(|stat| self.shared.marked(at, stat));
                Ok(marked.collect())
            }
            // The primary's word.
            Err(StoreError::NotFound { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    fn requests_in_flight(&self) -> usize {
        let readers = self.shared.sources.iter().filter_map(Source::reader);
        let each = readers.map(|reader| reader.requests_in_flight());
        each.max().unwrap_or(1)
    }

    fn storage_uri(&self, key: &ObjectKey) -> String {
        let mut readers = self.shared.sources.iter().filter_map(Source::reader);
        readers
            .next()
            .map_or_else(String::new, |reader| reader.storage_uri(key))
    }
}

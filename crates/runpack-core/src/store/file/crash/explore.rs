//! Going through the states after a power cut: which are looked at, and on what they are looked at.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::sys::record::Event;
use super::model::{Content, Contents, Disk, Fate, Image, Pending};
use crate::digest::Digest;

/// How many of the states there are to be looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Effort {
    /// Up to so many pending things, all combinations of them.
    pub(super) exhaustive_max: usize,
    /// Beyond that, so many random ones beside those in which at most two are lost, or at most two kept.
    pub(super) random: usize,
    /// For each combination outside of the staging directory, so many in it.
    pub(super) staging: usize,
}

impl Effort {
    pub(super) const USUAL: Self = Self {
        exhaustive_max: 10,
        random: 250,
        staging: 3,
    };
    pub(super) const SOAK: Self = Self {
        exhaustive_max: 12,
        random: 1_000,
        staging: 4,
    };
    /// For files that are large to look at.
    pub(super) const FEW: Self = Self {
        exhaustive_max: 3,
        random: 12,
        staging: 1,
    };
}

/// `SplitMix64` (Steele, Lea, Flood 2014): the same states in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    fn fate(&mut self) -> Fate {
        if self.next().is_multiple_of(2) {
            Fate::Kept
        } else {
            Fate::Lost
        }
    }
}

/// The fates of what is pending that are to be looked at.
fn choices(pending: &[Pending], effort: Effort, random: &mut Random) -> Vec<Vec<Fate>> {
    let main = pending.iter().filter(|pending| !pending.is_staging).count();
    let mut choices = Vec::new();
    if main <= effort.exhaustive_max {
        for kept in 0..1_u32 << main {
            let fate = |at| {
                if kept >> at & 1 == 1 {
                    Fate::Kept
                } else {
                    Fate::Lost
                }
            };
            choices.push((0..main).map(fate).collect());
        }
    } else {
        for (most, few) in [(Fate::Kept, Fate::Lost), (Fate::Lost, Fate::Kept)] {
            choices.push(vec![most; main]);
            for one in 0..main {
                for other in one..main {
                    let mut fates = vec![most; main];
                    fates[one] = few;
                    fates[other] = few;
                    choices.push(fates);
                }
            }
        }
        for _ in 0..effort.random {
            choices.push((0..main).map(|_| random.fate()).collect());
        }
    }
    // Each write torn in each way, among others that are all there, all lost, or as it comes.
    for (at, torn) in pending[..main].iter().enumerate() {
        for fate in torn.partial_fates() {
            for others in [Some(Fate::Kept), Some(Fate::Lost), None] {
                let other = |_| others.unwrap_or_else(|| random.fate());
                let mut fates: Vec<_> = (0..main).map(other).collect();
                fates[at] = fate;
                choices.push(fates);
            }
        }
    }
    let staging = pending.len() - main;
    let mut all = Vec::new();
    for choice in choices {
        for variant in 0..effort.staging {
            let fate = |_| match variant {
                0 => Fate::Kept,
                1 => Fate::Lost,
                _ => random.fate(),
            };
            let mut choice = choice.clone();
            choice.extend((0..staging).map(fate));
            all.push(choice);
            if staging == 0 {
                break;
            }
        }
    }
    all
}

/// A state to be looked at.
pub(super) struct State<'a> {
    pub(super) image: Image,
    /// What had been acknowledged.
    pub(super) acknowledged: Vec<&'a str>,
    /// How many events had happened.
    pub(super) after: usize,
}

/// Makes each state in which the power may go after at least `from` of the events, each once, in a
/// directory, and looks at it, on all cores. Gives the number of different images, or what is wrong.
pub(super) fn look_at_all(
    events: &[Event],
    from: usize,
    effort: Effort,
    look: impl Fn(&Path, &State<'_>) -> Result<(), String> + Sync,
) -> Result<usize, String> {
    let scratch = super::scratch();
    let pool = Pool::new(scratch.path().join("pool"));
    let mut images = HashSet::new();
    let mut seen = HashSet::new();
    let mut contents = Contents::default();
    let mut random = Random(1);
    for after in from..=events.len() {
        let disk = Disk::after(&events[..after]);
        let pending = disk.pending();
        let mut states = Vec::new();
        for fates in choices(&pending, effort, &mut random) {
            let image = disk.image(&pending, &fates, &mut contents);
            let digest = image.digest();
            images.insert(digest);
            if seen.insert((digest, disk.marks.len())) {
                states.push(State {
                    image,
                    acknowledged: disk.marks.clone(),
                    after,
                });
            }
        }
        look_at_some(&states, scratch.path(), &pool, &look)?;
    }
    Ok(images.len())
}

fn look_at_some(
    states: &[State<'_>],
    scratch: &Path,
    pool: &Pool,
    look: &(impl Fn(&Path, &State<'_>) -> Result<(), String> + Sync),
) -> Result<(), String> {
    let next = AtomicUsize::new(0);
    let wrong = Mutex::new(None);
    let work = || {
        while let number = next.fetch_add(1, Ordering::Relaxed)
            && let Some(state) = states.get(number)
        {
            let directory = scratch.join(number.to_string());
            pool.make(&state.image, &directory);
            if let Err(what) = look(&directory, state) {
                next.store(states.len(), Ordering::Relaxed);
                let told = format!(
                    "{what}, after {} events, with\n{}acknowledged {:?}",
                    state.after,
                    state.image.describe(),
                    state.acknowledged
                );
                wrong.lock().unwrap().get_or_insert(told);
            }
            fs::remove_dir_all(&directory).unwrap();
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(work);
        }
    });
    wrong.into_inner().unwrap().map_or(Ok(()), Err)
}

/// One file for each content, linked to where it is wanted: the store never changes a file that is there.
struct Pool {
    directory: PathBuf,
    made: Mutex<HashSet<Digest>>,
}

impl Pool {
    fn new(directory: PathBuf) -> Self {
        fs::create_dir(&directory).unwrap();
        Self {
            directory,
            made: Mutex::default(),
        }
    }

    fn make(&self, image: &Image, directory: &Path) {
        fs::create_dir(directory).unwrap();
        for (path, content) in &image.0 {
            let path = directory.join(path);
            match content {
                None => fs::create_dir(path).unwrap(),
                // A file of its own, since a writer may take it for its lock.
                Some(content) if content.bytes.is_empty() => fs::write(path, []).unwrap(),
                Some(content) => fs::hard_link(self.file(content), path).unwrap(),
            }
        }
    }

    fn file(&self, content: &Content) -> PathBuf {
        let path = self.directory.join(content.digest.to_string());
        let mut made = self.made.lock().unwrap();
        if made.insert(content.digest) {
            // Holes for zeros, so that large files cost little.
            let file = fs::File::create_new(&path).unwrap();
            file.set_len(content.bytes.len() as u64).unwrap();
            for (number, page) in content.bytes.chunks(4_096).enumerate() {
                if page.iter().any(|&byte| byte != 0) {
                    file.write_all_at(page, number as u64 * 4_096).unwrap();
                }
            }
        }
        path
    }
}

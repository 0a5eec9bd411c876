//! What the null server remembers.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufRead, Read as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

/// Buffers from this size on are used again.
const SPARE_BYTES_MIN: usize = 1 << 20;

/// Bytes of a body, or how many they were.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) kept: Option<Vec<u8>>,
    pub(super) bytes: u64,
    room: Arc<Room>,
}

impl Drop for Segment {
    fn drop(&mut self) {
        if let Some(kept) = self.kept.take() {
            self.room.kept.fetch_sub(self.bytes, Ordering::Relaxed);
            self.room.give_back(kept);
        }
    }
}

/// Room for bodies. Large buffers are used again: the first touch of memory costs more than filling it.
#[derive(Debug, Default)]
struct Room {
    kept: AtomicU64,
    spare: Mutex<Vec<Vec<u8>>>,
}

impl Room {
    fn buffer(&self, bytes: usize) -> Vec<u8> {
        if bytes >= SPARE_BYTES_MIN {
            let mut spare = lock(&self.spare);
            let fits = |buffer: &Vec<u8>| (bytes..=2 * bytes).contains(&buffer.capacity());
            if let Some(place) = spare.iter().rposition(fits) {
                return spare.swap_remove(place);
            }
        }
        Vec::with_capacity(bytes)
    }

    fn give_back(&self, mut buffer: Vec<u8>) {
        if buffer.capacity() >= SPARE_BYTES_MIN {
            buffer.clear();
            lock(&self.spare).push(buffer);
        }
    }
}

/// An object. Its name and bytes are shared, so it is cheap to copy.
#[derive(Debug, Clone)]
pub(super) struct Object {
    pub(super) bytes: u64,
    pub(super) segments: Vec<Arc<Segment>>,
    pub(super) tag: String,
    /// The headers that come back with every answer about it.
    pub(super) headers: Vec<(String, String)>,
    /// The checksums, that come back where they are asked for.
    pub(super) checksums: Vec<(String, String)>,
    pub(super) modified: Timestamp,
}

/// An upload in parts.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) begun: Timestamp,
    pub(super) parts: BTreeMap<u32, Part>,
}

#[derive(Debug)]
pub(super) struct Part {
    pub(super) segment: Arc<Segment>,
    pub(super) tag: String,
    pub(super) sha256: Option<String>,
}

pub(super) type Bucket = BTreeMap<String, Arc<Object>>;

/// All of it.
#[derive(Debug)]
pub(super) struct Memory {
    buckets: Mutex<HashMap<String, Bucket>>,
    uploads: Mutex<BTreeMap<u64, Upload>>,
    numbers: AtomicU64,
    room: Arc<Room>,
    kept_max: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Memory {
    pub(super) fn new(kept_max: u64) -> Self {
        Self {
            buckets: Mutex::default(),
            uploads: Mutex::default(),
            numbers: AtomicU64::new(1),
            room: Arc::default(),
            kept_max,
        }
    }

    /// Touches memory for as many large bodies as are kept.
    pub(super) fn warm(&self) {
        for _ in 0..self.kept_max >> 23 {
            self.room.give_back(vec![1; 8 << 20]);
        }
    }

    /// A number that nothing else has.
    pub(super) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn uploads(&self) -> MutexGuard<'_, BTreeMap<u64, Upload>> {
        lock(&self.uploads)
    }

    pub(super) fn with_bucket<T>(&self, name: &str, act: impl FnOnce(&mut Bucket) -> T) -> T {
        let mut buckets = lock(&self.buckets);
        if let Some(bucket) = buckets.get_mut(name) {
            return act(bucket);
        }
        act(buckets.entry(name.to_owned()).or_default())
    }

    pub(super) fn bucket_names(&self) -> Vec<String> {
        let mut names: Vec<_> = lock(&self.buckets).keys().cloned().collect();
        names.sort();
        names
    }

    pub(super) fn find(&self, bucket: &str, key: &str) -> Option<Arc<Object>> {
        self.with_bucket(bucket, |bucket| bucket.get(key).cloned())
    }

    /// Reads so many bytes, and keeps them as long as there is room.
    pub(super) fn read(&self, reader: &mut impl BufRead, bytes: u64) -> io::Result<Arc<Segment>> {
        let kept = &self.room.kept;
        let is_kept = kept.fetch_add(bytes, Ordering::Relaxed) + bytes <= self.kept_max;
        let mut segment = Segment {
            kept: None,
            bytes,
            room: Arc::clone(&self.room),
        };
        if is_kept {
            let length = usize::try_from(bytes).map_err(io::Error::other)?;
            let body = segment.kept.insert(self.room.buffer(length));
            if reader.take(bytes).read_to_end(body)? < length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        } else {
            kept.fetch_sub(bytes, Ordering::Relaxed);
            let mut piece = vec![0; 256 << 10];
            let mut left = bytes;
            while left > 0 {
                let most = usize::try_from(left).map_or(piece.len(), |left| left.min(piece.len()));
                let count = reader.read(&mut piece[..most])?;
                if count == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                left -= u64::try_from(count).map_err(io::Error::other)?;
            }
        }
        Ok(Arc::new(segment))
    }

    /// Keeps a body that was read already.
    pub(super) fn take(&self, mut body: &[u8]) -> io::Result<Arc<Segment>> {
        let bytes = u64::try_from(body.len()).map_err(io::Error::other)?;
        self.read(&mut body, bytes)
    }
}

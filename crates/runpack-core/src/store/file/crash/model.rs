//! What may be on a disk after a power cut, given the calls that were made (after ALICE: Pillai et al.,
//! "All File Systems Are Not Created Equal", OSDI 2014), with as few promises as POSIX makes:
//!
//! - bytes written to a file are durable after that file, or everything, was synced. Before that, each
//!   write is there, is not, or is there in part, at a border of 512 bytes, whatever came after it;
//! - an entry of a directory, made or removed, is durable after that directory, or everything, was
//!   synced. Before that each is there or not, whatever came after it. A rename is two of these: after a
//!   cut the file may have both names, either, or none;
//! - syncing a file says nothing of its name, syncing a directory nothing of its own name.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::super::sys::record::{Call, Event};
use crate::digest::{Digest, Hasher};

/// The smallest part of a write that a disk keeps whole.
const SECTOR: usize = 512;

/// Which part of something that is not durable survived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Fate {
    Lost,
    Kept,
    /// Of a write: its first bytes only.
    Head(usize),
    /// Of a write: all but its first bytes.
    Tail(usize),
}

#[derive(Debug)]
struct Write<'a> {
    offset: u64,
    bytes: &'a [u8],
    is_durable: bool,
}

#[derive(Debug)]
struct Entry<'a> {
    name: &'a str,
    /// What gets the name; `None` where it is taken away.
    node: Option<usize>,
    is_durable: bool,
}

/// A file or directory, named or not.
#[derive(Debug, Default)]
struct Node<'a> {
    writes: Vec<Write<'a>>,
    entries: Vec<Entry<'a>>,
    is_directory: bool,
    is_staging: bool,
}

/// Something that is not durable.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pending {
    node: usize,
    at: usize,
    /// How many bytes, if it is a write.
    pub(super) written: Option<usize>,
    /// Whether it is a name in a staging directory, where nobody looks but the next writer.
    pub(super) is_staging: bool,
}

impl Pending {
    /// The ways in which it may survive in part.
    pub(super) fn partial_fates(&self) -> Vec<Fate> {
        let sectors = self.written.unwrap_or(0).div_ceil(SECTOR);
        let mut borders: Vec<_> = [1, sectors / 2, sectors.saturating_sub(1)]
            .into_iter()
            .filter(|border| (1..sectors).contains(border))
            .map(|border| border * SECTOR)
            .collect();
        borders.dedup();
        let fates = borders.iter();
        fates
            .flat_map(|&at| [Fate::Head(at), Fate::Tail(at)])
            .collect()
    }
}

/// A disk in the middle of its work.
#[derive(Debug)]
pub(super) struct Disk<'a> {
    nodes: Vec<Node<'a>>,
    live: HashMap<&'a str, usize>,
    /// What was acknowledged so far.
    pub(super) marks: Vec<&'a str>,
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

impl<'a> Disk<'a> {
    /// The disk, empty and durable at first, after these events.
    pub(super) fn after(events: &'a [Event]) -> Self {
        let mut disk = Self {
            nodes: vec![Node {
                is_directory: true,
                ..Node::default()
            }],
            live: HashMap::from([("", 0)]),
            marks: Vec::new(),
        };
        for event in events {
            match event {
                Event::Call(call) => disk.apply(call),
                Event::Mark(mark) => disk.marks.push(mark),
            }
        }
        disk
    }

    fn apply(&mut self, call: &'a Call) {
        match call {
            Call::Create(path) => self.add(path, false),
            Call::MakeDirectory(path) => self.add(path, true),
            Call::Write {
                file,
                offset,
                bytes,
            } => {
                let node = self.live[file.as_str()];
                self.nodes[node].writes.push(Write {
                    offset: *offset,
                    bytes,
                    is_durable: false,
                });
            }
            Call::SyncFile(path) | Call::SyncDirectory(path) => {
                let node = self.live[path.as_str()];
                self.nodes[node].sync();
            }
            Call::SyncEverything => self.nodes.iter_mut().for_each(Node::sync),
            Call::Rename { from, to } => {
                let node = self.live[from.as_str()];
                self.name(from, None);
                self.name(to, Some(node));
            }
            Call::Link { from, to } => {
                let node = self.live[from.as_str()];
                self.name(to, Some(node));
            }
            Call::Unlink(path) | Call::RemoveDirectory(path) => self.name(path, None),
        }
    }

    fn add(&mut self, path: &'a str, is_directory: bool) {
        self.nodes.push(Node {
            is_directory,
            is_staging: path.starts_with("_runpack"),
            ..Node::default()
        });
        self.name(path, Some(self.nodes.len() - 1));
    }

    fn name(&mut self, path: &'a str, node: Option<usize>) {
        let (directory, name) = split(path);
        let directory = self.live[directory];
        self.nodes[directory].entries.push(Entry {
            name,
            node,
            is_durable: false,
        });
        match node {
            Some(node) => assert!(self.live.insert(path, node).is_none(), "{path} is taken"),
            None => assert!(self.live.remove(path).is_some(), "{path} is not there"),
        }
    }

    /// What is not durable, names in staging directories last.
    pub(super) fn pending(&self) -> Vec<Pending> {
        let mut pending = Vec::new();
        for (node, found) in self.nodes.iter().enumerate() {
            for (at, write) in found.writes.iter().enumerate() {
                if !write.is_durable {
                    pending.push(Pending {
                        node,
                        at,
                        written: Some(write.bytes.len()),
                        is_staging: false,
                    });
                }
            }
            for (at, entry) in found.entries.iter().enumerate() {
                if !entry.is_durable {
                    pending.push(Pending {
                        node,
                        at,
                        written: None,
                        is_staging: found.is_staging || entry.name == "_runpack",
                    });
                }
            }
        }
        pending.sort_by_key(|pending| pending.is_staging);
        pending
    }

    /// What is found on the disk if everything pending meets its fate.
    pub(super) fn image(
        &self,
        pending: &[Pending],
        fates: &[Fate],
        contents: &mut Contents,
    ) -> Image {
        let fates: HashMap<_, _> = pending
            .iter()
            .zip(fates)
            .map(|(pending, fate)| ((pending.node, pending.written.is_some(), pending.at), *fate))
            .collect();
        let mut image = Image::default();
        self.reach(0, "", &fates, contents, &mut image);
        image
    }

    fn reach(
        &self,
        node: usize,
        path: &str,
        fates: &Fates,
        contents: &mut Contents,
        image: &mut Image,
    ) {
        let mut names = BTreeMap::new();
        for (at, entry) in self.nodes[node].entries.iter().enumerate() {
            if entry.is_durable || fates.get(&(node, false, at)) == Some(&Fate::Kept) {
                names.insert(entry.name, entry.node);
            }
        }
        for (name, found) in names {
            let Some(found) = found else { continue };
            let path = if path.is_empty() {
                name.to_owned()
            } else {
                format!("{path}/{name}")
            };
            if self.nodes[found].is_directory {
                image.0.insert(path.clone(), None);
                self.reach(found, &path, fates, contents, image);
            } else {
                let kept = self.nodes[found].kept(found, fates);
                image.0.insert(path, Some(contents.of(kept)));
            }
        }
    }
}

type Fates = HashMap<(usize, bool, usize), Fate>;

impl<'a> Node<'a> {
    fn sync(&mut self) {
        self.writes
            .iter_mut()
            .for_each(|write| write.is_durable = true);
        self.entries
            .iter_mut()
            .for_each(|entry| entry.is_durable = true);
    }

    /// The pieces of its bytes that are there.
    fn kept(&self, node: usize, fates: &Fates) -> Vec<(u64, &'a [u8])> {
        let mut kept = Vec::new();
        for (at, write) in self.writes.iter().enumerate() {
            let fate = if write.is_durable {
                Fate::Kept
            } else {
                fates.get(&(node, true, at)).copied().unwrap_or(Fate::Lost)
            };
            match fate {
                Fate::Lost => {}
                Fate::Kept => kept.push((write.offset, write.bytes)),
                Fate::Head(bytes) => kept.push((write.offset, &write.bytes[..bytes])),
                Fate::Tail(bytes) => {
                    kept.push((write.offset + bytes as u64, &write.bytes[bytes..]));
                }
            }
        }
        kept
    }
}

/// What is in a file, kept once.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) digest: Digest,
    pub(super) bytes: Vec<u8>,
}

/// All contents seen, by where their pieces lie in memory.
#[derive(Debug, Default)]
pub(super) struct Contents(HashMap<Vec<(u64, *const u8, usize)>, Arc<Content>>);

impl Contents {
    fn of(&mut self, pieces: Vec<(u64, &[u8])>) -> Arc<Content> {
        let key = pieces
            .iter()
            .map(|(at, bytes)| (*at, bytes.as_ptr(), bytes.len()))
            .collect();
        let content = self.0.entry(key).or_insert_with(|| {
            let mut content = Vec::new();
            for (offset, bytes) in pieces {
                let start = usize::try_from(offset).unwrap();
                let end = start + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[start..end].copy_from_slice(bytes);
            }
            Arc::new(Content {
                digest: Digest::of(&content),
                bytes: content,
            })
        });
        Arc::clone(content)
    }
}

/// Files with their contents, and directories, by path.
#[derive(Debug, Clone, Default)]
pub(super) struct Image(pub(super) BTreeMap<String, Option<Arc<Content>>>);

impl Image {
    pub(super) fn digest(&self) -> Digest {
        let mut hasher = Hasher::new();
        for (path, content) in &self.0 {
            hasher.update(path.as_bytes());
            hasher.update(&[0]);
            if let Some(content) = content {
                hasher.update(content.digest.as_bytes());
            }
        }
        hasher.finish()
    }

    /// One line for each path.
    pub(super) fn describe(&self) -> String {
        let line = |(path, content): (&String, &Option<Arc<Content>>)| match content {
            None => format!("  {path}/\n"),
            Some(content) => format!("  {path} {} bytes\n", content.bytes.len()),
        };
        self.0.iter().map(line).collect()
    }
}

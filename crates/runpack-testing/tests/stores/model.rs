//! Random work on a directory and on the model in memory gives the same answers and the same objects.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use proptest::prelude::*;
use runpack_core::key::{KeyPrefix, Location, ObjectKey};
use runpack_core::store::{
    Declared, FileStore, MemoryStore, ObjectRef, Outcome, Store, StoreError,
};
use runpack_testing::{block_on, scratch};

#[derive(Debug, Clone)]
enum End {
    Commit,
    Abort,
    Drop,
}

#[derive(Debug, Clone)]
enum Work {
    Put {
        key: u8,
        content: u8,
        declared: u8,
    },
    Write {
        key: u8,
        content: u8,
        declared: u8,
        piece: usize,
        end: End,
    },
    Read {
        key: u8,
        range: Range<u64>,
    },
    Stat {
        key: u8,
    },
    Versions {
        key: u8,
    },
    List,
    /// The store is opened anew, after its owner went.
    Reopen,
}

const KEYS: [&str; 5] = [
    "executions/01ARZ3NDEKTSV4RRFFQ69G5FAV/manifest.json",
    "executions/01ARZ3NDEKTSV4RRFFQ69G5FAV/artifacts/a b.bin",
    "executions/01ARZ3NDEKTSV4RRFFQ69G5FAV/artifacts/deep/er/c.bin",
    "acme/runs/r1/plan.json",
    "_runpack/refs/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];
const SIZES: [usize; 4] = [0, 10, 10, 70_000];

fn key(number: u8) -> ObjectKey {
    let text = KEYS[usize::from(number) % KEYS.len()];
    Location::parse(text).unwrap().key().unwrap()
}

fn content(number: u8) -> Bytes {
    let number = usize::from(number) % SIZES.len();
    vec![u8::try_from(number).unwrap(); SIZES[number]].into()
}

fn work() -> impl Strategy<Value = Work> {
    let end = prop_oneof![3 => Just(End::Commit), 1 => Just(End::Abort), 1 => Just(End::Drop)];
    // Mostly the truth is declared.
    let contents = || (0..4_u8, 0..4_u8, prop::bool::weighted(0.8));
    let honest = |(content, other, honest)| (content, if honest { content } else { other });
    prop_oneof![
        4 => (0..5_u8, contents().prop_map(honest)).prop_map(|(key, (content, declared))| Work::Put {
            key,
            content,
            declared
        }),
        4 => (0..5_u8, contents().prop_map(honest), 1..40_000_usize, end).prop_map(
            |(key, (content, declared), piece, end)| Work::Write {
                key,
                content,
                declared,
                piece,
                end
            }
        ),
        2 => (0..5_u8, 0..80_000_u64, 0..80_000_u64).prop_map(|(key, start, end)| Work::Read {
            key,
            range: start..end
        }),
        1 => (0..5_u8).prop_map(|key| Work::Stat { key }),
        1 => (0..5_u8).prop_map(|key| Work::Versions { key }),
        1 => Just(Work::List),
        1 => Just(Work::Reopen),
    ]
}

/// An answer, as both stores must give it.
#[derive(Debug, PartialEq)]
enum Answer {
    Written(Outcome),
    GivenUp,
    Bytes(Vec<u8>, u64),
    Sizes(Vec<u64>),
    Keys(BTreeMap<String, u64>),
    NotFound,
    /// The bytes are not those declared, or the key is taken, or both: a store may see either first.
    Refused,
    Other(String),
}

impl From<StoreError> for Answer {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound { .. } => Self::NotFound,
            StoreError::AlreadyExists { .. } | StoreError::NotDeclared { .. } => Self::Refused,
            other => Self::Other(other.to_string()),
        }
    }
}

async fn answer(store: &dyn Store, work: &Work) -> Result<Answer, StoreError> {
    Ok(match work {
        Work::Put {
            key: to,
            content: bytes,
            declared,
        } => {
            let declared = Declared::of(&content(*declared));
            let receipt = store.put(&key(*to), content(*bytes), declared).await?;
            Answer::Written(receipt.outcome)
        }
        Work::Write {
            key: to,
            content: bytes,
            declared,
            piece,
            end,
        } => {
            let declared = Declared::of(&content(*declared));
            let mut writer = store.create(&key(*to), declared).await?;
            for piece in content(*bytes).chunks(*piece) {
                writer.write(Bytes::copy_from_slice(piece)).await?;
            }
            match end {
                End::Commit => Answer::Written(writer.commit().await?.outcome),
                End::Abort => {
                    writer.abort().await?;
                    Answer::GivenUp
                }
                End::Drop => Answer::GivenUp,
            }
        }
        Work::Read { key: from, range } => {
            let object = ObjectRef::from(key(*from));
            let mut body = store.open(&object, range.clone()).await?;
            let mut bytes = Vec::new();
            while let Some(piece) = body.next().await {
                bytes.extend_from_slice(&piece?);
            }
            Answer::Bytes(bytes, body.bytes_claimed)
        }
        Work::Stat { key: of } => Answer::Sizes(vec![store.stat(&key(*of).into()).await?.bytes]),
        Work::Versions { key: of } => {
            let versions = store.versions(&key(*of)).await?;
            Answer::Sizes(versions.iter().map(|version| version.bytes).collect())
        }
        Work::List | Work::Reopen => {
            let mut keys = BTreeMap::new();
            let mut entries = store.list(&KeyPrefix::all());
            while let Some(entry) = entries.next().await {
                let entry = entry?;
                assert!(keys.insert(entry.key, entry.bytes).is_none());
            }
            Answer::Keys(keys)
        }
    })
}

fn is_given_up(work: &Work) -> bool {
    matches!(
        work,
        Work::Write {
            end: End::Abort | End::Drop,
            ..
        }
    )
}

async fn check(sequence: Vec<Work>) -> Result<(), TestCaseError> {
    let directory = scratch();
    let memory = MemoryStore::new();
    let mut file = Arc::new(FileStore::create(directory.path()).await.unwrap());
    for work in &sequence {
        if matches!(work, Work::Reopen) {
            drop(file);
            file = Arc::new(FileStore::open(directory.path()).await.unwrap());
        }
        let ours = answer(&*file, work).await.unwrap_or_else(Answer::from);
        let model = answer(&memory, work).await.unwrap_or_else(Answer::from);
        // One may see at once what the other would have seen at commit.
        if !is_given_up(work) {
            prop_assert_eq!(ours, model, "{:?}", work);
        }
    }
    let mut found = BTreeMap::new();
    let listing = answer(&*file, &Work::List).await.unwrap();
    let Answer::Keys(keys) = listing else {
        return Err(TestCaseError::fail("no listing"));
    };
    for key in keys.into_keys() {
        let path = directory.path().join(&key);
        found.insert(key, Bytes::from(std::fs::read(path).unwrap()));
    }
    prop_assert_eq!(found, memory.snapshot());
    drop(file);
    let staged = std::fs::read_dir(directory.path().join("_runpack/tmp"));
    prop_assert_eq!(staged.unwrap().count(), 0);
    Ok(())
}

proptest! {
    #[test]
    fn a_directory_is_what_memory_is(sequence in prop::collection::vec(work(), 1..24)) {
        block_on(check(sequence))?;
    }
}

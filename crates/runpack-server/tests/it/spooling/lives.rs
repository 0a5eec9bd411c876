//! Lives of a spool that go wrong at random, and end at random.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use runpack_core::key::Location;
use runpack_core::store::{FileStore, MemoryStore};
use runpack_server::spool::{Mirror, SpoolError, SpoolStore};
use runpack_testing::{block_on, scratch};

use super::outage::{Mode, Outage};
use super::{
    LONG, assert_empty, clock, draw, key, listed, of_execution, open, put, read, settings,
};

/// Opens a spool again, as soon as the one before has ended what it had begun.
async fn reopen(dir: &Path, remote: &Arc<Outage>) -> (SpoolStore, Mirror) {
    loop {
        match SpoolStore::open(dir, remote.clone(), settings(), clock()).await {
            Err(SpoolError::Busy { .. }) => tokio::task::yield_now().await,
            opened => return opened.unwrap(),
        }
    }
}

/// One life of a spool under random outages: nothing acknowledged is missing at any step.
async fn live(seed: u64) {
    let mut state = seed;
    let (dir, memory) = (scratch(), MemoryStore::new());
    let remote = Arc::new(Outage::of(memory.clone()));
    let mut acknowledged = BTreeMap::new();
    let (mut spool, mut mirror) = open(dir.path(), remote.clone()).await;
    for _ in 0..60 {
        match draw(&mut state, 10) {
            0 => remote.set(Mode::Away),
            1 => remote.set(Mode::AnswersLost),
            2 | 3 => remote.set(Mode::Well),
            4 => remote.set(Mode::Denies("artifacts/a")),
            5 => {
                mirror
                    .drain(Duration::from_micros(draw(&mut state, 4_000)))
                    .await;
            }
            6 => {
                drop((spool, mirror));
                (spool, mirror) = reopen(dir.path(), &remote).await;
            }
            _ => {
                let number = draw(&mut state, 12);
                for name in ["metadata.json", "artifacts/a", "manifest.json"] {
                    let key = of_execution(number, name);
                    if put(&spool, &key, name).await.is_err() {
                        // Nobody commits to what was not acknowledged.
                        break;
                    }
                    acknowledged.insert(key.to_string(), name);
                    if draw(&mut state, 3) == 0 {
                        mirror
                            .drain(Duration::from_micros(draw(&mut state, 900)))
                            .await;
                    }
                }
            }
        }
        let (there, here) = (memory.snapshot(), dir.path().join("objects"));
        for (key, bytes) in &acknowledged {
            let in_store = there.get(key).is_some_and(|found| found == bytes);
            let in_spool =
                std::fs::read_to_string(here.join(key)).is_ok_and(|found| found == *bytes);
            assert!(in_store || in_spool, "seed {seed}: `{key}` is lost");
        }
        for below in there
            .keys()
            .filter_map(|key| key.strip_suffix("manifest.json"))
        {
            for name in ["metadata.json", "artifacts/a"] {
                assert!(
                    there.contains_key(&format!("{below}{name}")),
                    "seed {seed}: {below}"
                );
            }
        }
    }
    remote.set(Mode::Well);
    let backlog = mirror.drain(LONG).await;
    assert_empty(&backlog);
    assert_eq!(backlog.conflicts, 0, "seed {seed}");
    assert_eq!(memory.snapshot().len(), acknowledged.len(), "seed {seed}");
}

#[test]
fn w15_w17_n02_nothing_is_lost_in_any_life_under_outages() {
    for seed in 0..60 {
        block_on(live(seed));
    }
}

/// What a child of this test is told to work on.
const CHILD: &str = "RUNPACK_TEST_SPOOL_ROOT";

/// Writes to a spool whose store is a directory, mirrors it meanwhile, and says on standard output what was
/// acknowledged, until it is killed.
async fn write_until_killed(root: &Path, round: u64) {
    use std::io::Write as _;
    let remote = FileStore::create(&root.join("remote")).await.unwrap();
    let remote = Arc::new(Outage::of(remote));
    let (spool, mut mirror) = open(&root.join("spool"), remote.clone()).await;
    // In some lives the store stays away, so that something always waits for the next.
    if !round.is_multiple_of(3) {
        tokio::spawn(async move { mirror.run(std::future::pending()).await });
    }
    for number in 0.. {
        let is_away = round.is_multiple_of(3) || number % 4 == 1;
        remote.set(if is_away { Mode::Away } else { Mode::Well });
        for name in ["metadata.json", "artifacts/a", "manifest.json"] {
            let key = of_execution(round * 1_000 + number, name);
            put(&spool, &key, name).await.unwrap();
            println!("acknowledged {key}");
            std::io::stdout().flush().unwrap();
        }
    }
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "it runs itself again, to be killed"
)]
fn w15_w17_a_process_that_is_killed_anywhere_has_lost_nothing() {
    use std::io::{BufRead as _, BufReader};
    if let Some(told) = std::env::var_os(CHILD) {
        let told = told.into_string().unwrap();
        let (round, root) = told.split_once(' ').unwrap();
        block_on(write_until_killed(Path::new(root), round.parse().unwrap()));
        return;
    }
    let root = scratch();
    let (mut acknowledged, mut waited) = (Vec::new(), 0);
    let mut state = 11;
    for round in 0..25_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture"])
            .arg("spooling::lives::w15_w17_a_process_that_is_killed_anywhere_has_lost_nothing")
            .env(CHILD, format!("{round} {}", root.path().display()))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said = Vec::new();
        let enough = usize::try_from(1 + draw(&mut state, 40)).unwrap();
        while said.len() < enough {
            let line = lines.next().expect("it writes until it is killed").unwrap();
            said.extend(
                line.split_once("acknowledged ")
                    .map(|(_, key)| key.to_owned()),
            );
        }
        // Some work more, in the middle of which it dies.
        for _ in 0..draw(&mut state, 20_000) {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it said before it died counts; a line that was cut off was not said.
        let rest: Vec<String> = lines.map_while(Result::ok).collect();
        for line in rest {
            let key = line
                .split_once("acknowledged ")
                .map(|(_, key)| key.to_owned());
            said.extend(key.filter(|key| Location::parse(key).is_some()));
        }
        acknowledged.extend(said);
        block_on(async {
            let remote = Arc::new(
                FileStore::create(&root.path().join("remote"))
                    .await
                    .unwrap(),
            );
            let dir = root.path().join("spool");
            let there = |key: &str| root.path().join("remote").join(key).exists();
            let here = |key: &str| dir.join("objects").join(key).exists();
            for key in &acknowledged {
                assert!(there(key) || here(key), "`{key}` is lost");
            }
            for key in listed(&*remote).await {
                if let Some(below) = key.strip_suffix("manifest.json") {
                    assert!(there(&format!("{below}metadata.json")), "{key}");
                    assert!(there(&format!("{below}artifacts/a")), "{key}");
                }
            }
            // Every second life goes on from what the one before left.
            if round % 2 == 0 {
                let (spool, mut mirror) = open(&dir, remote.clone()).await;
                waited += spool.backlog().objects;
                let backlog = mirror.drain(LONG).await;
                assert_empty(&backlog);
                assert_eq!(backlog.conflicts, 0);
                for text in &acknowledged {
                    let bytes = read(&*remote, &key(text)).await.unwrap();
                    assert!(
                        text.ends_with(std::str::from_utf8(&bytes).unwrap()),
                        "{text}"
                    );
                }
            }
        });
    }
    println!(
        "{} objects acknowledged by 25 processes that were killed, {waited} of them sent by the next",
        acknowledged.len()
    );
    assert!(waited > 0);
}

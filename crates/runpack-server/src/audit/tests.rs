//! The log with calls that fail, a clock that moves, and people who flood it.

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::sync::Mutex;

use runpack_testing::{block_on, scratch};
use rustix::io::Errno;

use super::sys::Call;
use super::sys::faults::Faults;
use super::*;

#[derive(Debug)]
struct Hands(Mutex<Timestamp>);

impl Hands {
    fn at(text: &str) -> Arc<Self> {
        Arc::new(Self(Mutex::new(text.parse().unwrap())))
    }

    fn set(&self, text: &str) {
        *self.0.lock().unwrap() = text.parse().unwrap();
    }
}

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

fn noon() -> Arc<Hands> {
    Hands::at("2026-11-20T12:00:00Z")
}

fn event(object: impl Into<String>) -> Event {
    Event {
        request: Some("01JD0000000000000000000000".to_owned()),
        caller: Some("token:ci".into()),
        action: "record.write",
        object: object.into(),
        outcome: Outcome::Accepted,
        status: 201,
        detail: BTreeMap::new(),
    }
}

fn failing(
    decide: impl FnMut(Call, usize) -> Option<Errno> + Send + 'static,
) -> (Sys, Arc<Faults>) {
    let faults = Arc::new(Faults::new(decide));
    let sys = Sys {
        faults: Some(Arc::clone(&faults)),
    };
    (sys, faults)
}

fn open(dir: &Path, bounds: Bounds, sys: Sys) -> Result<AuditLog, AuditError> {
    AuditLog::open_with(dir, "replica-1", noon(), bounds, sys)
}

fn entries(dir: &Path) -> Vec<Entry> {
    let mut entries = Vec::new();
    check_each(dir, |entry, _| entries.push(entry.clone())).unwrap();
    entries
}

#[test]
fn the_chain_goes_on_over_files_by_size_and_by_day() {
    let dir = scratch();
    let bounds = Bounds {
        file_bytes_max: 1000,
        ..Bounds::default()
    };
    let clock = noon();
    let open =
        || AuditLog::open_with(dir.path(), "r", clock.clone(), bounds, Sys::default()).unwrap();
    block_on(async {
        let log = open();
        for number in 0..10 {
            log.record(event(format!("a/{number}"))).await.unwrap();
        }
        log.close().await;
        let by_size = check(dir.path()).unwrap();
        assert_eq!(by_size.entries, 10);
        assert!(by_size.files > 2, "{by_size:?}");

        let log = open();
        log.record(event("the same day")).await.unwrap();
        let before = check(dir.path()).unwrap().files;
        clock.set("2026-11-21T00:00:00Z");
        log.record(event("the next day")).await.unwrap();
        log.close().await;
        let by_day = check(dir.path()).unwrap();
        assert_eq!((by_day.entries, by_day.files), (12, before + 1));
        assert_eq!(by_day.last, log.head());
        let last = dir.path().join(files::name(11));
        assert!(last.exists());
    });
}

#[test]
fn what_is_queued_during_a_sync_shares_the_next_one() {
    let dir = scratch();
    let (entered, mut held) = mpsc::unbounded_channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let mut writes_to_hold = 1;
    let (sys, faults) = failing(move |call, _| {
        if call == Call::Write && writes_to_hold > 0 {
            writes_to_hold -= 1;
            entered.send(()).unwrap();
            released.recv().unwrap();
        }
        None
    });
    let log = Arc::new(open(dir.path(), Bounds::default(), sys).unwrap());
    let of_opening = faults.calls().len();
    block_on(async {
        let record = |number: usize| {
            let log = Arc::clone(&log);
            tokio::spawn(async move { log.record(event(number.to_string())).await })
        };
        let mut tasks = vec![record(0)];
        held.recv().await.unwrap();
        tasks.extend((1..1000).map(record));
        while log.inbox.capacity() > QUEUE_EVENTS - 999 {
            tokio::task::yield_now().await;
        }
        release.send(()).unwrap();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        log.close().await;
    });
    assert_eq!(check(dir.path()).unwrap().entries, 1000);
    assert_eq!(
        faults.calls()[of_opening..],
        [
            Call::Create,
            Call::Write,
            Call::Sync,
            Call::SyncDirectory,
            Call::Write,
            Call::Sync
        ]
    );
}

#[test]
fn w07_c33_after_a_failed_sync_nothing_is_taken_until_it_is_opened_again() {
    for kind in [Call::Sync, Call::Write, Call::Create, Call::SyncDirectory] {
        let dir = scratch();
        let calls_of_opening = {
            block_on(
                open(dir.path(), Bounds::default(), Sys::default())
                    .unwrap()
                    .close(),
            );
            let (sys, faults) = failing(|_, _| None);
            block_on(open(dir.path(), Bounds::default(), sys).unwrap().close());
            faults.calls().len()
        };
        let mut failed = false;
        let (sys, faults) = failing(move |call, at| {
            let fails = !failed && call == kind && at >= calls_of_opening;
            failed |= fails;
            fails.then_some(Errno::IO)
        });
        let log = open(dir.path(), Bounds::default(), sys).unwrap();
        block_on(async {
            for _ in 0..3 {
                let error = log.record(event("a")).await.unwrap_err();
                let AuditError::Failed { source } = error else {
                    panic!("{kind:?}: {error}");
                };
                assert_eq!(source.raw_os_error(), Some(Errno::IO.raw_os_error()));
                assert_eq!((log.state(), log.head()), (State::Failed, None));
            }
            // The second and third came to no call.
            assert_eq!(faults.calls().last(), Some(&kind));
            log.close().await;

            let log = open(dir.path(), Bounds::default(), Sys::default()).unwrap();
            log.record(event("b")).await.unwrap();
            assert_eq!(log.state(), State::Ready);
            log.close().await;
        });
        assert_eq!(entries(dir.path()).last().unwrap().object, "b");
    }
}

#[test]
fn w07_the_end_of_a_log_is_written_again_when_it_is_opened() {
    let dir = scratch();
    block_on(async {
        let log = open(dir.path(), Bounds::default(), Sys::default()).unwrap();
        log.record(event("a")).await.unwrap();
        log.close().await;
    });
    let before = std::fs::read(dir.path().join(files::name(0))).unwrap();
    let (sys, faults) = failing(|_, _| None);
    let log = open(dir.path(), Bounds::default(), sys).unwrap();
    // After the names of the directories above.
    let calls: Vec<_> = faults.calls().into_iter().collect();
    let above = calls
        .iter()
        .take_while(|call| **call == Call::SyncDirectory);
    let calls = calls[above.count()..].to_vec();
    let lock_and_file = [Call::Create, Call::Create];
    assert!(calls.starts_with(&lock_and_file), "{calls:?}");
    assert_eq!(calls[2..5], [Call::Write, Call::Sync, Call::SyncDirectory]);
    block_on(log.close());
    let after = std::fs::read(dir.path().join(files::name(0))).unwrap();
    assert_eq!(after, before);
}

#[test]
fn w07_every_call_of_opening_and_writing_may_fail_and_what_was_acknowledged_stays() {
    for at in 0.. {
        if block_on(fail_at(at)) {
            assert!(at > 15, "{at}");
            return;
        }
    }
}

/// Opens a torn log and writes two files, while the call with this number fails. Whether there was none.
async fn fail_at(at: usize) -> bool {
    let dir = scratch();
    let log = open(dir.path(), Bounds::default(), Sys::default()).unwrap();
    log.record(event("before")).await.unwrap();
    log.close().await;
    let path = dir.path().join(files::name(0));
    let mut torn = std::fs::read(&path).unwrap();
    torn.extend(b"{\"sequence\":1,");
    std::fs::write(&path, torn).unwrap();

    let bounds = Bounds {
        file_bytes_max: 1,
        ..Bounds::default()
    };
    let (sys, faults) = failing(move |_, number| (number == at).then_some(Errno::IO));
    let mut acknowledged = vec!["before"];
    if let Ok(log) = open(dir.path(), bounds, sys) {
        for object in ["one", "two"] {
            if log.record(event(object)).await.is_ok() {
                acknowledged.push(object);
            }
        }
        log.close().await;
    }
    let log = open(dir.path(), Bounds::default(), Sys::default()).unwrap();
    log.record(event("after")).await.unwrap();
    log.close().await;
    acknowledged.push("after");
    let mut there = entries(dir.path()).into_iter();
    for object in acknowledged {
        assert!(there.any(|entry| entry.object == object), "{at}: {object}");
    }
    faults.calls().len() <= at
}

#[test]
fn c32_on_a_full_disk_refusals_are_written_into_the_reserve_and_then_it_says_so() {
    let dir = scratch();
    let reserve = dir.path().join("reserve");
    // A disk that is full for lines while the reserve is there, and full for everything when `is_full`.
    let is_full = Arc::new(Mutex::new(false));
    let is_filled = Arc::new(Mutex::new(false));
    let (full, filled, held) = (
        Arc::clone(&is_full),
        Arc::clone(&is_filled),
        reserve.clone(),
    );
    let lines = dir.path().join(files::name(0));
    let (sys, _) = failing(move |call, _| {
        let fails = match call {
            Call::Write if *full.lock().unwrap() => {
                // Part of it found room.
                let part = std::fs::OpenOptions::new().append(true).open(&lines);
                part.unwrap().write_all(b"{\"sequence\":3").unwrap();
                true
            }
            Call::Write => *filled.lock().unwrap() && held.exists(),
            Call::Allocate => *filled.lock().unwrap(),
            _ => false,
        };
        fails.then_some(Errno::NOSPC)
    });
    let bounds = Bounds {
        reserve_every: Duration::ZERO,
        ..Bounds::default()
    };
    let log = open(dir.path(), bounds, sys).unwrap();
    assert_eq!(std::fs::metadata(&reserve).unwrap().len(), 1 << 20);
    block_on(async {
        log.record(event("0")).await.unwrap();
        assert_eq!(log.state(), State::Ready);

        *is_filled.lock().unwrap() = true;
        log.record(event("1")).await.unwrap();
        assert_eq!(log.state(), State::NoRoom);
        // It is tried all the time whether it can be had again.
        let held_bytes = std::fs::metadata(&reserve).map_or(0, |file| file.len());
        assert_eq!(held_bytes, 0);
        log.record(event("2")).await.unwrap();

        *is_full.lock().unwrap() = true;
        let error = log.record(event("3")).await.unwrap_err();
        assert!(matches!(error, AuditError::NoRoom), "{error}");
        assert_eq!(log.head().unwrap().sequence, 2);
        assert_eq!(check(dir.path()).unwrap().torn_bytes, 0);

        // Room was made: it is found without anybody opening the log again.
        *is_full.lock().unwrap() = false;
        *is_filled.lock().unwrap() = false;
        let mut status = log.status.clone();
        status
            .wait_for(|status| status.state == State::Ready)
            .await
            .unwrap();
        log.record(event("4")).await.unwrap();
        log.close().await;
    });
    let objects: Vec<_> = entries(dir.path())
        .into_iter()
        .map(|entry| entry.object)
        .collect();
    assert_eq!(objects, ["0", "1", "2", "4"]);
}

#[test]
fn c32_refusals_that_found_no_room_are_told_of_later() {
    let dir = scratch();
    let is_full = Arc::new(Mutex::new(true));
    let full = Arc::clone(&is_full);
    let (sys, _) = failing(move |call, _| {
        (call == Call::Write && *full.lock().unwrap()).then_some(Errno::NOSPC)
    });
    let log = open(dir.path(), Bounds::default(), sys).unwrap();
    block_on(async {
        log.count_refusal("no-token", Ipv4Addr::LOCALHOST.into());
        let error = log.record(event("a")).await.unwrap_err();
        assert!(matches!(error, AuditError::NoRoom), "{error}");
        // It is answered after the refusal was tried and put back, or tried with it.
        let _ = log.record(event("b")).await.unwrap_err();
        *is_full.lock().unwrap() = false;
        log.close().await;
    });
    let told = entries(dir.path());
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].detail["counts"], "no-token=1");
}

#[test]
fn c32_a_flood_of_refusals_adds_a_handful_of_lines() {
    let dir = scratch();
    let log = open(dir.path(), Bounds::default(), Sys::default()).unwrap();
    for number in 0..100_000_u32 {
        let reason = if number % 4 == 0 {
            "no-token"
        } else {
            "bad-token"
        };
        log.count_refusal(reason, Ipv4Addr::from(number % 5000).into());
    }
    block_on(log.close());
    let told = entries(dir.path());
    assert_eq!(told.len(), 11);
    assert!(told.iter().all(|entry| entry.action == "access.refused"));
    assert_eq!(told[1].detail["peer"], "0.0.0.1");
    let rest = &told[10].detail;
    assert_eq!(rest["counts"], "bad-token=74993 no-token=24997");
    assert_eq!(rest["peers"], "1000 or more");
    assert_eq!(rest["from"], "2026-11-20T12:00:00Z");
}

#[test]
fn c32_refusals_of_those_who_have_a_name_are_told_of_in_few_lines_too() {
    let dir = scratch();
    let log = open(dir.path(), Bounds::default(), Sys::default()).unwrap();
    let name = |number: u32| -> Arc<str> { format!("github:repo:x/{number}").into() };
    let peer = Some(Ipv4Addr::LOCALHOST.into());
    let own = |name: &Arc<str>, reason| u64::from(log.count_refusal_of(name, reason, peer));
    // One name, many times.
    let told: u64 = (0..10_000).map(|_| own(&name(0), "no-rule")).sum();
    assert_eq!(told, 5);
    // Many names.
    let told: u64 = (0..10_000).map(|number| own(&name(number), RATE)).sum();
    assert_eq!(told, 45);
    block_on(log.close());
    let told = entries(dir.path());
    // One for each name that had more than its own lines, and one for all other names.
    assert_eq!(told.len(), 6);
    assert_eq!(told[0].caller.as_deref(), Some("github:repo:x/0"));
    assert_eq!(told[0].detail["counts"], "no-rule=9995 rate=1");
    assert_eq!((told[0].status, told[1].status), (401, 429));
    let others = told.last().unwrap();
    assert_eq!(
        (&others.caller, &*others.detail["counts"]),
        (&None, "rate=9950")
    );
    assert!(others.detail.contains_key("names"));
}

#[test]
fn refusals_are_told_of_while_nobody_records() {
    let dir = scratch();
    let bounds = Bounds {
        refusals_every: Duration::from_millis(1),
        ..Bounds::default()
    };
    let log = open(dir.path(), bounds, Sys::default()).unwrap();
    block_on(async {
        let mut status = log.status.clone();
        for _ in 0..3 {
            let before = log.head().map_or(0, |head| head.sequence);
            for _ in 0..20 {
                log.count_refusal("no-token", Ipv4Addr::LOCALHOST.into());
            }
            status
                .wait_for(|status| status.head.is_some_and(|head| head.sequence > before))
                .await
                .unwrap();
        }
        log.close().await;
    });
    let told: u64 = entries(dir.path())
        .iter()
        .map(|entry| match entry.detail.get("counts") {
            Some(counts) => counts.strip_prefix("no-token=").unwrap().parse().unwrap(),
            None => 1,
        })
        .sum();
    assert_eq!(told, 60);
}

#[test]
fn w04_blocks_of_zeros_at_the_end_are_torn_off_and_nowhere_else() {
    let dir = scratch();
    let bounds = Bounds {
        file_bytes_max: 1000,
        ..Bounds::default()
    };
    block_on(async {
        let log = open(dir.path(), bounds, Sys::default()).unwrap();
        for number in 0..8 {
            log.record(event(number.to_string())).await.unwrap();
        }
        log.close().await;
    });
    let listed = files::list(dir.path()).unwrap();
    let zero = |path: &Path| {
        let mut bytes = std::fs::read(path).unwrap();
        let end = bytes.len() - 1;
        bytes[end - 20..end].fill(0);
        bytes.extend(b"{}\n");
        std::fs::write(path, &bytes).unwrap();
        bytes.len()
    };
    let last = listed.last().unwrap();
    let before = std::fs::read(&last.path).unwrap();
    zero(&last.path);
    let checked = check(dir.path()).unwrap();
    assert!(checked.torn_bytes > 0);
    std::fs::write(&last.path, before).unwrap();
    zero(&listed[0].path);
    let error = check(dir.path()).unwrap_err();
    assert!(matches!(error, AuditError::Changed { .. }), "{error}");
}

#[test]
fn an_event_that_is_too_long_is_refused_alone() {
    let dir = scratch();
    let log = open(dir.path(), Bounds::default(), Sys::default()).unwrap();
    let names: Vec<&'static str> = (0..400)
        .map(|number: u32| &*Box::leak(number.to_string().into_boxed_str()))
        .collect();
    let mut endless = event("endless");
    for name in names {
        endless.detail.insert(name, "\u{1b}".repeat(1000));
    }
    block_on(async {
        let (first, refused, last) = tokio::join!(
            log.record(event("a")),
            log.record(endless),
            log.record(event("b"))
        );
        first.unwrap();
        last.unwrap();
        let error = refused.unwrap_err();
        assert!(matches!(error, AuditError::TooLong { .. }), "{error}");
        log.close().await;
        let error = log.record(event("c")).await.unwrap_err();
        assert!(matches!(error, AuditError::Closed), "{error}");
        assert_eq!(log.state(), State::Closed);
    });
    assert_eq!(check(dir.path()).unwrap().entries, 2);
}

//! Records by the thousand, and one record many times.

use std::time::Duration;

use super::super::contest::{Row, median};
use super::server::Kind;
use super::wrk::{Answers, Pressure, Runs};
use super::{MEMORY_MIB_MAX, Range, settle};
use crate::command::Result;

/// A server and what came of pressing it, round by round.
struct Entrant {
    kind: Kind,
    answers: Vec<Answers>,
    memory_mib: u64,
}

impl Entrant {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            answers: Vec::new(),
            memory_mib: 0,
        }
    }

    fn rate(&self) -> f64 {
        median(self.answers.iter().map(Answers::rate))
    }

    fn p99(&self) -> Duration {
        let seconds = median(self.answers.iter().map(|answers| answers.p99.as_secs_f64()));
        Duration::from_secs_f64(seconds)
    }

    /// Records that were not answered as new.
    fn failed(&self) -> u64 {
        let failed = |answers: &Answers| {
            let answered = match self.kind {
                // S3 has one status for what is new and what is not.
                Kind::Rclone => answers.other,
                Kind::Runpack | Kind::Spooling => answers.ok.saturating_add(answers.other),
            };
            u64::from(answered.saturating_add(answers.lost))
        };
        self.answers.iter().map(failed).sum()
    }

    fn print(&self) {
        println!(
            "{:<52} {:>7.0} /s, p99 {:>5} ms, {} failed, {} MiB",
            self.kind.name(),
            self.rate(),
            self.p99().as_millis(),
            self.failed(),
            self.memory_mib
        );
    }
}

/// Presses a server of Runpack and the peer in turn, each time a new one with nothing in it.
pub(super) fn ingest(range: &Range<'_>, kind: Kind, pressure: &Pressure) -> Result<Vec<Row>> {
    let mut entrants = [Entrant::new(kind), Entrant::new(Kind::Rclone)];
    for round in 0..range.rounds {
        for entrant in &mut entrants {
            let name = format!("{:?}-{round}", entrant.kind);
            let server = range
                .servers
                .start(entrant.kind, &range.directory.join(name))?;
            settle()?;
            let answers = range.wrk.press(&server, pressure, "run")?;
            entrant.memory_mib = entrant.memory_mib.max(server.memory_mib()?);
            entrant.answers.push(answers);
        }
    }
    let [runpack, peer] = entrants;
    runpack.print();
    peer.print();
    let with = match kind {
        Kind::Spooling => ", into a spool",
        _ => "",
    };
    let title = format!("records of 1 KiB, {} clients{with}", pressure.clients);
    let failed = runpack.failed();
    Ok(vec![
        Row::ratio(
            &title,
            peer.kind.name(),
            runpack.rate() / peer.rate(),
            Some(1.0),
        ),
        Row::told(
            &title,
            "records a second",
            format!("{:.0}, rclone {:.0}", runpack.rate(), peer.rate()),
        ),
        Row::told(
            &title,
            "99 of 100 answered within",
            format!(
                "{} ms, rclone {} ms",
                runpack.p99().as_millis(),
                peer.p99().as_millis()
            ),
        ),
        Row::bounded(&title, "not answered 201", failed, "", 0),
        Row::bounded(
            &title,
            "resident memory",
            runpack.memory_mib,
            " MiB",
            MEMORY_MIB_MAX,
        ),
    ])
}

/// The same record from many clients at once: one of them is told that it is new, all others that it was there.
pub(super) fn same_run(range: &Range<'_>) -> Result<Vec<Row>> {
    let pressure = Pressure {
        clients: 100,
        seconds: 1,
        runs: Runs::Same,
    };
    let server = range
        .servers
        .start(Kind::Runpack, &range.directory.join("same"))?;
    let mut again = 0_u64;
    for round in 0..range.rounds {
        let first = format!("same-{round}");
        let answers = range.wrk.press(&server, &pressure, &first)?;
        println!("{first}: {} x 201, {} x 200", answers.created, answers.ok);
        if answers.created != 1 || answers.ok == 0 || answers.other != 0 || answers.lost != 0 {
            return Err(format!("one record was to be kept once: {answers:?}").into());
        }
        again = again.saturating_add(u64::from(answers.ok));
    }
    let title = "one record from 100 clients at once";
    let what = "201 once, then 200";
    let value = format!("{} x 201, {again} x 200", range.rounds);
    let wanted = format!("{} x 201, the rest 200", range.rounds);
    Ok(vec![Row::kept(title, what, value, wanted)])
}

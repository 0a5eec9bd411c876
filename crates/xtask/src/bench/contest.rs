//! Contenders that take turns, and the ratios that come of it.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use super::null_server::NullServer;
use super::remove;
use crate::command::{Result, shell, stopwatch};

/// A command to be measured.
pub(super) struct Contender {
    name: String,
    command: Command,
    /// What the command makes: out of the way before each run, outside of the measured time.
    made: Option<PathBuf>,
    /// What earlier runs made. Removed only when all have run: a file system may search for new inodes slowly where
    /// many were freed a moment ago.
    set_aside: Vec<PathBuf>,
    /// The server that it fills: started anew before each run, likewise.
    fills: Option<Rc<RefCell<NullServer>>>,
    /// How many times as fast as this contender Runpack has to be.
    wanted: Option<f64>,
    times: Vec<Duration>,
}

impl Contender {
    pub(super) fn new(name: impl Into<String>, command: Command) -> Self {
        Self {
            name: name.into(),
            command,
            made: None,
            set_aside: Vec::new(),
            fills: None,
            wanted: None,
            times: Vec::new(),
        }
    }

    pub(super) fn cleaning(mut self, made: &Path) -> Self {
        self.made = Some(made.to_owned());
        self
    }

    pub(super) fn filling(mut self, server: &Rc<RefCell<NullServer>>) -> Self {
        self.fills = Some(Rc::clone(server));
        self
    }

    pub(super) fn wanted(mut self, ratio: f64) -> Self {
        self.wanted = Some(ratio);
        self
    }

    /// Makes room for a run.
    fn prepare(&mut self) -> Result {
        if let Some(server) = &self.fills {
            server.borrow_mut().restart()?;
        }
        if let Some(made) = &self.made
            && made.exists()
        {
            let run = format!("{}, run {}", self.name, self.set_aside.len());
            let aside = made.with_extension(run);
            move_aside(made, &aside)?;
            self.set_aside.push(aside);
        }
        Ok(())
    }

    /// Removes everything that it made.
    fn clean(&mut self) -> Result {
        let mut made = self.made.iter().chain(&self.set_aside);
        made.try_for_each(|made| remove(made))?;
        self.set_aside.clear();
        Ok(())
    }

    fn run(&mut self) -> Result<Duration> {
        self.prepare()?;
        self.command.stdin(Stdio::null()).stdout(Stdio::null());
        let watch = stopwatch();
        let status = self.command.status()?;
        let time = watch.elapsed();
        self.prepare()?;
        if status.success() {
            Ok(time)
        } else {
            Err(format!("`{}` ended with {status}", shell(&self.command)).into())
        }
    }

    fn median(&self) -> f64 {
        median(self.times.iter().map(Duration::as_secs_f64))
    }
}

/// The middle one; the upper one of two.
pub(super) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Several contenders at one job, Runpack first.
pub(super) struct Contest<'a> {
    pub(super) title: &'a str,
    pub(super) contenders: Vec<Contender>,
    pub(super) rounds: usize,
}

/// One line of the result.
pub(super) struct Row {
    job: String,
    against: String,
    ratio: String,
    wanted: String,
    is_met: Option<bool>,
}

impl Row {
    /// How many times as fast as another Runpack is, and has to be.
    pub(super) fn ratio(job: &str, against: &str, ratio: f64, wanted: Option<f64>) -> Self {
        Self {
            job: job.to_owned(),
            against: against.to_owned(),
            ratio: format!("{ratio:.2}x"),
            wanted: wanted.map_or("-".to_owned(), |wanted| format!("{wanted}x")),
            is_met: wanted.map(|wanted| ratio >= wanted),
        }
    }

    /// What may not be more.
    pub(super) fn bounded(job: &str, what: &str, value: u64, unit: &str, most: u64) -> Self {
        Self {
            job: job.to_owned(),
            against: what.to_owned(),
            ratio: format!("{value}{unit}"),
            wanted: format!("at most {most}{unit}"),
            is_met: Some(value <= most),
        }
    }

    /// What is as it has to be: anything else ends the benchmark.
    pub(super) fn kept(job: &str, what: &str, value: String, wanted: String) -> Self {
        Self {
            job: job.to_owned(),
            against: what.to_owned(),
            ratio: value,
            wanted,
            is_met: Some(true),
        }
    }

    /// What is told, and nothing is wanted of.
    pub(super) fn told(job: &str, what: &str, value: String) -> Self {
        Self {
            job: job.to_owned(),
            against: what.to_owned(),
            ratio: value,
            wanted: "-".to_owned(),
            is_met: None,
        }
    }
}

impl Contest<'_> {
    /// Runs everybody once to warm up, then in turn, then Runpack once more for its memory.
    pub(super) fn hold(mut self, memory_mib_max: u64) -> Result<Vec<Row>> {
        println!("--- {} ---", self.title);
        for contender in &mut self.contenders {
            contender.run()?;
        }
        for _ in 0..self.rounds {
            for contender in &mut self.contenders {
                let time = contender.run()?;
                contender.times.push(time);
            }
        }
        for contender in &self.contenders {
            println!("{:<36} {:>9.3} s", contender.name, contender.median());
        }
        let Some((runpack, others)) = self.contenders.split_first_mut() else {
            return Ok(Vec::new());
        };
        let own = runpack.median();
        let mut rows: Vec<Row> = others
            .iter()
            .map(|other| {
                let ratio = other.median() / own;
                Row::ratio(self.title, &other.name, ratio, other.wanted)
            })
            .collect();
        let memory_mib = memory_mib(runpack)?;
        println!("{:<36} {memory_mib:>5} MiB", "runpack's resident memory");
        let what = "resident memory";
        rows.push(Row::bounded(
            self.title,
            what,
            memory_mib,
            " MiB",
            memory_mib_max,
        ));
        for contender in &mut self.contenders {
            contender.clean()?;
        }
        Ok(rows)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the name is that of this run alone"
)]
fn move_aside(made: &Path, aside: &Path) -> Result {
    remove(aside)?;
    std::fs::rename(made, aside)?;
    Ok(())
}

/// The peak of resident memory of one more run, by the kernel's own account.
pub(super) fn memory_mib(contender: &mut Contender) -> Result<u64> {
    // The interpreter's own few MiB are the floor of what this can tell.
    const PEAK_KIB: &str = "import resource, subprocess, sys\n\
        code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)\n\
        print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n\
        sys.exit(code)";
    contender.prepare()?;
    let inner = &contender.command;
    let mut outer = Command::new("python3");
    outer
        .args(["-c", PEAK_KIB])
        .arg(inner.get_program())
        .args(inner.get_args());
    if let Some(directory) = inner.get_current_dir() {
        outer.current_dir(directory);
    }
    for (name, value) in inner.get_envs() {
        if let Some(value) = value {
            outer.env(name, value);
        }
    }
    let peak_kib: u64 = crate::command::read(&mut outer)?.trim().parse()?;
    Ok(peak_kib.div_ceil(1024))
}

/// The rows as a Markdown table.
pub(super) fn table(rows: &[Row]) -> String {
    let mut table = String::from("| job | against | ratio | wanted | |\n|---|---|---|---|---|\n");
    for row in rows {
        let met = match row.is_met {
            Some(true) => "met",
            Some(false) => "**not met**",
            None => "",
        };
        let _ = writeln!(
            table,
            "| {} | {} | {} | {} | {met} |",
            row.job, row.against, row.ratio, row.wanted
        );
    }
    table
}

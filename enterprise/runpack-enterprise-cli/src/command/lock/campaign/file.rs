//! The file of a campaign: what it was asked for, in the first line, and the packs that were done, one a line.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use runpack_cli::Failure;
use runpack_core::digest::Digest;
use runpack_core::id::{Namespace, Scenario, Tenant};
use runpack_core::store::s3::LockMode;
use runpack_enterprise::terms::RetainUntil;
use serde_json::json;

/// What a campaign is asked for.
#[derive(Debug)]
pub(super) struct Terms {
    pub(super) place: String,
    pub(super) tenant: Tenant,
    pub(super) namespace: Option<Namespace>,
    pub(super) scenario: Option<Scenario>,
    pub(super) mode: LockMode,
    pub(super) until: RetainUntil,
}

impl Terms {
    /// As one line.
    fn line(&self) -> String {
        let (retain_for, until) = match &self.until {
            RetainUntil::For(time) => (Some(time.to_string()), None),
            RetainUntil::At(time) => (None, Some(time.to_string())),
        };
        json!({
            "format": "runpack-campaign/v1",
            "place": self.place,
            "tenant": self.tenant,
            "namespace": self.namespace,
            "scenario": self.scenario,
            "mode": self.mode,
            "retain_for": retain_for,
            "until": until,
        })
        .to_string()
    }

    /// The name of its file, so that the same command again goes on with it.
    pub(super) fn file_name(&self) -> String {
        format!("{}.txt", Digest::of(self.line().as_bytes()))
    }
}

/// What was done already.
#[derive(Debug)]
pub(super) struct Campaign {
    path: PathBuf,
    done: BTreeSet<String>,
}

impl Campaign {
    /// Goes on with a campaign, or begins it.
    ///
    /// # Errors
    /// The file is of another campaign, or of none.
    pub(super) fn open(path: PathBuf, terms: &Terms) -> Result<Self, Failure> {
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(unusable(&path, &error)),
        };
        let asked = terms.line();
        // What a crash tore off is no line, and is done again.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let mut lines = whole.lines();
        match lines.next() {
            Some(first) if first == asked => {}
            None if asked.starts_with(&text) => {}
            begun => {
                let begun = begun.unwrap_or("nothing that is known");
                return Err(Failure::new(
                    format!(
                        "the file is of another campaign, path=`{}` begun=`{begun}` asked=`{asked}`",
                        path.display()
                    ),
                    "run it with what it was begun with, or give another --campaign",
                ));
            }
        }
        let done = lines.map(str::to_owned).collect();
        let kept = format!(
            "{}\n",
            [asked.as_str()]
                .into_iter()
                .chain(whole.lines().skip(1))
                .collect::<Vec<_>>()
                .join("\n")
        );
        if kept != text {
            replace(&path, &kept).map_err(|error| unusable(&path, &error))?;
        }
        Ok(Self { path, done })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a pack was done.
    pub(super) fn has(&self, key: &str) -> bool {
        self.done.contains(key)
    }

    /// Writes down that a pack was done.
    pub(super) fn note(&mut self, key: &str) -> Result<(), Failure> {
        let noted = || {
            let mut file = OpenOptions::new().append(true).open(&self.path)?;
            file.write_all(format!("{key}\n").as_bytes())?;
            file.sync_data()
        };
        noted().map_err(|error| unusable(&self.path, &error))?;
        self.done.insert(key.to_owned());
        Ok(())
    }
}

/// Writes the file without what a crash tore off. What is lost of it in another crash is only done again.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    std::fs::write(path, text)
}

fn unusable(path: &Path, error: &io::Error) -> Failure {
    Failure::new(
        format!(
            "the campaign's file cannot be used, path=`{}`",
            path.display()
        ),
        "give another --campaign",
    )
    .because(error)
}

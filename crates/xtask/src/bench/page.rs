//! The page with the figures, `Docs/performance.md`: sections that are written each for itself.

use std::fs;

use super::part::Section;
use super::{Bench, Options, index, load, machine};
use crate::command::Result;

const PAGE: &str = "Docs/performance.md";
const HEAD: &str = "# Performance\n\n\
    Ratios of medians of runs that took turns; more than 1 means that Runpack is faster. Other machines give other \
    ratios, so run it on yours.\n";
const FILES: &str = "\
    What runs: `runpack verify DIRECTORY --expect-pack-id ID` on a pack in a file store, against tools \
    that hash the same files; `runpack export` to an empty store, durable, against a loop that writes and \
    syncs each file and its directory; `runpack bundle`. openssl hashes and compares with nothing. The \
    workloads are made by a seeded generator and cannot be compressed.\n\n\
    At a bucket: `runpack push --no-verify`, for the others verify nothing, and `runpack push`, which verifies \
    first, against `s5cmd cp` and `rclone copy`; `runpack verify s3://...` against `rclone hashsum sha256 \
    --download -C`. The server keeps everything in memory on the same machine and checks nothing, so that \
    the clients are what is measured.\n\n\
    What an export gains over a loop of syncs is what a sync costs on the disk. Where syncs are nearly \
    free, the disk's bandwidth bounds both, and `cp` with one sync, which hashes nothing, shows that \
    bound.\n";

impl Section {
    fn title(self) -> &'static str {
        match self {
            Self::Files => "Files and buckets",
            Self::Server => "The server",
            Self::Catalog => "The catalog",
        }
    }

    /// What `--only` calls it.
    fn name(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Server => "server",
            Self::Catalog => "catalog",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Files => FILES,
            Self::Server => load::TEXT,
            Self::Catalog => index::TEXT,
        }
    }
}

/// Puts the section in the place of the one of its title, and leaves the others.
pub(super) fn write(bench: &Bench<'_>, options: &Options, section: Section, table: &str) -> Result {
    let path = bench.workspace.root.join(PAGE);
    let old = fs::read_to_string(&path).unwrap_or_default();
    let new = format!(
        "## {title}\n\n\
         Written by `cargo xtask bench --only {name}{quick} --write` on {today}, {rounds} rounds, page cache warm.\n\n\
         {machine}\
         - beside: {beside}\n\n\
         {table}\n\
         {text}",
        title = section.title(),
        name = section.name(),
        quick = if options.quick { " --quick" } else { "" },
        today = machine::today(),
        rounds = bench.rounds,
        machine = machine::described(bench)?,
        beside = match section {
            Section::Files => bench.peers.versions.clone(),
            Section::Server => load::versions(bench)?,
            Section::Catalog => "nothing".to_owned(),
        },
        text = section.text(),
    );
    fs::write(path, renewed(&old, section, &new))?;
    println!("wrote the section `{}` to {PAGE}", section.title());
    Ok(())
}

/// The page with one section anew.
fn renewed(old: &str, section: Section, new: &str) -> String {
    let mut page = HEAD.to_owned();
    for of in Section::ALL {
        let text = if of == section {
            Some(new)
        } else {
            find(old, of)
        };
        if let Some(text) = text {
            page.push('\n');
            page.push_str(text.trim_end());
            page.push('\n');
        }
    }
    page
}

/// The section of a page, from its heading to the next.
fn find(page: &str, section: Section) -> Option<&str> {
    let at = page.find(&format!("## {}\n", section.title()))?;
    let (_, text) = page.split_at_checked(at)?;
    let end = text.find("\n## ").unwrap_or(text.len());
    text.get(..end)
}

#[cfg(test)]
mod tests {
    use super::{HEAD, Section, renewed};

    #[test]
    fn one_section_is_renewed_and_the_other_stays() {
        let one = renewed("", Section::Server, "## The server\n\nfast\n");
        assert_eq!(one, format!("{HEAD}\n## The server\n\nfast\n"));
        let both = renewed(&one, Section::Files, "## Files and buckets\n\nslow\n");
        let files = "## Files and buckets\n\nslow\n";
        assert_eq!(both, format!("{HEAD}\n{files}\n## The server\n\nfast\n"));
        let again = renewed(&both, Section::Server, "## The server\n\nfaster\n");
        assert_eq!(again, format!("{HEAD}\n{files}\n## The server\n\nfaster\n"));
    }
}

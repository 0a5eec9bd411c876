//! Licences, banned crates, sources and advisories of every dependency, by cargo-deny and `deny.toml`.
//!
//! Licences, bans and sources always gate. Advisories gate wherever the advisory database can be fetched;
//! where it cannot, the output says so in as many words.

use crate::command::{self, Result, Workspace, shell, succeeds};
use crate::tools::DENY;

/// How long a fetch of the advisory database may take.
const FETCH_SECONDS_MAX: &str = "60";

pub(crate) fn run(workspace: &Workspace) -> Result {
    DENY.ensure(workspace)?;
    command::run(&mut workspace.cargo("deny --all-features check licenses bans sources"))?;

    let mut fetch = workspace.command("timeout");
    fetch.args([FETCH_SECONDS_MAX, "cargo", "deny", "fetch", "db"]);
    println!("$ {}", shell(&fetch));
    if succeeds(&mut fetch) {
        command::run(&mut workspace.cargo("deny --all-features check --disable-fetch advisories"))?;
        println!("Checked: licences, bans, sources and advisories.");
    } else {
        println!("Checked: licences, bans and sources.");
        println!(
            "ADVISORIES WERE NOT CHECKED: the advisory database could not be fetched from here."
        );
    }
    Ok(())
}

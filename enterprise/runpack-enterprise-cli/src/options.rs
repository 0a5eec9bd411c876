//! Arguments that every command has here beside those of `runpack`.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

const CONSENT: &str = "yes_irrevocable";
const SIGNING_KEY: &str = "signing_key";
const TRUSTED_KEY: &str = "trusted_key";

/// Adds them.
pub(crate) fn add(command: Command) -> Command {
    let consent = Arg::new(CONSENT)
        .long("yes-irrevocable")
        .global(true)
        .action(ArgAction::SetTrue)
        .display_order(910)
        .help("Lock in compliance mode without asking: nobody can take such a lock back");
    let signing_key = Arg::new(SIGNING_KEY)
        .long("signing-key")
        .global(true)
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .display_order(911)
        .help("Private key (PEM, PKCS#8, P-256) that signs holds, audit heads and attestations; RUNPACK_KEY_PASSPHRASE opens an encrypted one");
    let trusted_key = Arg::new(TRUSTED_KEY)
        .long("trusted-key")
        .global(true)
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .action(ArgAction::Append)
        .display_order(912)
        .help("Public key (PEM) whose signatures count; may be given several times [default: that of --signing-key]");
    command.arg(consent).arg(signing_key).arg(trusted_key)
}

pub(crate) fn consents(given: &ArgMatches) -> bool {
    given.get_flag(CONSENT)
}

pub(crate) fn signing_key(given: &ArgMatches) -> Option<PathBuf> {
    given.get_one::<PathBuf>(SIGNING_KEY).cloned()
}

pub(crate) fn trusted_keys(given: &ArgMatches) -> Vec<PathBuf> {
    let keys = given.get_many::<PathBuf>(TRUSTED_KEY);
    keys.into_iter().flatten().cloned().collect()
}

//! The rules of this project that no compiler or lint knows.
//!
//! Each rule is a function that yields its problems, one line each; no problem means that the rule holds.
//! All rules run, then all problems are printed, grouped by rule. The rules are written for people in
//! `Docs/standards/`.

mod layering;
mod layout;
mod links;
mod text;
mod threats;

use clap::Args;

use crate::command::{Result, Workspace};

#[derive(Debug, Default, Args)]
pub(crate) struct Options {
    /// Write what is generated (the table in the threat model) instead of only comparing it
    #[arg(long)]
    write: bool,
}

/// What a rule found: a sentence for each problem.
type Problems = Vec<String>;

struct Rule {
    name: &'static str,
    check: fn(&Workspace) -> Result<Problems>,
}

const RULES: &[Rule] = &[
    Rule {
        name: "dependencies point one way",
        check: |workspace| Ok(layering::one_way(workspace)),
    },
    Rule {
        name: "dependencies are declared once and with care",
        check: |workspace| Ok(layering::declared(workspace)),
    },
    Rule {
        name: "the bare core and the lean program depend on little",
        check: layering::lean,
    },
    Rule {
        name: "the visible root is fixed",
        check: layout::visible_root,
    },
    Rule {
        name: "modules are `foo.rs`, not `foo/mod.rs`",
        check: layout::no_mod_rs,
    },
    Rule {
        name: "a source file opens with what it is for",
        check: layout::headers,
    },
    Rule {
        name: "a source file is at most 500 lines without its tests",
        check: layout::length,
    },
    Rule {
        name: "nothing is left undone",
        check: text::nothing_undone,
    },
    Rule {
        name: "no path of somebody's machine",
        check: text::no_machine_paths,
    },
    Rule {
        name: "links lead somewhere",
        check: links::relative_links,
    },
    Rule {
        name: "every attack case of what is built has a test",
        check: threats::every_case_tested,
    },
    Rule {
        name: "the table of attack cases is fresh",
        check: threats::table_fresh,
    },
];

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result {
    if options.write {
        threats::write_table(workspace)?;
    }
    let mut count = 0_usize;
    for rule in RULES {
        let problems = (rule.check)(workspace)?;
        println!(
            "{} {}",
            if problems.is_empty() { "ok  " } else { "FAIL" },
            rule.name
        );
        for problem in &problems {
            println!("       {problem}");
        }
        count = count.saturating_add(problems.len());
    }
    match count {
        0 => Ok(()),
        1 => Err("tidy found 1 problem".into()),
        _ => Err(format!("tidy found {count} problems").into()),
    }
}

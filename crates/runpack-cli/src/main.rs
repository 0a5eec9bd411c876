//! The program `runpack`.

use std::process::ExitCode;

fn main() -> ExitCode {
    runpack_cli::main()
}

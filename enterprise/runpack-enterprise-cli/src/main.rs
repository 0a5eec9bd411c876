//! The program `runpack-enterprise`: the commands of `runpack`, and those of locked storage.

use std::process::ExitCode;

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    runpack_enterprise_cli::main()
}

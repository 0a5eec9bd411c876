//! The program `runpack-enterprise`: the commands of `runpack`, and those of locked storage.

use std::process::ExitCode;

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    runpack_cli::main_with::<runpack_cli::NoMore>(runpack_cli::Program::new(
        "runpack-enterprise",
        env!("CARGO_PKG_VERSION"),
    ))
}

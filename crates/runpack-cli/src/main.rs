//! The program `runpack`.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// A request to a store is hundreds of small allocations: glibc's allocator took a sixth of the time of verifying
/// small objects in a bucket.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    runpack_cli::main()
}

//! The program: reads the command line, runs the verb, sets the exit code.

/// Requests allocate and free on different threads, which the system's allocator is slow at: a
/// third of a validation's time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use std::process::ExitCode;

fn main() -> ExitCode {
    hindcast::cli::main()
}

//! The program: reads the command line, runs the verb, sets the exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    hindcast::cli::main()
}

//! The workspace's own tool: `check` is what CI runs, `tidy` are the rules no compiler knows,
//! `tools` installs what the tests call, `bench` runs one benchmark.
//!
//! It knows nothing of the product: no other crate of the workspace is a dependency.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool talks on both"
)]

mod bench;
mod check;
mod graphs;
mod session;
mod tidy;
mod tools;

use std::process::ExitCode;

use anyhow::bail;

use session::Session;

const USAGE: &str = "\
usage: cargo xtask VERB

  check [--fast] [--no-install]  everything CI runs, cheapest first; --fast stops before building
                                 tests; --no-install fails where a tool is missing
  tidy [--update]                the rules no compiler knows; --update lowers xtask/ratchet.toml
  tools [--bench]                install what the tests (and the benchmarks) call
  bench NAME [ARGS...]           run benches/src/bin/NAME.rs in release, print its one JSON line
  bench --list                   names of all benchmarks
  graphs [--write] [PYTHON:SCRIPT]  the tables of docs/methods on causal graphs, with other programs
                                 beside ours where a script runs them; --write puts them there";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if matches!(
        arguments.first().map(String::as_str),
        None | Some("help" | "--help" | "-h")
    ) {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> anyhow::Result<()> {
    let session = Session::open()?;
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["check", flags @ ..] => check::run(&session, check::Options::parse(flags)?),
        ["tidy"] => tidy::run(&session),
        ["tidy", "--update"] => tidy::update(&session),
        ["tools"] => tools::ensure(&session, tools::FOR_TESTS, tools::WhenMissing::Install),
        ["tools", "--bench"] => {
            tools::ensure(&session, tools::FOR_BENCHES, tools::WhenMissing::Install)
        }
        ["bench", "--list"] => bench::list(&session),
        ["graphs"] => graphs::run(&session, None, false),
        ["graphs", "--write"] => graphs::run(&session, None, true),
        ["graphs", "--write", peers] => graphs::run(&session, Some(peers), true),
        ["graphs", peers] => graphs::run(&session, Some(peers), false),
        ["bench", name, rest @ ..] => bench::run(&session, name, rest),
        _ => bail!("not understood: {}\n\n{USAGE}", words.join(" ")),
    }
}

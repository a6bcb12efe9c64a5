//! `cargo xtask check`: the one list of everything that must hold, cheapest first.
//!
//! A new check is one function and one row of `STEPS`. Tests come last, so that the test
//! runner's summary is the last thing printed.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::session::{Session, finish};
use crate::tools::{self, Tool, WhenMissing};

struct Step {
    name: &'static str,
    /// Runs under `--fast` too: needs no test build and no tool beyond the Rust toolchain.
    fast: bool,
    needs: &'static [&'static Tool],
    run: fn(&Session) -> anyhow::Result<()>,
}

const STEPS: &[Step] = &[
    Step {
        name: "lock file",
        fast: true,
        needs: &[],
        run: lock_file,
    },
    Step {
        name: "format",
        fast: true,
        needs: &[],
        run: format,
    },
    Step {
        name: "tidy",
        fast: true,
        needs: &[],
        run: crate::tidy::run,
    },
    Step {
        name: "lints",
        fast: true,
        needs: &[],
        run: lints,
    },
    Step {
        name: "dependencies",
        fast: false,
        needs: &[&tools::CARGO_DENY],
        run: dependencies,
    },
    Step {
        name: "documentation",
        fast: false,
        needs: &[],
        run: documentation,
    },
    Step {
        name: "documentation tests",
        fast: false,
        needs: &[],
        run: documentation_tests,
    },
    Step {
        name: "restore drill",
        fast: false,
        needs: &[],
        run: restore_drill,
    },
    Step {
        name: "tests",
        fast: false,
        needs: tools::FOR_TESTS,
        run: tests,
    },
];

#[derive(Clone, Copy)]
pub(crate) struct Options {
    fast: bool,
    when_missing: WhenMissing,
}

impl Options {
    pub(crate) fn parse(flags: &[&str]) -> anyhow::Result<Options> {
        let mut options = Options {
            fast: false,
            when_missing: WhenMissing::Install,
        };
        for flag in flags {
            match *flag {
                "--fast" => options.fast = true,
                "--no-install" => options.when_missing = WhenMissing::Fail,
                unknown => bail!("check knows --fast and --no-install, not {unknown}"),
            }
        }
        Ok(options)
    }
}

pub(crate) fn run(session: &Session, options: Options) -> anyhow::Result<()> {
    let steps: Vec<&Step> = STEPS
        .iter()
        .filter(|step| step.fast || !options.fast)
        .collect();
    let mut times = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        let last = number + 1 == steps.len();
        if last {
            print_times(&times);
        }
        println!("--- {} ({} of {})", step.name, number + 1, steps.len());
        let started = now();
        tools::ensure(session, step.needs, options.when_missing)?;
        (step.run)(session).with_context(|| format!("step failed: {}", step.name))?;
        let took = started.elapsed();
        if !last {
            println!("    {} took {:.1} s", step.name, took.as_secs_f64());
        }
        times.push((step.name, took));
    }
    Ok(())
}

/// Building this tool has already brought a stale lock file up to date, so ask git.
fn lock_file(session: &Session) -> anyhow::Result<()> {
    if !session.in_ci {
        return Ok(());
    }
    session
        .run("git", &["diff", "--exit-code", "HEAD", "--", "Cargo.lock"])
        .context("Cargo.lock is not what was committed")
}

fn format(session: &Session) -> anyhow::Result<()> {
    component(session, "fmt", "rustfmt")?;
    session.run("cargo", &["fmt", "--all", "--check"])
}

fn dependencies(session: &Session) -> anyhow::Result<()> {
    // Advisories need a git host; this runs where only the crate registry is reachable.
    session.run(
        "cargo-deny",
        &[
            "--log-level",
            "error",
            "check",
            "bans",
            "licenses",
            "sources",
        ],
    )
}

fn lints(session: &Session) -> anyhow::Result<()> {
    component(session, "clippy", "clippy")?;
    let arguments = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ];
    finish(&mut session.cargo(&arguments))
}

fn documentation(session: &Session) -> anyhow::Result<()> {
    let arguments = [
        "doc",
        "--workspace",
        "--no-deps",
        "--document-private-items",
    ];
    finish(session.cargo(&arguments).env("RUSTDOCFLAGS", "-D warnings"))
}

fn documentation_tests(session: &Session) -> anyhow::Result<()> {
    finish(&mut session.cargo(&["test", "--doc", "--workspace", "--quiet"]))
}

/// Loses a machine with a million events and restores it. The times are printed and not judged: this
/// is no quiet machine, and no optimised build.
fn restore_drill(session: &Session) -> anyhow::Result<()> {
    let arguments = [
        "run",
        "--quiet",
        "--package",
        "hindcast",
        "--",
        "drill",
        "run",
        "restore",
        "--json",
    ];
    let output = session
        .cargo(&arguments)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    let text = String::from_utf8(output.stdout).context("the drill printed no UTF-8")?;
    let report: serde_json::Value =
        serde_json::from_str(&text).context("the drill said nothing")?;
    let (rpo, rto) = (&report["rpo_seconds"], &report["rto_seconds"]);
    println!(
        "    {} events, RPO {rpo} s, RTO {rto} s",
        report["head_seq"]
    );
    ensure!(
        report["state_equal"] == true,
        "what was restored is not what was lost: {text}"
    );
    Ok(())
}

fn tests(session: &Session) -> anyhow::Result<()> {
    let profile = if session.in_ci { "ci" } else { "default" };
    let arguments = ["nextest", "run", "--workspace", "--profile", profile];
    finish(&mut session.cargo(&arguments))
}

/// A part of the toolchain that a minimal installation leaves out.
fn component(session: &Session, subcommand: &str, name: &str) -> anyhow::Result<()> {
    session
        .output("cargo", &[subcommand, "--version"])
        .map(drop)
        .with_context(|| format!("{name} is missing; run: rustup component add {name}"))
}

fn print_times(times: &[(&str, Duration)]) {
    for (name, took) in times {
        println!("    {:>7.1} s  {name}", took.as_secs_f64());
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a developer's tool reports wall time"
)]
fn now() -> Instant {
    Instant::now()
}

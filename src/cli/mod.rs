//! The command line. A verb that works on data in files computes right here; one that only reads
//! the log reads its files; one that adds to it speaks to a server: the one that `--server` names,
//! or one that is started in this process for as long as the verb runs. All ways print the same
//! JSON.

mod anew;
mod arguments;
mod audit;
mod backup;
mod breaker;
mod cache;
mod capacity;
mod causal;
mod client;
mod configuration;
mod connection;
mod data;
mod demo;
mod directory;
mod doctor;
mod drill;
mod events;
mod experiment;
mod history;
mod keys;
mod load;
mod local;
mod logs;
mod output;
mod profile;
mod redact;
mod render;
mod repair;
mod restore;
mod serve;
mod slo;
mod snapshot;
mod status;
mod target;
mod top;
mod trace;
mod verify;
mod whatif;

use std::process::ExitCode;

use clap::FromArgMatches;

use arguments::{Cli, ConfigVerb, Global, Shell, Verb};
use output::{Failure, Output};

/// Runs the program with the arguments of this process.
#[must_use]
pub fn main() -> ExitCode {
    // clap prints help and usage errors itself, with exit codes 0 and 2.
    let matches = arguments::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let output = Output::new(cli.global.json);
    match run(cli, &output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => output.fail(&failure),
    }
}

fn run(cli: Cli, output: &Output) -> Result<(), Failure> {
    let global = &cli.global;
    refuse_ignored(global, &cli.verb)?;
    match cli.verb {
        Verb::Serve(options) => serve::run(global, &options, output),
        Verb::Demo(options) => demo::run(&options, output),
        Verb::Causal { verb } => causal::run(global, verb, output),
        Verb::Data { verb } => data::run(global, verb, output),
        Verb::Experiment { verb } => experiment::run(global, verb, output),
        Verb::State(options) => history::state(global, &options, output),
        Verb::Diff(options) => history::difference(global, &options, output),
        Verb::Explain(options) => history::explain(global, &options, output),
        Verb::WhatIf(options) => whatif::run(global, &options, output),
        Verb::Events { verb } => events::run(global, verb, output),
        Verb::Verify(options) => verify::run(global, &options, output),
        Verb::Keys { verb } => keys::run(global, &verb, output),
        Verb::Audit { verb } => audit::run(global, &verb, output),
        Verb::Redact(options) => redact::run(global, &options, output),
        Verb::Status => status::run(global, output),
        Verb::Logs { verb } => logs::run(global, &verb, output),
        Verb::Trace { verb } => trace::run(global, &verb, output),
        Verb::Load { verb } => load::run(global, verb, output),
        Verb::Profile { verb } => profile::run(global, &verb, output),
        Verb::Capacity { verb } => capacity::run(global, &verb, output),
        Verb::Top(options) => top::run(global, &options, output),
        Verb::Drill { verb } => drill::run(global, &verb, output),
        Verb::Doctor => doctor::run(global, output),
        Verb::Snapshot => snapshot::run(global, output),
        Verb::Repair(options) => repair::run(global, &options, output),
        Verb::Backup { verb } => backup::run(global, verb, output),
        Verb::Breaker { verb } => breaker::run(global, verb, output),
        Verb::Cache { verb } => cache::run(global, verb, output),
        Verb::Service { verb } => breaker::service(global, verb, output),
        Verb::Slo { verb } => slo::run(global, &verb, output),
        Verb::Restore(options) => restore::run(global, &options, output),
        Verb::Config { verb } => configuration::run(global, verb, output),
        Verb::Completions { shell } => completions(shell, output),
    }
}

/// Refuses the global flags that a verb would not look at.
fn refuse_ignored(global: &Global, verb: &Verb) -> Result<(), Failure> {
    let ignored = ignored(global, verb);
    let given = [
        (SERVER, global.server.is_some()),
        (CONFIG, global.config.is_some()),
        (DATA_DIR, global.data_dir.is_some()),
        (SET, !global.set.is_empty()),
    ];
    for (flag, given) in given {
        if given && ignored.contains(&flag) {
            let beside = match global.server {
                Some(_) if flag != SERVER => " beside --server",
                _ => "",
            };
            let message = format!("{flag} has no meaning here{beside}");
            return Err(Failure::Usage(message));
        }
    }
    Ok(())
}

const SERVER: &str = "--server";
const CONFIG: &str = "--config";
const DATA_DIR: &str = "--data-dir";
const SET: &str = "--set";

/// The global flags that a verb would not look at.
fn ignored(global: &Global, verb: &Verb) -> &'static [&'static str] {
    match verb {
        Verb::Demo(_)
        | Verb::Completions { .. }
        | Verb::Config {
            verb: ConfigVerb::Default,
        } => &[SERVER, CONFIG, DATA_DIR, SET],
        Verb::Drill { verb } => match verb.has_target() && global.server.is_none() {
            true => &[],
            false => &[CONFIG, DATA_DIR, SET],
        },
        Verb::Config {
            verb: ConfigVerb::Check { .. },
        } => &[SERVER, DATA_DIR],
        Verb::Config {
            verb: ConfigVerb::Show,
        }
        | Verb::Logs {
            verb: logs::Logs::Prune { .. },
        }
        | Verb::Doctor
        | Verb::Serve(_) => &[SERVER],
        // They say themselves what they read instead.
        Verb::Verify(_) | Verb::Repair(_) | Verb::Restore(_) => &[],
        // Its settings are those to try.
        Verb::Breaker {
            verb: arguments::Breaker::Simulate { .. },
        } => match global.server {
            Some(_) => &[CONFIG, DATA_DIR],
            None => &[],
        },
        Verb::Causal { .. }
        | Verb::Breaker { .. }
        | Verb::Cache { .. }
        | Verb::Service { .. }
        | Verb::Slo { .. }
        | Verb::Data { .. }
        | Verb::Experiment { .. }
        | Verb::State(_)
        | Verb::Diff(_)
        | Verb::Explain(_)
        | Verb::WhatIf(_)
        | Verb::Redact(_)
        | Verb::Keys { .. }
        | Verb::Audit { .. }
        | Verb::Status
        | Verb::Trace { .. }
        | Verb::Logs { .. }
        | Verb::Snapshot
        | Verb::Load { .. }
        | Verb::Profile { .. }
        | Verb::Capacity { .. }
        | Verb::Top(_)
        | Verb::Backup { .. }
        | Verb::Events { .. } => {
            match global.server {
                // The server has a configuration of its own.
                Some(_) => &[CONFIG, DATA_DIR, SET],
                None => &[],
            }
        }
    }
}

fn completions(shell: Shell, output: &Output) -> Result<(), Failure> {
    use clap_complete::shells::{Bash, Elvish, Fish, PowerShell, Zsh};
    let mut script = Vec::new();
    let mut command = arguments::command();
    let name = "hindcast";
    match shell {
        Shell::Bash => clap_complete::generate(Bash, &mut command, name, &mut script),
        Shell::Elvish => clap_complete::generate(Elvish, &mut command, name, &mut script),
        Shell::Fish => clap_complete::generate(Fish, &mut command, name, &mut script),
        Shell::Powershell => clap_complete::generate(PowerShell, &mut command, name, &mut script),
        Shell::Zsh => clap_complete::generate(Zsh, &mut command, name, &mut script),
    }
    let script = String::from_utf8_lossy(&script);
    match output.json {
        true => output.value(&serde_json::json!({ "script": script })),
        false => output.text(script.trim_end()),
    }
}

//! The command line: verbs, flags and their help. What a verb does stands in its own file.

mod backup;
mod breaker;
mod cache;
mod configuration;
mod demo;
mod events;
mod global;
mod history;
mod serve;
mod slo;

use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

pub(crate) use backup::{AnyTarget, Backup, Restore, Target};
pub(crate) use breaker::{Breaker, LastingWish, Service, Wish};
pub(crate) use cache::{Cache, Invalidate, Meant, ResizeCache};
pub(crate) use configuration::ConfigVerb;
pub(crate) use demo::Demo;
pub(crate) use events::{EventFilter, Events, ExportFormat};
pub(crate) use global::Global;
pub(crate) use history::{Diff, Explain, ExplainDirection, ExplainFormat, StateOf};
pub(crate) use serve::Serve;
pub(crate) use slo::{At as SloAt, Slo};

use super::whatif::WhatIf;

/// Causal experiments over an event log that can be replayed, restored and asked what if.
#[derive(Debug, Parser)]
#[command(
    name = "hindcast",
    version,
    arg_required_else_help = true,
    after_help = "Examples:\n  hindcast demo\n  hindcast serve --data-dir ./data\n  \
                  hindcast causal discover --data measurements.csv --json\n\n\
                  Exit codes: 0 done, 1 failed, 2 wrong usage."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run the server: REST, metrics, actors.
    #[command(after_help = "Examples:\n  hindcast serve\n  \
                            hindcast serve --listen 127.0.0.1:0 --data-dir /var/lib/hindcast")]
    Serve(Serve),
    /// Start a temporary server, find a causal graph in real data, and ask it a question.
    #[command(after_help = "Examples:\n  hindcast demo\n  hindcast demo --keep")]
    Demo(Demo),
    /// Causal questions: find a graph in data, or judge an effect in a graph.
    Causal {
        #[command(subcommand)]
        verb: Causal,
    },
    /// Stored tables.
    Data {
        #[command(subcommand)]
        verb: Data,
    },
    /// Named series of runs.
    Experiment {
        #[command(subcommand)]
        verb: Experiment,
    },
    /// Show the state as it was at a moment.
    #[command(
        after_help = "STREAM is run/ID, experiment/ID, dataset/DIGEST, system/NAME, or all.\n\n\
        Examples:\n  hindcast state --at 1000\n  \
        hindcast state run/ID --at 2026-11-22T13:52:46Z --json\n  \
        hindcast state system/configuration --data-dir ./data"
    )]
    State(StateOf),
    /// Show what changed between two moments, and the events between.
    #[command(
        after_help = "A and B are sequences or times such as 2026-11-22T13:52:46Z.\n\n\
        Examples:\n  hindcast diff 10 250\n  \
        hindcast diff 2026-11-22T00:00:00Z 2026-11-23T00:00:00Z system/intake --json"
    )]
    Diff(Diff),
    /// Show what led to a result, and what followed from it.
    #[command(after_help = "Examples:\n  hindcast explain RUN\n  \
        hindcast explain DIGEST --direction forward --json\n  \
        hindcast explain RUN --format dot | dot -Tpdf > why.pdf\n  \
        hindcast explain RUN --format svg > why.svg")]
    Explain(Explain),
    /// Replay the log as it would have been with one thing otherwise, and show what differs.
    #[command(name = "whatif")]
    WhatIf(Box<WhatIf>),
    /// The event log.
    Events {
        #[command(subcommand)]
        verb: Events,
    },
    /// Prove that the log is whole: chain, checksums, order, and that deciding it again gives the
    /// same bytes.
    #[command(after_help = "Examples:\n  hindcast verify --data-dir ./data\n  \
                            hindcast verify --recompute --json")]
    Verify(super::verify::Options),
    /// Heal what verify finds, as far as there is a copy of it; the server has to be stopped.
    #[command(
        after_help = "Examples:\n  hindcast repair --plan\n  hindcast repair --data-dir ./data"
    )]
    Repair(super::repair::Options),
    /// Write the folded state to a file, so that the next start is quick and moments are near it.
    #[command(
        after_help = "A server takes snapshots by itself; this is for one at once.\n\nExamples:\n  \
        hindcast snapshot --data-dir ./data\n  \
        hindcast snapshot --server http://127.0.0.1:8080 --json"
    )]
    Snapshot,
    /// Practise what has to work one day, and measure it.
    Drill {
        #[command(subcommand)]
        verb: super::drill::Drill,
    },
    /// How a running server is, in one look.
    #[command(after_help = "Examples:\n  hindcast status\n  \
                            hindcast status --server http://127.0.0.1:8080 --json")]
    Status,
    /// Traces of requests that a running server keeps.
    Trace {
        #[command(subcommand)]
        verb: super::trace::Trace,
    },
    /// The files that log lines go to.
    Logs {
        #[command(subcommand)]
        verb: super::logs::Logs,
    },
    /// Put a server under load, and find where it breaks.
    Load {
        #[command(subcommand)]
        verb: super::load::Load,
    },
    /// What a server spends its time on.
    Profile {
        #[command(subcommand)]
        verb: super::profile::Profile,
    },
    /// What a server bears, and how much of it is used.
    Capacity {
        #[command(subcommand)]
        verb: super::capacity::Capacity,
    },
    /// A live view of a running server: requests, latencies, actors, breakers, caches, memory.
    #[command(
        after_help = "Examples:\n  hindcast top --server http://127.0.0.1:8080\n  \
                            hindcast top --once\n  hindcast top --json --interval 5s\n  \
                            hindcast top slow --by total --interval 30s"
    )]
    Top(super::top::Options),
    /// Look at what a server needs here (port, disk, keys, log, limits), and say what to do.
    #[command(after_help = "Examples:\n  hindcast doctor\n  hindcast doctor --json")]
    Doctor,
    /// Make everything that was kept for a subject unreadable, for ever.
    #[command(
        after_help = "Examples:\n  hindcast redact patient-7 --reason 'asked to be forgotten'"
    )]
    Redact(super::redact::Options),
    /// Access keys: who may use a server, and in which role.
    Keys {
        #[command(subcommand)]
        verb: super::keys::Keys,
    },
    /// Who did what.
    Audit {
        #[command(subcommand)]
        verb: super::audit::Audit,
    },
    /// Backups: make, list, verify, remove old ones.
    Backup {
        #[command(subcommand)]
        verb: Backup,
    },
    /// Circuit breakers: look at them, hold them, try other settings on recorded calls.
    Breaker {
        #[command(subcommand)]
        verb: Breaker,
    },
    /// The caches: look at them, empty them by and by, fill them again, resize them.
    Cache {
        #[command(subcommand)]
        verb: Cache,
    },
    /// The services behind circuit breakers, and whether somebody has to act.
    Service {
        #[command(subcommand)]
        verb: Service,
    },
    /// Service level objectives: error budgets, how fast they go, and whether one is frozen.
    Slo {
        #[command(subcommand)]
        verb: Slo,
    },
    /// Make a data directory from a backup, or as it was at an earlier moment.
    #[command(after_help = backup::RESTORE_HELP)]
    Restore(Restore),
    /// The configuration.
    Config {
        #[command(subcommand)]
        verb: ConfigVerb,
    },
    /// Print a completion script for a shell.
    #[command(after_help = "Examples:\n  hindcast completions bash > \
                            ~/.local/share/bash-completion/completions/hindcast")]
    Completions {
        /// Whose completions are written.
        shell: Shell,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Elvish,
    Fish,
    Powershell,
    Zsh,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Causal {
    /// Find a causal graph in a table.
    #[command(after_help = "Examples:\n  \
        hindcast causal discover --data table.csv\n  \
        hindcast causal discover --data table.csv --algorithm notears --seed 7 --json\n  \
        cat table.csv | hindcast causal discover --data - --json\n  \
        hindcast causal discover --data table.csv --format svg > graph.svg\n  \
        hindcast causal discover --dataset DIGEST --server http://127.0.0.1:8080\n  \
        hindcast causal discover --request request.json --json")]
    Discover(Discover),
    /// Judge whether an effect can be known from observation, and by which formula.
    #[command(after_help = "Examples:\n  \
        hindcast causal validate --graph 'dag { z -> x; z -> y; x -> y }' \
        --treatment x --outcome y\n  \
        hindcast causal validate --graph model.txt --treatment x --outcome y --given z --json\n  \
        hindcast causal validate --request request.json --json")]
    Validate(Validate),
    /// Count, list and explain the paths between two nodes of a graph.
    #[command(after_help = "Examples:\n  \
        hindcast causal paths --graph 'dag { z -> x; z -> y; x -> y }' \
        --treatment x --outcome y --given z\n  \
        hindcast causal paths --graph model.txt --treatment x --outcome y --kind directed \
        --limit 0 --json\n  \
        hindcast causal paths --request request.json --json")]
    Paths(Paths),
}

#[derive(Debug, Args)]
pub(crate) struct Discover {
    /// A CSV file with a header; - reads standard input.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["dataset", "request"])]
    pub(crate) data: Option<PathBuf>,
    /// A dataset that is stored already, by its digest.
    #[arg(long, value_name = "DIGEST", conflicts_with = "request")]
    pub(crate) dataset: Option<String>,
    /// A request as the REST interface takes it, in JSON; - reads standard input.
    #[arg(long, value_name = "FILE")]
    pub(crate) request: Option<PathBuf>,
    /// boss, grasp, ges, pc, fci, direct_lingam, notears, dagma, eqvar or correlation.
    #[arg(long)]
    pub(crate) algorithm: Option<String>,
    /// Print the graph in this language instead: dagitty, dot, gml, bif or svg.
    #[arg(long, conflicts_with = "json")]
    pub(crate) format: Option<String>,
    /// The seed of everything random; drawn if left out.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Whether a server may compute something else when a circuit breaker does not let this pass.
    #[arg(long, value_name = "allow or never", value_parser = ["allow", "never"])]
    pub(crate) fallback: Option<String>,
    /// Any other field of the request, such as max_iter=50; may be repeated.
    #[arg(long = "option", value_name = "FIELD=JSON")]
    pub(crate) options: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Validate {
    /// dagitty or DOT text, JSON of a graph or of a discovery, or a file with one of them; -
    /// reads standard input.
    #[arg(long, value_name = "TEXT or FILE", conflicts_with = "request")]
    pub(crate) graph: Option<String>,
    /// A request as the REST interface takes it, in JSON; - reads standard input.
    #[arg(long, value_name = "FILE")]
    pub(crate) request: Option<PathBuf>,
    /// A node that is set; may be repeated.
    #[arg(long, value_name = "NODE")]
    pub(crate) treatment: Vec<String>,
    /// A node that is looked at; may be repeated.
    #[arg(long, value_name = "NODE")]
    pub(crate) outcome: Vec<String>,
    /// A node that is conditioned on; may be repeated.
    #[arg(long, value_name = "NODE")]
    pub(crate) given: Vec<String>,
    /// A CSV file to test the graph's implications against; - reads standard input.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["dataset", "request"])]
    pub(crate) data: Option<PathBuf>,
    /// The same with a dataset that is stored already, by its digest.
    #[arg(long, value_name = "DIGEST", conflicts_with = "request")]
    pub(crate) dataset: Option<String>,
    /// The seed of the numeric check.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Any other field of the request, such as limit=50; may be repeated.
    #[arg(long = "option", value_name = "FIELD=JSON")]
    pub(crate) options: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Paths {
    /// A graph as validate takes it; - reads standard input.
    #[arg(long, value_name = "TEXT or FILE", conflicts_with = "request")]
    pub(crate) graph: Option<String>,
    /// A request as the REST interface takes it, in JSON; - reads standard input.
    #[arg(long, value_name = "FILE")]
    pub(crate) request: Option<PathBuf>,
    /// Where the paths start.
    #[arg(long, value_name = "NODE")]
    pub(crate) treatment: Option<String>,
    /// Where they end.
    #[arg(long, value_name = "NODE")]
    pub(crate) outcome: Option<String>,
    /// A node that is conditioned on; may be repeated.
    #[arg(long, value_name = "NODE")]
    pub(crate) given: Vec<String>,
    /// all, directed, back_door or mediating.
    #[arg(long)]
    pub(crate) kind: Option<String>,
    /// mediating: the node that the paths pass.
    #[arg(long, value_name = "NODE")]
    pub(crate) via: Option<String>,
    /// Paths to list.
    #[arg(long)]
    pub(crate) limit: Option<u64>,
    /// Shortest paths to list besides.
    #[arg(long)]
    pub(crate) shortest: Option<u64>,
    /// The `next_cursor` of the page before.
    #[arg(long)]
    pub(crate) cursor: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Data {
    /// Store a CSV file under the hash of its bytes.
    #[command(
        after_help = "Examples:\n  hindcast data add table.csv --name measurements\n  \
                            cat table.csv | hindcast data add - --name measurements"
    )]
    Add {
        /// A CSV file with a header; - reads standard input.
        file: PathBuf,
        /// What to call it; the name of the file if left out.
        #[arg(long)]
        name: Option<String>,
    },
    /// List what is stored.
    #[command(after_help = "Examples:\n  hindcast data list --json")]
    List,
    /// Show the columns of a table: types, missing, constant and collinear ones.
    #[command(after_help = "Examples:\n  hindcast data profile table.csv\n  \
                            hindcast data profile DIGEST")]
    Profile {
        /// The digest of a stored table, or a CSV file; - reads standard input.
        table: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Experiment {
    /// Run a series of operations and wait for its end.
    #[command(after_help = "A series in TOML (JSON works too):\n\n  \
        name = \"three seeds\"\n  [[operations]]\n  operation = \"causal.discover\"\n  \
        seeds = [1, 2, 3]\n  [operations.request]\n  dataset = \"DIGEST\"\n\n\
        Examples:\n  hindcast experiment run series.toml\n  \
        hindcast experiment run series.toml --no-wait --server http://127.0.0.1:8080")]
    Run {
        /// The series; - reads standard input.
        file: PathBuf,
        /// Return as soon as it is recorded; only with --server.
        #[arg(long)]
        no_wait: bool,
    },
    /// Show one experiment and its runs.
    #[command(after_help = "Examples:\n  hindcast experiment show ID")]
    Show {
        /// Its id; `experiment list` has all.
        id: String,
    },
    /// List experiments, newest first.
    #[command(after_help = "Examples:\n  hindcast experiment list --limit 10")]
    List {
        /// How many.
        #[arg(long)]
        limit: Option<usize>,
    },
    /// Withdraw the runs of an experiment that have not ended.
    #[command(after_help = "Examples:\n  hindcast experiment cancel ID --reason 'wrong data'")]
    Cancel {
        /// Its id; `experiment list` has all.
        id: String,
        /// Recorded with the request.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Totals by operation and outcome.
    #[command(after_help = "Examples:\n  hindcast experiment stats --json")]
    Stats,
}

/// The program's grammar. A group of verbs shows the first example of each.
pub(crate) fn command() -> clap::Command {
    let mut command = Cli::command();
    let names: Vec<String> = command
        .get_subcommands()
        .filter(|group| group.has_subcommands() && group.get_after_help().is_none())
        .map(|group| group.get_name().to_owned())
        .collect();
    for name in names {
        command = command.mut_subcommand(name, |group| {
            let examples: Vec<String> = group.get_subcommands().filter_map(example).collect();
            group.after_help(format!("Examples:\n{}", examples.join("\n")))
        });
    }
    command
}

/// The first example of a verb.
fn example(verb: &clap::Command) -> Option<String> {
    let help = verb.get_after_help()?.to_string();
    let mut lines = help
        .lines()
        .skip_while(|line| !line.starts_with("  hindcast "));
    let mut example = lines.next()?.to_owned();
    // One that goes on in the next line is shown whole.
    while example.ends_with('\\')
        && let Some(more) = lines.next()
    {
        example = format!("{example}\n{more}");
    }
    Some(example)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn every_verb_has_help_with_an_example_and_a_word_on_each_argument() {
        fn look(command: &clap::Command, path: &str, missing: &mut Vec<String>) {
            let path = format!("{path} {}", command.get_name());
            let after = command.get_after_help().map(ToString::to_string);
            if !after.is_some_and(|text| text.contains("hindcast ")) {
                missing.push(path.clone());
            }
            for argument in command.get_arguments() {
                if argument.get_help().is_none() && !argument.is_hide_set() {
                    missing.push(format!("{path}: {}", argument.get_id()));
                }
            }
            for inner in command.get_subcommands() {
                look(inner, &path, missing);
            }
        }
        let mut missing = Vec::new();
        look(&command(), "", &mut missing);
        assert_eq!(missing, Vec::<String>::new());
    }
}

//! `hindcast demo`: a real server in a fresh directory, real data through REST, and what came of
//! it, step by step.

use serde_json::{Value, json};

use super::arguments::Demo;
use super::client::Client;
use super::data::upload;
use super::local::LocalServer;
use super::output::{Failure, Output};
use super::render;
use crate::config::Config;

/// 853 cells, 11 proteins and lipids of their signalling network (Sachs et al., Science 308,
/// 2005), as published in cmu-phil/example-causal-datasets under CC0.
const SACHS: &[u8] = include_bytes!("../../tests/data/causal/sachs/sachs_obs853.csv");
/// The 17 edges that the literature agrees on for these molecules: the consensus network that
/// NOTEARS and bnlearn are measured against.
const CONSENSUS: &str = include_str!("../../tests/data/causal/sachs/sachs17.edges.csv");
const SEED: u64 = 7;

pub(crate) fn run(options: &Demo, output: &Output) -> Result<(), Failure> {
    let directory = tempfile::Builder::new()
        .prefix("hindcast-demo-")
        .tempdir()?;
    let mut config = Config::default();
    config.server.data_dir = directory.path().join("data");
    config.server.stop_grace_ms = 1_000;
    let program = program();
    let server = LocalServer::start(config)?;
    let url = format!("http://{}", server.address);
    let steps = Steps {
        client: Client::new(&url)?,
        output,
    };
    steps.say(&format!("A server listens on {url}; its log is fresh."))?;
    let shown = steps.run();
    server.stop()?;
    shown?;
    if options.keep {
        let kept = directory.keep();
        let kept = kept.join("data").display().to_string();
        steps.say(&format!(
            "\nThe log stays in {kept}.\n  {program} verify --data-dir {kept}"
        ))?;
    }
    steps.say(&format!(
        "\nNow try\n  \
         {program} serve\n  \
         {program} causal discover --data your.csv\n  \
         {program} causal validate --graph 'dag {{ z -> x; z -> y; x -> y }}' \
         --treatment x --outcome y\n  \
         {program} --help"
    ))
}

/// What to type to start this program again from the same directory.
fn program() -> String {
    let typed = std::env::args_os().next().unwrap_or_default();
    let typed = typed.to_string_lossy();
    match typed.chars().any(|c| c.is_whitespace() || c == '\'') {
        _ if typed.is_empty() => "hindcast".to_owned(),
        true => format!("'{}'", typed.replace('\'', r"'\''")),
        false => typed.into_owned(),
    }
}

/// The consensus network as text.
fn consensus() -> String {
    let edges = CONSENSUS
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(','));
    let edges: Vec<String> = edges.map(|(from, to)| format!("{from} -> {to}")).collect();
    format!("dag {{ {} }}", edges.join("; "))
}

struct Steps<'a> {
    client: Client,
    output: &'a Output,
}

impl Steps<'_> {
    fn say(&self, text: &str) -> Result<(), Failure> {
        match self.output.json {
            true => Ok(()),
            false => self.output.text(text),
        }
    }

    /// Shows one request and its answer.
    fn show(
        &self,
        step: &str,
        answer: &Value,
        text: impl FnOnce() -> Result<String, Failure>,
    ) -> Result<(), Failure> {
        if self.output.json {
            return self
                .output
                .value(&json!({ "step": step, "answer": answer }));
        }
        let indented: Vec<String> = text()?.lines().map(|line| format!("    {line}")).collect();
        self.output.text(&indented.join("\n"))
    }

    fn run(&self) -> Result<(), Failure> {
        self.say(
            "\n1. Upload: 853 single cells, the amounts of 11 signalling molecules in each \
             (Sachs et al. 2005).\n   POST /api/v1/datasets",
        )?;
        let stored = upload(&self.client, SACHS, "sachs")?.value()?;
        self.show("upload", &stored, || Ok(render::dataset(&stored)))?;

        let request = json!({ "dataset": stored["digest"], "algorithm": "boss", "seed": SEED });
        self.say(&format!(
            "\n2. Discover: which molecule drives which?\n   POST /api/v1/causal/discover\n   {request}"
        ))?;
        let found = self.compute("/api/v1/causal/discover", &request)?;
        self.show("discover", &found, || render::discovery(&found))?;

        self.question()?;
        self.history(&found)
    }

    /// A question about an effect, in a graph that says which way every edge points: the one just
    /// found leaves that open for some.
    fn question(&self) -> Result<(), Failure> {
        let request = json!({
            "graph": consensus(), "treatment": "mek", "outcome": "erk", "seed": SEED,
        });
        self.say(&format!(
            "\n3. Ask: could the effect of mek on erk be computed from these measurements alone?\n   \
             An edge written -- above has no known direction, so this is not asked of that graph.\n   \
             Assumed instead: the published consensus network (17 edges) is right, and nothing \
             unmeasured\n   confounds them.\n   \
             POST /api/v1/causal/validate\n   {request}"
        ))?;
        let verdict = self.compute("/api/v1/causal/validate", &request)?;
        self.show("validate", &verdict, || render::validation(&verdict))
    }

    fn history(&self, found: &Value) -> Result<(), Failure> {
        let run = found["run_id"].as_str().unwrap_or("");
        self.say(&format!(
            "\n4. Look back: everything that happened stands in the log, and what led to what.\n   \
             GET /api/v1/events?stream=run/{run}"
        ))?;
        let path = format!("/api/v1/events?stream=run/{run}");
        let events = self.client.get(&path)?.value()?;
        self.show("events", &events, || {
            let items = events["items"].as_array();
            let lines: Vec<String> = items.into_iter().flatten().map(render::event).collect();
            Ok(lines.join("\n"))
        })
    }

    fn compute(&self, path: &str, request: &Value) -> Result<Value, Failure> {
        Ok(serde_json::from_str(&self.client.compute(path, request)?)?)
    }
}

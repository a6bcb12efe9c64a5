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
const SEED: u64 = 7;

pub(crate) fn run(options: &Demo, output: &Output) -> Result<(), Failure> {
    let directory = tempfile::Builder::new()
        .prefix("hindcast-demo-")
        .tempdir()?;
    let mut config = Config::default();
    config.server.data_dir = directory.path().join("data");
    config.server.stop_grace_ms = 1_000;
    let data_dir = config.server.data_dir.clone();
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
        steps.say(&format!(
            "\nThe log stays in {}.",
            kept.join("data").display()
        ))?;
        let verify = format!("  hindcast verify --data-dir {}", data_dir.display());
        steps.say(&verify)?;
    }
    steps.say(
        "\nNow try\n  \
         hindcast serve                                    a server of your own, with /docs\n  \
         hindcast causal discover --data your.csv          a graph from your data\n  \
         hindcast causal validate --graph 'dag { z -> x; z -> y; x -> y }' \
         --treatment x --outcome y\n  \
         hindcast events list                              what the server has recorded",
    )
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

        self.say(
            "\n2. Discover: which molecule drives which?\n   POST /api/v1/causal/discover \
             {\"dataset\": ..., \"algorithm\": \"boss\", \"seed\": 7}",
        )?;
        let request = json!({ "dataset": stored["digest"], "algorithm": "boss", "seed": SEED });
        let found = self.compute("/api/v1/causal/discover", &request)?;
        self.show("discover", &found, || render::discovery(&found))?;

        self.question(&found)?;
        self.history(&found)
    }

    /// A question about an effect in the graph just found, if it has an edge to ask about.
    fn question(&self, found: &Value) -> Result<(), Failure> {
        let graph = &found["result"]["graph"];
        let edges = graph["edges"].as_array();
        let directed: Vec<&Value> = edges
            .into_iter()
            .flatten()
            .filter(|edge| edge["type"] == "directed")
            .collect();
        let Some(edge) = directed.first() else {
            return self
                .say("\n3. The graph has no directed edge, so there is no effect to ask for.");
        };
        let (cause, effect) = (&edge["from"], &edge["to"]);
        let pairs: Vec<Value> = directed
            .iter()
            .map(|edge| json!([edge["from"], edge["to"]]))
            .collect();
        // What the data leaves open is taken as a common cause, the most cautious reading.
        let open: Vec<Value> = edges
            .into_iter()
            .flatten()
            .filter(|edge| edge["type"] != "directed")
            .map(|edge| json!([edge["from"], edge["to"]]))
            .collect();
        self.say(&format!(
            "\n3. Ask: could the effect of {} on {} be computed from these measurements alone?\n   \
             POST /api/v1/causal/validate",
            cause.as_str().unwrap_or(""),
            effect.as_str().unwrap_or(""),
        ))?;
        let request = json!({
            "graph": { "nodes": graph["nodes"], "directed": pairs, "bidirected": open },
            "treatment": [cause], "outcome": [effect],
        });
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

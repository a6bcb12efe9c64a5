//! The dashboards of `config/dashboards`: every expression is one, and asks for what there is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use promql_parser::label::Matchers;
use promql_parser::parser::{self, Expr, LabelModifier};
use serde_json::Value;

use crate::support::{ROOT, Server, finish, serve, temporary};
use crate::tools::{fill, program};

/// Labels that Prometheus adds to what it reads.
const OF_PROMETHEUS: [&str; 3] = ["instance", "job", "le"];

/// Families that come with an event that a test does not bring about: their labels as the code
/// gives them.
const RARE: [(&str, &[&str]); 10] = [
    ("circuit_breaker_transitions_total", &["name", "from", "to"]),
    ("fallback_triggered_total", &["service", "reason"]),
    ("container_memory_usage_bytes", &[]),
    ("container_cpu_usage_seconds_total", &[]),
    ("backup_failures_total", &["kind", "target"]),
    ("backup_ship_lag_seconds", &["target"]),
    ("backup_ship_failing", &["target"]),
    ("backup_shipped_bytes_total", &["target"]),
    ("overload_shed_total", &["lane", "reason"]),
    ("rate_limited_total", &[]),
];

/// Where these are described.
const DESCRIBED: [&str; 2] = [
    include_str!("../../actors/src/metrics/names.rs"),
    include_str!("../../src/overload/mod.rs"),
];

fn dashboards() -> Vec<(PathBuf, Value)> {
    let folder = std::fs::read_dir(format!("{ROOT}/config/dashboards")).expect("a folder");
    let mut paths: Vec<PathBuf> = folder.map(|entry| entry.expect("one").path()).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("a file");
        let value = serde_json::from_str(&text);
        (
            path.clone(),
            value.unwrap_or_else(|error| panic!("{path:?}: {error}")),
        )
    };
    paths.into_iter().map(read).collect()
}

/// What is asked for, with what Grafana puts in the place of its variables, and the legend of it.
fn expressions(dashboard: &Value) -> Vec<(String, String)> {
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let annotations = dashboard["annotations"]["list"]
        .as_array()
        .expect("annotations");
    let asked = targets.chain(annotations);
    asked
        .filter_map(|it| {
            let plain = it["expr"].as_str()?.replace("$__rate_interval", "5m");
            let plain = plain.replace("$__range", "6h").replace("$instance", ".*");
            let legend = it["legendFormat"].as_str().unwrap_or_default();
            Some((plain, legend.to_owned()))
        })
        .collect()
}

/// The labels that a legend shows.
fn legend_labels(legend: &str) -> impl Iterator<Item = &str> {
    let parts = legend.split("{{").skip(1);
    parts.filter_map(|part| Some(part.split_once("}}")?.0))
}

/// Names and labels of every family that a text of metrics shows.
fn shown(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, rest) = line.split_once(['{', ' ']).expect("a sample");
        let labels = found.entry(name.to_owned()).or_default();
        if line.as_bytes().get(name.len()) == Some(&b'{') {
            let inner = rest.rsplit_once('}').map_or("", |(inner, _)| inner);
            let pairs = inner.split("\",").filter_map(|pair| pair.split_once('='));
            labels.extend(pairs.map(|(label, _)| label.to_owned()));
        }
    }
    found
}

/// What an expression asks for: names, and labels of each.
#[derive(Default)]
struct Asked(BTreeMap<String, BTreeSet<String>>);

impl Asked {
    fn selector(&mut self, name: Option<&String>, matchers: &Matchers) {
        let labels = self.0.entry(name.expect("a name").clone()).or_default();
        labels.extend(matchers.matchers.iter().map(|matcher| matcher.name.clone()));
    }

    fn walk(&mut self, expression: &Expr) {
        match expression {
            Expr::VectorSelector(it) => self.selector(it.name.as_ref(), &it.matchers),
            Expr::MatrixSelector(it) => self.selector(it.vs.name.as_ref(), &it.vs.matchers),
            Expr::Aggregate(it) => {
                let mut inner = Self::default();
                inner.walk(&it.expr);
                if let Some(param) = &it.param {
                    inner.walk(param);
                }
                if let Some(LabelModifier::Include(labels)) = &it.modifier {
                    let names = inner.0.values_mut();
                    names.for_each(|known| known.extend(labels.labels.iter().cloned()));
                }
                for (name, labels) in inner.0 {
                    self.0.entry(name).or_default().extend(labels);
                }
            }
            Expr::Unary(it) => self.walk(&it.expr),
            Expr::Binary(it) => {
                self.walk(&it.lhs);
                self.walk(&it.rhs);
            }
            Expr::Paren(it) => self.walk(&it.expr),
            Expr::Subquery(it) => self.walk(&it.expr),
            Expr::Call(it) => it.args.args.iter().for_each(|argument| self.walk(argument)),
            Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => {}
        }
    }
}

#[test]
fn every_expression_asks_for_metrics_that_there_are() {
    let dir = temporary();
    let server = Server::start_with(serve(
        dir.path(),
        &["slo.enabled=true", "metrics.sample_interval_ms=100"],
    ));
    fill(&server);
    // What its caller does not wait for is counted by its cause.
    let hurry = [("hindcast-deadline", "1")];
    let late = server.post_with(
        crate::support::DISCOVER,
        &crate::support::slow_discovery(),
        &hurry,
    );
    late.expect_problem(504, "header.hindcast-deadline");
    server
        .post("/api/v1/backups", &serde_json::json!({ "target": "local" }))
        .expect(201);
    let mut known = BTreeMap::new();
    for _ in 0..200 {
        known = shown(&server.get("/metrics").body);
        let there = |name: &str| known.contains_key(name);
        if there("slo_burn_rate") && there("cpu_usage_percent") && there("backup_size_bytes") {
            break;
        }
        crate::support::pause(std::time::Duration::from_millis(50));
    }
    for (name, labels) in RARE {
        let described = format!("\"{name}\"");
        assert!(
            DESCRIBED.iter().any(|text| text.contains(&described)),
            "{name}"
        );
        let labels = labels.iter().map(|label| (*label).to_owned());
        known
            .entry(name.to_owned())
            .or_insert_with(|| labels.collect());
    }
    let (mut wrong, mut count) = (Vec::new(), 0);
    for (path, dashboard) in dashboards() {
        for (expression, legend) in expressions(&dashboard) {
            count += 1;
            let parsed = parser::parse(&expression);
            let parsed = parsed.unwrap_or_else(|error| panic!("{path:?}: {expression}: {error}"));
            let mut asked = Asked::default();
            asked.walk(&parsed);
            assert!(!asked.0.is_empty(), "{expression} asks for nothing");
            for (name, mut labels) in asked.0 {
                labels.extend(legend_labels(&legend).map(str::to_owned));
                let Some(there) = known.get(&name) else {
                    wrong.push(format!("{}: there is no {name}", path.display()));
                    continue;
                };
                for label in labels {
                    // A label that is ours as well is told apart by Prometheus.
                    let ours = label.strip_prefix("exported_").unwrap_or(&label);
                    if !there.contains(ours) && !OF_PROMETHEUS.contains(&label.as_str()) {
                        wrong.push(format!("{}: {name} has no {label}", path.display()));
                    }
                }
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert!(count > 80, "{count}");
}

#[test]
fn dashboards_are_what_grafana_loads() {
    let mut ids = BTreeSet::new();
    let all = dashboards();
    assert_eq!(all.len(), 8);
    for (path, dashboard) in all {
        let say = path.display();
        assert_eq!(dashboard["schemaVersion"], 39, "{say}");
        let uid = dashboard["uid"].as_str().expect("a uid").to_owned();
        assert!(uid.starts_with("hindcast-") && uid.len() <= 40, "{uid}");
        assert!(ids.insert(uid), "{say}: the uid is used twice");
        assert!(
            dashboard["id"].is_null(),
            "{say}: an id is Grafana's to give"
        );
        let variables = &dashboard["templating"]["list"];
        assert_eq!(variables[0]["type"], "datasource", "{say}");
        let mut numbers = BTreeSet::new();
        let mut taken = BTreeSet::new();
        for panel in dashboard["panels"].as_array().expect("panels") {
            assert!(
                numbers.insert(panel["id"].as_u64().expect("an id")),
                "{say}"
            );
            let place = |side: &str| panel["gridPos"][side].as_u64().expect("a place");
            let (x, y, w, h) = (place("x"), place("y"), place("w"), place("h"));
            assert!(x + w <= 24, "{say}: {}", panel["title"]);
            for column in x..x + w {
                for line in y..y + h {
                    assert!(taken.insert((column, line)), "{say}: {}", panel["title"]);
                }
            }
            if panel["type"] == "row" {
                continue;
            }
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{say}");
            let targets = panel["targets"].as_array().expect("targets");
            let mut letters = BTreeSet::new();
            for target in targets {
                assert!(letters.insert(target["refId"].as_str().expect("a letter")));
                assert_eq!(target["datasource"]["uid"], "${datasource}", "{say}");
            }
            assert!(!letters.is_empty(), "{say}: {}", panel["title"]);
        }
    }
}

#[test]
fn prometheus_reads_every_expression() {
    let Some(mut promtool) = program("promtool") else {
        return;
    };
    let dir = temporary();
    let mut rules = String::from("groups:\n- name: dashboards\n  rules:\n");
    let mut count = 0;
    for (_, dashboard) in dashboards() {
        for (expression, _) in expressions(&dashboard) {
            count += 1;
            let quoted = Value::String(expression).to_string();
            rules.push_str(&format!(
                "  - record: dashboard:expression:{count}\n    expr: {quoted}\n"
            ));
        }
    }
    let file = dir.path().join("rules.yml");
    std::fs::write(&file, rules).expect("written");
    promtool.args(["check", "rules"]).arg(&file);
    let (out, errors, code) = finish(promtool, &[]);
    assert_eq!(code, Some(0), "{out}{errors}");
    assert!(out.contains(&format!("{count} rules found")), "{out}");
}

//! `hindcast causal`: computed right here, or by a server; the request, the code that computes it
//! and the JSON of its result are the same.

use std::borrow::Cow;
use std::io::Read;
use std::path::Path;

use hindcast_actors::Operation;
use hindcast_actors::operation::{Control, Dataset, LabError, Limits, Stop, Table, digest};
use serde_json::{Map, Value, json};

use super::arguments::{Causal, Discover, Global, Paths, Validate};
use super::client::{Client, Progress};
use super::local::Session;
use super::output::{Failure, Output};
use super::render;
use crate::answer::{Answer, Durations, EXACT};
use crate::{clock, ids};

pub(crate) fn run(global: &Global, verb: Causal, output: &Output) -> Result<(), Failure> {
    match verb {
        Causal::Discover(options) => discover(global, &options, output),
        Causal::Validate(options) => validate(global, &options, output),
        Causal::Paths(options) => paths(global, &options, output),
    }
}

/// What a request is asked for with.
struct Question<'a> {
    fallback: Option<&'a str>,
    operation: &'static str,
    /// A file to read the table from.
    data: Option<&'a Path>,
    /// The table is one that is stored.
    stored: bool,
}

fn discover(global: &Global, options: &Discover, output: &Output) -> Result<(), Failure> {
    let request = discover_request(options)?;
    let given = named(
        &options.options,
        &options.request,
        &["algorithm", "formats", "seed"],
    );
    if options.fallback.is_some() && global.server.is_none() {
        let message = "--fallback has no meaning without --server: nothing is refused here";
        return Err(Failure::Usage(message.to_owned()));
    }
    let question = Question {
        fallback: options.fallback.as_deref(),
        operation: "causal.discover",
        data: options.data.as_deref(),
        stored: options.dataset.is_some(),
    };
    let answer = answered(global, &question, request).map_err(|failure| failure.blaming(&given))?;
    output.either(&answer, || {
        let answer = serde_json::from_str(&answer)?;
        match &options.format {
            Some(format) => render::graph_text(&answer, format),
            None => render::discovery(&answer),
        }
    })
}

/// The fields of the request that flags of the command line gave.
fn named<'a>(
    options: &'a [String],
    request: &Option<std::path::PathBuf>,
    flags: &[&'a str],
) -> Vec<&'a str> {
    // What a file says is no matter of the command line.
    if request.is_some() {
        return Vec::new();
    }
    let fields = options.iter().filter_map(|o| Some(o.split_once('=')?.0));
    fields.chain(flags.iter().copied()).collect()
}

/// These flags, and that of the graph where its text stands on the command line itself.
fn with_graph<'a>(flags: &[&'a str], graph: Option<&str>) -> Vec<&'a str> {
    let inline = graph.is_some_and(|graph| !is_file(graph));
    let graph = inline.then_some("graph");
    flags.iter().copied().chain(graph).collect()
}

/// Whether the argument for a graph names a file, or standard input.
fn is_file(argument: &str) -> bool {
    argument == "-" || Path::new(argument).is_file()
}

/// Asks the server, or computes right here.
fn answered(
    global: &Global,
    question: &Question<'_>,
    mut request: Value,
) -> Result<String, Failure> {
    let name = question.operation;
    let path = format!("/api/v1/{}", name.replace('.', "/"));
    match (&global.server, question.data) {
        (Some(url), Some(file)) => {
            let client = Client::to(url, global)?
                .for_subject(global.subject.as_deref())
                .with_fallback(question.fallback);
            let bytes = read(file)?;
            let stored = super::data::upload(&client, &bytes, &super::data::name_of(file))?;
            request["dataset"] = stored.value()?["digest"].clone();
            client.compute(&path, &request)
        }
        (Some(url), None) => Client::to(url, global)?
            .for_subject(global.subject.as_deref())
            .with_fallback(question.fallback)
            .compute(&path, &request),
        (None, None) if question.stored => {
            let session = Session::open(global)?;
            let answer = session.client.compute(&path, &request);
            session.close()?;
            answer
        }
        (None, Some(file)) => {
            let bytes = read(file)?;
            let table = Table::parse(&bytes, &Limits::default()).map_err(lab_failure)?;
            request["dataset"] = digest(&bytes).to_string().into();
            compute(name, request, Some(&table.dataset().map_err(lab_failure)?))
        }
        (None, None) => compute(name, request, None),
    }
}

fn discover_request(options: &Discover) -> Result<Value, Failure> {
    let mut request = match (&options.request, &options.data, &options.dataset) {
        (Some(file), _, _) => object(&read(file)?)?,
        (None, None, None) => {
            let message = "name the data: --data FILE.csv, --dataset DIGEST or --request FILE";
            return Err(Failure::Usage(message.to_owned()));
        }
        (None, _, _) => json!({}),
    };
    if let Some(dataset) = &options.dataset {
        request["dataset"] = dataset.as_str().into();
    }
    if let Some(algorithm) = &options.algorithm {
        request["algorithm"] = algorithm.as_str().into();
    }
    if let Some(format) = &options.format {
        request["formats"] = json!([format]);
    }
    set_options(&mut request, &options.options)?;
    if let Some(seed) = options.seed {
        request["seed"] = seed.into();
    }
    Ok(request)
}

fn set_options(request: &mut Value, options: &[String]) -> Result<(), Failure> {
    for option in options {
        let Some((field, text)) = option.split_once('=') else {
            return Err(Failure::Usage(format!(
                "--option: `{option}` is not FIELD=JSON"
            )));
        };
        request[field] = serde_json::from_str(text).unwrap_or_else(|_| Value::from(text));
    }
    Ok(())
}

fn validate(global: &Global, options: &Validate, output: &Output) -> Result<(), Failure> {
    let request = validate_request(options)?;
    let flags = ["seed", "treatment", "outcome", "given"];
    let flags = with_graph(&flags, options.graph.as_deref());
    let given = named(&options.options, &options.request, &flags);
    let question = Question {
        fallback: None,
        operation: "causal.validate",
        data: options.data.as_deref(),
        stored: options.dataset.is_some(),
    };
    let answer = answered(global, &question, request).map_err(|failure| failure.blaming(&given))?;
    output.either(&answer, || {
        render::validation(&serde_json::from_str(&answer)?)
    })
}

fn paths(global: &Global, options: &Paths, output: &Output) -> Result<(), Failure> {
    let request = paths_request(options)?;
    let question = Question {
        fallback: None,
        operation: "causal.paths",
        data: None,
        stored: false,
    };
    let flags = [
        "treatment",
        "outcome",
        "given",
        "kind",
        "via",
        "cursor",
        "limit",
        "shortest",
    ];
    let flags = with_graph(&flags, options.graph.as_deref());
    let given = named(&[], &options.request, &flags);
    let answer = answered(global, &question, request).map_err(|failure| failure.blaming(&given))?;
    output.either(&answer, || render::paths(&serde_json::from_str(&answer)?))
}

fn paths_request(options: &Paths) -> Result<Value, Failure> {
    let mut request = graph_request(options.request.as_deref(), options.graph.as_deref())?;
    for (flag, field, node) in [
        ("--treatment", "treatment", &options.treatment),
        ("--outcome", "outcome", &options.outcome),
    ] {
        match node {
            Some(node) => request[field] = json!([node]),
            None if options.request.is_none() => return Err(unnamed(flag)),
            None => {}
        }
    }
    if !options.given.is_empty() {
        request["given"] = json!(options.given);
    }
    for (field, value) in [
        ("kind", options.kind.as_ref().map(|kind| json!(kind))),
        ("via", options.via.as_ref().map(|node| json!(node))),
        (
            "cursor",
            options.cursor.as_ref().map(|cursor| json!(cursor)),
        ),
        ("limit", options.limit.map(|limit| json!(limit))),
        ("shortest", options.shortest.map(|count| json!(count))),
    ] {
        if let Some(value) = value {
            request[field] = value;
        }
    }
    Ok(request)
}

/// A request from a file, or one that holds the graph of an argument.
fn graph_request(file: Option<&Path>, graph: Option<&str>) -> Result<Value, Failure> {
    match (file, graph) {
        (Some(file), _) => object(&read(file)?),
        (None, Some(graph)) => Ok(json!({ "graph": graph_of(graph)? })),
        (None, None) => {
            let message = "name the graph: --graph TEXT, --graph FILE or --request FILE";
            Err(Failure::Usage(message.to_owned()))
        }
    }
}

fn unnamed(flag: &str) -> Failure {
    Failure::Usage(format!("name a node of the graph with {flag}"))
}

fn validate_request(options: &Validate) -> Result<Value, Failure> {
    let mut request = graph_request(options.request.as_deref(), options.graph.as_deref())?;
    for (flag, names) in [
        ("--treatment", &options.treatment),
        ("--outcome", &options.outcome),
    ] {
        if names.is_empty() && options.request.is_none() {
            return Err(unnamed(flag));
        }
    }
    for (field, names) in [
        ("treatment", &options.treatment),
        ("outcome", &options.outcome),
        ("given", &options.given),
    ] {
        if !names.is_empty() {
            request[field] = json!(names);
        }
    }
    if let Some(dataset) = &options.dataset {
        request["dataset"] = dataset.as_str().into();
    }
    set_options(&mut request, &options.options)?;
    if let Some(seed) = options.seed {
        request["seed"] = seed.into();
    }
    Ok(request)
}

/// The graph in an argument: a text, JSON, or a file with one of them. The answer of a discovery
/// is a graph too.
fn graph_of(argument: &str) -> Result<Value, Failure> {
    let text = if is_file(argument) {
        let bytes = read(Path::new(argument))?;
        String::from_utf8(bytes).map_err(|_| Failure::failed(format!("{argument}: not UTF-8")))?
    } else if argument.contains(|c: char| c.is_whitespace() || "{}".contains(c)) {
        argument.to_owned()
    } else {
        // No graph is written without either, so a file is meant.
        let message = format!("cannot read {argument}: no such file");
        return Err(Failure::failed(message));
    };
    let Ok(value @ Value::Object(_)) = serde_json::from_str::<Value>(&text) else {
        return Ok(text.into());
    };
    let inner = ["/result/graph", "/graph"]
        .iter()
        .find_map(|path| value.pointer(path));
    Ok(inner.unwrap_or(&value).clone())
}

/// Reads a file, or standard input for `-`.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let done = if path == Path::new("-") {
        std::io::stdin().lock().read_to_end(&mut bytes).map(|_| ())
    } else {
        std::fs::read(path).map(|content| bytes = content)
    };
    done.map_err(|error| Failure::failed(format!("cannot read {}: {error}", path.display())))?;
    Ok(bytes)
}

fn object(bytes: &[u8]) -> Result<Value, Failure> {
    let fields: Map<String, Value> = serde_json::from_slice(bytes)
        .map_err(|error| Failure::failed(format!("the request is not a JSON object: {error}")))?;
    Ok(Value::Object(fields))
}

/// Computes a request right here.
fn compute(name: &str, request: Value, data: Option<&Dataset>) -> Result<String, Failure> {
    let operation = Operation::parse(name, request).map_err(lab_failure)?;
    let seed = operation.seed().unwrap_or_else(ids::seed);
    let started = clock::monotonic_micros();
    let bar = Bar(Progress::new());
    let computed = operation.execute(data, seed, &bar).map_err(lab_failure)?;
    let took = clock::monotonic_micros() - started;
    drop(bar);
    let answer = Answer {
        quality: EXACT.to_owned(),
        quality_reason: None,
        run_id: None,
        status: "completed",
        operation: name.to_owned(),
        seed,
        durations: Durations::from_micros(0, took, took),
        result_hash: computed.hash.to_string(),
        algorithm_version: computed.algorithm_version.clone(),
        cache: None,
        result: Cow::Borrowed(computed.json.raw()),
    };
    Ok(serde_json::to_string(&answer)?)
}

/// Shows progress; Ctrl-C ends the process, so nothing else stops the computation.
struct Bar(Progress);

impl Control for Bar {
    fn check(&self) -> Result<(), Stop> {
        Ok(())
    }

    fn progress(&self, stage: &'static str, done: u64, total: u64) {
        self.0.set(stage, done, total);
    }
}

/// What is wrong with a request that is read here, as the server would say it.
pub(crate) fn lab_failure(error: LabError) -> Failure {
    match error {
        LabError::Invalid {
            field,
            message,
            hint,
        } => Failure::Failed {
            message,
            field: Some(field),
            hint,
        },
        LabError::TooLarge {
            field,
            actual,
            limit,
        } => Failure::Failed {
            message: format!("{actual} is over the limit of {limit}"),
            field: Some(field),
            hint: None,
        },
        other @ (LabError::Stopped(_)
        | LabError::FailedVerification { .. }
        | LabError::Internal(_)) => Failure::failed(other.to_string()),
    }
}

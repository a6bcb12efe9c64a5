use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::{
    Server, VALIDATE, finish, hindcast, sachs, sachs_path, temporary, validation,
};

fn run(arguments: &[&str]) -> (String, String, Option<i32>) {
    finish(hindcast(arguments), &[])
}

/// The bytes of `result` in an answer.
fn result(answer: &str) -> &str {
    let start = answer.find("\"result\":").expect("a result");
    answer[start..]
        .trim_end()
        .strip_suffix('}')
        .expect("an object")
}

#[test]
fn with_and_without_a_server_the_result_has_the_same_bytes() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let file = sachs_path();
    let file = file.to_str().expect("UTF-8");
    for algorithm in ["boss", "correlation", "eqvar", "notears"] {
        let arguments = [
            "causal",
            "discover",
            "--data",
            file,
            "--algorithm",
            algorithm,
            "--seed",
            "5",
            "--json",
        ];
        let (alone, errors, code) = run(&arguments);
        assert_eq!(code, Some(0), "{errors}");
        let (served, errors, code) = run(&[&arguments[..], &["--server", &server.url]].concat());
        assert_eq!(code, Some(0), "{errors}");
        assert_eq!(result(&alone), result(&served), "{algorithm}");
        let answer: Value = serde_json::from_str(&served).expect("JSON");
        let stored = server.get(&format!(
            "/api/v1/runs/{}",
            answer["run_id"].as_str().expect("an id")
        ));
        assert_eq!(stored.expect(200)["result_hash"], answer["result_hash"]);
    }
    let graph = "dag { z -> x; z -> y; x -> y }";
    let arguments = [
        "causal",
        "validate",
        "--graph",
        graph,
        "--treatment",
        "x",
        "--outcome",
        "y",
        "--json",
    ];
    let (alone, _, _) = run(&arguments);
    let (served, _, _) = run(&[&arguments[..], &["--server", &server.url]].concat());
    assert_eq!(result(&alone), result(&served));
    let rest = server.post(VALIDATE, &validation());
    assert_eq!(result(&alone), result(&rest.body));
}

#[test]
fn standard_input_text_and_files_are_read() {
    let arguments = [
        "causal",
        "discover",
        "--data",
        "-",
        "--algorithm",
        "correlation",
        "--json",
    ];
    let (out, errors, code) = finish(hindcast(&arguments), &sachs());
    assert_eq!(code, Some(0), "{errors}");
    let dir = temporary();
    let file = dir.path().join("discovery.json");
    std::fs::write(&file, &out).expect("written");
    let (_, errors, code) = run(&[
        "causal",
        "validate",
        "--graph",
        file.to_str().expect("UTF-8"),
        "--treatment",
        "raf",
        "--outcome",
        "mek",
    ]);
    assert_eq!(code, Some(1), "undirected edges are no causal graph");
    assert!(
        errors.starts_with("error: graph.edges[0].type: "),
        "{errors}"
    );
    let (out, _, code) = finish(
        hindcast(&[
            "causal",
            "validate",
            "--graph",
            "-",
            "--treatment",
            "x",
            "--outcome",
            "y",
        ]),
        b"digraph { x -> y }",
    );
    assert_eq!(code, Some(0));
    assert!(out.starts_with("P(y | do(x)) is identifiable"), "{out}");
}

#[test]
fn exit_codes_tell_success_failure_and_wrong_usage() {
    assert_eq!(run(&["--help"]).2, Some(0));
    assert_eq!(run(&["--version"]).2, Some(0));
    assert_eq!(run(&["conjure"]).2, Some(2));
    assert_eq!(run(&["causal", "discover"]).2, Some(2));
    let (out, errors, code) = run(&["causal", "discover", "--data", "/nowhere.csv"]);
    assert_eq!((out.as_str(), code), ("", Some(1)));
    assert!(errors.contains("/nowhere.csv"), "{errors}");
    let (out, errors, code) = run(&[
        "causal",
        "validate",
        "--graph",
        "dag { x -> y }",
        "--treatment",
        "q",
        "--outcome",
        "y",
        "--json",
    ]);
    assert_eq!((out.as_str(), code), ("", Some(2)));
    let error: Value = serde_json::from_str(&errors).expect("JSON");
    assert_eq!(error["field"], "treatment[0]");
    let (_, errors, code) = run(&["events", "list", "--server", "http://127.0.0.1:9"]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("hint: is the server running?"), "{errors}");
    let (_, errors, code) = run(&["serve", "--listen", "0.0.0.0:0", "--data-dir", "/nowhere"]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("--allow-unauthenticated"), "{errors}");
}

#[test]
fn data_and_experiments_work_on_a_directory_without_a_server() {
    let dir = temporary();
    let data_dir = dir.path().join("data");
    let data_dir = data_dir.to_str().expect("UTF-8");
    let table = sachs_path();
    let here = |words: &[&str]| {
        let (out, errors, code) = run(&[words, &["--data-dir", data_dir, "--json"]].concat());
        assert_eq!(code, Some(0), "{words:?}: {errors}");
        serde_json::from_str::<Value>(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
    };
    let stored = here(&["data", "add", table.to_str().expect("UTF-8")]);
    assert_eq!(stored["name"], "sachs_obs853");
    let digest = stored["digest"].as_str().expect("a digest");
    assert_eq!(here(&["data", "list"])["items"][0]["digest"], digest);
    assert_eq!(
        here(&["data", "profile", digest])["profile"],
        stored["profile"]
    );
    let found = here(&[
        "causal",
        "discover",
        "--dataset",
        digest,
        "--algorithm",
        "correlation",
    ]);
    assert_eq!(found["status"], "completed");

    let series = dir.path().join("series.toml");
    let text = format!(
        "name = \"three seeds\"\n[[operations]]\noperation = \"causal.discover\"\nseeds = [1, 2, 3]\n\
         [operations.request]\ndataset = \"{digest}\"\n"
    );
    std::fs::write(&series, text).expect("written");
    let ended = here(&["experiment", "run", series.to_str().expect("UTF-8")]);
    assert_eq!(
        (&ended["status"], &ended["tally"]["completed"]),
        (&json!("completed"), &json!(3))
    );
    let id = ended["experiment_id"].as_str().expect("an id");
    assert_eq!(here(&["experiment", "show", id])["runs"], ended["runs"]);
    assert_eq!(
        here(&["experiment", "list"])["items"][0]["experiment_id"],
        id
    );
    assert_eq!(here(&["experiment", "cancel", id])["cancelled"], json!([]));
    assert_eq!(
        here(&["experiment", "stats"])["operations"]["causal.discover"]["completed"],
        4
    );
    assert_eq!(here(&["verify"])["holds"], true);

    let text = std::fs::read_to_string(&series).expect("read");
    std::fs::write(&series, text.replace(digest, &"0".repeat(64))).expect("written");
    let file = series.to_str().expect("UTF-8");
    let (out, errors, code) = run(&["experiment", "run", file, "--data-dir", data_dir]);
    assert_eq!(code, Some(1), "{out}");
    assert!(
        errors.starts_with("error: of 3 runs, 3 refused"),
        "{errors}"
    );
}

#[test]
fn who_follows_the_events_is_told_where_to_go_on_when_the_server_ends() {
    let dir = temporary();
    let server = Server::start(dir.path());
    server.post(VALIDATE, &validation()).expect(200);
    let mut command = hindcast(&["events", "tail", "--from", "1", "--json"]);
    command.args(["--server", &server.url]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut tail = command.spawn().expect("it starts");
    let mut lines = BufReader::new(tail.stdout.take().expect("piped")).lines();
    let mut next = || -> Option<u64> {
        let line = lines.next()?.expect("UTF-8");
        let event: Value = serde_json::from_str(&line).expect("JSON");
        event["seq"].as_u64()
    };
    let mut seen: Vec<u64> = std::iter::from_fn(&mut next).take(6).collect();
    assert_eq!(server.stop(), Some(0));
    seen.extend(std::iter::from_fn(&mut next));
    let ended = tail.wait_with_output().expect("it ends");
    assert_eq!(ended.status.code(), Some(1));
    let from = seen.len() as u64 + 1;
    assert_eq!(seen, (1..from).collect::<Vec<u64>>());
    let errors = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(errors.contains(&format!("--from {from} ")), "{errors}");
}

#[test]
fn who_sends_elsewhere_is_not_followed() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            let mut head = [0; 4_096];
            let _bytes = socket.read(&mut head).expect("a request");
            let answer =
                "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:9/x\r\ncontent-length: 0\r\n\r\n";
            socket.write_all(answer.as_bytes()).expect("written");
        }
    });
    let server = format!("http://127.0.0.1:{port}");
    let forced = [
        "breaker",
        "force-open",
        "path_analysis",
        "--server",
        &server,
    ];
    for words in [&["events", "list", "--server", &server][..], &forced] {
        let (_, errors, code) = run(words);
        assert_eq!(code, Some(1));
        assert!(
            errors.contains("status 302") && errors.contains("http://127.0.0.1:9/x"),
            "{errors}"
        );
    }
}

#[test]
fn events_are_read_beside_a_running_server() {
    let dir = temporary();
    let server = Server::start(dir.path());
    server.post(VALIDATE, &validation()).expect(200);
    let data_dir = dir.path().to_str().expect("UTF-8");
    let exported = |words: &[&str]| {
        let (out, errors, code) = run(&[&["events", "export"], words].concat());
        assert_eq!(code, Some(0), "{errors}");
        out.lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
            .collect::<Vec<_>>()
    };
    let from_files = exported(&["--data-dir", data_dir]);
    let from_server = exported(&["--server", &server.url]);
    assert_eq!(from_files, from_server);
    assert_eq!(from_files.len(), 6);
    let clouds = exported(&["--data-dir", data_dir, "--format", "cloudevents"]);
    assert_eq!(
        (&clouds[0]["specversion"], &clouds[0]["type"]),
        (&json!("1.0"), &json!("hindcast.server_started"))
    );
    assert_eq!(clouds[5]["id"], from_files[5]["event_id"]);
    let (listed, _, _) = run(&[
        "events",
        "list",
        "--type",
        "run_completed",
        "--data-dir",
        data_dir,
    ]);
    assert_eq!(listed.lines().count(), 1);
    let (shown, _, _) = run(&["events", "show", "3", "--json", "--data-dir", data_dir]);
    assert_eq!(
        serde_json::from_str::<Value>(&shown).expect("JSON"),
        from_files[2]
    );
    assert_eq!(
        run(&["events", "show", "99", "--data-dir", data_dir]).2,
        Some(1)
    );
    let (_, errors, code) = run(&["experiment", "cancel", "x", "--data-dir", data_dir]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("--server"), "{errors}");
}

#[test]
fn verbs_that_read_write_nothing_and_say_what_a_server_says() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let data_dir = dir.path().to_str().expect("UTF-8");
    let table = sachs_path();
    let table = table.to_str().expect("UTF-8");
    let (stored, errors, _) = run(&["data", "add", table, "--json", "--server", &server.url]);
    let stored: Value = serde_json::from_str(&stored).expect(&errors);
    let digest = stored["digest"].as_str().expect("a digest");
    let step = json!({ "operation": "causal.validate", "request": validation(), "repeat": 2 });
    let series = json!({ "name": "twice", "operations": [step] });
    let begun = server.post("/api/v1/experiments", &series).expect(202);
    let id = begun["experiment_id"].as_str().expect("an id");
    server.wait_until(&format!("/api/v1/experiments/{id}"), |view| {
        view["status"] == "completed"
    });
    let files = || {
        let (out, errors, code) = run(&["events", "export", "--data-dir", data_dir]);
        assert_eq!(code, Some(0), "{errors}");
        out
    };
    let read = |words: &[&str], place: &[&str]| {
        let (out, errors, code) = run(&[words, &["--json"], place].concat());
        assert_eq!(code, Some(0), "{words:?}: {errors}");
        serde_json::from_str::<Value>(&out).expect("JSON")
    };
    let verbs = [
        vec!["data", "list"],
        vec!["data", "profile", digest],
        vec!["experiment", "list"],
        vec!["experiment", "show", id],
        vec!["experiment", "stats"],
    ];
    let before = files();
    for verb in &verbs {
        let beside = read(verb, &["--data-dir", data_dir]);
        assert_eq!(beside, read(verb, &["--server", &server.url]), "{verb:?}");
    }
    assert_eq!(files(), before);
    assert_eq!(server.stop(), Some(0));
    let before = files();
    for verb in &verbs {
        read(verb, &["--data-dir", data_dir]);
    }
    assert_eq!(files(), before);
}

#[test]
fn a_reader_that_goes_away_ends_an_export_quietly() {
    let dir = temporary();
    let server = Server::start(dir.path());
    for _ in 0..200 {
        server.post(VALIDATE, &validation()).expect(200);
    }
    let mut command = hindcast(&[
        "events",
        "export",
        "--data-dir",
        dir.path().to_str().expect("UTF-8"),
    ]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut out = child.stdout.take().expect("piped");
    let mut some = [0; 100];
    out.read_exact(&mut some).expect("it begins");
    drop(out);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}

#[test]
fn the_demo_shows_a_graph_and_leaves_nothing_behind() {
    let home = temporary();
    let mut command = hindcast(&["demo"]);
    command.env("TMPDIR", home.path());
    let (out, errors, code) = finish(command, &[]);
    assert_eq!(code, Some(0), "{errors}");
    let start = format!("{} serve", crate::support::BINARY);
    for part in [
        "raf -- mek",
        "\"graph\":\"dag { raf -> mek; ",
        "Assumed instead: the published consensus network",
        "is identifiable",
        "run_completed",
        &start,
    ] {
        assert!(out.contains(part), "{part} is missing in\n{out}");
    }
    assert_eq!(
        std::fs::read_dir(home.path()).expect("a directory").count(),
        0
    );
}

#[test]
fn configuration_is_checked_shown_and_documented() {
    let dir = temporary();
    let file = dir.path().join("bad.toml");
    std::fs::write(&file, "[runs]\nin_fligth_max = 3\n").expect("written");
    let (_, errors, code) = run(&["config", "check", file.to_str().expect("UTF-8")]);
    assert_eq!(code, Some(1));
    assert!(
        errors.contains("did you mean `runs.in_flight_max`?"),
        "{errors}"
    );
    std::fs::write(&file, "[otlp]\nendpoint = \"not a url\"\n").expect("written");
    let (_, errors, code) = run(&["config", "check", file.to_str().expect("UTF-8")]);
    assert!(
        code != Some(0) && errors.contains("otlp.endpoint"),
        "{errors}"
    );
    let (documented, _, _) = run(&["config", "default"]);
    std::fs::write(&file, documented).expect("written");
    assert_eq!(
        run(&["config", "check", file.to_str().expect("UTF-8")]).2,
        Some(0)
    );
    // As every other verb takes it; which file it is may not be in doubt.
    let file = file.to_str().expect("UTF-8");
    assert_eq!(run(&["config", "check", "--config", file]).2, Some(0));
    assert_eq!(
        run(&["config", "check", "--config", file, "other"]).2,
        Some(2)
    );
    assert_eq!(run(&["config", "check"]).2, Some(2));
    let mut command = hindcast(&["config", "show", "--json"]);
    command.env("HINDCAST__RUNS__THREADS", "3");
    let (shown, _, _) = finish(command, &[]);
    assert_eq!(
        serde_json::from_str::<Value>(&shown).expect("JSON")["runs"]["threads"],
        3
    );
    let mut command = hindcast(&["config", "show"]);
    command.env("HINDCAST__RUNS__THREDS", "3");
    let (_, errors, code) = finish(command, &[]);
    assert!(
        code == Some(1) && errors.contains("runs.threads"),
        "{errors}"
    );
    for shell in ["bash", "zsh", "fish"] {
        assert!(run(&["completions", shell]).0.contains("hindcast"));
    }
}

#[test]
fn paths_are_explained_without_a_server() {
    let graph = "dag { z -> x; z -> y; x -> y }";
    let flags = ["--treatment", "x", "--outcome", "y"];
    let (text, errors, code) = run(&[&["causal", "paths", "--graph", graph][..], &flags].concat());
    assert_eq!(code, Some(0), "{errors}");
    assert!(text.contains("x and y are connected"), "{text}");
    assert!(text.contains("2 paths (all)"), "{text}");
    assert!(text.contains("x <- z -> y  (open)"), "{text}");
    let given = [
        &[
            "causal", "paths", "--graph", graph, "--given", "z", "--json",
        ][..],
        &flags,
    ]
    .concat();
    let (json, ..) = run(&given);
    let answer: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(answer["operation"], "causal.paths");
    assert_eq!(answer["result"]["count"]["value"], "2");
}

//! What the program says when something is wrong: with the command line, the configuration, or
//! the data directory.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{Server, VALIDATE, finish, hindcast, serve, temporary, validation};

fn run(arguments: &[&str]) -> (String, String, Option<i32>) {
    finish(hindcast(arguments), &[])
}

/// The log lines of a server that is started here and stops at once, and its exit code.
fn lines_of(command: Command) -> (Vec<Value>, Option<i32>) {
    let (_, errors, code) = finish(command, &[]);
    let lines = errors.lines();
    let lines = lines.filter_map(|line| serde_json::from_str(line).ok());
    (lines.collect(), code)
}

#[test]
fn numbers_out_of_range_are_refused_with_key_value_and_limit() {
    let (_, errors, code) = run(&["serve", "--set", "runs.threads=1000000"]);
    assert_eq!(code, Some(2), "{errors}");
    let expected = "error: runs.threads: 1000000 is over the limit of 1024 (set by --set)";
    assert!(errors.starts_with(expected), "{errors}");
}

#[test]
fn a_wrong_configuration_names_its_source() {
    let mut command = hindcast(&["config", "show", "--json"]);
    command.env("HINDCAST__RUNS__THREADS", "many");
    let (_, errors, code) = finish(command, &[]);
    assert_eq!(code, Some(1), "{errors}");
    let error: Value = serde_json::from_str(&errors).expect("JSON");
    assert_eq!(error["field"], "runs.threads");
    assert!(errors.contains("HINDCAST__RUNS__THREADS"), "{errors}");
    assert!(error["hint"].is_string());
    let mut command = hindcast(&["config", "show"]);
    command.env("HINDCAST_RUNS_THREADS", "3");
    let (_, errors, code) = finish(command, &[]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(errors.contains("HINDCAST__RUNS__THREADS"), "{errors}");
}

#[test]
fn a_start_tells_what_it_repaired_and_advises_on_damage() {
    let dir = temporary();
    let mut server = Server::start(dir.path());
    server.post(VALIDATE, &validation()).expect(200);
    server.kill();
    std::fs::remove_dir_all(dir.path().join("sled")).expect("the lookup store");
    let told = dir.path().join("told");
    let mut command = serve(dir.path(), &[]);
    command.stdout(Stdio::piped());
    command.stderr(std::fs::File::create(&told).expect("a file"));
    let mut child = command.spawn().expect("it starts");
    let out = child.stdout.take().expect("piped");
    let lines = BufReader::new(out).lines().map_while(Result::ok);
    assert_eq!(lines.take(2).count(), 2, "listening and ready");
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    let told = std::fs::read_to_string(&told).expect("lines");
    for part in ["did not stop in good order", "lookup store rebuilt"] {
        let line = told.lines().find(|line| line.contains(part));
        let line = line.unwrap_or_else(|| panic!("{part} is missing in\n{told}"));
        assert!(line.contains("WARN"), "{line}");
    }

    let wal = std::fs::read_dir(dir.path().join("wal")).expect("segments");
    let mut segments: Vec<_> = wal.map(|entry| entry.expect("an entry").path()).collect();
    segments.sort();
    let mut bytes = std::fs::read(&segments[0]).expect("a segment");
    bytes[300] ^= 1;
    std::fs::write(&segments[0], bytes).expect("written");
    let (lines, code) = lines_of(serve(dir.path(), &[]));
    assert_eq!(code, Some(1));
    let told = |text: &str| lines.iter().find(|line| line.to_string().contains(text));
    let line = told("the server does not start").expect("a log line");
    assert_eq!(line["level"], "ERROR");
    let advice = line["advice"].as_str().expect("advice");
    assert!(advice.contains("hindcast verify --data-dir"), "{advice}");
    let last = lines.last().expect("a line");
    assert_eq!(last["hint"], line["advice"]);
}

#[test]
fn wrong_values_on_the_command_line_are_wrong_usage() {
    let table = crate::support::sachs_path();
    let table = table.to_str().expect("UTF-8");
    let discover = ["causal", "discover", "--data", table];
    let graph = ["causal", "validate", "--graph", "dag { x -> y }"];
    let pair = "causal paths --graph dag{x->y} --treatment x --outcome y";
    let pair: Vec<&str> = pair.split(' ').collect();
    for (words, part) in [
        ([&discover[..], &["--algorithm", "BOSS"]].concat(), "boss"),
        (
            [&discover[..], &["--option", "colour=3"]].concat(),
            "colour",
        ),
        (
            [&discover[..], &["--option", "alone"]].concat(),
            "FIELD=JSON",
        ),
        ([&graph[..], &["--outcome", "y"]].concat(), "--treatment"),
        ([&pair[..], &["--kind", "sideways"]].concat(), "directed"),
        ([&pair[..], &["--limit", "5000"]].concat(), "1000"),
        ([&pair[..], &["--cursor", "zzz"]].concat(), "cursor"),
        ([&pair[..], &["--given", "q"]].concat(), "q"),
        ([&graph[..], &["--treatment", "x"]].concat(), "--outcome"),
        (
            vec!["config", "show", "--set", "runs.threads=abc"],
            "integer",
        ),
        (vec!["config", "show", "--set", "runs.threads"], "key=value"),
        (vec!["demo", "--data-dir", "x"], "--data-dir"),
        (vec!["config", "show", "--server", "http://x"], "--server"),
        (vec!["serve", "--server", "http://x"], "--server"),
        (
            vec![
                "data",
                "list",
                "--server",
                "http://x",
                "--set",
                "runs.threads=1",
            ],
            "--set",
        ),
    ] {
        let (out, errors, code) = run(&words);
        assert_eq!((out.as_str(), code), ("", Some(2)), "{words:?}: {errors}");
        assert!(errors.contains(part), "{words:?}: {errors}");
    }
    let missing = [
        "causal",
        "validate",
        "--graph",
        "nofile.txt",
        "--treatment",
        "x",
    ];
    let (_, errors, code) = run(&[&missing[..], &["--outcome", "y"]].concat());
    assert_eq!(code, Some(1));
    assert!(errors.contains("nofile.txt: no such file"), "{errors}");
}

#[test]
fn the_doctor_names_what_is_wrong_and_what_to_do() {
    let dir = temporary();
    let config = format!("server.listen={}", "127.0.0.1:0");
    let look = |settings: &[&str]| {
        let mut command = hindcast(&["doctor", "--json", "--set", &config, "--data-dir"]);
        command.arg(dir.path());
        for setting in settings {
            command.args(["--set", setting]);
        }
        let (out, _, code) = finish(command, &[]);
        let report: Value = serde_json::from_str(&out).expect("JSON");
        (report, code)
    };
    let verdict = |report: &Value, check: &str| {
        let checks = report["checks"].as_array().expect("checks");
        let found = checks.iter().find(|found| found["check"] == check);
        found.expect("the check")["verdict"].clone()
    };
    let (report, code) = look(&[]);
    assert_eq!(
        (code, &report["healthy"]),
        (Some(0), &Value::Bool(true)),
        "{report}"
    );
    assert_eq!(report["checks"].as_array().map(Vec::len), Some(15));
    let (report, code) = look(&["disk.reserve_bytes=17592186044416"]);
    assert_eq!(
        (code, verdict(&report, "disk")),
        (Some(1), "fail".into()),
        "{report}"
    );
    for (wrong, check) in [
        ("server.tls_key_file=/nowhere", "certificate"),
        ("privacy.master_key_file=/nowhere", "master_key"),
        ("otlp.endpoint=ftp://x", "telemetry"),
    ] {
        let (report, code) = look(&[wrong]);
        let found = verdict(&report, check);
        assert_eq!((code, found), (Some(1), "fail".into()), "{report}");
    }
    // What is wrong in the configuration is a line of the list, and the rest is looked at too.
    for wrong in [
        "runs.threads=none",
        "no.such=1",
        "cache.results_bytes_max=-1",
    ] {
        let (report, code) = look(&[wrong]);
        let found = verdict(&report, "configuration");
        assert_eq!((code, found), (Some(1), "fail".into()), "{report}");
        assert_eq!(verdict(&report, "data_dir"), "ok", "{report}");
    }
    let server = Server::start(dir.path());
    let (report, code) = look(&[]);
    assert_eq!(
        (code, verdict(&report, "log")),
        (Some(0), "ok".into()),
        "{report}"
    );
    server.stop();
    let segment = dir.path().join("wal").join("00000000000000000001.seg");
    let mut bytes = std::fs::read(&segment).expect("read");
    bytes[200] ^= 1;
    std::fs::write(&segment, bytes).expect("damaged");
    let (report, code) = look(&[]);
    assert_eq!(
        (code, verdict(&report, "log")),
        (Some(1), "fail".into()),
        "{report}"
    );
}

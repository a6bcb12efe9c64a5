//! Sealed payloads: the same answers, nothing readable on the disk, and nothing at all without
//! the key.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{DISCOVER, Server, VALIDATE, finish, hindcast, serve, temporary};

const MARKER: &str = "bloodpressuremarker";
const REPEATED: [(&str, &str); 1] = [("idempotency-key", "once")];

fn questions() -> [(&'static str, Value); 3] {
    let graph = format!("dag {{ z -> {MARKER}; z -> y; {MARKER} -> y }}");
    let validate = json!({ "graph": graph, "treatment": MARKER, "outcome": "y" });
    let discover = |rows: u32| {
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state >> 8) / 65_536.0
        };
        let data: Vec<[f64; 3]> = (0..rows).map(|_| [next(), next(), next()]).collect();
        json!({ "data": data, "variable_names": [MARKER, "x", "y"], "seed": 3 })
    };
    [
        (VALIDATE, validate),
        (DISCOVER, discover(40)),
        // The spec of this one is a blob.
        (DISCOVER, discover(2_000)),
    ]
}

/// The answers' runs, and the bytes of their results.
fn ask(server: &Server) -> (Vec<String>, Vec<String>) {
    let answers = questions().map(|(path, body)| {
        let headers: &[_] = if path == VALIDATE { &REPEATED } else { &[] };
        let reply = server.post_with(path, &body, headers);
        let run = reply.expect(200)["run_id"]
            .as_str()
            .expect("an id")
            .to_owned();
        let at = reply.body.find("\"result\":").expect("a result");
        (run, reply.body[at..].to_owned())
    });
    answers.into_iter().unzip()
}

fn holds(path: &Path, text: &str) -> bool {
    if path.is_dir() {
        let mut entries = std::fs::read_dir(path).expect("a directory");
        return entries.any(|entry| holds(&entry.expect("an entry").path(), text));
    }
    let content = std::fs::read(path).expect("a file");
    content
        .windows(text.len())
        .any(|piece| piece == text.as_bytes())
}

fn offline(arguments: &[&str], data_dir: &Path) -> String {
    let mut command = hindcast(arguments);
    command.arg("--data-dir").arg(data_dir);
    let (out, errors, code) = finish(command, &[]);
    assert_eq!(code, Some(0), "{arguments:?}: {out}{errors}");
    out
}

#[test]
fn a_sealed_log_answers_the_same_and_tells_nothing_without_its_key() {
    let (dir, other) = (temporary(), temporary());
    let sealing = || Server::start_with(serve(dir.path(), &["privacy.seal_payloads=true"]));
    let plain = Server::start(other.path());
    let (_, expected) = ask(&plain);
    assert_eq!(plain.stop(), Some(0));
    assert!(holds(other.path(), MARKER), "the search finds nothing");

    let server = sealing();
    let (runs, results) = ask(&server);
    assert_eq!(results, expected);
    let mut keys = std::fs::read_dir(dir.path().join("keys")).expect("a directory");
    let key = keys.next().expect("a key").expect("an entry").path();
    let mode = std::fs::metadata(key).expect("a key").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(server.get("/api/v1/events").body.contains(MARKER));
    assert!(offline(&["events", "export"], dir.path()).contains(MARKER));
    assert_eq!(server.stop(), Some(0));
    assert!(!holds(dir.path(), MARKER));

    // The setting is off, the key is there.
    let server = Server::start(dir.path());
    for run in &runs {
        let view = server.get(&format!("/api/v1/runs/{run}"));
        assert!(view.expect(200)["request"].to_string().contains(MARKER));
    }
    assert_eq!(server.stop(), Some(0));

    std::fs::remove_dir_all(dir.path().join("keys")).expect("there were keys");
    let server = Server::start(dir.path());
    for run in &runs {
        let view = server.get(&format!("/api/v1/runs/{run}")).expect(200);
        assert_eq!(view["status"], "completed");
        for sealed in [&view["request"], &view["result"]] {
            let bytes = sealed["bytes"].as_u64().expect("a number");
            let key = view["request"]["key"].as_u64().expect("a number");
            let expected = json!({ "sealed": true, "key": key, "bytes": bytes });
            assert_eq!(*sealed, expected);
        }
    }
    let told = server.get("/api/v1/events").body;
    assert!(!told.contains(MARKER) && told.contains("\"sealed\":true"));
    assert_eq!(server.stop(), Some(0));
    for arguments in [["events", "list"], ["events", "export"]] {
        let told = offline(&[&arguments[..], &["--json"]].concat(), dir.path());
        assert!(!told.contains(MARKER) && told.contains("\"sealed\":true"));
    }
    let report = offline(&["verify", "--json"], dir.path());
    let report: Value = serde_json::from_str(&report).expect("JSON");
    let found = (&report["holds"], &report["blobs"]);
    assert_eq!(found, (&json!(true), &json!(1)));

    // A key is made anew, and what was sealed under the lost one stays sealed.
    let server = sealing();
    let (path, body) = &questions()[0];
    let repeated = server.post_with(path, body, &REPEATED);
    repeated.expect_problem(410, "");
    let view = server.get(&format!("/api/v1/runs/{}", runs[0])).expect(200);
    assert_eq!(view["result"]["sealed"], true);
    assert_eq!(server.stop(), Some(0));
    assert!(!holds(dir.path(), MARKER));
}

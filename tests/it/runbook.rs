//! The commands of docs/runbook.md, in the order in which they stand there, on one data directory.

use serde_json::json;

use crate::support::{DISCOVER, ROOT, Server, VALIDATE, finish, hindcast, temporary, validation};

/// The words of a command line: spaces part them, single quotes hold them together.
pub(crate) fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for (index, piece) in line.split('\'').enumerate() {
        if index % 2 == 1 {
            words.last_mut().expect("one").push_str(piece);
            continue;
        }
        for (n, part) in piece.split(' ').enumerate() {
            if n > 0 {
                words.push(String::new());
            }
            words.last_mut().expect("one").push_str(part);
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn the_commands_of_the_runbook_work() {
    let dir = temporary();
    let server = Server::start(dir.path());
    let subject = [("hindcast-subject", "patient-7")];
    server
        .post_with(VALIDATE, &validation(), &subject)
        .expect(200);
    let rows: Vec<[f64; 2]> = (0..30)
        .map(|i| [f64::from(i), f64::from(i * i % 7)])
        .collect();
    server
        .post(DISCOVER, &json!({ "data": rows, "seed": 3 }))
        .expect(200);
    server.post("/api/v1/backups", &json!({})).expect(201);
    server.stop();
    let document = std::fs::read_to_string(format!("{ROOT}/docs/runbook.md"));
    let document = document.expect("a document");
    let mut run = 0;
    // What-if needs a history of its own, and safe mode serves on: they are run by their own tests.
    let sections = document.split("\n## ");
    let elsewhere = |section: &&str| {
        ["What if", "An actor"]
            .iter()
            .any(|s| section.starts_with(s))
    };
    let sections = sections.filter(|section| !elsewhere(section));
    let lines = sections.flat_map(str::lines);
    for line in lines.filter_map(|line| line.strip_prefix("hindcast ")) {
        let words = words(line);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut command = hindcast(&words);
        if words[0] != "drill" {
            command.arg("--data-dir").arg(dir.path());
        }
        let (out, errors, code) = finish(command, &[]);
        assert_eq!(code, Some(0), "{line}: {errors}");
        assert!(!out.is_empty(), "{line}");
        run += 1;
    }
    assert_eq!(run, 20);
}

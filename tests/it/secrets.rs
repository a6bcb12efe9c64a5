//! No secret is ever shown: not in logs, answers, metrics, events, errors or the configuration.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use ureq::http::Method;

use crate::support::{Server, VALIDATE, finish, hindcast, temporary, validation};

const MASTER: &str = "6d61737465722d6b65792d6f662d746865207365637265742074657374212121";
const BACKUP: &str = "6261636b75702d6b65792d6f662d746865207365637265742074657374212121";
const S3_ACCESS: &str = "AKIASECRETTESTACCESS";
const S3_SECRET: &str = "s3-secret-of-the-secret-test";

fn write(dir: &Path, name: &str, text: &str) -> String {
    let file = dir.join(name);
    std::fs::write(&file, text).expect("written");
    file.display().to_string()
}

/// A configuration that names every secret there is.
fn config(dir: &Path) -> String {
    let target = dir.join("backups");
    std::fs::create_dir(&target).expect("made");
    let text = format!(
        "[access]\nrequired_on_loopback = true\n\
         [privacy]\nseal_payloads = true\nmaster_key_file = '{}'\n\
         [telemetry]\nfilter = 'trace'\n\
         [[backup.targets]]\nname = 'sealed'\nurl = 'file://{}'\nkey_file = '{}'\n\
         [[backup.targets]]\nname = 'offsite'\nurl = 's3://bucket/prefix'\n\
         endpoint = 'http://127.0.0.1:9'\nregion = 'nowhere'\n\
         access_key_file = '{}'\nsecret_key_file = '{}'\n",
        write(dir, "master.key", MASTER),
        target.display(),
        write(dir, "backup.key", BACKUP),
        write(dir, "s3.access", S3_ACCESS),
        write(dir, "s3.secret", S3_SECRET),
    );
    write(dir, "server.toml", &text)
}

/// Texts, each with the place that shows it.
type Shown = Vec<(String, String)>;

/// What the verbs print.
fn verb(config: &str, data: &str, arguments: &[&str]) -> (String, String) {
    let mut command = hindcast(arguments);
    command.args(["--config", config, "--data-dir", data]);
    let (out, errors, _) = finish(command, &[]);
    (arguments.join(" "), format!("{out}{errors}"))
}

/// The same key with another last digit but one.
fn wrong(key: &str) -> String {
    let (head, end) = key.split_at(key.len() - 2);
    let digit = if end.starts_with('0') { '1' } else { '0' };
    format!("{head}{digit}{}", &end[1..])
}

/// What a server answers to all kinds of requests, and a key that it made and revoked.
fn answers(server: &Server, key: &str) -> (Shown, String) {
    let authorization = format!("Bearer {key}");
    let headers = [("authorization", authorization.as_str())];
    let text = |reply: crate::support::Reply| format!("{:?}{}", reply.headers, reply.body);
    let mut shown = Shown::new();
    let refused = format!("Bearer {}", wrong(key));
    let refused = [("authorization", refused.as_str())];
    let refused = server.send(Method::GET, "/health", &refused, &[]);
    assert_eq!(refused.status, 401);
    shown.push(("a refusal".to_owned(), text(refused)));
    let new = json!({ "name": "ci", "role": "viewer" });
    let second = server.post_with("/api/v1/keys", &new, &headers).expect(201);
    let second = second["key"].as_str().expect("a key").to_owned();
    for (path, body) in [
        (VALIDATE, validation()),
        ("/api/v1/backups", json!({ "target": "sealed" })),
        ("/api/v1/backups", json!({ "target": "nowhere" })),
        ("/-/reload", json!({})),
        ("/api/v1/keys/ci/revoke", json!({})),
    ] {
        let reply = server.post_with(path, &body, &headers);
        shown.push((path.to_owned(), text(reply)));
    }
    let background = [headers[0], ("prefer", "respond-async")];
    let offsite = json!({ "target": "offsite" });
    let offsite = server.post_with("/api/v1/backups", &offsite, &background);
    shown.push(("a backup that fails".to_owned(), text(offsite)));
    for path in [
        "/debug/actors",
        "/debug/memory",
        "/debug/config",
        "/metrics",
        "/health",
        "/cache/stats",
        "/api/v1/keys",
        "/api/v1/backups",
        "/api/v1/events?limit=500",
        "/api/v1/state/all",
        "/openapi.json",
        "/nowhere",
    ] {
        let reply = server.send(Method::GET, path, &headers, &[]);
        shown.push((path.to_owned(), text(reply)));
    }
    (shown, second)
}

#[test]
fn secrets_are_shown_nowhere() {
    let dir = temporary();
    let (files, data) = (dir.path().join("files"), dir.path().join("data"));
    std::fs::create_dir(&files).expect("made");
    let config = config(&files);
    let data = data.display().to_string();
    let create = ["keys", "create", "root", "--role", "admin", "--json"];
    let (_, made) = verb(&config, &data, &create);
    let mut lines = made.lines();
    let made: Option<Value> = lines.find_map(|line| serde_json::from_str(line).ok());
    let made = made.expect("a key");
    let key = made["key"].as_str().expect("a key");

    let log = files.join("log");
    let mut command = hindcast(&["serve", "--json", "--listen", "127.0.0.1:0"]);
    command.args(["--config", &config, "--data-dir", &data]);
    let written = Stdio::from(File::create(&log).expect("a file"));
    let (server, mut lines) = Server::spawn_logging(command, written);
    assert!(lines.next().is_some_and(|line| line.contains("ready")));
    let (mut shown, revoked) = answers(&server, key);
    assert_eq!(server.stop(), Some(0));
    for arguments in [
        &["config", "show"][..],
        &["config", "show", "--json"],
        &["doctor"],
        &["events", "export"],
        &["audit", "search", "--json"],
        &["keys", "list", "--json"],
        &["state", "--json"],
        &["verify"],
    ] {
        shown.push(verb(&config, &data, arguments));
    }
    let log = std::fs::read_to_string(&log).expect("a log");
    assert!(log.lines().count() > 10, "{log}");
    shown.push(("the log".to_owned(), log));
    let kept = std::fs::read_to_string(Path::new(&data).join("access-keys.json"));
    shown.push(("the file of keys".to_owned(), kept.expect("there")));
    let wrong = wrong(key);
    // The public part of a key stands in events; what follows it nowhere.
    let secrets = [
        ("the master key", MASTER),
        ("the key of the backups", BACKUP),
        ("the secret of the object store", S3_SECRET),
        ("the access key of the object store", S3_ACCESS),
        ("an access key", &key[17..]),
        ("a revoked access key", &revoked[17..]),
        ("an access key that was refused", &wrong[17..]),
    ];
    for (place, text) in &shown {
        for (what, secret) in &secrets {
            assert!(!text.contains(secret), "{what} is shown by {place}");
        }
    }
}

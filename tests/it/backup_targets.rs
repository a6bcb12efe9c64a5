//! Backups that go to another machine: over SSH, and to a second node.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use ureq::http::Method;

use crate::sshd::Sshd;
use crate::support::{
    BINARY, ROOT, Reply, Server, VALIDATE, finish, hindcast, pause, serve, temporary, validation,
};

const BACKUPS: &str = "/api/v1/backups";
const OBJECTS: &str = "/api/v1/vaults/laptop/objects";

fn run(arguments: &[&str], dir: &Path) -> Value {
    let mut command = hindcast(arguments);
    command.arg("--json").current_dir(dir);
    let (out, errors, code) = finish(command, &[]);
    assert_eq!(code, Some(0), "{arguments:?}: {errors}");
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {out}"))
}

fn refused(arguments: &[&str], dir: &Path) -> String {
    let mut command = hindcast(arguments);
    command.current_dir(dir);
    let (_, errors, code) = finish(command, &[]);
    assert_eq!(code, Some(1), "{arguments:?}: {errors}");
    errors
}

/// A server that keeps a vault for somebody with a key.
struct Node {
    dir: PathBuf,
    settings: Vec<String>,
    server: Option<Server>,
    key: String,
}

impl Node {
    fn start(dir: &Path, settings: &[&str]) -> Self {
        let key = |name: &str, role: &str| {
            let data = dir.join("node");
            let data = data.to_str().expect("a text");
            let made = run(
                &["keys", "create", name, "--role", role, "--data-dir", data],
                dir,
            );
            made["key"].as_str().expect("a key").to_owned()
        };
        let operator = key("laptop", "operator");
        std::fs::write(dir.join("token"), &operator).expect("written");
        std::fs::write(dir.join("viewer"), key("looker", "viewer")).expect("written");
        let vaults = dir.join("vaults").display().to_string();
        let mut all = vec![
            "access.required_on_loopback=true".to_owned(),
            format!("vaults.dir={vaults:?}"),
            "vaults.names=[\"laptop\"]".to_owned(),
        ];
        all.extend(settings.iter().map(ToString::to_string));
        let mut node = Self {
            dir: dir.to_owned(),
            settings: all,
            server: None,
            key: operator,
        };
        node.begin();
        node
    }

    /// Starts the server again, where it was before.
    fn begin(&mut self) {
        let mut settings: Vec<&str> = self.settings.iter().map(String::as_str).collect();
        let listen = self.server.as_ref().map(|server| {
            let address = server.url.trim_start_matches("http://");
            format!("server.listen={address:?}")
        });
        settings.extend(listen.as_deref());
        let started = Server::start_with(serve(&self.dir.join("node"), &settings));
        self.server = Some(started);
    }

    fn server(&self) -> &Server {
        self.server.as_ref().expect("it runs")
    }

    fn url(&self) -> String {
        let address = self.server().url.replace("http://", "hindcast://");
        format!("{address}/laptop")
    }

    fn send(&self, method: Method, path: &str, body: &[u8]) -> Reply {
        let bearer = format!("Bearer {}", self.key);
        self.server()
            .send(method, path, &[("authorization", &bearer)], body)
    }

    fn target(&self, more: &str) -> String {
        let token = self.dir.join("token").display().to_string();
        let url = self.url();
        format!(
            "backup.targets=[{{ name = \"far\", url = {url:?}, token_file = {token:?}, continuous \
             = true {more} }}]"
        )
    }
}

/// Whether the shipping to `far` fails, as the metrics say.
fn ships(server: &Server, failing: &str) -> bool {
    let line = format!("backup_ship_failing{{target=\"far\"}} {failing}");
    server
        .get("/metrics")
        .body
        .lines()
        .any(|found| found == line)
}

fn wait_for(mut condition: impl FnMut() -> bool) {
    for _ in 0..3_000 {
        if condition() {
            return;
        }
        pause(Duration::from_millis(20));
    }
    panic!("what was waited for did not come");
}

#[test]
fn a_second_node_keeps_what_is_shipped_over_its_own_death_and_restores_a_lost_machine() {
    let dir = temporary();
    let mut node = Node::start(dir.path(), &[]);
    let data = dir.path().join("data");
    std::fs::write(dir.path().join("backup.key"), [9; 32]).expect("written");
    let key = dir.path().join("backup.key").display().to_string();
    let target = node.target(&format!(", key_file = {key:?}"));
    let settings = [target.as_str(), "backup.ship_ms=100"];
    let mut server = Server::start_with(serve(&data, &settings));
    server.post(VALIDATE, &validation()).expect(200);
    server.wait_until(BACKUPS, |page| {
        let items = page["items"].as_array().expect("items");
        items
            .iter()
            .any(|item| item["target"] == json!("far") && item["verified"] == json!(true))
    });

    // The shipping begins with the first fold after the base is there.
    let mut seed = 100;
    wait_for(|| {
        let mut body = validation();
        body["seed"] = json!(seed);
        seed += 1;
        server.post(VALIDATE, &body).expect(200);
        let tail = format!("{OBJECTS}?prefix=tail/");
        let shipped = node.send(Method::GET, &tail, &[]).expect(200);
        shipped["items"]
            .as_array()
            .is_some_and(|parts| parts.len() > 1)
    });

    // The node is lost, which the server tells and otherwise does not feel.
    let Some(lost) = &mut node.server else {
        panic!("it runs");
    };
    lost.kill();
    let mut last = Value::Null;
    wait_for(|| {
        let mut body = validation();
        body["seed"] = json!(seed);
        seed += 1;
        last = server.post(VALIDATE, &body).expect(200);
        ships(&server, "1")
    });
    assert_eq!(server.get("/health").status, 200);
    node.begin();
    wait_for(|| ships(&server, "0"));
    let run_id = last["run_id"].as_str().expect("an id").to_owned();
    let lag = "backup_ship_lag_seconds{target=\"far\"} 0";
    wait_for(|| server.get("/metrics").body.lines().any(|line| line == lag));
    server.kill();
    std::fs::remove_dir_all(&data).expect("the machine is lost");

    let restored = run(&words(&restore(&node, "token")), dir.path());
    assert_eq!(restored["source"], json!(node.url()));
    let server = Server::start(&data);
    server.get(&format!("/api/v1/runs/{run_id}")).expect(200);
    drop(server);
    the_key_decides(&node, dir.path());
    the_trail_is_short(&node);
}

/// The command that restores from the vault, with the key in a file.
fn restore(node: &Node, token: &str) -> String {
    let url = node.url();
    format!("restore --from {url} --token-file {token} --key-file backup.key --data-dir data")
}

fn words(command: &str) -> Vec<&str> {
    command.split(' ').collect()
}

fn the_key_decides(node: &Node, dir: &Path) {
    std::fs::write(dir.join("wrong"), wrong_key(&node.key)).expect("written");
    let wrong = refused(&words(&restore(node, "wrong")), dir);
    assert!(wrong.contains("answered with 401"), "{wrong}");
    let viewer = refused(&words(&restore(node, "viewer")), dir);
    assert!(viewer.contains("answered with 403"), "{viewer}");
    assert!(viewer.contains("this needs operator"), "{viewer}");
    std::fs::write(dir.join("none"), "no key").expect("written");
    let none = refused(&words(&restore(node, "none")), dir);
    assert!(
        none.contains("token_file") && none.contains("holds no key"),
        "{none}"
    );
}

/// A key of the right form that nobody has.
fn wrong_key(right: &str) -> String {
    let turned = |c: char| if c == '0' { '1' } else { '0' };
    let (rest, last) = right.split_at(right.len() - 1);
    format!("{rest}{}", turned(last.chars().next().expect("a digit")))
}

/// Many objects, and one row for each life of the node.
fn the_trail_is_short(node: &Node) {
    let trail = node.send(Method::GET, "/api/v1/events?type=audited&limit=500", &[]);
    let page = trail.json();
    let rows = page["items"].as_array().expect("items").iter();
    let changes = rows.filter(|row| row.to_string().contains("vaults.change"));
    assert_eq!(changes.count(), 2, "{}", trail.body);
    let listed = node.send(Method::GET, OBJECTS, &[]).expect(200);
    let count = listed["items"].as_array().map_or(0, Vec::len);
    assert!(count > 5, "{listed}");
}

#[test]
fn a_vault_keeps_to_its_bounds_and_refuses_what_it_cannot_mean() {
    let dir = temporary();
    let bounds = [
        "vaults.bytes_max=100000",
        "vaults.object_bytes_max=70000",
        "http.body_bytes_max=2000",
    ];
    let node = Node::start(dir.path(), &bounds);
    let put = |name: &str, bytes: usize| node.send(Method::PUT, &object(name), &vec![7; bytes]);
    let get = |path: &str| node.send(Method::GET, path, &[]);
    assert_eq!(
        put("tail/1.zst", 60_000).expect(201)["bytes"],
        json!(60_000)
    );
    put("tail/1.zst", 70_000).expect(200);
    put("big", 70_001).expect_problem(413, "body");
    let full = put("tail/2.zst", 30_001).expect_problem(507, "");
    assert_eq!(
        (&full["type"], &full["limit"]),
        (&json!("urn:hindcast:problem:vault-full"), &json!(100_000))
    );
    put("tail/2.zst", 30_000).expect(201);
    let bearer = format!("Bearer {}", node.key);
    let mut answer = ureq::get(format!("{}{}", node.server().url, object("tail/1.zst")))
        .header("authorization", &bearer)
        .call()
        .expect("there");
    assert_eq!(answer.headers()["content-type"], "application/octet-stream");
    assert_eq!(
        answer.body_mut().read_to_vec().expect("whole"),
        vec![7; 70_000]
    );
    let page = get(&format!("{OBJECTS}?prefix=tail/&limit=1")).expect(200);
    assert_eq!(
        page,
        json!({ "items": [{ "name": "tail/1.zst", "bytes": 70_000 }], "next": "tail/1.zst" })
    );
    let page = get(&format!("{OBJECTS}?limit=1&cursor=tail/1.zst")).expect(200);
    assert_eq!(
        page,
        json!({ "items": [{ "name": "tail/2.zst", "bytes": 30_000 }] })
    );
    names_are_checked(&node);
    a_backup_that_does_not_fit_says_so(&node, dir.path());
}

fn object(name: &str) -> String {
    format!("{OBJECTS}/{name}")
}

fn names_are_checked(node: &Node) {
    let get = |path: &str| node.send(Method::GET, path, &[]);
    let put = |name: &str, bytes: usize| node.send(Method::PUT, &object(name), &vec![7; bytes]);
    for _ in 0..2 {
        assert_eq!(
            node.send(Method::DELETE, &object("tail/1.zst"), &[]).status,
            204
        );
    }
    get(&object("tail/1.zst")).expect_problem(404, "path.object");
    for name in ["A", "a%20b", ".a", "a/../../b", "a.tmp", "%2e%2e/b", "a//b"] {
        let reply = put(name, 1);
        assert!(matches!(reply.status, 404 | 422), "{name}: {}", reply.body);
    }
    get("/api/v1/vaults/other/objects").expect_problem(404, "path.name");
    get(&format!("{OBJECTS}?prefix=../")).expect_problem(422, "query.prefix");
    get(&format!("{OBJECTS}?limit=0")).expect_problem(400, "query.limit");
    get(&format!("{OBJECTS}?cursor=../x")).expect_problem(400, "query.cursor");
    node.send(Method::POST, "/api/v1/datasets", &[b'x'; 3_000])
        .expect_problem(413, "body");
    let outside: Vec<_> = std::fs::read_dir(node.dir.join("vaults"))
        .expect("lists")
        .collect();
    assert_eq!(outside.len(), 1, "{outside:?}");
}

/// And a server without vaults has none.
fn a_backup_that_does_not_fit_says_so(node: &Node, dir: &Path) {
    let filler = node.send(Method::PUT, &object("filler"), &[7; 70_000]);
    filler.expect(201);
    let data = dir.join("data");
    let target = node.target("");
    let server = Server::start_with(serve(&data, &[&target, "backup.attempts_max=1"]));
    server.post(VALIDATE, &validation()).expect(200);
    let prefer = [("prefer", "wait=20")];
    let failed = server.post_with(BACKUPS, &json!({ "target": "far" }), &prefer);
    let problem = failed.expect_problem(502, "");
    let detail = problem["detail"].as_str().expect("a detail");
    assert!(
        detail.contains("answered with 507") && detail.contains("over its bound"),
        "{detail}"
    );
    server.get(OBJECTS).expect_problem(404, "path.name");
    for url in [node.url(), "sftp://host/x".to_owned()] {
        server
            .post(BACKUPS, &json!({ "target": url }))
            .expect_problem(422, "target");
    }
}

#[test]
fn every_command_about_targets_works() {
    let dir = temporary();
    let node = Node::start(dir.path(), &[]);
    let server = Server::start(&dir.path().join("data"));
    server.post(VALIDATE, &validation()).expect(200);
    drop(server);
    std::fs::write(dir.path().join("backup.key"), [9; 32]).expect("written");
    let sshd = Sshd::start();
    if let Some(sshd) = &sshd {
        std::fs::copy(sshd.file("id"), dir.path().join("id")).expect("copied");
        std::fs::copy(sshd.file("known hosts"), dir.path().join("hosts")).expect("copied");
    }
    let document = std::fs::read_to_string(format!("{ROOT}/docs/backup-targets.md"));
    let document = document.expect("a document");
    let binaries = Path::new(BINARY)
        .parent()
        .expect("a folder")
        .display()
        .to_string();
    let path = format!("{binaries}:{}", std::env::var("PATH").expect("a path"));
    let (mut inside, mut ran) = (false, 0);
    for line in document.lines() {
        if line.starts_with("```") {
            inside = line == "```sh";
            continue;
        }
        if !inside {
            continue;
        }
        let line = line.replace("hindcasts://node.example.org:8080/laptop", &node.url());
        // The node has its keys, and is at work.
        let line = line.replace("--data-dir node", "--data-dir other");
        let over_ssh = "sftp://backup@backup.example.org/srv/hindcast";
        let line = match &sshd {
            Some(sshd) => line.replace(over_ssh, &sshd.url("hindcast")),
            None if line.contains(over_ssh) => continue,
            None => line,
        };
        let mut command = Command::new("sh");
        command
            .args(["-ec", &line])
            .current_dir(dir.path())
            .env("PATH", &path);
        let (out, errors, code) = finish(command, &[]);
        assert_eq!(code, Some(0), "{line}: {errors}");
        if line.contains("backup create") {
            let made: Value = serde_json::from_str(&out).expect("JSON");
            assert_eq!(
                (&made["verified"], &made["encrypted"]),
                (&json!(true), &json!(true)),
                "{out}"
            );
        }
        ran += 1;
    }
    assert_eq!(ran, if sshd.is_some() { 9 } else { 5 });
}

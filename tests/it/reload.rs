//! What changes while the server runs: the configuration, the certificate; and its end.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::support::{Server, VALIDATE, finish, hindcast, serve, temporary, validation};

fn with_config(dir: &Path, text: &str) -> Command {
    let file = dir.join("server.toml");
    std::fs::write(&file, text).expect("written");
    let mut command = hindcast(&["serve", "--json", "--listen", "127.0.0.1:0"]);
    command.arg("--config").arg(file);
    command.arg("--data-dir").arg(dir.join("data"));
    command
}

fn rewrite(dir: &Path, text: &str) {
    std::fs::write(dir.join("server.toml"), text).expect("written");
}

#[test]
fn a_reload_takes_over_what_can_change_and_says_what_cannot() {
    let dir = temporary();
    let server = Server::start_with(with_config(dir.path(), "[runs]\ndeadline_ms = 1000\n"));
    rewrite(
        dir.path(),
        "[runs]\ndeadline_ms = 2000\nin_flight_max = 7\nthreads = 1\n[http]\npage_items_max = 60\n",
    );
    let reloaded = server.post("/-/reload", &json!({})).expect(200);
    assert_eq!(reloaded["generation"], 2);
    assert_eq!(
        reloaded["changed"],
        json!([
            "http.page_items_max",
            "runs.deadline_ms",
            "runs.in_flight_max"
        ])
    );
    assert_eq!(reloaded["needs_restart"], json!(["runs.threads"]));
    let config = server.get("/debug/config").expect(200);
    assert_eq!(config["runs"]["deadline_ms"], 2000);
    assert_eq!(config["runs"]["threads"], 0, "not before a restart");
    server
        .get("/api/v1/runs?limit=61")
        .expect_problem(400, "query.limit");
    // Decisions see the new bound as well.
    let health = server.wait_until("/health/ready", |health| {
        health["components"]["runs"]["in_flight_max"] == 7
    });
    assert_eq!(health["status"], "ok");
    let event = server
        .get("/api/v1/events?type=configuration_loaded&limit=10")
        .expect(200);
    let items = event["items"].as_array().expect("items");
    let who: Vec<&str> = items
        .iter()
        .map(|item| item["principal"].as_str().expect("a principal"))
        .collect();
    assert_eq!(who, ["server", "anonymous"]);
}

#[test]
fn a_wrong_configuration_changes_nothing_and_is_named() {
    let dir = temporary();
    let server = Server::start_with(with_config(dir.path(), "[runs]\ndeadline_ms = 1000\n"));
    for (text, field) in [
        ("[runs]\ndeadline_ms = -1\n", "runs.deadline_ms"),
        ("[runs]\ndedline_ms = 1\n", "runs.dedline_ms"),
        ("[runs\n", "configuration"),
        ("[http]\nwait_default_ms = 900000\n", "http.wait_default_ms"),
    ] {
        rewrite(dir.path(), text);
        server
            .post("/-/reload", &json!({}))
            .expect_problem(422, field);
    }
    assert_eq!(
        server.get("/debug/config").expect(200)["runs"]["deadline_ms"],
        1000
    );
    let metrics = server.get("/metrics").body;
    assert!(
        metrics.contains("config_last_reload_successful 0"),
        "{metrics}"
    );
    let failed = server.get("/api/v1/events?type=audited").expect(200);
    let items = failed["items"].as_array().expect("items");
    assert_eq!(items.len(), 4);
    assert_eq!(items[0]["data"]["verb"], "reload");
    assert_eq!(items[0]["data"]["outcome"], "failed");

    rewrite(dir.path(), "[runs]\ndeadline_ms = 3000\n");
    let pid = rustix::process::Pid::from_raw(i32::try_from(server.pid()).expect("a pid"));
    rustix::process::kill_process(pid.expect("not 0"), rustix::process::Signal::HUP).expect("runs");
    server.wait_until("/debug/config", |config| {
        config["runs"]["deadline_ms"] == 3000
    });
}

#[test]
fn quit_stops_in_good_order() {
    let dir = temporary();
    let server = Server::start(dir.path());
    server.get("/-/healthy").expect(200);
    server.get("/-/ready").expect(200);
    server.post(VALIDATE, &validation()).expect(200);
    assert_eq!(
        server.post("/-/quit", &json!({})).expect(202)["status"],
        "stopping"
    );
    assert_eq!(server.ended(), Some(0));
    let mut command = hindcast(&["events", "list", "--type", "server_stopped", "--json"]);
    command.arg("--data-dir").arg(dir.path());
    let (out, _, _) = finish(command, &[]);
    let found: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(found["items"][0]["data"]["reason"], "asked to quit");
}

pub(crate) struct Made {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

pub(crate) fn made() -> Made {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    Made {
        certificate: made.cert.pem(),
        key: made.signing_key.serialize_pem(),
    }
}

pub(crate) fn put(dir: &Path, certificate: &str, key: &str) -> [String; 2] {
    let (certificate_file, key_file) = (dir.join("server.crt"), dir.join("server.key"));
    std::fs::write(&certificate_file, certificate).expect("written");
    std::fs::write(&key_file, key).expect("written");
    [
        format!("server.tls_certificate_file={}", certificate_file.display()),
        format!("server.tls_key_file={}", key_file.display()),
    ]
}

/// An agent that trusts this certificate and no other.
fn trusting(certificate: &str) -> Agent {
    let trusted = Certificate::from_pem(certificate.as_bytes()).expect("a certificate");
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::from(vec![trusted]))
        .build();
    Agent::config_builder().tls_config(tls).build().into()
}

#[test]
fn a_new_certificate_is_shown_to_new_connections_and_old_ones_live_on() {
    let dir = temporary();
    let (first, second) = (made(), made());
    let settings = put(dir.path(), &first.certificate, &first.key);
    let data = dir.path().join("data");
    let server = Server::start_with(serve(&data, &[&settings[0], &settings[1]]));
    assert!(server.url.starts_with("https://"));
    let live = format!("{}/health/live", server.url);
    let old = trusting(&first.certificate);
    assert_eq!(old.get(&live).call().expect("an answer").status(), 200);
    assert!(trusting(&second.certificate).get(&live).call().is_err());
    let metrics = old.get(format!("{}/metrics", server.url)).call();
    let metrics = metrics
        .expect("an answer")
        .body_mut()
        .read_to_string()
        .expect("text");
    let expiry = metrics
        .lines()
        .find_map(|line| line.strip_prefix("tls_certificate_expiry_timestamp_seconds "));
    assert!(expiry.is_some_and(|at| at.parse::<f64>().is_ok_and(|at| at > 1.7e9)));

    // A key of another certificate is refused, and the one before stays.
    put(dir.path(), &second.certificate, &first.key);
    let reload = |agent: &Agent| {
        let url = format!("{}/-/reload", server.url);
        let mut answer = agent
            .post(url)
            .config()
            .http_status_as_error(false)
            .build()
            .send_empty()
            .expect("an answer");
        let body = answer.body_mut().read_to_string().expect("text");
        (answer.status().as_u16(), body)
    };
    let (status, body) = reload(&old);
    assert_eq!(status, 422, "{body}");
    assert!(
        body.contains("server.tls_key_file") && body.contains("not the key of"),
        "{body}"
    );
    assert!(!body.contains("PRIVATE"), "{body}");

    put(dir.path(), &second.certificate, &second.key);
    let (status, body) = reload(&old);
    assert_eq!(status, 200, "{body}");
    assert_eq!(
        old.get(&live)
            .call()
            .expect("its connection is open")
            .status(),
        200
    );
    assert!(trusting(&first.certificate).get(&live).call().is_err());
    assert!(trusting(&second.certificate).get(&live).call().is_ok());

    let mut command = hindcast(&["status", "--server", &server.url, "--ca-file"]);
    command.arg(dir.path().join("server.crt"));
    let (out, errors, code) = finish(command, &[]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(out.starts_with("status      ok"), "{out}");
    let mut command = hindcast(&["status", "--server", &server.url, "--ca-file"]);
    command.arg(dir.path().join("server.key"));
    let (_, errors, code) = finish(command, &[]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("no certificate"), "{errors}");
}

#[test]
fn who_asks_a_server_with_a_certificate_wrongly_is_told_how() {
    let dir = temporary();
    let pair = made();
    let settings = put(dir.path(), &pair.certificate, &pair.key);
    let data = dir.path().join("data");
    let server = Server::start_with(serve(&data, &[&settings[0], &settings[1]]));
    // What to do is told where trust is lacking, and where the wrong protocol is spoken.
    for (url, told) in [
        (server.url.clone(), "--ca-file"),
        (server.url.replace("https:", "http:"), "https://"),
    ] {
        let (_, errors, code) = finish(hindcast(&["status", "--server", &url]), &[]);
        assert_eq!(code, Some(1), "{errors}");
        let hint = errors.lines().find(|line| line.contains("hint"));
        assert!(hint.is_some_and(|hint| hint.contains(told)), "{errors}");
    }
}

#[test]
fn a_certificate_of_an_authority_that_a_server_shows_is_named() {
    let dir = temporary();
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let mut asked = rcgen::CertificateParams::new(names).expect("names");
    asked.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().expect("a key");
    let signed = asked.self_signed(&key).expect("a certificate");
    let settings = put(dir.path(), &signed.pem(), &key.serialize_pem());
    let data = dir.path().join("data");
    let server = Server::start_with(serve(&data, &[&settings[0], &settings[1]]));
    let mut command = hindcast(&["status", "--server", &server.url, "--ca-file"]);
    command.arg(dir.path().join("server.crt"));
    let (_, errors, code) = finish(command, &[]);
    assert_eq!(code, Some(1), "{errors}");
    assert!(
        errors.contains("basicConstraints=critical,CA:FALSE"),
        "{errors}"
    );
}

#[test]
fn a_server_does_not_start_on_a_pair_that_does_not_fit() {
    let dir = temporary();
    let (one, other) = (made(), made());
    let refused = |settings: &[&str]| {
        let (_, errors, code) = finish(serve(dir.path(), settings), &[]);
        assert_eq!(code, Some(1), "{errors}");
        errors
    };
    let [certificate, key] = put(dir.path(), &one.certificate, &other.key);
    let errors = refused(&[&certificate, &key]);
    assert!(errors.contains("server.tls_key_file"), "{errors}");
    let errors = refused(&[&certificate]);
    assert!(errors.contains("server.tls_key_file"), "{errors}");
    let [certificate, key] = put(dir.path(), "nothing", &one.key);
    let errors = refused(&[&certificate, &key]);
    assert!(errors.contains("no certificate"), "{errors}");
}

//! No reply leaves before the fdatasync of its frame has returned: seen from outside, by strace.

use std::process::{Command, Stdio};

use ureq::http::Method;

use crate::support::{Server, VALIDATE, serve, temporary, validation};

const CALLS: &str = "trace=fdatasync,pwrite64,pwritev,write,writev,sendto,sendmsg";

fn strace() -> Option<Command> {
    let mut probe = Command::new("strace");
    probe
        .args(["-o", "/dev/null", "true"])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    match probe.status() {
        Ok(status) if status.success() => Some(Command::new("strace")),
        Ok(_) | Err(_) => {
            println!("skipped: strace is not installed or may not trace here");
            None
        }
    }
}

#[test]
fn no_reply_leaves_before_its_frame_is_synced() {
    let Some(mut command) = strace() else { return };
    let dir = temporary();
    let trace = dir.path().join("trace");
    let data = dir.path().join("data");
    let inner = serve(&data, &["http.keep_alive_ms=75000"]);
    command
        .args(["-f", "-y", "-s", "400", "-e", CALLS, "-o"])
        .arg(&trace);
    command.arg(inner.get_program()).args(inner.get_args());
    let server = Server::start_with(command);
    let mut runs = Vec::new();
    for _ in 0..10 {
        let headers = [("content-type", "application/json")];
        let reply = server.send(
            Method::POST,
            VALIDATE,
            &headers,
            validation().to_string().as_bytes(),
        );
        runs.push(
            reply.expect(200)["run_id"]
                .as_str()
                .expect("an id")
                .to_owned(),
        );
    }
    stop_traced(&server);
    drop(server);
    check(&std::fs::read_to_string(&trace).expect("a trace"), &runs);
}

/// A disk that hangs fails nothing: what waits for it waits, and health has to say so.
#[test]
fn a_disk_that_hangs_is_told() {
    if strace().is_none() {
        return;
    }
    let dir = temporary();
    let server = Server::start(dir.path());
    server.post(VALIDATE, &validation()).expect(200);
    let mut hang = Command::new("strace");
    let until = "inject=fdatasync:delay_enter=6000000:when=1";
    hang.args(["-f", "-e", "trace=fdatasync", "-e", until, "-o"]);
    hang.arg("/dev/null")
        .args(["-p", &server.pid().to_string()]);
    let mut hang = hang.stderr(Stdio::piped()).spawn().expect("it starts");
    let mut told = std::io::BufReader::new(hang.stderr.take().expect("its errors"));
    let mut line = String::new();
    std::io::BufRead::read_line(&mut told, &mut line).expect("a line");
    assert!(line.contains("attached"), "{line}");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| server.post(VALIDATE, &validation()).status);
        let health = server.wait_until("/health", |health| health["status"] == "degraded");
        let reasons = health["reasons"].to_string();
        assert!(reasons.contains("the log answers nothing"), "{reasons}");
        server.get("/health/ready").expect(503);
        let metrics = server.get("/metrics").body;
        let down = "up{job=\"hindcast\",instance=\"log\"} 0";
        assert!(metrics.contains(down), "{metrics}");
        assert_eq!(waiting.join().expect("it ends"), 200);
    });
    server.wait_until("/health/ready", |health| health["status"] == "ok");
    hang.kill().expect("it runs");
    hang.wait().expect("it ends");
}

/// strace lets go of what it traces when it is killed: the server is ended first.
fn stop_traced(strace: &Server) {
    let pid = strace.pid();
    let children = format!("/proc/{pid}/task/{pid}/children");
    let children = std::fs::read_to_string(children).expect("the kernel lists children");
    for child in children.split_whitespace() {
        let child = child.parse().ok().and_then(rustix::process::Pid::from_raw);
        let child = child.expect("a process id");
        rustix::process::kill_process(child, rustix::process::Signal::KILL).expect("it runs");
    }
}

/// For each run: the reply that names it comes after an fdatasync that returned after the write
/// of its frame began.
fn check(trace: &str, runs: &[String]) {
    let lines: Vec<&str> = trace.lines().collect();
    let is_segment = |line: &str| line.contains("/wal/");
    let mut from = 0;
    for run in runs {
        let is_reply = |line: &&str| line.contains("HTTP/1.1 200") && line.contains(run.as_str());
        let reply = lines
            .iter()
            .position(is_reply)
            .unwrap_or_else(|| panic!("no reply names {run}"));
        let written = lines[from..reply]
            .iter()
            .rposition(|line| is_segment(line) && line.contains("pwrite"))
            .unwrap_or_else(|| panic!("no frame before the reply of {run}"))
            + from;
        let synced = lines[written..reply].iter().any(|line| {
            let whole = line.contains("fdatasync(") && is_segment(line) && line.ends_with("= 0");
            whole || (line.contains("fdatasync resumed") && line.ends_with("= 0"))
        });
        assert!(
            synced,
            "the reply of {run} left before its fdatasync:\n{}",
            lines[written..=reply].join("\n")
        );
        from = reply;
    }
}

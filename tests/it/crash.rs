use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use ureq::http::Method;

use crate::support::{Server, VALIDATE, finish, hindcast, pause, serve, temporary, validation};

const ROUNDS_IN_CI: u64 = 50;
const WRITERS: u64 = 4;

fn rounds() -> u64 {
    let wanted = std::env::var("HINDCAST_KILL_ROUNDS").ok();
    wanted.map_or(ROUNDS_IN_CI, |text| {
        text.parse().expect("HINDCAST_KILL_ROUNDS is a number")
    })
}

/// Acknowledged runs by idempotency key.
type Acknowledged = Arc<Mutex<Vec<(String, String, Value)>>>;

/// What the writers of one round share.
struct Load<'a> {
    server: &'a Server,
    round: u64,
    stop: AtomicBool,
    counter: &'a AtomicU64,
    acknowledged: &'a Acknowledged,
}

impl Load<'_> {
    /// Writes until the server is gone; only what was answered counts as acknowledged.
    fn write(&self, writer: u64) {
        while !self.stop.load(Ordering::Acquire) {
            let number = self.counter.fetch_add(1, Ordering::Relaxed);
            let key = format!("{}-{writer}-{number}", self.round);
            let headers = [
                ("content-type", "application/json"),
                ("idempotency-key", key.as_str()),
            ];
            let body = validation().to_string();
            let sent = self
                .server
                .try_send(Method::POST, VALIDATE, &headers, body.as_bytes());
            let Ok(reply) = sent else {
                return;
            };
            if reply.status == 200 {
                let answer = reply.json();
                let run = answer["run_id"].as_str().expect("an id").to_owned();
                let mut all = self.acknowledged.lock().expect("no writer panics");
                all.push((key, run, answer["result_hash"].clone()));
            }
        }
    }
}

#[test]
fn acknowledged_runs_survive_kill_9_under_load() {
    let dir = temporary();
    let acknowledged: Acknowledged = Arc::default();
    let counter = AtomicU64::new(0);
    let start = || Server::start_with(serve(dir.path(), &["disk.reserve_bytes=0"]));
    let mut checked = 0;
    let mut server = start();
    for round in 0..rounds() {
        let pid = server.pid();
        let load = Load {
            server: &server,
            round,
            stop: AtomicBool::new(false),
            counter: &counter,
            acknowledged: &acknowledged,
        };
        std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                let load = &load;
                scope.spawn(move || load.write(writer));
            }
            // A different moment each round, within 20 to 150 ms.
            pause(Duration::from_millis(20 + round * 37 % 131));
            let pid =
                rustix::process::Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("a pid");
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it runs");
            load.stop.store(true, Ordering::Release);
        });
        server.kill();
        server = start();
        if round % 10 == 9 {
            // A stop in good order leaves a snapshot, so that later starts begin from one.
            assert_eq!(server.stop(), Some(0));
            server = start();
        }
        let all = acknowledged.lock().expect("no writer panics");
        for (_, run, hash) in &all[checked..] {
            let found = server.get(&format!("/api/v1/runs/{run}")).expect(200);
            assert_eq!(
                (&found["status"], &found["result_hash"]),
                (&json!("completed"), hash),
                "round {round}"
            );
        }
        // A client that repeats its last request gets the first answer.
        if let Some((key, run, _)) = all.last() {
            let again = server.post_with(VALIDATE, &validation(), &[("idempotency-key", key)]);
            assert_eq!(again.expect(200)["run_id"], json!(run), "round {round}");
        }
        checked = all.len();
    }
    let all = acknowledged.lock().expect("no writer panics");
    assert!(
        all.len() as u64 >= rounds(),
        "there was load: {}",
        all.len()
    );
    for (_, run, hash) in all.iter() {
        assert_eq!(
            server.get(&format!("/api/v1/runs/{run}")).expect(200)["result_hash"],
            *hash
        );
    }
    let count = all.len();
    println!("{} rounds, {count} acknowledged runs, 0 lost", rounds());
    assert_eq!(server.stop(), Some(0));
    let directory = dir.path().to_str().expect("UTF-8");
    let (out, errors, code) = finish(
        hindcast(&["verify", "--json", "--data-dir", directory]),
        &[],
    );
    assert_eq!(code, Some(0), "{out}{errors}");
}

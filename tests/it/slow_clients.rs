//! Clients that send slowly, or take nothing of what they are sent, lose their connections.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::{Server, VALIDATE, pause, serve, temporary, validation};

fn connect(server: &Server) -> TcpStream {
    let address = server.url.trim_start_matches("http://");
    let slow = TcpStream::connect(address).expect("a connection");
    slow.set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a timeout");
    slow
}

/// What the server answers before it ends the connection.
fn answered(server: &Server, sent: &str) -> String {
    let mut slow = connect(server);
    slow.write_all(sent.as_bytes()).expect("written");
    let mut answer = String::new();
    slow.read_to_string(&mut answer)
        .expect("an answer, and then the end");
    answer
}

#[test]
fn a_body_that_does_not_end_ends_the_connection() {
    let dir = temporary();
    let server = Server::start_with(serve(
        dir.path(),
        &["http.head_timeout_ms=1000", "http.body_timeout_ms=300"],
    ));
    let validate = |length: &str, body: &str| {
        format!(
            "POST {VALIDATE} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{length}\r\n\r\n{body}"
        )
    };
    let chunked = "transfer-encoding: chunked";
    let unended = [
        (validate("content-length: 100", "{"), 408),
        (validate(chunked, ""), 408),
        (validate(chunked, "5\r\n{\"gra\r\n"), 408),
        (validate(chunked, "5\r\nhel"), 408),
    ];
    // Nobody reads these bodies.
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: x\r\n{chunked}\r\n\r\n");
    let unread = [(get("/health/live"), 200), (get("/nowhere"), 404)];
    std::thread::scope(|scope| {
        for (sent, status) in unended.iter().chain(&unread) {
            let server = &server;
            scope.spawn(move || {
                let answer = answered(server, sent);
                let begins = format!("HTTP/1.1 {status}");
                assert!(answer.starts_with(&begins), "{sent}: {answer}");
            });
        }
    });
    // A chunked body that ends is as good as any, and the connection goes on.
    let body = validation().to_string();
    let whole = validate(chunked, &format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()));
    let last = "GET /health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let answer = answered(&server, &format!("{whole}{whole}{last}"));
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 3, "{answer}");
}

#[test]
fn who_takes_no_answers_is_cut_off() {
    let dir = temporary();
    let server = Server::start_with(serve(dir.path(), &["http.write_timeout_ms=300"]));
    let mut slow = connect(&server);
    slow.set_write_timeout(Some(Duration::from_secs(20)))
        .expect("a timeout");
    // More than the buffers of two sockets hold.
    let ask = "GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n".repeat(400);
    match slow.write_all(ask.as_bytes()) {
        Ok(()) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    let open = || {
        let metrics = server.get("/metrics").body;
        let line = metrics
            .lines()
            .find(|l| l.starts_with("active_connections "));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
    };
    for _ in 0..200 {
        if open().is_some_and(|count| count < 2.0) {
            return;
        }
        pause(Duration::from_millis(100));
    }
    panic!("{:?} connections are open", open());
}

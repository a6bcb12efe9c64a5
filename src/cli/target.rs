//! The server that a verb puts under load: named or configured, on this machine unless somebody says
//! otherwise, and answering before the first request is sent.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use super::arguments::Global;
use super::client::Client;
use super::connection::key;
use super::output::Failure;
use crate::load::Target;
use crate::load::tls::Tls;

/// How long a connection to one of several addresses is waited for.
const CONNECT_MAX: Duration = Duration::from_secs(3);

/// A server that is there.
pub(super) struct Found {
    pub(super) client: Client,
    pub(super) target: Target,
    pub(super) url: String,
    pub(super) version: String,
}

/// The address that `--server` names, or the one that the configuration has.
pub(super) fn url(global: &Global) -> Result<String, Failure> {
    match &global.server {
        Some(url) => Ok(url.trim_end_matches('/').to_owned()),
        None => {
            let server = global.configuration()?.server;
            let scheme = match server.tls_certificate_file.as_os_str().is_empty() {
                true => "http",
                false => "https",
            };
            Ok(format!("{scheme}://{}", server.listen))
        }
    }
}

/// Finds the server and asks it how it is.
///
/// # Errors
/// It is not on this machine and `allow_remote` is not given, it is not to be reached, or it is not
/// ready.
pub(super) fn find(global: &Global, allow_remote: bool) -> Result<Found, Failure> {
    let url = url(global)?;
    let (host, port) = host(&url)?;
    let addresses = resolved(&host, port)?;
    let remote = addresses.iter().find(|found| !found.ip().is_loopback());
    if let (Some(remote), false) = (remote, allow_remote) {
        return Err(Failure::Misused {
            message: format!("{} is not this machine", remote.ip()),
            field: Some("--server".to_owned()),
            hint: Some(
                "load may do harm: --allow-remote says that you may put it on this server"
                    .to_owned(),
            ),
        });
    }
    let address = answering(&addresses);
    let key = key(global)?;
    let client = Client::to(&url, global)?;
    let health = client.health()?;
    let status = health["status"].as_str().unwrap_or("not well");
    if !matches!(status, "ok" | "degraded") {
        return Err(Failure::failed(format!("the server is {status}")));
    }
    Ok(Found {
        client,
        target: Target {
            tls: sealed(&url, &host, global)?,
            address,
            host,
            authorization: key.map(|key| format!("Bearer {key}")),
        },
        url,
        version: health["version"].as_str().unwrap_or("?").to_owned(),
    })
}

/// How connections to a server at https:// are sealed.
fn sealed(url: &str, host: &str, global: &Global) -> Result<Option<Tls>, Failure> {
    if !url.starts_with("https://") {
        return Ok(None);
    }
    let name = match has_port(host) {
        true => host.rsplit_once(':').map_or(host, |(name, _)| name),
        false => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    Ok(Some(Tls::new(name, global.ca_file.as_deref())?))
}

/// Host, with a port if there is one, and the port if there is none.
fn host(url: &str) -> Result<(String, u16), Failure> {
    let wrong = || {
        Failure::Usage(format!(
            "--server: `{url}` is not http://HOST:PORT or https://HOST:PORT"
        ))
    };
    let (rest, port) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
        (Some(rest), _) => (rest, 80),
        (None, Some(rest)) => (rest, 443),
        (None, None) => return Err(wrong()),
    };
    match rest.is_empty() || rest.contains(['/', '?', '#', '@']) {
        true => Err(wrong()),
        false => Ok((rest.to_owned(), port)),
    }
}

fn has_port(host: &str) -> bool {
    host.rsplit_once(':').is_some_and(|(_, port)| {
        !port.is_empty() && port.bytes().all(|digit| digit.is_ascii_digit())
    })
}

/// Every address of a host: one at least.
fn resolved(host: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
    let found = match has_port(host) {
        true => host.to_socket_addrs(),
        false => format!("{host}:{port}").to_socket_addrs(),
    };
    let wrong = |why: String| Failure::Usage(format!("--server: `{host}`: {why}"));
    let found: Vec<SocketAddr> = found.map_err(|error| wrong(error.to_string()))?.collect();
    match found.is_empty() {
        true => Err(wrong("it has no address".to_owned())),
        false => Ok(found),
    }
}

/// The first address on which somebody listens, or the first when nobody does.
fn answering(addresses: &[SocketAddr]) -> SocketAddr {
    let listens = |address: &&SocketAddr| TcpStream::connect_timeout(address, CONNECT_MAX).is_ok();
    let found = match addresses {
        [_] => None,
        several => several.iter().find(listens),
    };
    *found.unwrap_or(&addresses[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_taken_apart() {
        let of = |url: &str| host(url).ok();
        assert_eq!(
            of("http://127.0.0.1:1"),
            Some(("127.0.0.1:1".to_owned(), 80))
        );
        assert_eq!(of("https://x"), Some(("x".to_owned(), 443)));
        for wrong in ["ftp://x", "http://", "http://x/y", "http://a@127.0.0.1"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
        let address = |text: &str| resolved(text, 80).ok().map(|found| found[0].to_string());
        assert_eq!(address("127.0.0.1:9").as_deref(), Some("127.0.0.1:9"));
        assert_eq!(address("127.0.0.1").as_deref(), Some("127.0.0.1:80"));
        assert_eq!(address("[::1]").as_deref(), Some("[::1]:80"));
        assert_eq!(address("[::1]:7").as_deref(), Some("[::1]:7"));
    }
}

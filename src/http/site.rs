//! What a page of another site may not make a browser do. A browser says where a request comes from
//! (`Sec-Fetch-Site`), unless the server is an address without TLS that is not this machine: then it
//! says `Origin` of what changes something. A page whose name was made to lead to this machine
//! (DNS rebinding) is of the same site by both, and gives itself away by `Host`.

use std::net::IpAddr;

use actix_web::dev::ServiceRequest;
use actix_web::http::header;

/// The header by which a page of another site is known, and what is told of it.
pub(super) struct Foreign {
    pub(super) field: &'static str,
    pub(super) detail: &'static str,
}

/// Whether a request that changes something was sent by a page of another site.
pub(super) fn sends(request: &ServiceRequest) -> Option<Foreign> {
    let detail = "a page of another site may not send this request";
    if let Some(site) = request.headers().get("sec-fetch-site") {
        let own = matches!(site.as_bytes(), b"same-origin" | b"none");
        let field = "header.sec-fetch-site";
        return (!own).then_some(Foreign { field, detail });
    }
    let origin = request.headers().get(header::ORIGIN)?;
    let host = request.headers().get(header::HOST);
    let authority = origin.to_str().ok().and_then(|origin| {
        let (_, authority) = origin.split_once("://")?;
        Some(authority)
    });
    let own = host.and_then(|host| host.to_str().ok()).zip(authority);
    let field = "header.origin";
    let foreign = own.is_none_or(|(host, authority)| !host.eq_ignore_ascii_case(authority));
    foreign.then_some(Foreign { field, detail })
}

/// Whether a server that only this machine reaches was asked for under a name of the internet.
pub(super) fn names(request: &ServiceRequest) -> Option<Foreign> {
    let host = request.headers().get(header::HOST)?.to_str().ok()?;
    is_of_the_internet(host).then_some(Foreign {
        field: "header.host",
        detail: "a server that asks for no key is reached as localhost or by its address",
    })
}

/// A single word is a name of this machine or of its network.
fn is_of_the_internet(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        Some(_) | None => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let is_address = bare.parse::<IpAddr>().is_ok();
    let local = name.to_ascii_lowercase().ends_with(".localhost");
    name.contains('.') && !is_address && !local
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_internet_have_a_dot_and_are_no_address() {
        for host in [
            "evil.example",
            "evil.example:8080",
            "evil.",
            "127.0.0.1.evil.example",
        ] {
            assert!(is_of_the_internet(host), "{host}");
        }
        let own = [
            "localhost",
            "localhost:8080",
            "box:1",
            "127.0.0.1:8080",
            "[::1]:8080",
            "::1",
            "Console.LocalHost:1",
            "",
        ];
        for host in own {
            assert!(!is_of_the_internet(host), "{host}");
        }
    }
}

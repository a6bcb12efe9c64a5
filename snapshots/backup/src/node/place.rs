//! Where a vault of another server is: `hindcast://HOST:PORT/NAME`, or `hindcasts://` over TLS.

use std::fmt;

/// A vault of another server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodePlace {
    encrypted: bool,
    /// As it stands in a URL.
    host: String,
    port: u16,
    name: String,
}

const EXPECTED: &str = "expected hindcast://HOST:PORT/NAME, or hindcasts:// over TLS";

/// What a vault may be called: 1 to 64 lower-case letters, digits, `-` and `_`.
#[must_use]
pub fn is_vault_name(name: &str) -> bool {
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"-_".contains(&c);
    (1..=64).contains(&name.len()) && name.bytes().all(plain)
}

impl NodePlace {
    /// Reads what follows `hindcast://` or, encrypted, `hindcasts://`.
    pub(crate) fn parse(rest: &str, encrypted: bool) -> Result<Self, String> {
        let (place, name) = rest.split_once('/').ok_or(EXPECTED)?;
        let (host, port) = place.rsplit_once(':').ok_or(EXPECTED)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
        let inside = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        let good = match inside {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.chars().all(plain),
        };
        if !good {
            return Err(format!("`{host}` is no host; {EXPECTED}"));
        }
        let port = match port.parse::<u16>() {
            Ok(port) if port > 0 => port,
            Ok(_) | Err(_) => {
                return Err(format!("the port `{port}` is no number from 1 to 65535"));
            }
        };
        let name = name.trim_end_matches('/');
        if !is_vault_name(name) {
            return Err(format!(
                "the vault `{name}` is of 1 to 64 lower-case letters, digits, `-` and `_`"
            ));
        }
        Ok(Self {
            encrypted,
            host: host.to_owned(),
            port,
            name: name.to_owned(),
        })
    }

    pub(super) const fn is_encrypted(&self) -> bool {
        self.encrypted
    }

    /// The address of the objects.
    pub(super) fn objects(&self) -> String {
        let scheme = if self.encrypted { "https" } else { "http" };
        let (host, port, name) = (&self.host, self.port, &self.name);
        format!("{scheme}://{host}:{port}/api/v1/vaults/{name}/objects")
    }
}

impl fmt::Display for NodePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.encrypted {
            "hindcasts"
        } else {
            "hindcast"
        };
        write!(f, "{scheme}://{}:{}/{}", self.host, self.port, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vaults_are_read_and_shown() {
        for text in ["node.example.org:8080/laptop", "[::1]:1/a-b_2"] {
            let place = NodePlace::parse(text, true).expect(text);
            assert_eq!(place.to_string(), format!("hindcasts://{text}"));
        }
        let plain = NodePlace::parse("h:8080/v/", false).expect("a vault");
        assert_eq!(plain.objects(), "http://h:8080/api/v1/vaults/v/objects");
        for text in [
            "", "h", "h/x", "h:8080", "h:8080/", "h:0/x", "h:x/x", ":1/x", "u@h:1/x", "h:1/a/b",
            "h:1/..", "h:1/A", "h:1/a?b", "[x]:1/a", "h#:1/a",
        ] {
            assert!(NodePlace::parse(text, false).is_err(), "{text}");
        }
    }
}

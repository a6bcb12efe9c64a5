//! Where a directory of an SSH server is: `sftp://[USER@]HOST[:PORT]/PATH`.

use std::fmt;

/// A directory of an SSH server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshPlace {
    user: Option<String>,
    host: String,
    port: Option<u16>,
    /// Absolute, or from where the server puts whoever logs in.
    path: String,
}

const EXPECTED: &str = "expected sftp://[USER@]HOST[:PORT]/PATH, or /~/PATH for one that begins \
                        where the user logs in";

impl SshPlace {
    /// Reads what follows `sftp://`.
    pub(crate) fn parse(rest: &str) -> Result<Self, String> {
        let (authority, path) = rest.split_once('/').ok_or(EXPECTED)?;
        let (user, place) = match authority.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, authority),
        };
        if user.is_some_and(|user| user.contains(':')) {
            return Err("a password has no place in a URL: SSH keys are used".to_owned());
        }
        if let Some(user) = user {
            check("the user", user, "._-+")?;
        }
        let (host, port) = match place.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest.split_once(']').ok_or(EXPECTED)?;
                check("the host", host, ":.")?;
                let port = match after {
                    "" => None,
                    after => Some(after.strip_prefix(':').ok_or(EXPECTED)?),
                };
                (host, port)
            }
            None => {
                let (host, port) = match place.split_once(':') {
                    Some((host, port)) => (host, Some(port)),
                    None => (place, None),
                };
                check("the host", host, "._-")?;
                (host, port)
            }
        };
        let port = match port {
            None => None,
            Some(text) => match text.parse::<u16>() {
                Ok(port) if port > 0 => Some(port),
                Ok(_) | Err(_) => {
                    return Err(format!("the port `{text}` is no number from 1 to 65535"));
                }
            },
        };
        Ok(Self {
            user: user.map(str::to_owned),
            host: host.to_owned(),
            port,
            path: directory(path)?,
        })
    }

    pub(super) fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) const fn port(&self) -> Option<u16> {
        self.port
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }
}

/// The directory that the path of a URL names, without the slash that it begins with.
fn directory(path: &str) -> Result<String, String> {
    let path = path.trim_end_matches('/');
    if path.is_empty() {
        return Err("it names no directory".to_owned());
    }
    if path.contains(['%', '?', '#', '\\']) || path.chars().any(char::is_control) {
        return Err("the path is taken as it stands, without `%`, `?`, `#` and `\\`".to_owned());
    }
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err("the path has no empty part, no `.` and no `..`".to_owned());
    }
    Ok(match path.strip_prefix('~') {
        Some("") => ".".to_owned(),
        Some(rest) if rest.starts_with('/') => rest[1..].to_owned(),
        Some(_) | None => format!("/{path}"),
    })
}

/// What becomes a word of a command line: it can be no option, and means nothing to a shell.
fn check(what: &str, text: &str, also: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || also.contains(c);
    match text {
        "" => Err(format!("{what} is empty; {EXPECTED}")),
        text if text.starts_with('-') => Err(format!("{what} begins with `-`")),
        text if !text.chars().all(plain) => Err(format!(
            "{what} `{text}` is of letters, digits and `{also}`"
        )),
        _ => Ok(()),
    }
}

impl fmt::Display for SshPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sftp://")?;
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        match self.host.contains(':') {
            true => write!(f, "[{}]", self.host)?,
            false => f.write_str(&self.host)?,
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        match (self.path.as_str(), self.path.starts_with('/')) {
            (".", _) => f.write_str("/~"),
            (path, true) => f.write_str(path),
            (path, false) => write!(f, "/~/{path}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_and_shown() {
        for (text, path) in [
            ("backup@example.org:2222/srv/backups", "/srv/backups"),
            ("example.org/a b", "/a b"),
            ("[2001:db8::1]:22/x", "/x"),
            ("[::1]/x", "/x"),
            ("host/~/deep/er", "deep/er"),
            ("host/~", "."),
        ] {
            let place = SshPlace::parse(text).expect(text);
            assert_eq!(place.to_string(), format!("sftp://{text}"));
            assert_eq!(place.path(), path);
        }
        let slashed = SshPlace::parse("h/x/").expect("a place");
        assert_eq!(slashed.path(), "/x");
    }

    #[test]
    fn nothing_can_be_an_option_or_a_command() {
        for text in [
            "-oProxyCommand=sh/x",
            "-u@host/x",
            "a;b@host/x",
            "$(x)@host/x",
            "ho st/x",
            "host`x`/x",
            "user:secret@host/x",
            "host:0/x",
            "host:70000/x",
            "host:/x",
            "host",
            "host/",
            "/x",
            "@host/x",
            "[::1/x",
            "[::1]22/x",
            "[-1]/x",
            "host/a/../b",
            "host/a//b",
            "host/a%20b",
            "host/a\nb",
        ] {
            assert!(SshPlace::parse(text).is_err(), "{text}");
        }
    }
}

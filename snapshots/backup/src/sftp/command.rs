//! The command that carries the packets: the system's OpenSSH client, so that keys, agents, known
//! hosts and jump hosts are what they are for every other `ssh` of this user. No shell is involved.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::place::SshPlace;

/// Options that hold whatever the user's own configuration says: no question is asked, the host's
/// key is known or nothing is sent, and nothing but SFTP is carried. A peer that is silent for 45
/// seconds is given up.
const ALWAYS: &[&str] = &[
    "BatchMode=yes",
    "StrictHostKeyChecking=yes",
    "ConnectTimeout=10",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=3",
    "ForwardAgent=no",
    "ForwardX11=no",
    "PermitLocalCommand=no",
    "RemoteCommand=none",
    "ClearAllForwardings=yes",
    "ControlMaster=no",
    "ControlPath=none",
];

/// A command whose standard input and output speak SFTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Carrier {
    program: OsString,
    arguments: Vec<OsString>,
}

impl Carrier {
    pub(super) fn new(program: &Path, arguments: &[&str]) -> Self {
        Self {
            program: program.into(),
            arguments: arguments.iter().map(OsString::from).collect(),
        }
    }

    /// `ssh` to a place.
    pub(super) fn ssh(
        place: &SshPlace,
        identity_file: Option<&Path>,
        known_hosts_file: Option<&Path>,
    ) -> Result<Self, String> {
        let mut arguments: Vec<OsString> = Vec::new();
        for option in ALWAYS {
            arguments.extend(["-o".into(), OsString::from(*option)]);
        }
        if let Some(file) = identity_file {
            let file = plain("identity_file", file)?;
            // Only this key: a server closes after a few that it does not know.
            arguments.extend(["-o".into(), "IdentitiesOnly=yes".into()]);
            arguments.extend(["-i".into(), file.into()]);
        }
        if let Some(file) = known_hosts_file {
            let file = plain("known_hosts_file", file)?;
            let own = format!("UserKnownHostsFile=\"{file}\"");
            arguments.extend(["-o".into(), own.into()]);
            // This file, and no other.
            arguments.extend(["-o".into(), "GlobalKnownHostsFile=/dev/null".into()]);
        }
        if let Some(port) = place.port() {
            arguments.extend(["-p".into(), port.to_string().into()]);
        }
        if let Some(user) = place.user() {
            arguments.extend(["-l".into(), user.into()]);
        }
        arguments.extend(["-s".into(), "--".into(), place.host().into(), "sftp".into()]);
        Ok(Self {
            program: "ssh".into(),
            arguments,
        })
    }

    pub(super) fn start(&self) -> io::Result<Child> {
        Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C ends this program, which ends the command when it is through.
            .process_group(0)
            .spawn()
    }

    /// Why the command does not start.
    pub(super) fn absent(&self, error: &io::Error) -> String {
        let program = self.program.display();
        match error.kind() == io::ErrorKind::NotFound {
            true => format!("there is no program `{program}`: install the OpenSSH client"),
            false => format!("`{program}` does not start: {error}"),
        }
    }
}

/// A path as `ssh` takes it: it replaces what follows `%`, `$` and `~` in one.
fn plain(key: &str, file: &Path) -> Result<String, String> {
    let absolute: PathBuf = std::path::absolute(file).map_err(|error| format!("{key}: {error}"))?;
    let text = absolute.to_str().map(str::to_owned);
    let text = text.ok_or_else(|| format!("{key}: the path is no text"))?;
    let odd = |c: char| c.is_control() || "%$\"'\\".contains(c);
    match text.chars().find(|c| odd(*c)) {
        Some(c) => Err(format!("{key}: `ssh` takes no path with {c:?} in it")),
        None => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_the_last_word_but_one_and_follows_the_end_of_the_options() {
        let place = SshPlace::parse("me@[::1]:2222/x").expect("a place");
        let files = (Path::new("/k/id"), Path::new("/k/known hosts"));
        let carrier = Carrier::ssh(&place, Some(files.0), Some(files.1)).expect("plain paths");
        let words: Vec<_> = carrier
            .arguments
            .iter()
            .map(|a| a.to_string_lossy())
            .collect();
        let line = words.join(" ");
        assert!(line.ends_with("-p 2222 -l me -s -- ::1 sftp"), "{line}");
        assert!(line.contains("-o StrictHostKeyChecking=yes"), "{line}");
        assert!(line.contains("-o IdentitiesOnly=yes -i /k/id"), "{line}");
        assert!(
            line.contains("UserKnownHostsFile=\"/k/known hosts\""),
            "{line}"
        );
        for path in ["/k/%h", "/k/$HOME", "/k/\"x", "/k/a\nb"] {
            let refused = Carrier::ssh(&place, Some(Path::new(path)), None);
            assert!(refused.is_err(), "{path}");
        }
    }
}

//! A directory of an SSH server as a target. The packets of SFTP are spoken here; the way there is
//! the system's OpenSSH client, a child process that is kept for the next operation.

mod command;
mod place;
mod said;
mod session;
mod transfer;
mod wire;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use place::SshPlace;

use command::Carrier;
use session::{Fault, Patience, Session};
use transfer::{HALF, join};

use crate::error::TargetError;
use crate::target::{Entry, Target};

/// Connections that are kept while nobody uses them.
const IDLE_MAX: usize = 4;
/// Files that a broken connection left half written and that are still to be removed.
const LEFT_MAX: usize = 64;
/// Characters of what a server says with a refusal.
const MESSAGE_CHARS_MAX: usize = 200;

/// What is common to every opening of one target.
#[derive(Default)]
struct Common {
    idle: Mutex<Vec<Session>>,
    left: Mutex<Vec<String>>,
    written: AtomicU64,
}

/// How an SSH server is reached. Clones share their connections, so each target has its own.
#[derive(Clone, Default)]
pub struct SshOptions {
    identity_file: Option<PathBuf>,
    known_hosts_file: Option<PathBuf>,
    common: Arc<Common>,
}

impl SshOptions {
    /// The private key, and the file of the keys of hosts; what `ssh` takes by itself where none
    /// is given.
    #[must_use]
    pub fn new(identity_file: Option<PathBuf>, known_hosts_file: Option<PathBuf>) -> Self {
        Self {
            identity_file,
            known_hosts_file,
            common: Arc::default(),
        }
    }
}

/// See the module.
pub struct Sftp {
    carrier: Carrier,
    base: String,
    title: String,
    patience: Patience,
    common: Arc<Common>,
}

impl Sftp {
    /// A directory of an SSH server, which is made with the first object.
    pub fn new(place: &SshPlace, options: &SshOptions) -> Result<Self, TargetError> {
        let title = place.to_string();
        let files = (&options.identity_file, &options.known_hosts_file);
        let carrier = Carrier::ssh(place, files.0.as_deref(), files.1.as_deref());
        let carrier = carrier.map_err(|why| TargetError::Url {
            url: title.clone(),
            why,
        })?;
        Ok(Self {
            carrier,
            base: place.path().to_owned(),
            title,
            patience: Patience::default(),
            common: Arc::clone(&options.common),
        })
    }

    /// A directory, absolute or relative to where it begins, that a command gives over its
    /// standard input and output.
    #[must_use]
    pub fn through(program: &Path, arguments: &[&str], base: &str) -> Self {
        Self {
            carrier: Carrier::new(program, arguments),
            base: base.to_owned(),
            title: format!("{}:{base}", program.display()),
            patience: Patience::default(),
            common: Arc::default(),
        }
    }

    /// Does something over a connection, which is kept if it is good. One that has waited may be
    /// gone by now: what fails over it is done again over a fresh one.
    fn over<R>(&self, mut work: impl FnMut(&mut Session) -> Result<R, Fault>) -> Result<R, Fault> {
        let waited = lock(&self.common.idle).pop();
        if let Some(session) = waited {
            match self.once(session, &mut work) {
                Err(Fault::Broken(_)) => {}
                done => return done,
            }
            // Those that have waited as long are no better.
            lock(&self.common.idle).clear();
        }
        let mut session = Session::open(&self.carrier, self.patience)?;
        self.clear(&mut session)?;
        self.once(session, &mut work)
    }

    fn once<R>(
        &self,
        mut session: Session,
        work: &mut impl FnMut(&mut Session) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        let done = session.begin().and_then(|()| work(&mut session));
        if !matches!(done, Err(Fault::Broken(_))) {
            let mut idle = lock(&self.common.idle);
            if idle.len() < IDLE_MAX {
                idle.push(session);
            }
        }
        done
    }

    /// Removes what broken connections left half written.
    fn clear(&self, session: &mut Session) -> Result<(), Fault> {
        let left = std::mem::take(&mut *lock(&self.common.left));
        for path in left {
            match session.remove(&path) {
                Err(fault @ Fault::Broken(_)) => return Err(fault),
                // Another may not be allowed what this one was.
                Ok(()) | Err(Fault::Refused(..)) => {}
            }
        }
        Ok(())
    }

    fn failed(&self, action: &'static str, name: &str) -> impl FnOnce(Fault) -> TargetError {
        let (target, name) = (self.title.clone(), name.to_owned());
        move |fault| TargetError::Io {
            action,
            target,
            name,
            source: io::Error::other(match fault {
                Fault::Broken(message) => message,
                Fault::Refused(code, message) => {
                    let words = code.words();
                    let plain = message.chars().filter(|c| !c.is_control());
                    let message: String = plain.take(MESSAGE_CHARS_MAX).collect();
                    match message.eq_ignore_ascii_case(&words) || message.is_empty() {
                        true => words,
                        false => format!("{words}: {message}"),
                    }
                }
            }),
        }
    }
}

impl Target for Sftp {
    fn title(&self) -> &str {
        &self.title
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), TargetError> {
        let path = join(&self.base, name);
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let written = self.over(|session| {
            let number = self.common.written.fetch_add(1, Ordering::Relaxed);
            // Another process may write at the same time, on another machine with the same number.
            let content = blake3::hash(bytes).to_hex();
            let process = std::process::id();
            let half = format!("{}-{process}-{number}{HALF}", &content[..16]);
            let half = match folder {
                "" if path.starts_with('/') => format!("/{half}"),
                folder => join(folder, &half),
            };
            let put = session.put(&path, &half, bytes);
            if let Err(Fault::Broken(_)) = put {
                let mut left = lock(&self.common.left);
                if left.len() < LEFT_MAX {
                    left.push(half);
                }
            }
            put
        });
        written.map_err(self.failed("write", name))
    }

    fn get(&self, name: &str) -> Result<Vec<u8>, TargetError> {
        let path = join(&self.base, name);
        let read = self.over(|session| session.get(&path));
        let read = read.map_err(self.failed("read", name))?;
        read.ok_or_else(|| TargetError::Missing {
            target: self.title.clone(),
            name: name.to_owned(),
        })
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>, TargetError> {
        let listed = self.over(|session| session.list(&self.base, prefix));
        let mut found = listed.map_err(self.failed("list", prefix))?;
        found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    fn remove(&self, name: &str) -> Result<(), TargetError> {
        let path = join(&self.base, name);
        let removed = self.over(|session| session.remove(&path));
        removed.map_err(self.failed("remove", name))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn impatient(program: &str, arguments: &[&str]) -> Sftp {
        Sftp {
            patience: Patience {
                silence: Duration::from_millis(300),
                whole: Duration::from_secs(3),
            },
            ..Sftp::through(Path::new(program), arguments, "/x")
        }
    }

    #[test]
    fn a_peer_that_is_silent_is_given_up() {
        let silent = impatient("tail", &["-f", "/dev/null"]);
        let error = silent.get("a").expect_err("nobody answers").to_string();
        assert!(error.contains("no answer for 0.3 s"), "{error}");
        assert!(error.starts_with("read a in tail:/x"), "{error}");
    }

    #[test]
    fn a_peer_that_goes_on_for_ever_is_given_up() {
        let script = "while :; do echo busy >&2; sleep 0.1; done";
        let mut endless = impatient("sh", &["-c", script]);
        endless.patience.whole = Duration::from_millis(500);
        let error = endless.list("").expect_err("nothing comes").to_string();
        assert!(error.contains("it took longer than 0.5 s"), "{error}");
        assert!(error.contains("ssh: "), "{error}");
    }

    #[test]
    fn what_is_no_sftp_is_told_so() {
        let chatty = impatient("echo", &["Welcome to this host, stranger"]);
        let error = chatty.put("a", b"x").expect_err("no SFTP").to_string();
        assert!(error.contains("does not speak SFTP"), "{error}");
        let absent = impatient("there-is-no-such-program", &[]);
        let error = absent.put("a", b"x").expect_err("no program").to_string();
        assert!(error.contains("install the OpenSSH client"), "{error}");
        let ended = impatient(
            "sh",
            &["-c", "echo 'x: Permission denied (publickey).' >&2"],
        );
        let error = ended.get("a").expect_err("it ended").to_string();
        assert!(error.contains("does not let this user in"), "{error}");
    }
}

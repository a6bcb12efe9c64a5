//! One connection: a child whose pipes carry packets. Everything waits in one place, for both
//! directions, for what the child says of itself and for the time that an operation may take, so
//! that no peer can make a thread wait for ever.

use std::io::{self, Read, Write};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

use super::command::Carrier;
use super::said::Said;
use super::wire::{self, Code, Reply};

/// What is read from a pipe at once.
const READ_BYTES: usize = 64 << 10;
/// How long a child that closes its output may take to say why.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How long a connection is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Patience {
    /// Without a byte in either direction.
    pub(super) silence: Duration,
    /// For one operation.
    pub(super) whole: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            silence: Duration::from_secs(60),
            whole: Duration::from_secs(10 * 60),
        }
    }
}

/// Why an operation did not do what it should.
#[derive(Debug)]
pub(super) enum Fault {
    /// The server says no; the connection is good.
    Refused(Code, String),
    /// The connection is of no use any more.
    Broken(String),
}

/// See the module.
pub(super) struct Session {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
    errors: Option<ChildStderr>,
    timer: OwnedFd,
    patience: Patience,
    unsent: Vec<u8>,
    received: Vec<u8>,
    said: Said,
    next_id: u32,
    pub(super) can_sync: bool,
    pub(super) can_replace: bool,
    /// The directory that was written to last, open.
    pub(super) folder: Option<(String, Vec<u8>)>,
}

impl Drop for Session {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Session {
    /// Starts the command and greets the server.
    pub(super) fn open(carrier: &Carrier, patience: Patience) -> Result<Self, Fault> {
        let broken = |error: &dyn std::fmt::Display| Fault::Broken(error.to_string());
        let child = carrier.start();
        let mut child = child.map_err(|error| Fault::Broken(carrier.absent(&error)))?;
        let (Some(input), Some(output), Some(errors)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(Fault::Broken("the command has no pipes".to_owned()));
        };
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags);
        let mut session = Self {
            child,
            input,
            output,
            errors: Some(errors),
            timer: timer.map_err(|error| broken(&error))?,
            patience,
            unsent: Vec::new(),
            received: Vec::new(),
            said: Said::default(),
            next_id: 0,
            can_sync: false,
            can_replace: false,
            folder: None,
        };
        session.no_blocking().map_err(|error| broken(&error))?;
        session.begin()?;
        wire::packet(&mut session.unsent, wire::INIT, |out| {
            wire::put_u32(out, wire::VERSION);
        });
        let packet = session.packet()?;
        let greeting = wire::greeting(&packet).map_err(|_| session.nonsense())?;
        if greeting.version < wire::VERSION {
            let version = greeting.version;
            let message = format!("the server speaks SFTP version {version}, and 3 is needed");
            return Err(Fault::Broken(message));
        }
        let offers = |name: &[u8]| {
            let mut extensions = greeting.extensions.iter();
            extensions.any(|(offered, version)| offered == name && version == b"1")
        };
        session.can_sync = offers(b"fsync@openssh.com");
        session.can_replace = offers(b"posix-rename@openssh.com");
        Ok(session)
    }

    fn no_blocking(&self) -> Result<(), Errno> {
        rustix::io::ioctl_fionbio(&self.input, true)?;
        rustix::io::ioctl_fionbio(&self.output, true)?;
        match &self.errors {
            Some(errors) => rustix::io::ioctl_fionbio(errors, true),
            None => Ok(()),
        }
    }

    /// From here on an operation has its whole time.
    pub(super) fn begin(&mut self) -> Result<(), Fault> {
        let whole = Itimerspec {
            it_interval: timespec(Duration::ZERO),
            it_value: timespec(self.patience.whole),
        };
        let set = timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &whole);
        set.map(drop)
            .map_err(|error| Fault::Broken(error.to_string()))
    }

    /// Queues a request, and gives its number.
    pub(super) fn send(&mut self, kind: u8, body: impl FnOnce(&mut Vec<u8>)) -> u32 {
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        wire::packet(&mut self.unsent, kind, |out| {
            wire::put_u32(out, id);
            body(out);
        });
        id
    }

    /// Bytes that are queued.
    pub(super) fn unsent(&self) -> usize {
        self.unsent.len()
    }

    /// The next answer, whichever request it is for.
    pub(super) fn reply(&mut self) -> Result<(u32, Reply), Fault> {
        let packet = self.packet()?;
        wire::reply(&packet).map_err(|_| self.nonsense())
    }

    /// Sends one request and waits for its answer.
    pub(super) fn ask(
        &mut self,
        kind: u8,
        body: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Reply, Fault> {
        let id = self.send(kind, body);
        match self.reply()? {
            (of, reply) if of == id => Ok(reply),
            _ => Err(self.nonsense()),
        }
    }

    /// The same, for a request that is answered with a status.
    pub(super) fn order(&mut self, kind: u8, body: impl FnOnce(&mut Vec<u8>)) -> Result<(), Fault> {
        let reply = self.ask(kind, body)?;
        self.done(reply)
    }

    /// An answer that says no more than that it is done.
    pub(super) fn done(&self, reply: Reply) -> Result<(), Fault> {
        match reply {
            Reply::Status(Code::Ok, _) => Ok(()),
            Reply::Status(code, message) => Err(Fault::Refused(code, message)),
            Reply::Handle(_) | Reply::Data(_) | Reply::Names(_) | Reply::Attributes(_) => {
                Err(self.nonsense())
            }
        }
    }

    /// The answer does not fit the request, or is none.
    pub(super) fn nonsense(&self) -> Fault {
        let message = "what answers does not speak SFTP: a login script that prints something, or \
                       a server without it";
        Fault::Broken(self.said.after(message))
    }

    fn packet(&mut self) -> Result<Vec<u8>, Fault> {
        loop {
            match wire::length(&self.received) {
                Some(Err(_)) => return Err(self.nonsense()),
                Some(Ok(length)) if self.received.len() >= 4 + length => {
                    let rest = self.received.split_off(4 + length);
                    let mut packet = std::mem::replace(&mut self.received, rest);
                    packet.drain(..4);
                    return Ok(packet);
                }
                Some(Ok(_)) | None => self.progress()?,
            }
        }
    }

    /// Waits until something can be read or written, and does so.
    fn progress(&mut self) -> Result<(), Fault> {
        let nothing = PollFlags::empty();
        let ready = {
            let mut waited = [
                PollFd::new(&self.timer, PollFlags::IN),
                PollFd::new(&self.output, PollFlags::IN),
                match &self.errors {
                    Some(errors) => PollFd::new(errors, PollFlags::IN),
                    None => PollFd::new(&self.timer, nothing),
                },
                match self.unsent.is_empty() {
                    false => PollFd::new(&self.input, PollFlags::OUT),
                    true => PollFd::new(&self.timer, nothing),
                },
            ];
            match poll(&mut waited, Some(&timespec(self.patience.silence))) {
                Ok(0) => {
                    let seconds = self.patience.silence.as_secs_f32();
                    let message = format!("no answer for {seconds} s");
                    return Err(Fault::Broken(self.said.after(&message)));
                }
                Ok(_) => waited.map(|one| !one.revents().is_empty()),
                Err(Errno::INTR) => return Ok(()),
                Err(error) => return Err(Fault::Broken(error.to_string())),
            }
        };
        let [late, output, errors, input] = ready;
        if late {
            let seconds = self.patience.whole.as_secs_f32();
            let message = format!("it took longer than {seconds} s");
            return Err(Fault::Broken(self.said.after(&message)));
        }
        if errors {
            self.listen();
        }
        if input && !self.unsent.is_empty() {
            self.write()?;
        }
        if output {
            self.read()?;
        }
        Ok(())
    }

    fn read(&mut self) -> Result<(), Fault> {
        let mut bytes = [0; READ_BYTES];
        match self.output.read(&mut bytes) {
            Ok(0) => Err(self.ended()),
            Ok(count) => {
                self.received.extend_from_slice(&bytes[..count]);
                Ok(())
            }
            Err(error) if is_for_later(&error) => Ok(()),
            Err(error) => Err(Fault::Broken(self.said.after(&error.to_string()))),
        }
    }

    fn write(&mut self) -> Result<(), Fault> {
        match self.input.write(&self.unsent) {
            Ok(count) => {
                self.unsent.drain(..count);
                Ok(())
            }
            Err(error) if is_for_later(&error) => Ok(()),
            // What it said before it went is read first: it tells why.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.unsent.clear();
                Ok(())
            }
            Err(error) => Err(Fault::Broken(self.said.after(&error.to_string()))),
        }
    }

    /// Takes what the child says of itself.
    fn listen(&mut self) {
        let mut bytes = [0; 4096];
        let Some(errors) = &mut self.errors else {
            return;
        };
        match errors.read(&mut bytes) {
            Ok(count) if count > 0 => self.said.take(&bytes[..count]),
            Err(error) if is_for_later(&error) => {}
            Ok(_) | Err(_) => self.errors = None,
        }
    }

    /// The child has closed its pipes: why, in its own words.
    fn ended(&mut self) -> Fault {
        while let Some(errors) = &self.errors {
            let mut waited = [PollFd::new(errors, PollFlags::IN)];
            match poll(&mut waited, Some(&timespec(LAST_WORDS))) {
                Ok(0) => break,
                Ok(_) => self.listen(),
                Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
        Fault::Broken(self.said.reason())
    }
}

fn is_for_later(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

fn timespec(time: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(time.subsec_nanos()),
    }
}

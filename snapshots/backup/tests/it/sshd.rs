//! A real `sshd` on the loopback interface, for tests of what goes over SSH.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A program of the path, or where Debian puts what only programs call.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let others = ["/usr/lib/openssh", "/usr/libexec", "/usr/sbin"].map(PathBuf::from);
    let found = std::env::split_paths(&path)
        .chain(others)
        .map(|dir| dir.join(name))
        .find(|path| path.is_file());
    if found.is_none() {
        println!("skipped: {name} is not installed; `cargo xtask tools` installs it");
    }
    found
}

/// A real `sshd`, as somebody who may do nothing, which ends with the test.
pub(crate) struct Sshd {
    child: Child,
    pub(crate) port: u16,
    user: String,
    dir: tempfile::TempDir,
}

impl Drop for Sshd {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The account of an `sshd`: this one, or a harmless one of every Debian if this is root's, as
/// whom `sshd` would want an account of its own.
fn account() -> (String, Option<u32>) {
    let id = |option: &str| {
        let output = Command::new("id").arg(option).output().expect("id runs");
        String::from_utf8(output.stdout)
            .expect("text")
            .trim()
            .to_owned()
    };
    match id("-u").as_str() {
        "0" => ("backup".to_owned(), Some(34)),
        _ => (id("-un"), None),
    }
}

pub(crate) fn key_pair(file: &Path) {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(file)
        .status();
    assert!(made.expect("ssh-keygen runs").success());
}

impl Sshd {
    pub(crate) fn start() -> Option<Self> {
        let sshd = program("sshd")?;
        program("ssh-keygen")?;
        let dir = tempfile::tempdir().expect("a directory");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("opened");
        let file = |name: &str| dir.path().join(name);
        key_pair(&file("host"));
        key_pair(&file("id"));
        let (user, uid) = account();
        for name in ["host", "files"] {
            if name == "files" {
                fs::create_dir(file(name)).expect("made");
            }
            if let Some(uid) = uid {
                chown(file(name), Some(uid), Some(uid)).expect("given away");
            }
        }
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let shown = dir.path().display();
        let config = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {shown}/host\nAuthorizedKeysFile \
             {shown}/id.pub\nPidFile none\nStrictModes no\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nSubsystem sftp internal-sftp\n"
        );
        fs::write(file("config"), config).expect("written");
        let host = fs::read_to_string(file("host.pub")).expect("a key");
        fs::write(file("known hosts"), format!("[127.0.0.1]:{port} {host}")).expect("written");
        // Copies, since the account may not see where it was unpacked to.
        fs::copy(&sshd, file("sshd")).expect("copied");
        if let Some(unpacked) = sshd.parent().and_then(Path::parent) {
            let library = format!("lib/{}-linux-gnu/libwrap.so.0", std::env::consts::ARCH);
            drop(fs::copy(unpacked.join(library), file("libwrap.so.0")));
        }
        let mut command = Command::new(file("sshd"));
        command.args(["-D", "-e", "-f"]).arg(file("config"));
        command.env("LD_LIBRARY_PATH", dir.path());
        if let Some(uid) = uid {
            command.uid(uid).gid(uid);
        }
        let child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn();
        let sshd = Self {
            child: child.expect("sshd starts"),
            port,
            user,
            dir,
        };
        let (_nobody, never) = std::sync::mpsc::channel::<()>();
        for _ in 0..600 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Some(sshd);
            }
            assert!(never.recv_timeout(Duration::from_millis(50)).is_err());
        }
        panic!("sshd does not listen");
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The address of a directory below the one that it may write to.
    pub(crate) fn url(&self, folder: &str) -> String {
        let (user, port, files) = (&self.user, self.port, self.file("files"));
        format!("sftp://{user}@127.0.0.1:{port}{}/{folder}", files.display())
    }

    /// It takes nobody any more; who is in stays in.
    pub(crate) fn stop(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }
}

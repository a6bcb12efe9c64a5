//! The programs that checks, tests and benchmarks call, and how each is installed when missing.
//!
//! A program on the path that is new enough is used as it is. Everything else is installed under
//! the tools folder (see `session.rs`) without touching the system; only a Debian package that
//! cannot simply be unpacked is installed with apt-get, which needs root. No service is started.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, bail, ensure};

use crate::session::{Session, finish};

/// Written last: a folder without it is an installation that was interrupted.
pub(crate) const COMPLETE: &str = ".complete";

pub(crate) struct Tool {
    /// The executable that callers start.
    program: &'static str,
    /// Any version from this one on is good; empty accepts every version.
    at_least: &'static str,
    source: Source,
}

enum Source {
    /// From the crate registry, this version.
    Crate {
        name: &'static str,
        version: &'static str,
    },
    /// Debian packages that are unpacked, not installed, because installing starts a service. The
    /// first has the program, the others what it cannot do without.
    Unpacked { packages: &'static [&'static str] },
    /// A Debian package installed the usual way.
    Debian { package: &'static str },
    /// From PyPI, in a virtual environment of its own.
    Python {
        name: &'static str,
        version: &'static str,
        /// Where the program lies in the package's own folder; empty when it is installed to be
        /// called.
        inside: &'static str,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum WhenMissing {
    Install,
    Fail,
}

pub(crate) const CARGO_DENY: Tool = Tool {
    program: "cargo-deny",
    at_least: "0.18.0",
    source: Source::Crate {
        name: "cargo-deny",
        version: "0.20.2",
    },
};
const NEXTEST: Tool = Tool {
    program: "cargo-nextest",
    at_least: "0.9.100",
    source: Source::Crate {
        name: "cargo-nextest",
        version: "0.9.143",
    },
};
const PROMTOOL: Tool = Tool {
    program: "promtool",
    at_least: "2.42.0",
    source: Source::Unpacked {
        packages: &["prometheus"],
    },
};
/// The server is in the same package; tests let it scrape us.
const PROMETHEUS: Tool = Tool {
    program: "prometheus",
    ..PROMTOOL
};
const OTELTAP: Tool = Tool {
    program: "oteltap",
    at_least: "",
    source: Source::Python {
        name: "oteltap",
        version: "1.0.0",
        inside: "",
    },
};
/// A collector of another make, in Rust and in one file.
const ROTEL: Tool = Tool {
    program: "rotel-agent",
    at_least: "",
    source: Source::Python {
        name: "rotel",
        version: "0.0.1a15",
        inside: "rotel/rotel-agent",
    },
};
const AMTOOL: Tool = Tool {
    program: "amtool",
    at_least: "0.25.0",
    source: Source::Unpacked {
        packages: &["prometheus-alertmanager"],
    },
};
const STRACE: Tool = Tool {
    program: "strace",
    at_least: "",
    source: Source::Debian { package: "strace" },
};
const WRK: Tool = Tool {
    program: "wrk",
    at_least: "",
    source: Source::Debian { package: "wrk" },
};
const SCHEMATHESIS: Tool = Tool {
    program: "schemathesis",
    at_least: "4.0.0",
    source: Source::Python {
        name: "schemathesis",
        version: "4.32.5",
        inside: "",
    },
};

const MOTO: Tool = Tool {
    program: "moto_server",
    at_least: "",
    source: Source::Python {
        name: "moto[server]",
        version: "5.2.5",
        inside: "",
    },
};
/// Backups go to directories of these servers; the tests start them without any right.
const SSH: Tool = Tool {
    program: "ssh",
    at_least: "",
    source: Source::Debian {
        package: "openssh-client",
    },
};
const SSHD: Tool = Tool {
    program: "sshd",
    at_least: "",
    source: Source::Unpacked {
        packages: &["openssh-server", "libwrap0"],
    },
};
const SFTP_SERVER: Tool = Tool {
    program: "sftp-server",
    at_least: "",
    source: Source::Unpacked {
        packages: &["openssh-sftp-server"],
    },
};

pub(crate) const FOR_TESTS: &[&Tool] = &[
    &NEXTEST,
    &CARGO_DENY,
    &STRACE,
    &PROMTOOL,
    &PROMETHEUS,
    &OTELTAP,
    &ROTEL,
    &AMTOOL,
    &SCHEMATHESIS,
    &MOTO,
    &SSH,
    &SSHD,
    &SFTP_SERVER,
];
pub(crate) const FOR_BENCHES: &[&Tool] = &[&WRK];

/// Makes every tool of the list callable, or says what to run.
pub(crate) fn ensure(
    session: &Session,
    needed: &[&Tool],
    when_missing: WhenMissing,
) -> anyhow::Result<()> {
    for tool in needed {
        if is_present(session, tool) {
            continue;
        }
        if when_missing == WhenMissing::Fail {
            let verb = if FOR_BENCHES.iter().any(|t| t.program == tool.program) {
                "tools --bench"
            } else {
                "tools"
            };
            bail!(
                "{} is missing; `cargo xtask {verb}` installs it",
                tool.program
            );
        }
        let started = now();
        eprintln!("xtask: installing {}", tool.program);
        install(session, tool).with_context(|| format!("cannot install {}", tool.program))?;
        ensure!(
            is_present(session, tool),
            "{} was installed but does not run",
            tool.program
        );
        eprintln!(
            "xtask: {} took {:.0} s",
            tool.program,
            started.elapsed().as_secs_f64()
        );
    }
    Ok(())
}

fn is_present(session: &Session, tool: &Tool) -> bool {
    let Some(path) = session.find(tool.program) else {
        return false;
    };
    if tool.at_least.is_empty() {
        return true;
    }
    // cargo-nextest answers only through its subcommand; promtool and amtool on either stream.
    let words: &[&str] = if tool.program == "cargo-nextest" {
        &["nextest", "--version"]
    } else {
        &["--version"]
    };
    let Ok(output) = session
        .command(&path.to_string_lossy())
        .args(words)
        .output()
    else {
        return false;
    };
    let said = [output.stdout, output.stderr].concat();
    output.status.success() && is_at_least(&String::from_utf8_lossy(&said), tool.at_least)
}

fn install(session: &Session, tool: &Tool) -> anyhow::Result<()> {
    match &tool.source {
        Source::Crate { name, version } => install_crate(session, name, version),
        Source::Unpacked { packages } => unpack_packages(session, packages),
        Source::Debian { package } => install_package(session, package),
        Source::Python {
            name,
            version,
            inside,
        } => install_python(session, (name, version), inside),
    }
}

fn install_crate(session: &Session, name: &str, version: &str) -> anyhow::Result<()> {
    let folder = fresh_folder(session, &format!("{name}-{version}"))?;
    let build = folder.join("build");
    let root = folder.to_string_lossy();
    let arguments = [
        "install",
        name,
        "--version",
        version,
        "--locked",
        "--no-default-features",
        "--quiet",
        "--root",
        &root,
    ];
    // Unoptimised: these tools wait for others, and building them is what takes the time.
    let mut command = session.command("cargo");
    command
        .args(arguments)
        .arg("--debug")
        .env("CARGO_TARGET_DIR", &build);
    finish(command.env("CARGO_PROFILE_DEV_DEBUG", "false"))?;
    std::fs::remove_dir_all(&build)?;
    complete(&folder)
}

fn unpack_packages(session: &Session, packages: &[&str]) -> anyhow::Result<()> {
    let name = packages.first().context("a tool is in a package")?;
    let folder = fresh_folder(session, name)?;
    for package in packages {
        unpack_package(session, package, &folder)?;
    }
    complete(&folder)
}

fn unpack_package(session: &Session, package: &str, folder: &Path) -> anyhow::Result<()> {
    let download = || {
        let mut command = session.command("apt-get");
        finish(
            command
                .current_dir(folder)
                .args(["download", "--quiet=2", package]),
        )
    };
    if download().is_err() {
        update_package_lists(session)?;
        download()?;
    }
    let archive = std::fs::read_dir(folder)?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|end| end == "deb"))
        .context("apt-get downloaded nothing")?;
    let paths = [archive.to_string_lossy(), folder.to_string_lossy()];
    session.run("dpkg-deb", &["--extract", &paths[0], &paths[1]])?;
    Ok(std::fs::remove_file(archive)?)
}

fn install_package(session: &Session, package: &str) -> anyhow::Result<()> {
    let install = [
        "install",
        "--quiet=2",
        "--yes",
        "--no-install-recommends",
        package,
    ];
    if as_root(session, "apt-get", &install).is_ok() {
        return Ok(());
    }
    update_package_lists(session)
        .and_then(|()| as_root(session, "apt-get", &install))
        .with_context(|| format!("the Debian package {package} is needed and root must install it"))
}

fn install_python(
    session: &Session,
    (name, version): (&str, &str),
    inside: &str,
) -> anyhow::Result<()> {
    let folder = fresh_folder(session, &format!("{name}-{version}"))?;
    let environment = folder.to_string_lossy();
    let create = ["-m", "venv", &environment];
    if session.run("python3", &create).is_err() {
        install_package(session, "python3-venv")?;
        session.run("python3", &create)?;
    }
    let pip = folder.join("bin/pip");
    let wanted = format!("{name}=={version}");
    let arguments = ["install", "--quiet", "--disable-pip-version-check", &wanted];
    session.run(&pip.to_string_lossy(), &arguments)?;
    if !inside.is_empty() {
        let python = folder.join("bin/python").to_string_lossy().into_owned();
        let ask = "import sysconfig; print(sysconfig.get_path('purelib'))";
        let packages = session.output(&python, &["-c", ask])?;
        let program = Path::new(packages.trim()).join(inside);
        let called = program.file_name().context("a program has a name")?;
        std::os::unix::fs::symlink(&program, folder.join("bin").join(called))?;
    }
    complete(&folder)
}

fn update_package_lists(session: &Session) -> anyhow::Result<()> {
    as_root(session, "apt-get", &["update", "--quiet=2"])
}

/// As root directly; otherwise through sudo, only if it asks for no password.
fn as_root(session: &Session, program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let user = session.output("id", &["--user"])?;
    let mut command = if user.trim() == "0" {
        session.command(program)
    } else {
        let mut sudo = session.command("sudo");
        sudo.args(["--non-interactive", program]);
        sudo
    };
    finish(
        command
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )
    .with_context(|| format!("run as root: {program} {}", arguments.join(" ")))
}

fn fresh_folder(session: &Session, name: &str) -> anyhow::Result<PathBuf> {
    let folder = session.tools.join(name);
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

fn complete(folder: &Path) -> anyhow::Result<()> {
    Ok(std::fs::write(folder.join(COMPLETE), "")?)
}

/// Compares the first `a.b.c` in what a tool says of itself.
fn is_at_least(said: &str, wanted: &str) -> bool {
    let first = said
        .split(|c: char| !(c.is_ascii_digit() || c == '.'))
        .find_map(numbers);
    match (first, numbers(wanted)) {
        (Some(found), Some(wanted)) => found >= wanted,
        _ => false,
    }
}

fn numbers(word: &str) -> Option<[u32; 3]> {
    let mut parts = word.split('.').map(str::parse);
    match (parts.next(), parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor)), Some(Ok(patch))) => Some([major, minor, patch]),
        _ => None,
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a developer's tool reports wall time"
)]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert!(is_at_least("cargo-deny 0.20.2", "0.18.0"));
        assert!(is_at_least(
            "cargo-nextest 0.9.143 (60fa45f63 2026-08-04)",
            "0.9.100"
        ));
        assert!(is_at_least(
            "promtool, version 2.42.0+ds (branch: debian/sid)",
            "2.42.0"
        ));
        assert!(!is_at_least("cargo-deny 0.14.2", "0.18.0"));
        assert!(!is_at_least("cargo-deny 0.9.20", "0.18.0"));
    }

    #[test]
    fn no_version_is_no_tool() {
        assert!(!is_at_least("command not found", "0.1.0"));
    }
}

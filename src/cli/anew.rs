//! The process begins anew, as itself: the same binary, arguments and process id, nothing else
//! kept. How often it has done so travels in an argument, because the log may be what is wrong.

use std::convert::Infallible;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::str::FromStr;

use crate::config::SupervisionConfig;

/// The binary that runs, even when its file was replaced since.
const ITSELF: &str = "/proc/self/exe";
const FLAG: &str = "--begun-anew=";

/// When the process began anew before, in microseconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Begun(Vec<u64>);

impl FromStr for Begun {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.split(',')
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// How the process goes on.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Ordinary(Begun),
    SafeMode,
}

/// Counts a beginning at `now`.
fn next(Begun(mut times): Begun, now: u64, limits: &SupervisionConfig) -> Next {
    let window = limits.process_restarts_window_ms.saturating_mul(1_000);
    times.retain(|time| now.saturating_sub(*time) < window);
    match times.len() < limits.process_restarts_max as usize {
        true => {
            times.push(now);
            Next::Ordinary(Begun(times))
        }
        false => Next::SafeMode,
    }
}

/// The arguments of the next beginning.
fn arguments(own: impl Iterator<Item = OsString>, next: &Next, reason: &str) -> Vec<OsString> {
    let counted = |argument: &OsString| argument.to_string_lossy().starts_with(FLAG);
    let mut arguments: Vec<OsString> = own.filter(|argument| !counted(argument)).collect();
    arguments.push(match next {
        Next::Ordinary(Begun(times)) => {
            let times: Vec<String> = times.iter().map(ToString::to_string).collect();
            format!("{FLAG}{}", times.join(",")).into()
        }
        Next::SafeMode => format!("--safe-mode={reason}").into(),
    });
    arguments
}

/// Begins anew; in safe mode when that was done too often. Returns only when it cannot.
pub(crate) fn begin(
    begun: Begun,
    now: u64,
    limits: &SupervisionConfig,
    reason: &str,
) -> io::Result<Infallible> {
    let next = next(begun, now, limits);
    let safe_mode = matches!(next, Next::SafeMode);
    tracing::error!(reason, safe_mode, "the process begins anew");
    let mut own = std::env::args_os();
    let mut command = Command::new(ITSELF);
    command.arg0(own.next().unwrap_or_else(|| ITSELF.into()));
    command.args(arguments(own, &next, reason));
    Err(command.exec())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: SupervisionConfig = SupervisionConfig {
        actor_restarts_max: 5,
        actor_restarts_window_ms: 1,
        process_restarts_max: 2,
        process_restarts_window_ms: 1,
    };

    #[test]
    fn after_as_many_beginnings_as_are_allowed_it_is_safe_mode() {
        let first = next(Begun::default(), 5_000, &LIMITS);
        assert_eq!(first, Next::Ordinary(Begun(vec![5_000])));
        let second = next(Begun(vec![5_000]), 5_900, &LIMITS);
        assert_eq!(second, Next::Ordinary(Begun(vec![5_000, 5_900])));
        let third = next(Begun(vec![5_000, 5_900]), 5_999, &LIMITS);
        assert_eq!(third, Next::SafeMode);
        // What is old does not count.
        let later = next(Begun(vec![5_000, 5_900]), 6_000, &LIMITS);
        assert_eq!(later, Next::Ordinary(Begun(vec![5_900, 6_000])));
    }

    #[test]
    fn arguments_are_kept_and_the_count_replaced() {
        let own = || ["serve", "--begun-anew=1,2", "--json"].map(OsString::from);
        let counted = Next::Ordinary(Begun(vec![2, 3]));
        let arguments_of = |next| arguments(own().into_iter(), next, "it failed");
        assert_eq!(
            arguments_of(&counted),
            ["serve", "--json", "--begun-anew=2,3"]
        );
        assert_eq!(
            arguments_of(&Next::SafeMode),
            ["serve", "--json", "--safe-mode=it failed"]
        );
        assert_eq!("2,3".parse(), Ok(Begun(vec![2, 3])));
        assert!("2,x".parse::<Begun>().is_err());
    }
}

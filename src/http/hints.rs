//! What to do about a problem, where the place that found it did not say.

use super::error::Kind;
use crate::nearest;

/// The hint of a kind of problem. `allow` are the methods that are offered.
pub(crate) fn of(kind: &Kind, allow: Option<&str>) -> Option<String> {
    let hint = match kind.slug {
        "method-not-allowed" => return allow.map(|methods| format!("offered here: {methods}")),
        "not-acceptable" => "name that media type in `Accept`, or leave the header out",
        "unauthenticated" => {
            "send `Authorization: Bearer KEY`; docs/access.md says how to get a key"
        }
        "forbidden" => "ask an admin for a key of another role",
        "rate-limited" => "try again after the seconds in `Retry-After`",
        "conflict" => "look at what is there now, and ask again if it still has to be",
        "cancelled" => "send the request again with another Idempotency-Key, or without one",
        "busy" => "try again after the seconds in `Retry-After`",
        "unavailable" => {
            "try again a little later, with the same Idempotency-Key: it may be recorded already; \
             /health says how the server is"
        }
        "backup-failed" => "look at the target; docs/backups.md says how",
        "deadline-exceeded" => "ask for less, or raise runs.deadline_ms",
        "caller-deadline" => "give it more time in `Hindcast-Deadline`, or ask for less",
        "disk-low" => "free disk space, or lower disk.reserve_bytes",
        "vault-full" => "remove what is not needed any more, or raise vaults.bytes_max",
        _ => return None,
    };
    Some(hint.to_owned())
}

/// The hint that follows from what is said of a field: the nearest name, or the range.
pub(crate) fn of_field(message: &str) -> Option<String> {
    nearest_name(message).or_else(|| range(message))
}

fn nearest_name(message: &str) -> Option<String> {
    let rest = message
        .strip_prefix("unknown field `")
        .or_else(|| message.strip_prefix("unknown variant `"))?;
    let (given, rest) = rest.split_once('`')?;
    let known: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
    let near = nearest::name(given, known.iter().copied())?;
    Some(format!("did you mean `{near}`?"))
}

fn range(message: &str) -> Option<String> {
    if let Some(rest) = message.strip_prefix("has to be ") {
        let range = rest.split_once(", is ").map_or(rest, |(range, _)| range);
        return Some(format!("give a value that is {range}"));
    }
    let (_, range) = message.split_once(", expected a whole number from ")?;
    Some(format!("give a whole number from {range}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_ranges_become_hints() {
        for (message, hint) in [
            (
                "unknown variant `BOSS`, expected one of `boss`, `eqvar`",
                "did you mean `boss`?",
            ),
            (
                "has to be from 0 to 1000, is 1001",
                "give a value that is from 0 to 1000",
            ),
            (
                "number `-1` is given, expected a whole number from 0 to 7",
                "give a whole number from 0 to 7",
            ),
        ] {
            assert_eq!(of_field(message).as_deref(), Some(hint));
        }
        assert_eq!(of_field("'x' is not a node"), None);
    }
}

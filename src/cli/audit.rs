//! `hindcast audit`: who did what. Everything that somebody asked for is an event with its
//! principal; these are those events, without what the server does by itself.

use clap::Subcommand;
use hindcast_model::Seq;
use serde_json::{Value, json};

use super::arguments::{EventFilter, Global};
use super::events::Source;
use super::output::{Failure, Output};

/// Who the server itself is in the log.
const OWN: &[&str] = &["computation", "hindcast", "scrub", "server", "system"];

#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// Show what was asked for, by whom, and what somebody was not allowed to do; newest last.
    #[command(after_help = "Examples:\n  hindcast audit search\n  \
        hindcast audit search --principal ada --since 2026-11-22T00:00:00Z --json\n  \
        hindcast audit search --denied")]
    Search(Search),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Search {
    /// Only what this principal did.
    #[arg(long, value_name = "NAME")]
    principal: Option<String>,
    /// Only since this moment: the sequence of an event, or a time such as 2026-11-22T00:00:00Z.
    #[arg(long, value_name = "SEQ or TIME")]
    since: Option<String>,
    /// Only what somebody was not allowed to do.
    #[arg(long)]
    denied: bool,
    /// The newest so many.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
}

pub(crate) fn run(global: &Global, verb: &Audit, output: &Output) -> Result<(), Failure> {
    let Audit::Search(search) = verb;
    let since = Since::read(search.since.as_deref())?;
    let filter = EventFilter {
        stream: search.denied.then(|| "system/audit".to_owned()),
        kind: None,
    };
    let mut source = Source::open(global, &filter)?;
    let limit = search.limit as usize;
    let mut found = std::collections::VecDeque::new();
    source.each(since.first(), usize::MAX, |event| {
        if since.admits(event) && search.admits(event) {
            if found.len() == limit {
                found.pop_front();
            }
            found.push_back(entry(event));
        }
        Ok(())
    })?;
    if output.json {
        return output.value(&json!({ "items": found }));
    }
    if found.is_empty() {
        return output.text("nothing was found");
    }
    found.iter().try_for_each(|entry| output.text(&text(entry)))
}

enum Since {
    Beginning,
    Seq(u64),
    /// As the log writes times, which sort as texts.
    Time(String),
}

impl Since {
    fn read(text: Option<&str>) -> Result<Self, Failure> {
        let Some(text) = text else {
            return Ok(Self::Beginning);
        };
        if let Ok(seq) = text.parse() {
            return Ok(Self::Seq(seq));
        }
        let at = hindcast_actors::views::moment(text).ok_or_else(|| {
            let expected = "a sequence or a time such as 2026-11-22T00:00:00Z is expected";
            Failure::Usage(format!("--since: {expected}"))
        })?;
        Ok(Self::Time(hindcast_actors::views::rfc3339(at)))
    }

    fn first(&self) -> Option<Seq> {
        match self {
            Self::Seq(seq) => Some(Seq((*seq).max(1))),
            Self::Beginning | Self::Time(_) => None,
        }
    }

    fn admits(&self, event: &Value) -> bool {
        match self {
            Self::Time(since) => event["at"].as_str().is_some_and(|at| at >= since.as_str()),
            Self::Beginning | Self::Seq(_) => true,
        }
    }
}

impl Search {
    fn admits(&self, event: &Value) -> bool {
        let principal = event["principal"].as_str().unwrap_or_default();
        let wanted = self.principal.as_deref();
        event["observed"].as_bool() == Some(true)
            // What a computation found is nobody's doing.
            && event["type"] != "outcome_observed"
            && !OWN.contains(&principal)
            && wanted.is_none_or(|wanted| wanted == principal)
            && (!self.denied || event["data"]["outcome"].as_str() == Some("denied"))
    }
}

/// Who, what, of what, and what became of it.
fn entry(event: &Value) -> Value {
    let data = &event["data"];
    let audited = event["type"].as_str() == Some("audited");
    let (verb, target, outcome) = match audited {
        true => (&data["verb"], &data["target"], &data["outcome"]),
        false => (&event["type"], &event["stream"], &Value::Null),
    };
    // Of a command it is the action that tells, and what it was about.
    let named = data["name"].as_str().or(data["cache"].as_str());
    let target = match (audited, named) {
        (false, Some(name)) => Value::from(name),
        (_, _) => target.clone(),
    };
    let action = match audited {
        true => None,
        false => data["action"].as_str().or(data["verb"].as_str()),
    };
    json!({
        "seq": event["seq"],
        "at": event["at"],
        "principal": event["principal"],
        "role": data["role"],
        "key": data["key"],
        "verb": verb,
        "action": action,
        "target": target,
        "outcome": outcome,
        "reason": data["reason"],
        "correlation": event["correlation"],
    })
}

fn text(entry: &Value) -> String {
    let word = |name: &str| entry[name].as_str().unwrap_or_default();
    let line = format!(
        "{:>8} {} {:<16} {:<22} {} {} {} {}",
        entry["seq"].as_u64().unwrap_or(0),
        word("at"),
        word("principal"),
        word("verb"),
        word("action"),
        word("target"),
        word("outcome"),
        word("reason"),
    );
    line.trim_end().to_owned()
}

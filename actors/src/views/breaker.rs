//! Circuit breakers and the services behind them.

use hindcast_log::Recorded;
use hindcast_model::breaker::{Admission, Breaker, BreakerState, Breakers, Phase};
use hindcast_model::event::Event;
use hindcast_model::{State, UnixMicros};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::time::rfc3339;

/// A service works well from this rate on, and fails below the other, in per cent.
const HEALTHY_PERCENT: f64 = 95.0;
const FAILING_PERCENT: f64 = 50.0;
/// So many fallbacks within a minute are a jump.
const FALLBACK_JUMP: u64 = 5;
const MINUTE_MICROS: u64 = 60_000_000;

/// A breaker that somebody holds in a state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Forced {
    pub by: String,
    pub reason: String,
    pub since: String,
    /// Null when it lasts.
    pub until: Option<String>,
}

/// A failure of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct CallFailure {
    pub at: String,
    /// Such as `deadline_exceeded`, `panicked`, `internal`.
    pub code: String,
}

/// A breaker.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct BreakerView {
    pub name: String,
    /// closed, half_open, open, forced_open, disabled or metrics_only.
    pub state: &'static str,
    /// Calls that are looked at.
    pub calls: u32,
    pub failures: u32,
    pub slow: u32,
    /// Of the calls that are looked at; null when there are none.
    pub failure_rate_percent: Option<f64>,
    pub slow_rate_percent: Option<f64>,
    pub consecutive_failures: u32,
    pub last_failure: Option<CallFailure>,
    pub changed_at: Option<String>,
    /// How often it opened since the log began.
    pub openings: u64,
    /// When a call is let through to try the service.
    pub next_probe_at: Option<String>,
    /// Calls that try the service, and how many more may.
    pub permits_out: u32,
    pub permits_free: u32,
    pub forced: Option<Forced>,
    /// Answered in place of the service, in this order.
    pub fallbacks: Vec<String>,
    /// Calls since the log began, by how they ended.
    #[cfg_attr(feature = "schema", schema(value_type = Object))]
    pub totals: Value,
    /// By the keys of the configuration.
    #[cfg_attr(feature = "schema", schema(value_type = Object))]
    pub settings: Value,
}

/// How a service does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "UPPERCASE")]
pub enum ServiceStatus {
    /// At least 95 per cent of its calls succeed.
    Healthy,
    /// At least half of them do.
    Degraded,
    Failing,
}

/// A service behind a breaker.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ServiceView {
    pub service: String,
    pub status: ServiceStatus,
    /// Of the calls that its breaker looks at; null when there are none.
    pub success_rate_percent: Option<f64>,
    pub calls: u32,
    /// Answers in its place since the log began.
    pub fallbacks: u64,
    pub fallbacks_last_minute: u64,
    pub last_error: Option<CallFailure>,
    /// Of its breaker.
    pub breaker_state: &'static str,
    /// Somebody has to act: it fails, or fallbacks have jumped.
    pub action_needed: bool,
    /// Why the status is what it is, and what to do.
    pub reason: String,
}

/// Every breaker, by name.
#[must_use]
pub fn breakers(breakers: &Breakers, now: UnixMicros) -> Vec<BreakerView> {
    let all = breakers.all();
    all.map(|(name, it)| breaker(name, it, now)).collect()
}

/// Every service, by name.
#[must_use]
pub fn services(state: &State, now: UnixMicros) -> Vec<ServiceView> {
    let all = state.breakers().all();
    all.map(|(name, it)| service(name, it, now)).collect()
}

/// One breaker at `now`.
#[must_use]
pub fn breaker(name: &str, it: &Breaker, now: UnixMicros) -> BreakerView {
    let (calls, failures, slow) = it.counts(now);
    let rate = |count: u32| (calls > 0).then(|| f64::from(count) * 100.0 / f64::from(calls));
    let totals = it.totals();
    let settings: Map<String, Value> = it
        .settings()
        .values()
        .map(|(key, value)| (key.to_owned(), json!(value)))
        .collect();
    BreakerView {
        name: name.to_owned(),
        state: it.state().word(),
        calls,
        failures,
        slow,
        failure_rate_percent: rate(failures),
        slow_rate_percent: rate(slow),
        consecutive_failures: it.consecutive(),
        last_failure: last_failure(it),
        changed_at: it.changed_at().map(rfc3339),
        openings: it.openings(),
        next_probe_at: next_probe(it, now).map(rfc3339),
        permits_out: it.permits_out(now),
        permits_free: it.permits_free(now),
        forced: it.overlay().map(|overlay| Forced {
            by: overlay.by.to_string(),
            reason: overlay.reason.clone(),
            since: rfc3339(overlay.since),
            until: overlay.until.map(rfc3339),
        }),
        fallbacks: it
            .fallbacks()
            .iter()
            .map(|known| known.to.clone())
            .collect(),
        totals: json!({
            "success": totals.success,
            "failure": totals.failure,
            "slow": totals.slow,
            "ignored": totals.ignored,
            "rejected": it.rejected(),
        }),
        settings: Value::Object(settings),
    }
}

fn last_failure(it: &Breaker) -> Option<CallFailure> {
    it.last_failure().map(|failure| CallFailure {
        at: rfc3339(failure.at),
        code: failure.code.clone(),
    })
}

fn next_probe(it: &Breaker, now: UnixMicros) -> Option<UnixMicros> {
    match (it.state(), it.phase()) {
        (BreakerState::Open, Phase::Open { until }) => Some(*until),
        (BreakerState::HalfOpen, _) => match it.admit(now) {
            Admission::Refuse { until, .. } => until,
            Admission::Pass | Admission::Permit => Some(now),
        },
        (_, _) => None,
    }
}

/// How the service behind a breaker does at `now`.
#[must_use]
pub fn service(name: &str, it: &Breaker, now: UnixMicros) -> ServiceView {
    let (calls, failures, _) = it.counts(now);
    let rate = (calls > 0).then(|| f64::from(calls - failures) * 100.0 / f64::from(calls));
    let state = it.state();
    let shut = matches!(state, BreakerState::Open | BreakerState::ForcedOpen);
    let status = match rate {
        _ if shut => ServiceStatus::Failing,
        // It was tried before, and failed again.
        _ if state == BreakerState::HalfOpen && it.streak() > 1 => ServiceStatus::Failing,
        Some(rate) if rate < FAILING_PERCENT => ServiceStatus::Failing,
        Some(rate) if rate < HEALTHY_PERCENT => ServiceStatus::Degraded,
        _ if state == BreakerState::HalfOpen => ServiceStatus::Degraded,
        Some(_) | None => ServiceStatus::Healthy,
    };
    let recent = it.fallbacks_at().rev();
    let recent = recent
        .take_while(|at| now.since(*at) < MINUTE_MICROS)
        .count() as u64;
    let jump = recent >= FALLBACK_JUMP;
    ServiceView {
        service: name.to_owned(),
        status,
        success_rate_percent: rate,
        calls,
        fallbacks: it.fallbacks_taken().map(|(_, count)| count).sum(),
        fallbacks_last_minute: recent,
        last_error: last_failure(it),
        breaker_state: state.word(),
        // Who holds it open until some time has acted already.
        action_needed: jump || (status == ServiceStatus::Failing && held_until(it).is_none()),
        reason: reason((status, rate), (it, recent, jump)),
    }
}

/// When the hold of a breaker that somebody holds open ends by itself.
fn held_until(it: &Breaker) -> Option<UnixMicros> {
    let held = it
        .overlay()
        .filter(|overlay| overlay.state == BreakerState::ForcedOpen);
    held.and_then(|overlay| overlay.until)
}

fn reason(
    (status, rate): (ServiceStatus, Option<f64>),
    (it, recent, jump): (&Breaker, u64, bool),
) -> String {
    let state = it.state();
    // Calls that try an open breaker are not among those that are counted.
    let which = match it.phase() {
        Phase::Closed => "of the last calls",
        Phase::Open { .. } | Phase::HalfOpen { .. } => "of the calls before it opened",
    };
    let rate = rate.map_or_else(
        || "no calls to judge by".to_owned(),
        |rate| format!("{rate:.1} % {which} succeeded"),
    );
    let mut text = format!("{rate}, and the breaker is {state}");
    if let Some(overlay) = it.overlay() {
        text.push_str(&format!(" by the wish of {}", overlay.by));
        if !overlay.reason.is_empty() {
            text.push_str(&format!(" ({})", overlay.reason));
        }
        if let Some(until) = overlay.until {
            text.push_str(&format!(" until {}", rfc3339(until)));
        }
    }
    if it.streak() > 1 {
        text.push_str(&format!(", opened {} times in a row", it.streak()));
    }
    if jump {
        text.push_str(&format!("; {recent} fallbacks in the last minute"));
    }
    text.push_str(match status {
        ServiceStatus::Failing if state == BreakerState::ForcedOpen => {
            "; `hindcast breaker enable` lets calls pass again"
        }
        ServiceStatus::Failing => "; see `hindcast breaker show` for the last failure, and act",
        ServiceStatus::Degraded if jump => "; find out why it falls back",
        ServiceStatus::Degraded => "; no action unless it fails or fallbacks jump",
        ServiceStatus::Healthy if jump => "; find out why it falls back",
        ServiceStatus::Healthy => "",
    });
    text
}

/// One change of a breaker, or one wish about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct BreakerEvent {
    pub sequence: u64,
    pub at: String,
    pub from: &'static str,
    pub to: &'static str,
    /// Such as `failure_rate`, `probe_failed` or `asked`.
    pub cause: &'static str,
    /// The cause in words.
    pub detail: String,
    /// When it changes again by itself, if nothing else happens.
    pub until: Option<String>,
    /// Who asked for it; null when nobody did.
    pub by: Option<String>,
    pub reason: Option<String>,
}

/// The changes of the breaker `name` in the events of `system/breakers`, oldest first.
#[must_use]
pub fn breaker_history(name: &str, events: &[Recorded]) -> Vec<BreakerEvent> {
    let mut found = Vec::new();
    let mut wish = None;
    for recorded in events {
        if let Some(Event::BreakerCommanded(asked)) = recorded.event() {
            wish = Some((recorded.context.principal.to_string(), asked.reason.clone()));
        } else if let Some(Event::BreakerChanged(changed)) = recorded.event() {
            let (by, reason) = wish.take().unzip();
            if changed.name != name {
                continue;
            }
            found.push(BreakerEvent {
                sequence: recorded.seq().0,
                at: rfc3339(recorded.context.at),
                from: changed.from.word(),
                to: changed.to.word(),
                cause: changed.cause.word(),
                detail: changed.cause.to_string(),
                until: changed.until.map(rfc3339),
                by,
                reason,
            });
        }
    }
    found
}

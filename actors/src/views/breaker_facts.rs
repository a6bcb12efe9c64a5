//! What a state holds of circuit breakers, as facts.

use std::collections::BTreeMap;

use hindcast_model::RunId;
use hindcast_model::breaker::{Breaker, Breakers, Diversion, OpenCall, Phase};
use hindcast_model::parts::Parts;
use serde_json::{Map, Value, json};

use super::facts::{Sink, entries, time};
use super::time::rfc3339;

/// The breakers and the calls that go by them.
pub(super) fn guarded(sink: &mut dyn Sink, b: Option<&Parts<'_>>, breakers: &Breakers) {
    let all = |breakers: &Breakers| -> BTreeMap<String, Breaker> {
        let all = breakers.all();
        all.map(|(name, it)| (name.to_owned(), it.clone()))
            .collect()
    };
    let (was, is) = (b.map(|b| all(b.breakers)), all(breakers));
    let pairs = (was.as_ref(), &is);
    entries(sink, "breakers", pairs, Clone::clone, breaker_facts);
    let calls = |breakers: &Breakers| -> BTreeMap<RunId, OpenCall> {
        let calls = breakers.calls();
        calls.map(|(run, call)| (run, call.clone())).collect()
    };
    let (was, is) = (b.map(|b| calls(b.breakers)), calls(breakers));
    let pairs = (was.as_ref(), &is);
    entries(sink, "breaker_calls", pairs, ToString::to_string, |call| {
        json!({
            "breaker": call.breaker,
            "since": time(call.since),
            "probe": call.probe.map(rfc3339),
        })
    });
    let diverted = |breakers: &Breakers| -> BTreeMap<RunId, Diversion> {
        let open = breakers.diversions();
        open.map(|(run, diversion)| (run, diversion.clone()))
            .collect()
    };
    let (was, is) = (b.map(|b| diverted(b.breakers)), diverted(breakers));
    let pairs = (was.as_ref(), &is);
    entries(
        sink,
        "diversions",
        pairs,
        ToString::to_string,
        |diversion| json!({ "to": diversion.to, "breaker": diversion.breaker }),
    );
}

/// Everything that a breaker knows.
fn breaker_facts(it: &Breaker) -> Value {
    let settings = it.settings().values();
    let phase = match it.phase() {
        Phase::Closed => json!("closed"),
        Phase::Open { until } => json!({ "open_until": time(*until) }),
        Phase::HalfOpen {
            since,
            permits,
            succeeded,
            failed,
        } => json!({
            "half_open_since": time(*since),
            "permits": permits.iter()
                .map(|(holder, until)| (format!("{holder:032x}"), time(*until)))
                .collect::<Map<_, _>>(),
            "succeeded": succeeded,
            "failed": failed,
        }),
    };
    let overlay = it.overlay().map(|overlay| {
        json!({
            "state": overlay.state.word(),
            "since": time(overlay.since),
            "until": overlay.until.map(rfc3339),
            "reason": overlay.reason,
            "by": overlay.by.to_string(),
        })
    });
    let fallbacks = it.fallbacks().iter();
    let totals = it.totals();
    let changes = it.changes();
    let (last, window) = (it.last_failure(), it.window());
    let taken = it.fallbacks_taken();
    json!({
        "state": it.state().word(),
        "phase": phase,
        "overlay": overlay,
        "settings": settings.map(|(key, value)| (key.to_owned(), json!(value)))
            .collect::<Map<_, _>>(),
        "fallbacks": fallbacks.map(|known| json!([known.to, known.breaker])).collect::<Vec<_>>(),
        "window": window.map(|(at, failed, slow)| json!([time(at), failed, slow]))
            .collect::<Vec<_>>(),
        "consecutive": it.consecutive(),
        "streak": it.streak(),
        "openings": it.openings(),
        "changed_at": it.changed_at().map(rfc3339),
        "last_failure": last.map(|failure| json!([time(failure.at), failure.code])),
        "totals": [totals.success, totals.failure, totals.slow, totals.ignored, totals.rejected],
        "changes": changes.map(|(from, to, count)| json!([from.word(), to.word(), count]))
            .collect::<Vec<_>>(),
        "fallbacks_taken": taken.map(|(state, count)| (state.word().to_owned(), json!(count)))
            .collect::<Map<_, _>>(),
        "fallbacks_at": it.fallbacks_at().map(time).collect::<Vec<_>>(),
    })
}
